"""Clips: mono at 48 kHz, paired by name, with every ambiguity refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.errors import AudioError, UsageError
from spresso_cli.evaluation.clips import counterparts, load_clip, pair_by_name, seed_of, sounds_in


def write(path: Path, samples: int = 480, rate: int = 48_000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((samples, channels), 0.25), rate)
    return path


def test_a_clip_is_mono_at_48_khz_and_exactly_as_long(tmp_path: Path) -> None:
    assert load_clip(write(tmp_path / "a.wav", 480)).shape == (480,)
    assert load_clip(write(tmp_path / "b.wav", 441, 44_100)).shape == (480,)
    assert load_clip(write(tmp_path / "c.wav", 1, 44_100)).shape == (2,)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.tile([0.5, -0.25], (100, 1)), 48_000)
    np.testing.assert_allclose(load_clip(tmp_path / "a.wav"), 0.125, atol=1e-4)


def test_a_file_that_is_no_sound_is_an_audio_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError):
        load_clip(tmp_path / "a.wav")


def test_pairs_go_by_path_without_suffix(tmp_path: Path) -> None:
    for name in ("a.wav", "sub/a.wav", "b.wav"):
        write(tmp_path / "ref" / name)
    for name in ("a.flac", "sub/a.wav", "unrelated.wav"):
        write(tmp_path / "out" / name)
    pairs, missing, extra = pair_by_name(tmp_path / "ref", tmp_path / "out")
    assert [pair.name for pair in pairs] == ["a", "sub/a"]
    assert missing == ["b"]
    assert extra == ["unrelated"]


@pytest.mark.parametrize("suffix", [".au", ".AIFC", ".oga", ".wave", ".rf64"])
def test_a_folder_is_searched_for_what_compress_takes(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert sounds_in(tmp_path) == [tmp_path / f"a{suffix}"]


def test_a_folder_is_searched_for_further_suffixes_when_asked(tmp_path: Path) -> None:
    for name in ("a.spr", "b.wav", "c.txt"):
        (tmp_path / name).touch()
    assert sounds_in(tmp_path, frozenset({".spr"})) == [tmp_path / "a.spr", tmp_path / "b.wav"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: no sound or \.spr files in this folder"):
        sounds_in(tmp_path / "empty", frozenset({".spr"}))


def test_what_macos_writes_beside_sounds_is_none(tmp_path: Path) -> None:
    for name in ("a.wav", "._a.wav", "p/._b.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert sounds_in(tmp_path) == [tmp_path / "a.wav"]


def test_every_take_pairs_with_its_original(tmp_path: Path) -> None:
    write(tmp_path / "ref" / "a.wav")
    write(tmp_path / "ref" / "b.seed1.wav")
    for name in ("a.seed0.wav", "a.seed12.wav", "b.seed1.wav", "a.take.wav"):
        write(tmp_path / "out" / name)
    pairs, missing, extra = pair_by_name(tmp_path / "ref", tmp_path / "out")
    assert [(p.name, p.reference.stem) for p in pairs] == [
        ("a.seed0", "a"),
        ("a.seed12", "a"),
        ("b.seed1", "b.seed1"),
    ]
    assert missing == []
    assert extra == ["a.take"]


def test_one_name_for_two_originals_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "ref" / "a.wav")
    write(tmp_path / "ref" / "a.flac")
    write(tmp_path / "out" / "a.wav")
    message = r"out[/\\]a\.wav could stand for a\.flac and a\.wav"
    with pytest.raises(UsageError, match=message):
        pair_by_name(tmp_path / "ref", tmp_path / "out")


def test_originals_of_one_name_pair_with_outputs_that_kept_their_suffixes(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "b.wav"):
        write(tmp_path / "ref" / name)
    for name in ("a.wav.wav", "a.flac.seed3.wav", "b.flac"):
        write(tmp_path / "out" / name)
    pairs, missing, extra = pair_by_name(tmp_path / "ref", tmp_path / "out")
    assert [(p.name, p.reference.name) for p in pairs] == [
        ("a.flac.seed3", "a.flac"),
        ("a.wav", "a.wav"),
        ("b", "b.wav"),
    ]
    assert (missing, extra) == ([], [])


def test_folders_without_sounds_or_pairs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no sound files"):
        sounds_in(tmp_path / "empty")
    with pytest.raises(AudioError, match="nowhere: No such file or directory"):
        sounds_in(tmp_path / "nowhere")
    write(tmp_path / "ref" / "a.wav")
    write(tmp_path / "out" / "b.wav")
    with pytest.raises(UsageError, match="named like"):
        pair_by_name(tmp_path / "ref", tmp_path / "out")


# Files of a folder that stand for sounds.


def stand(folder: Path, *names: str) -> list[list[str]]:
    """The files that stand for sounds of these names, relative to the folder."""
    found = counterparts({Path(f"{name}.wav"): name for name in names}, folder)
    return [[path.relative_to(folder).as_posix() for path in paths] for paths in found.values()]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def test_a_flat_folder_serves_sounds_from_anywhere(folder) -> None:
    assert stand(folder("a.flac", "b.wav"), "er/p/a", "/data/b") == [["a.flac"], ["b.wav"]]


def test_a_tree_serves_its_mirror_image(folder) -> None:
    tree = folder("p/x.wav", "q/x.seed3.wav", "x.wav")
    assert stand(tree, "er/p/x", "er/q/x") == [["p/x.wav"], ["q/x.seed3.wav"]]
    assert stand(tree, "p/x", "q/x", "x") == [["p/x.wav"], ["q/x.seed3.wav"], ["x.wav"]]


def test_a_file_of_the_name_goes_before_takes_of_which_all_count(folder) -> None:
    files = folder("a.wav", "a.seed1.wav", "b.seed1.wav", "b.seed2.flac", "c.close.wav")
    assert stand(files, "a", "b", "c") == [["a.wav"], ["b.seed1.wav", "b.seed2.flac"], []]
    assert [seed_of(Path(name)) for name in ("a.wav", "b.seed12.flac")] == [None, 12]


def test_a_file_that_kept_the_suffix_of_a_sound_goes_before_one_of_its_name(folder) -> None:
    tree = folder("p/x.wav", "p/x.wav.flac", "y.wav.seed1.wav", "z.flac.wav")
    assert stand(tree, "p/x", "er/y", "z") == [["p/x.wav.flac"], ["y.wav.seed1.wav"], []]


def test_a_file_that_could_stand_for_two_sounds_is_refused(folder) -> None:
    with pytest.raises(UsageError, match=r"x\.wav could stand for er.p.x\.wav and er.q.x\.wav"):
        stand(folder("x.wav"), "er/p/x", "er/q/x")


def test_a_file_that_stands_for_one_sound_is_not_taken_for_another(folder) -> None:
    assert stand(folder("x.wav"), "p/x", "x") == [[], ["x.wav"]]
