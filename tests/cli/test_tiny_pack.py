"""The whole corridor through the command line, with the tiny pack of the tests.

The pack's networks are untrained: these tests are about promises that hold for any weights.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import changeable_copy

from .conftest import write_sound

TINY = Path(__file__).parents[1] / "data" / "tiny_pack"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, with the tiny pack chosen."""
    monkeypatch.setenv("SPRESSO_PACK", str(TINY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def level_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.square(samples).mean())


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (44_100, 2), (22_050, 1)])
def test_a_sound_comes_back_in_its_length_rate_channels_and_level(
    spresso, rate: int, channels: int
) -> None:
    write_sound(Path("a.wav"), seconds=1.01, rate=rate, channels=channels)
    assert spresso("compress", "a.wav", "-b", 0.096).code == 0
    assert spresso("decompress", "a.spr", "-o", "b.wav").code == 0
    source, _ = soundfile.read("a.wav", always_2d=True)
    sound, sound_rate = soundfile.read("b.wav", always_2d=True)
    assert sound.shape == source.shape
    assert sound_rate == rate
    assert abs(level_db(sound) - level_db(source)) < 0.5


def test_five_seconds_of_mono_are_73_bytes(spresso) -> None:
    for rate in (48_000, 44_100):
        write_sound(Path(f"{rate}.wav"), seconds=5, rate=rate)
        spresso("compress", f"{rate}.wav", "-b", 0.096)
        assert Path(f"{rate}.spr").stat().st_size == 73


def test_a_seed_repeats_and_another_differs(spresso) -> None:
    write_sound(Path("a.wav"))
    spresso("compress", "a.wav")
    data = Path("a.spr").read_bytes()
    takes = [
        spresso("decompress", "-", "--seed", seed, "--steps", 1, stdin=data).data
        for seed in (3, 3, 4)
    ]
    assert takes[0] == takes[1] != takes[2]


def test_equal_channels_come_back_equal(spresso) -> None:
    samples, rate = soundfile.read(write_sound(Path("mono.wav")))
    soundfile.write("twin.wav", np.stack([samples, samples], axis=1), rate)
    spresso("compress", "twin.wav")
    spresso("decompress", "twin.spr", "-o", "out.wav", "--steps", 1)
    sound, _ = soundfile.read("out.wav", dtype="int16")
    assert sound.any()
    assert (sound[:, 0] == sound[:, 1]).all()


def test_a_pipe_gives_the_same_bytes_as_files(spresso) -> None:
    write_sound(Path("a.wav"))
    spresso("compress", "a.wav")
    assert spresso("compress", "-", stdin=Path("a.wav").read_bytes()).data == (
        Path("a.spr").read_bytes()
    )


def test_a_batch_gives_the_same_bytes_as_single_calls(spresso) -> None:
    names = [str(write_sound(Path(f"{n}.wav"), seconds=0.3 + n)) for n in range(3)]
    assert spresso("compress", *names, "--output-dir", "together").code == 0
    for name in names:
        spresso("compress", name, "--output-dir", "alone")
    for path in Path("together").iterdir():
        assert path.read_bytes() == Path("alone", path.name).read_bytes()


def test_silence_comes_back_as_silence(spresso) -> None:
    soundfile.write("quiet.wav", np.zeros(1000), 48_000)
    spresso("compress", "quiet.wav")
    assert Path("quiet.spr").stat().st_size < 14
    spresso("decompress", "quiet.spr", "-o", "out.wav")
    sound, _ = soundfile.read("out.wav")
    assert sound.shape == (1000,)
    assert not sound.any()


def test_info_and_verify_know_the_pack(spresso) -> None:
    write_sound(Path("a.wav"))
    spresso("compress", "a.wav")
    assert spresso("info", "--json", "a.spr").records[0]["pack"] == "tiny"
    assert "tiny" in spresso("verify", "a.spr").stdout


def test_models_shows_a_path_as_it_is_whatever_it_looks_like(
    spresso, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(TINY, tmp_path / "[/b]")
    monkeypatch.setenv("SPRESSO_PACK", str(tmp_path / "[/b]"))
    assert f"{os.sep}{Path('[/b]')}" in spresso("models").stdout


def test_models_lists_the_points_with_the_default_marked(spresso) -> None:
    shown = spresso("models")
    assert "preview" in shown.stdout
    assert "0.096 kbps *" in shown.stdout
    (record,) = [r for r in spresso("models", "--json").records if r["pack"] == "tiny"]
    assert [point["kbps"] for point in record["points"]] == [0.048, 0.096, 1.32]


def test_models_marks_points_that_no_rate_chooses(
    spresso, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = changeable_copy(TINY, tmp_path / "tiny")
    description = json.loads((pack / "pack.json").read_text())
    for point in description["points"]:  # the fewest bits become the best, the most the worst
        point["rank"] = 4 - point["rank"]
    (pack / "pack.json").write_text(json.dumps(description))
    monkeypatch.setenv("SPRESSO_PACK", str(pack))
    shown = spresso("models").stdout
    assert "1.32 kbps +" in shown and "0.048 kbps *" in shown and "0.096 kbps +" in shown


def test_a_rate_below_the_lowest_names_the_lowest(spresso) -> None:
    write_sound(Path("a.wav"))
    shown = spresso("compress", "a.wav", "-b", 0.01)
    assert shown.code == 2
    assert "-b 0.048" in shown.stderr


def test_a_file_of_another_pack_is_exit_4_and_names_the_tag(spresso) -> None:
    from spresso_cli.container import spr

    from .conftest import make_stream

    Path("foreign.spr").write_bytes(spr.write(make_stream(weights_tag=b"\x00\x01")))
    shown = spresso("decompress", "foreign.spr")
    assert shown.code == 4
    assert "0001" in shown.stderr
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize("pack", ["nowhere", "empty"])
def test_an_impossible_pack_is_exit_4(spresso, pack: str) -> None:
    Path("empty").mkdir()
    write_sound(Path("a.wav"))
    shown = spresso("compress", "a.wav", "--pack", pack)
    assert shown.code == 4
    assert shown.stderr.count("\n") == 1


def test_cuda_where_there_is_none_is_one_line(spresso) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    write_sound(Path("a.wav"))
    shown = spresso("compress", "a.wav", "--device", "cuda")
    assert shown.code == 2
    assert shown.stderr.count("\n") == 1
    assert "CUDA" in shown.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_latents_are_read_from_regular_files_only(spresso) -> None:
    """A pipe that nobody writes to would hold up the process beyond interruption."""
    os.mkfifo("pipe.safetensors")
    shown = spresso("decode-latents", "pipe.safetensors", "nope", "--output-dir", "back")
    assert shown.code == 1
    assert shown.stderr.splitlines() == [
        "spresso: pipe.safetensors: latents are read from a regular file: save it to one first",
        "spresso: nope: No such file or directory",
    ]


def test_latents_go_there_and_back_under_plain_names(spresso) -> None:
    write_sound(Path("in/a.wav"))
    assert spresso("encode-latents", "in", "-r", "--frame-rate", 1, "--output-dir", "z").code == 0
    shown = spresso("decode-latents", "z", "-r", "--steps", 1, "--output-dir", "back")
    assert (shown.code, shown.stderr) == (0, f"{Path('z/a.safetensors')} -> {Path('back/a.wav')}\n")
    assert soundfile.info("back/a.wav").frames == soundfile.info("in/a.wav").frames


def test_latents_of_a_few_bytes_do_not_become_hours_unasked(spresso) -> None:
    soundfile.write("a.wav", np.zeros(1_001_000), 1000)
    assert spresso("encode-latents", "a.wav", "--frame-rate", 1).code == 0
    data = Path("a.safetensors").read_bytes()
    Path("a.safetensors").write_bytes(data.replace(b"1001000", b"4001000"))
    shown = spresso("decode-latents", "a.safetensors", "-o", "b.wav")
    assert (shown.code, Path("b.wav").exists()) == (4, False)  # as decompress has it
    assert "a.safetensors: the sound is 4001 s long and the limit is 3600 s" in shown.stderr
    limit = ("--max-duration", 4001)
    assert spresso("decode-latents", "a.safetensors", "-o", "b.wav", *limit).code == 0
    assert soundfile.info("b.wav").frames == 4_001_000
