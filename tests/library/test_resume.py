"""What `--resume` may skip of decoded sounds; test_run.py follows it through whole runs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.audio import libsndfile
from spresso_cli.audio.sink import AudioFormat
from spresso_cli.container import spr
from spresso_cli.container.stream import Stream
from spresso_cli.library import outputs
from spresso_cli.library.resume import StreamParameters, compare_sound, compare_stream
from tests.cli.conftest import LOWEST, make_stream

SAMPLES, RATE = 4000, 48_000


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., str | None]:
    """What is wrong with samples as the decode of four thousand at 48 kHz; None: nothing."""

    def judge(x: np.ndarray, rate: int = RATE, suffix: str = "wav", **stream) -> str | None:
        source, output = tmp_path / "a.spr", tmp_path / f"a.{suffix}"
        source.write_bytes(spr.write(make_stream(SAMPLES, RATE, **stream)))
        soundfile.write(output, x, rate)
        return compare_sound(source, output, AudioFormat.of(suffix)).fault

    return judge


def noise(samples: int = SAMPLES, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (samples, channels))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_sound_of_the_right_shape_is_kept(judged, suffix: str) -> None:
    assert judged(noise(), suffix=suffix) is None


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize(
    ("samples", "channels", "rate"),
    [(SAMPLES - 1, 1, RATE), (SAMPLES + 1, 1, RATE), (SAMPLES, 2, RATE), (SAMPLES, 1, 44_100)],
    ids=["shorter", "longer", "stereo", "another rate"],
)
def test_another_length_rate_or_number_of_channels_is_told(
    judged, suffix: str, samples: int, channels: int, rate: int
) -> None:
    fault = judged(noise(samples, channels), rate, suffix)
    assert fault == "has another format, length, rate or number of channels"


def test_a_wav_that_was_cut_is_told(tmp_path: Path, judged) -> None:
    judged(noise())
    output = tmp_path / "a.wav"
    output.write_bytes(output.read_bytes()[:-1000])
    assert "length" in compare_sound(tmp_path / "a.spr", output, AudioFormat()).fault


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_so_is_a_long_sound_of_which_only_the_end_is_missing(tmp_path: Path, suffix: str) -> None:
    """Further on than a sound is read to know that it is not silent."""
    samples = 500_000
    source, output = tmp_path / "a.spr", tmp_path / f"a.{suffix}"
    source.write_bytes(spr.write(make_stream(samples, RATE)))
    soundfile.write(output, noise(samples), RATE)
    assert compare_sound(source, output, AudioFormat.of(suffix)).fault is None
    output.write_bytes(output.read_bytes()[:-1000])
    fault = compare_sound(source, output, AudioFormat.of(suffix)).fault
    assert fault is not None and ("length" in fault or "no whole sound" in fault)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_silence_is_not_the_decode_of_a_sound(judged, suffix: str) -> None:
    assert judged(np.zeros(SAMPLES), suffix=suffix) == "is silent, and its source is not"


def test_one_sample_that_is_not_zero_is_a_sound(judged) -> None:
    x = np.zeros(SAMPLES)
    x[-1] = 0.5
    assert judged(x) is None


def test_a_source_that_a_sample_type_rounds_to_zeros_may_be_silent(judged) -> None:
    assert judged(np.zeros(SAMPLES), gain=40) is None


def test_a_sound_of_more_than_an_hour_is_judged_like_any_other(tmp_path: Path) -> None:
    """What a decoder takes on is limited; what is there already has been made."""
    rate, samples = 1_000, 3_601_000
    sound, stream = tmp_path / "a.wav", tmp_path / "a.spr"
    shape = {"source_rate": rate, "samples": samples, "channels": 1}
    silence = Stream(profile=LOWEST, weights_tag=b"\0\1", gain=0, **shape, payload=b"")
    stream.write_bytes(spr.write(silence))
    soundfile.write(sound, np.zeros(samples, np.int16), rate)
    for path in (sound, stream):
        os.utime(path, (0, 0))  # none is older than the other
    there = compare_sound(stream, sound, AudioFormat())
    back = compare_stream(sound, stream, StreamParameters(LOWEST, silence.weights_tag))
    assert there.fault is back.fault is None
    assert there.duration == back.duration == 3601.0


def test_an_old_sound_under_a_new_name_is_told_on_windows_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, a file's ctime is its birth, and what was moved over it keeps its age."""
    sound, output = tmp_path / "a.wav", tmp_path / "a.spr"
    stream = make_stream(SAMPLES, RATE)
    output.write_bytes(spr.write(stream))
    soundfile.write(sound, noise() / 100, RATE)
    later = sound.stat().st_ctime + 60
    os.utime(output, (later, later))
    parameters = StreamParameters(LOWEST, stream.weights_tag)
    monkeypatch.setattr(outputs, "WINDOWS", False)
    assert compare_stream(sound, output, parameters).fault is None
    monkeypatch.setattr(outputs, "WINDOWS", True)
    fault = compare_stream(sound, output, parameters).fault
    assert fault == "was made of a sound of another level"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_an_interruption_while_an_output_is_judged_is_not_lost(
    judged, suffix: str, interrupted_in, nothing_ignored
) -> None:
    assert judged(noise(), suffix=suffix) is None
    interrupted_in("vio_read")
    with pytest.raises(KeyboardInterrupt):
        judged(noise(), suffix=suffix)


def test_a_disk_that_fails_says_nothing_of_an_output(judged, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(libsndfile._Source, "_read", fail)
    with pytest.raises(OSError, match="Input/output error"):
        judged(noise())
