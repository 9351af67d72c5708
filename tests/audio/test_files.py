"""Reading: whatever libsndfile decodes comes as finite blocks, the rest as an AudioError."""

from __future__ import annotations

import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.audio.files import ArraySource, AudioSource, downmix, open_audio
from spresso_cli.errors import AudioError


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (0.1 * random.standard_normal((samples, channels))).astype(np.float32)


def encoded(
    x: np.ndarray, rate: int = 48_000, format: str = "WAV", subtype: str = "FLOAT"
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, x, rate, format=format, subtype=subtype)
    return file.getvalue()


def everything(source: AudioSource, size: int = 1000) -> np.ndarray:
    return np.concatenate(list(source.blocks(size)))


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000])
def test_every_rate_is_read_and_reported(rate: int) -> None:
    source = open_audio(encoded(noise(100), rate))
    assert (source.rate, source.channels, source.samples) == (rate, 1, 100)


@pytest.mark.parametrize("channels", range(1, 9))
def test_one_to_eight_channels_are_read(channels: int) -> None:
    x = noise(1500, channels)
    source = open_audio(encoded(x))
    assert source.channels == channels
    assert np.array_equal(everything(source), x)


@pytest.mark.parametrize(
    ("subtype", "step"),
    [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-24), ("DOUBLE", 0)],
)
def test_integer_and_float_samples_are_read_at_full_scale_one(subtype: str, step: float) -> None:
    x = noise(1000)
    read = everything(open_audio(encoded(x, subtype=subtype)))
    assert read.dtype == np.float32
    assert np.abs(read - x).max() <= step


@pytest.mark.parametrize("format", ["FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64"])
@pytest.mark.parametrize("samples", [1, 1000, 30_000])
def test_other_formats_deliver_as_many_samples_as_they_say(format: str, samples: int) -> None:
    subtype = soundfile.default_subtype(format)
    source = open_audio(encoded(noise(samples, 2), format=format, subtype=subtype))
    assert source.samples == len(everything(source)) == samples


def test_every_pass_begins_at_the_start_and_passes_do_not_disturb_each_other(
    tmp_path: Path,
) -> None:
    x = noise(5000)
    (tmp_path / "a.wav").write_bytes(encoded(x))
    with open_audio(tmp_path / "a.wav") as source:
        first = source.blocks(1000)
        next(first)
        assert np.array_equal(everything(source), x)
        assert np.array_equal(next(first), x[1000:2000])
        assert np.array_equal(everything(source), x)


def test_a_waiting_source_holds_no_file_descriptor(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded(noise(10)))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    sources = [open_audio(tmp_path / "a.wav") for _ in range(20)]
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
    for source in sources:
        source.close()


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_block_size_does_not_change_the_samples(size: int) -> None:
    x = noise(500, 2)
    blocks = list(open_audio(encoded(x)).blocks(size))
    assert all(1 <= len(block) <= size for block in blocks)
    assert np.array_equal(np.concatenate(blocks), x)


def test_a_thousand_channels_do_not_make_blocks_larger() -> None:
    source = open_audio(encoded(np.zeros((6000, 1000), np.float32), subtype="PCM_16"))
    assert max(block.nbytes for block in source.blocks(1 << 16)) <= 1 << 24


# Pipes and open files.


class Pipe(io.RawIOBase):
    """Bytes that cannot be rewound."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._data.readinto(buffer)


def test_a_pipe_reads_like_the_file_that_flows_through_it() -> None:
    data = encoded(noise(3000))
    with open_audio(Pipe(data)) as source:
        assert np.array_equal(everything(source), everything(open_audio(data)))
        assert np.array_equal(everything(source), everything(open_audio(data)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_named_pipe_reads_like_a_file(tmp_path: Path) -> None:
    x = noise(3000)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(encoded(x),))
    writer.start()
    with open_audio(tmp_path / "pipe") as source:
        assert np.array_equal(everything(source), x)
    writer.join()


def test_an_endless_pipe_is_refused_before_it_fills_the_disk() -> None:
    class Endless(Pipe):
        def readinto(self, buffer) -> int:
            return len(buffer)

    with pytest.raises(AudioError, match="raise --max-duration or pass a file"):
        open_audio(Endless(b""), max_seconds=3)


def test_an_open_file_is_read_whole_wherever_it_stands_and_stays_open() -> None:
    file = io.BytesIO(encoded(noise(100)))
    file.seek(17)
    with open_audio(file) as source:
        assert len(everything(source)) == 100
    assert not file.closed


@pytest.mark.parametrize(
    "name", ["-", "-rf.wav", "a b.wav", "line\nbreak.wav", "x.raw", "no_suffix", "ü💥.wav"]
)
def test_any_file_name_can_be_opened(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        Path(name).write_bytes(encoded(noise(10)))
    except OSError:
        pytest.skip("this file system wants other names")
    assert open_audio(Path(name)).samples == 10


def test_names_that_are_not_utf8_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "\udcff\udcfe.wav"  # how Python writes the bytes FF FE
    try:
        path.write_bytes(encoded(noise(10)))
    except OSError:
        pytest.skip("this file system wants UTF-8 names")
    assert open_audio(path).samples == 10


# What is no sound.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello, this is no sound\n" * 50,
        bytes(1000),
        b"RIFF\0\0\0\0WAVE",
        b"fLaC",
        b"ID3",
        b"\x89PNG\r\n\x1a\n" + bytes(500),
    ],
)
def test_what_is_no_sound_is_an_audio_error(data: bytes) -> None:
    with pytest.raises(AudioError):
        everything(open_audio(data))


def test_a_folder_a_device_and_a_missing_file_are_audio_errors(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="neither a file nor a pipe"):
        open_audio(tmp_path)
    with pytest.raises(AudioError, match="neither a file nor a pipe"):
        open_audio(os.devnull)
    with pytest.raises(AudioError, match="No such file"):
        open_audio(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="null"):
        open_audio("zero\0byte")


def test_an_empty_sound_is_an_audio_error() -> None:
    with pytest.raises(AudioError, match="no samples"):
        open_audio(encoded(np.zeros((0, 1), np.float32)))


def test_one_sample_is_a_sound() -> None:
    assert everything(open_audio(encoded(np.full((1, 1), 0.5, np.float32)))) == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_named_by_position(value: float) -> None:
    x = noise(5000, 2)
    x[4321, 1] = value
    with pytest.raises(AudioError, match="sample 4321 of channel 2"):
        everything(open_audio(encoded(x)))
    with pytest.raises(AudioError, match="sample 4321 of channel 2"):
        everything(ArraySource(x, 48_000))


def test_a_double_beyond_float32_is_not_finite() -> None:
    with pytest.raises(AudioError, match="sample 1 "):
        everything(open_audio(encoded(np.array([0.0, 1e300]), subtype="DOUBLE")))


# Lengths that headers get wrong.


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_truncated_wav_is_as_long_as_what_arrived(share: float) -> None:
    data = encoded(noise(10_000), subtype="PCM_16")
    source = open_audio(data[: int(share * len(data))])
    assert source.samples == len(everything(source)) == (int(share * len(data)) - 44) // 2
    assert len(source.notes) == 1  # of which test_declared.py has more


def test_a_wav_written_into_a_pipe_is_as_long_as_the_file() -> None:
    data = bytearray(encoded(noise(1000), subtype="PCM_16"))
    data[4:8] = data[40:44] = b"\xff" * 4
    assert len(everything(open_audio(bytes(data)))) == 1000


def test_a_flac_of_undeclared_length_is_counted() -> None:
    data = bytearray(encoded(noise(10_000), format="FLAC", subtype="PCM_16"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    source = open_audio(bytes(data))
    assert source.samples == len(everything(source)) == 10_000


def test_a_truncated_flac_is_an_audio_error_that_says_so() -> None:
    data = encoded(noise(30_000), format="FLAC", subtype="PCM_16")
    with pytest.raises(AudioError, match="damaged|truncated"):
        everything(open_audio(data[: len(data) // 2]))


def test_a_flac_that_declares_more_than_it_holds_is_an_audio_error() -> None:
    data = bytearray(encoded(noise(1000), format="FLAC", subtype="PCM_16"))
    data[22:26] = struct.pack(">I", 2_000_000)
    with pytest.raises(AudioError, match="damaged|truncated"):
        everything(open_audio(bytes(data)))


def test_a_truncated_mp3_is_as_long_as_what_arrived() -> None:
    data = encoded(noise(48_000), format="MP3", subtype="MPEG_LAYER_III")
    source = open_audio(data[: len(data) // 2])
    assert 0 < source.samples == len(everything(source)) < 48_000


def test_a_file_that_changes_between_passes_is_an_audio_error(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(noise(100)))
    source = open_audio(path)
    path.write_bytes(encoded(noise(50)))
    with pytest.raises(AudioError, match="declares 100 samples, 50 are there"):
        everything(source)


def test_a_sound_over_the_limit_is_refused_from_its_header() -> None:
    data = encoded(noise(8001), 8000)
    assert open_audio(data, max_seconds=1.001).samples == 8001
    with pytest.raises(AudioError, match="longer than 1 s: raise --max-duration"):
        open_audio(data, max_seconds=1)


def test_a_sound_of_unknown_length_is_refused_at_the_limit() -> None:
    data = encoded(noise(48_000), format="MP3", subtype="MPEG_LAYER_III")
    source = open_audio(data, max_seconds=0.5)
    with pytest.raises(AudioError, match="longer than 0.5 s"):
        everything(source)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "AIFF", "CAF"])
def test_damaged_files_give_finite_sound_or_an_audio_error(format: str) -> None:
    data = encoded(noise(2000), format=format, subtype=soundfile.default_subtype(format))
    random = np.random.default_rng(7)
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 8)):
            damaged[random.integers(0, min(len(data), 400))] = random.integers(0, 256)
        try:
            source = open_audio(bytes(damaged), max_seconds=60)
            assert all(np.isfinite(block).all() for block in source.blocks())
            source.metadata()
        except AudioError as error:
            assert str(error) and "\n" not in str(error)


# Arrays.


def test_an_array_is_a_source() -> None:
    x = noise(2500)[:, 0].astype(np.float64)
    source = ArraySource(x, 44_100)
    assert (source.rate, source.channels, source.samples) == (44_100, 1, 2500)
    assert np.array_equal(everything(source)[:, 0], x.astype(np.float32))


@pytest.mark.parametrize(
    "x", [np.zeros(0), np.zeros((0, 2)), np.zeros((2, 3, 4)), np.zeros(5, np.int16)]
)
def test_an_array_that_is_no_sound_is_an_audio_error(x: np.ndarray) -> None:
    with pytest.raises(AudioError):
        ArraySource(x, 48_000)


@pytest.mark.parametrize("rate", [0, 999, 768_001])
def test_a_rate_that_no_stream_can_hold_is_an_audio_error(rate: int) -> None:
    with pytest.raises(AudioError, match=f"{rate} Hz"):
        ArraySource(np.zeros(5), rate)


def test_a_day_is_the_longest_sound_of_all() -> None:
    data = bytearray(encoded(noise(1000), format="FLAC", subtype="PCM_16"))
    data[21] |= 1  # the header now declares more than 2^32 samples
    with pytest.raises(AudioError, match="longer than 86400 s"):
        open_audio(bytes(data))


def test_downmix_is_the_mean_over_the_channels() -> None:
    x = noise(100, 6)
    (mono,) = downmix([x])
    assert mono.shape == (100, 1) and mono.dtype == np.float32
    assert np.allclose(mono[:, 0], x.mean(axis=1), atol=1e-7)
