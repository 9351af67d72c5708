"""Corpora: what counts as a clip, what is held out, what a crop is, what streams."""

from __future__ import annotations

import os
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
import soundfile
import torch

from spresso_cli.errors import AudioError, UsageError
from spresso_cli.training import corpus
from spresso_cli.training.corpus import (
    Clip,
    Corpus,
    find_clips,
    for_training,
    held_out,
    read_mono,
)
from spresso_cli.training.streaming import CorpusWindows, seconds_of


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(path: Path, samples: int, rate: int = 48_000) -> Path:
    """A sound whose every sample tells its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, (np.arange(samples) + 1) / 32768, rate, subtype="PCM_16")
    return path


def test_a_folder_without_a_manifest_captions_by_file_name(sounds: Path) -> None:
    clips = find_clips(sounds)
    assert len(clips) == 8
    assert "rain 2" in {clip.caption for clip in clips}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_that_is_called_like_a_sound_is_none(tmp_path: Path) -> None:
    ramp(tmp_path / "a.wav", 10)
    os.mkfifo(tmp_path / "b.wav")
    assert [clip.path.name for clip in find_clips(tmp_path)] == ["a.wav"]


def test_a_manifest_may_list_what_lies_elsewhere(tmp_path: Path) -> None:
    there = Path("/sounds/a.wav").absolute()  # with the drive, where there are any
    (tmp_path / "manifest.csv").write_text(f"file,caption\n{there},a door\nb.wav,a click\n")
    train, dev = held_out(tmp_path)
    assert {clip.path for clip in train + dev} == {there, tmp_path / "b.wav"}


def test_names_beyond_ascii_are_text_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libsndfile takes bytes for a name in the code page there, and text as it is."""

    class OnWindows(soundfile.SoundFile):
        def __init__(self, file: str | bytes, *arguments: object, **options: object) -> None:
            name = file.decode("cp1252") if isinstance(file, bytes) else file
            super().__init__(name, *arguments, **options)

    path = ramp(tmp_path / "Tür.wav", 5)
    monkeypatch.setattr(soundfile, "SoundFile", OnWindows)
    monkeypatch.setattr(corpus, "NAMES_ARE_BYTES", False)
    assert seconds_of(path) == 5 / 48_000
    assert len(read_mono(path)) == 5


def test_what_is_held_out_is_the_same_on_windows() -> None:
    names = [f"doors/oak_{number}.wav" for number in range(200)]

    def dealt(path: type[PurePath], root: str) -> list[bool]:
        clips = [Clip(path(root, name)) for name in names]
        return [corpus.is_spared(clip, path(root)) for clip in clips]

    here = dealt(PurePosixPath, "/sounds")
    assert any(here) and here == dealt(PureWindowsPath, "D:\\sounds")


def test_a_manifest_decides_what_is_in_and_what_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "file,split,category,caption\na.wav,train,foley,a door\nb.wav,dev,ui,a click\n"
    )
    assert find_clips(tmp_path, "dev") == [Clip(tmp_path / "b.wav", "a click", "ui")]
    train, dev = held_out(tmp_path)
    assert [clip.caption for clip in train + dev] == ["a door", "a click"]


def test_what_validates_nothing_needs_no_dev(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,split\na.wav,train\nb.wav,test\n")
    assert for_training(tmp_path) == [Clip(tmp_path / "a.wav")]
    with pytest.raises(UsageError, match="no row has dev"):
        held_out(tmp_path)
    (tmp_path / "manifest.csv").write_text("file\n" + "".join(f"{i}.wav\n" for i in range(200)))
    assert for_training(tmp_path) == held_out(tmp_path)[0]


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (b"path,caption\na.wav,a door\n", "no column file"),
        ("file,caption\na.wav,une fenêtre\n".encode("latin-1"), "save it as CSV in UTF-8"),
        (b"file,split\na.wav,train\n", "no row has dev in the column split: write train or dev"),
        (b"file,split\na.wav,\n", "no row has train in the column split: .* leave the column out"),
        (b"file,caption\n", "has no rows"),
        (b"", "no column file"),
    ],
    ids=["other columns", "Latin-1", "no dev", "no train", "no rows", "empty"],
)
def test_a_manifest_that_cannot_serve_is_named(
    tmp_path: Path, table: bytes, complaint: str
) -> None:
    (tmp_path / "manifest.csv").write_bytes(table)
    with pytest.raises(UsageError, match=rf"manifest\.csv.*{complaint}"):
        held_out(tmp_path)


def test_a_manifest_of_a_spreadsheet_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,caption\na.wav\n", encoding="utf-8-sig")
    assert find_clips(tmp_path) == [Clip(tmp_path / "a.wav")]


def test_a_folder_is_searched_for_what_compress_takes(tmp_path: Path) -> None:
    for name in ("a.au", "b.AIFC", "c.txt"):
        (tmp_path / name).touch()
    assert [clip.path.name for clip in find_clips(tmp_path)] == ["a.au", "b.AIFC"]


def test_without_a_split_every_fiftieth_clip_is_held_out(tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / f"{i}.wav").touch()
    train, spared = held_out(tmp_path)
    assert 1 <= len(spared) <= 12
    assert not set(train) & set(spared)
    assert len(train) + len(spared) == 200


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no sound files"):
        find_clips(tmp_path)


@pytest.mark.parametrize("content", [b"", b"RIFF no sound at all"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.wav").write_bytes(content)
    with pytest.raises(AudioError, match="bad.wav"):
        Corpus([Clip(tmp_path / "bad.wav")])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sound_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    samples = np.zeros((100, 2), np.float32)
    samples[7, 1] = value
    soundfile.write(tmp_path / "bad.wav", samples, 48_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.wav: sample 7 of channel 2 is (nan|inf)"):
        Corpus([Clip(tmp_path / "bad.wav")])


def test_any_rate_and_channel_count_becomes_48_khz_mono(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((2205, 2), [0.5, 0.1]), 22_050)
    corpus = Corpus([Clip(tmp_path / "a.wav")])
    assert len(corpus.pcm) == 4800
    assert corpus.clip(0).abs().max() == 1.0  # peak-normalised


def test_crops_lie_inside_their_clip_and_short_clips_end_in_zeros(tmp_path: Path) -> None:
    corpus = Corpus(
        [Clip(ramp(tmp_path / "long.wav", 1000)), Clip(ramp(tmp_path / "short.wav", 30))]
    )
    crops = corpus.crops(torch.tensor([0] * 50 + [1]), 100, generator())
    steps = crops[:50].diff() * 1000
    torch.testing.assert_close(steps, torch.ones(50, 99), atol=0.02, rtol=0)
    assert crops[:50].max() > 0.95  # the end of the clip is reached
    assert not crops[50, 30:].any()
    assert crops[50, 29] == 1.0


def test_long_clips_are_drawn_more_often_but_not_in_proportion(tmp_path: Path) -> None:
    corpus = Corpus([Clip(ramp(tmp_path / "a.wav", 900)), Clip(ramp(tmp_path / "b.wav", 9))])
    drawn = corpus.draw(20_000, generator())
    assert float((drawn == 0).double().mean()) == pytest.approx(10 / 11, abs=0.01)


def windows_of(folder: Path, **settings: object) -> CorpusWindows:
    return CorpusWindows(find_clips(folder), hours=2.5 / 3600, steps=10, **settings)


def test_a_corpus_that_fits_is_one_window_for_ever(sounds: Path) -> None:
    windows = CorpusWindows(find_clips(sounds))
    assert windows.whole
    assert windows.at(0) is windows.at(10**6)
    assert len(windows.at(0)) == 8


def test_an_epoch_of_windows_holds_every_clip_once(sounds: Path) -> None:
    windows = windows_of(sounds)
    count = next(k for k in range(1, 9) if sum(len(windows.clips(i)) for i in range(k)) == 8)
    first = [clip for k in range(count) for clip in windows.clips(k)]
    second = [clip for k in range(count, 2 * count) for clip in windows.clips(k)]
    assert count > 1
    assert set(first) == set(second) == set(find_clips(sounds))
    assert first != second


def test_the_window_of_a_step_follows_from_the_step_alone(sounds: Path) -> None:
    running, resumed = windows_of(sounds, seed=3), windows_of(sounds, seed=3)
    for step in (0, 9, 10, 25):
        corpus = running.at(step)
    assert corpus.clips == resumed.at(25).clips == resumed.clips(2)
    assert torch.equal(corpus.pcm, resumed.at(25).pcm)


def test_windows_that_nobody_will_ask_for_are_not_decoded(sounds: Path, monkeypatch) -> None:
    loaded = []
    load = CorpusWindows._load
    monkeypatch.setattr(
        CorpusWindows, "_load", lambda self, index: loaded.append(index) or load(self, index)
    )
    windows = windows_of(sounds)
    windows.window(0, ahead=False)
    windows.close()
    assert loaded == [0]


def test_unreadable_files_are_left_out_and_told(tmp_path: Path) -> None:
    ramp(tmp_path / "good.wav", 100)
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    windows = CorpusWindows(find_clips(tmp_path))
    assert [path.name for path in windows.unreadable] == ["bad.wav"]
    assert len(windows.at(0)) == 1


def broken_behind_its_header(path: Path) -> Path:
    """A sound that says how long it is, and has no such samples."""
    soundfile.write(path, np.full(100, np.nan, np.float32), 48_000, subtype="FLOAT")
    return path


def test_what_is_broken_behind_its_header_is_left_out_and_told_once(tmp_path: Path) -> None:
    ramp(tmp_path / "a.wav", 100)
    bad = broken_behind_its_header(tmp_path / "b.wav")
    ramp(tmp_path / "c.wav", 100)
    notes = []
    windows = CorpusWindows(find_clips(tmp_path), note=notes.append)
    corpus = windows.at(0)
    windows.at(1)
    assert [note.startswith(f"left out: {bad}: sample 0") for note in notes] == [True]
    assert corpus.clips == windows.clips(0)  # captions go by the place in it
    assert set(corpus.draw(100, generator()).tolist()) == {0, 2}
    assert corpus.clip(1).tolist() == [0]


def test_several_broken_sounds_are_one_note_and_nothing_else_is_an_error(tmp_path: Path) -> None:
    bad = [broken_behind_its_header(tmp_path / f"{name}.wav") for name in "ab"]
    with pytest.raises(AudioError, match=r"a\.wav"):
        CorpusWindows(find_clips(tmp_path), note=lambda _: None).at(0)
    ramp(tmp_path / "c.wav", 100)
    with pytest.raises(AudioError, match=r"a\.wav"):
        CorpusWindows(find_clips(tmp_path)).at(0)  # there is nobody to tell
    notes = []
    CorpusWindows(find_clips(tmp_path), note=notes.append).at(0)
    assert [note.partition(": sample")[0] for note in notes] == [
        f"left out: 2 sounds, the first is {bad[0]}"
    ]


def test_a_corpus_of_unreadable_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"bad\.wav"):
        CorpusWindows(find_clips(tmp_path))


def test_synthetic_effects_join_the_recordings(sounds: Path) -> None:
    windows = CorpusWindows(find_clips(sounds), synthetic=3, seed=1)
    corpus = windows.at(0)
    assert len(corpus) == 8 + 3
    assert corpus.clips == windows.clips(0)
    assert corpus.clips[-1].category
