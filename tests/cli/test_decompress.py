"""`decompress` from the outside: names of takes, formats, seeds and pipes, with the fake codec."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.cli.options import Sampler
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr
from spresso_cli.diffusion.samplers import SAMPLERS

from .conftest import Bench, make_stream


@pytest.fixture(autouse=True)
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, with one short `.spr` file in it."""
    monkeypatch.chdir(tmp_path)
    path = Path("door.spr")
    path.write_bytes(spr.write(make_stream(samples=4_001, rate=44_100)))
    return path


@pytest.fixture
def asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[DecodeOptions]:
    """The options of every stream that the codec was given."""
    seen: list[DecodeOptions] = []
    real = bench.codec.decompress_many

    def noting(items):
        def noted():
            for key, stream, options in items:
                seen.append(options)
                yield key, stream, options

        return real(noted())

    monkeypatch.setattr(bench.codec, "decompress_many", noting)
    return seen


def test_a_file_becomes_a_16_bit_wav_of_its_source_rate_and_length(
    spresso, bench: Bench, door: Path
) -> None:
    assert spresso("decompress", door).code == 0
    shape = soundfile.info("door.wav")
    assert (shape.frames, shape.samplerate, shape.subtype) == (4_001, 44_100, "PCM_16")


def test_a_seed_gives_a_take_that_is_named_by_it(spresso, bench: Bench, door: Path) -> None:
    spresso("decompress", door, "--seed", 3)
    assert Path("door.seed3.wav").exists()


def test_the_same_seed_repeats_and_another_differs(spresso, bench: Bench, door: Path) -> None:
    takes = [
        spresso("decompress", "-", "--seed", seed, stdin=door.read_bytes()).data
        for seed in (3, 3, 4)
    ]
    assert takes[0] == takes[1] != takes[2]


def test_without_a_seed_it_is_seed_0_and_a_plain_name(
    spresso, bench: Bench, door: Path, asked: list[DecodeOptions]
) -> None:
    spresso("decompress", door)
    assert [options.seed for options in asked] == [0]


def test_variations_count_up_from_the_seed(spresso, bench: Bench, door: Path) -> None:
    spresso("decompress", door, "--seed", 7, "--variations", 3)
    assert sorted(path.name for path in Path().glob("*.wav")) == [
        "door.seed7.wav",
        "door.seed8.wav",
        "door.seed9.wav",
    ]


def test_a_random_seed_is_told_by_the_name_and_repeatable(
    spresso, bench: Bench, door: Path
) -> None:
    (record,) = spresso("decompress", door, "--seed", "random", "--json").records
    first = Path(record["output"]).read_bytes()
    assert record["output"] == f"door.seed{record['seed']}.wav"
    spresso("decompress", "-f", door, "--seed", record["seed"])
    assert Path(record["output"]).read_bytes() == first


@pytest.mark.parametrize("seed", ["-1", "1.5", "any", "18446744073709551616", "٣"])
def test_what_is_no_seed_is_refused(spresso, bench: Bench, door: Path, seed: str) -> None:
    shown = spresso("decompress", door, "--seed", seed)
    assert shown.code == 2
    assert "--seed" in shown.stderr


def test_the_largest_seed_is_a_seed(spresso, bench: Bench, door: Path) -> None:
    assert spresso("decompress", door, "--seed", (1 << 64) - 1).code == 0


def test_variations_beyond_the_largest_seed_are_refused_before_any(
    spresso, bench: Bench, door: Path
) -> None:
    shown = spresso("decompress", door, "--seed", (1 << 64) - 1, "--variations", 2)
    assert shown.code == 2 and "2^64 - 1" in shown.stderr
    assert not list(Path().glob("*.wav"))


def test_every_choice_reaches_the_codec(
    spresso, bench: Bench, door: Path, asked: list[DecodeOptions]
) -> None:
    spresso(
        "decompress", door, "--seed", 5, "--steps", 4, "--sampler", "heun", "--guidance", 2,
        "--prompt", "a heavy door", "--no-envelope", "--variety", 0.25, "--pack", "mine",
        "--device", "cpu",
    )  # fmt: skip
    assert asked == [DecodeOptions(5, 4, "heun", 2.0, "a heavy door", envelope=False, variety=0.25)]
    assert bench.loads == [("mine", "cpu")]


@pytest.mark.parametrize(
    ("arguments", "name", "subtype"),
    [
        (["--format", "flac"], "door.flac", "PCM_16"),
        (["--format", "ogg"], "door.ogg", "VORBIS"),
        (["--subtype", "pcm_24"], "door.wav", "PCM_24"),
        (["--format", "WAV", "--subtype", "FLOAT"], "door.wav", "FLOAT"),
        (["-o", "take.flac"], "take.flac", "PCM_16"),
    ],
)
def test_format_and_subtype_can_be_chosen(
    spresso, bench: Bench, door: Path, arguments: list[str], name: str, subtype: str
) -> None:
    assert spresso("decompress", door, *arguments).code == 0
    assert soundfile.info(name).subtype == subtype


@pytest.mark.parametrize(
    "arguments", [["--format", "mp3"], ["--format", "ogg", "--subtype", "PCM_24"]]
)
def test_an_impossible_format_names_the_possible_ones(
    spresso, bench: Bench, door: Path, arguments: list[str]
) -> None:
    shown = spresso("decompress", door, *arguments)
    assert shown.code == 2
    assert "choose" in shown.stderr


def test_a_format_and_a_name_that_contradict_each_other_are_misuse(
    spresso, bench: Bench, door: Path
) -> None:
    shown = spresso("decompress", door, "--format", "flac", "-o", "x.wav")
    assert shown.code == 2
    assert shown.stderr == "spresso: --format flac and the name x.wav contradict each other\n"
    assert not Path("x.wav").exists() and bench.loads == []


def test_stdin_goes_to_stdout_as_wav(spresso, bench: Bench, door: Path) -> None:
    piped = spresso("decompress", "-", stdin=door.read_bytes())
    spresso("decompress", door)
    assert piped.data == Path("door.wav").read_bytes()


def test_several_takes_need_more_than_one_name(spresso, bench: Bench, door: Path) -> None:
    assert spresso("decompress", door, "--variations", 2, "-o", "one.wav").code == 2
    assert spresso("decompress", "-", "--variations", 2, stdin=door.read_bytes()).code == 2


def test_both_channels_come_back(spresso, bench: Bench) -> None:
    Path("twin.spr").write_bytes(spr.write(make_stream(channels=2, dual_mono=True)))
    spresso("decompress", "twin.spr")
    samples, _ = soundfile.read("twin.wav", dtype="int16")
    assert samples.shape == (240_000, 2)
    assert np.isfinite(samples).all()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda data: data[:-1], 3),
        (lambda data: data + b"\0", 3),
        (lambda data: b"", 3),
        (lambda data: data[:3] + bytes([0x20 | data[3] & 15]) + data[4:], 4),
    ],
    ids=["truncated", "extended", "empty", "newer version"],
)
def test_one_damaged_file_gives_its_own_exit_code(
    spresso, bench: Bench, door: Path, damage, code: int
) -> None:
    door.write_bytes(damage(door.read_bytes()))
    shown = spresso("decompress", door)
    assert shown.code == code
    assert shown.stderr.startswith("spresso: door.spr: ")
    assert shown.stderr.count("\n") == 1
    assert not Path("door.wav").exists()


def test_of_several_files_one_failure_is_exit_1(spresso, bench: Bench, door: Path) -> None:
    Path("bad.spr").write_bytes(b"")
    assert spresso("decompress", "bad.spr", door).code == 1
    assert Path("door.wav").exists()


def test_takes_of_one_damaged_file_keep_its_exit_code(spresso, bench: Bench, door: Path) -> None:
    door.write_bytes(door.read_bytes()[:-1])
    assert spresso("decompress", door, "--variations", 3).code == 3


def test_a_missing_pack_is_exit_4_and_names_the_tag(spresso, bench: Bench) -> None:
    Path("foreign.spr").write_bytes(spr.write(make_stream(weights_tag=b"\x00\x01")))
    shown = spresso("decompress", "foreign.spr")
    assert shown.code == 4
    assert "0001" in shown.stderr


def test_a_declared_day_of_sound_is_refused_before_memory_is_taken(spresso, bench: Bench) -> None:
    stream = spr.Stream(
        gain=0,
        payload=b"",
        profile=make_stream().profile,
        weights_tag=b"\xab\xcd",
        source_rate=48_000,
        samples=24 * 3600 * 48_000,
        channels=1,
    )
    Path("day.spr").write_bytes(spr.write(stream))
    shown = spresso("decompress", "day.spr")
    assert shown.code == 4
    assert "86400 s long and the limit is 3600 s: decompress and" in shown.stderr
    assert bench.loads == []
    shown = spresso("decompress", "day.spr", "--max-duration", 0.1)
    assert "the limit is 0.1 s" in shown.stderr


def test_a_random_seed_is_told(spresso, bench: Bench, door: Path, asked) -> None:
    outcome = spresso("decompress", door, "--seed", "random", "-o", "take.wav")
    assert f"seed {asked[0].seed}" in outcome.stderr


@pytest.mark.parametrize("wrong", [("--sampler", "euler"), ("--seed", "9" * 5000)])
def test_what_no_file_can_be_decoded_with_is_refused_before_any(
    spresso, bench: Bench, door: Path, wrong: tuple[str, str]
) -> None:
    assert spresso("decompress", door, *wrong).code == 2
    assert not bench.loads


def test_samplers_are_those_of_the_package() -> None:
    assert {sampler.value for sampler in Sampler} == SAMPLERS.keys()


def test_a_format_that_lacks_the_rate_is_refused_before_decoding_and_stops_no_other(
    spresso, bench: Bench, door: Path
) -> None:
    Path("high.spr").write_bytes(spr.write(make_stream(samples=500, rate=384_000)))
    outcome = spresso("decompress", "high.spr", door, "--format", "ogg")
    assert outcome.code == 1
    assert "high.spr: ogg VORBIS cannot hold 1 channels at 384000 Hz" in outcome.stderr
    assert Path("door.ogg").exists() and not Path("high.ogg").exists()


@pytest.mark.skipif(os.name == "nt" or not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_stdout_under_its_name_is_stdout(spr_file: Path, tmp_path: Path) -> None:
    program = Path(__file__).parents[1] / "library" / "fake_spresso.py"
    with open("take.wav", "wb") as out:
        subprocess.run(
            [sys.executable, program, "decompress", spr_file, "-o", "/proc/self/fd/1"],
            env=os.environ | {"PYTHONPATH": str(program.parents[2])}, stdout=out, check=True,
        )  # fmt: skip
    assert soundfile.info("take.wav").frames == 240_000


def test_a_sound_is_sent_to_compress(spresso, bench: Bench) -> None:
    soundfile.write("rain.wav", np.zeros(100), 48_000)
    shown = spresso("decompress", "rain.wav")
    assert shown.code == 2
    assert shown.stderr == "spresso: rain.wav is a sound already: did you mean compress?\n"
    shown = spresso("decompress", "rain.wav", "-o", "x.wav")
    assert shown.code == 3
    assert shown.stderr == (
        "spresso: rain.wav: this is not a .spr file but a sound: "
        "spresso compress makes a .spr file of it\n"
    )


def test_a_bundle_is_sent_to_unbundle(spresso, bench: Bench, door: Path) -> None:
    spresso("bundle", door, "-o", "doors.sprb")
    shown = spresso("decompress", "doors.sprb")
    assert shown.code == 3
    assert shown.stderr == (
        "spresso: doors.sprb: this is not a .spr file but a bundle: "
        "spresso unbundle takes the .spr files out of it\n"
    )


NOTE = "note: --resume keeps sounds that are there, whatever options made them\n"


@pytest.mark.parametrize(
    "option",
    [
        ("--steps", 4),
        ("--prompt", "rain"),
        ("--guidance", 2),
        ("--variety", 0.25),
        ("--sampler", "heun"),
        ("--no-envelope",),
    ],
    ids=lambda option: option[0],
)
def test_resume_says_that_it_asks_for_no_options(
    spresso, bench: Bench, door: Path, option: tuple
) -> None:
    spresso("decompress", door)
    shown = spresso("decompress", door, "--resume", *option)
    assert shown.stderr.startswith(NOTE) and "up to date" in shown.stderr
    assert spresso("decompress", door, "--resume", "-q", *option).stderr == ""


def test_resume_has_nothing_to_say_where_names_tell_takes_apart(
    spresso, bench: Bench, door: Path
) -> None:
    for arguments in ((), ("--seed", 3), ("--format", "flac", "--variations", 2)):
        assert NOTE not in spresso("decompress", door, "--resume", *arguments).stderr
    assert NOTE in spresso("decompress", door, "--resume", "--seed", 3, "-o", "x.wav").stderr


def test_what_is_a_sound_is_not_named_like_a_compressed_one(
    spresso, bench: Bench, door: Path
) -> None:
    shown = spresso("decompress", "-f", door, "-o", "x.spr")
    assert shown.code == 2
    assert shown.stderr == "spresso: x.spr is named like a .spr file: name it .wav\n"
    assert not Path("x.spr").exists()


@pytest.mark.parametrize("name", ["take.mp3", "folder/"])
def test_an_output_name_that_cannot_be_honoured_is_refused(
    spresso, bench: Bench, door: Path, name: str
) -> None:
    assert spresso("decompress", door, "-o", name).code == 2
    assert not Path(name).exists()
