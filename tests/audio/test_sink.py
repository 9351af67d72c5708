"""Writing: samples survive, bytes are reproducible, pipes work, impossible wishes are refused."""

from __future__ import annotations

import errno
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.audio import wav
from spresso_cli.audio.files import open_audio
from spresso_cli.audio.sink import FORMATS, AudioFormat, AudioSink, quantise
from spresso_cli.errors import OutputError, UsageError

ALL = [(name, subtype) for name, subtypes in FORMATS.items() for subtype in subtypes]
EXACT = [pair for pair in ALL if pair[0] != "ogg"]


class Pipe(io.BytesIO):
    """A file that cannot seek."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise OSError(errno.ESPIPE, "Illegal seek")


class FullDisk(io.BytesIO):
    def write(self, data) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def sound(samples: int, channels: int = 1) -> np.ndarray:
    # Smooth, so that Ogg has a chance.
    time = np.arange(samples)[:, None] / 48_000 + np.arange(channels)
    return (0.5 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)


def write(file, format: AudioFormat, x: np.ndarray, rate: int = 48_000, step: int = 700) -> None:
    with AudioSink(file, format, rate=rate, channels=x.shape[1], samples=len(x)) as sink:
        for start in range(0, len(x), step):
            sink.write(x[start : start + step])


def written(format: AudioFormat, x: np.ndarray, rate: int = 48_000, step: int = 700) -> bytes:
    file = io.BytesIO()
    write(file, format, x, rate, step)
    return file.getvalue()


@pytest.mark.parametrize("pair", ALL)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 2, 3, 5001])
def test_every_format_gives_back_every_sample(
    pair: tuple[str, str], channels: int, samples: int
) -> None:
    format = AudioFormat.of(*pair)
    x = sound(samples, channels)
    data = written(format, x)
    read, rate = soundfile.read(io.BytesIO(data), always_2d=True)
    assert soundfile.info(io.BytesIO(data)).subtype == format.subtype
    assert rate == 48_000 and read.shape == x.shape
    tolerance = {"PCM_U8": 2**-8, "PCM_S8": 2**-8, "PCM_16": 2**-16, "OPUS": 1, "VORBIS": 0.2}
    assert np.abs(read - x).max() <= tolerance.get(format.subtype, 2**-24)


def test_rounding_is_to_the_nearest_integer_halves_to_even() -> None:
    halves = np.array([0.5, 1.5, 2.5, -0.5, -1.5]) / 32_768
    assert quantise(halves, 16).tolist() == [0, 2, 2, 0, -2]


def test_what_lies_beyond_full_scale_is_clipped() -> None:
    assert quantise(np.array([1.0, 2.0, -1.0, -2.0]), 16).tolist() == [32767, 32767, -32768, -32768]
    assert quantise(np.array([1.0, -1.0]), 32).tolist() == [2**31 - 1, -(2**31)]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8"])
def test_integer_files_survive_reading_and_writing_unchanged(subtype: str) -> None:
    bits = {"PCM_16": 16, "PCM_24": 24, "PCM_U8": 8}[subtype]
    steps = np.unique(np.linspace(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 4096).astype(int))
    x = (steps / 2 ** (bits - 1)).astype(np.float32)[:, None]
    data = written(AudioFormat("wav", subtype), x)
    read = np.concatenate(list(open_audio(data).blocks()))
    assert written(AudioFormat("wav", subtype), read) == data


@pytest.mark.parametrize("pair", EXACT)
def test_bytes_depend_on_the_samples_alone(pair: tuple[str, str]) -> None:
    format, x = AudioFormat.of(*pair), sound(3001, 2)
    assert written(format, x, step=700) == written(format, x, step=33)


@pytest.mark.parametrize("pair", EXACT)
def test_a_pipe_receives_what_a_file_would(pair: tuple[str, str]) -> None:
    pipe = Pipe()
    write(pipe, AudioFormat.of(*pair), sound(2001))
    assert pipe.getvalue() == written(AudioFormat.of(*pair), sound(2001))


def test_ogg_goes_through_a_pipe_too() -> None:
    pipe = Pipe()
    write(pipe, AudioFormat.of("ogg"), sound(2001))
    assert open_audio(pipe.getvalue()).samples == 2001


@pytest.mark.parametrize("pair", ALL)
def test_a_full_disk_is_an_os_error(pair: tuple[str, str], nothing_ignored) -> None:
    with pytest.raises(OSError, match="No space left"):
        write(FullDisk(), AudioFormat.of(*pair), sound(100_000))


class SmallDisk(io.FileIO):
    """It has room for so many bytes."""

    def __init__(self, path, room: int) -> None:
        super().__init__(path, "w")
        self._room = room

    def write(self, data) -> int:
        if self.tell() + len(data) > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("pair", ALL)
@pytest.mark.parametrize("room", [0, 5000])
def test_a_disk_that_is_full_behind_a_buffer_is_an_os_error_too(
    pair: tuple[str, str], room: int, tmp_path: Path, nothing_ignored
) -> None:
    """The buffer of a file is written where libsndfile seeks or asks for the position."""
    noise = np.random.default_rng(0).uniform(-1, 1, (100_000, 1)).astype(np.float32)
    raw = SmallDisk(tmp_path / "a", room)
    buffered = io.BufferedWriter(raw)
    with pytest.raises(OSError, match="No space left"):
        write(buffered, AudioFormat.of(*pair), noise)
    raw.close()  # so that the buffer has nothing left to do when it goes


def test_an_encoder_that_fails_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise soundfile.LibsndfileError(1)

    monkeypatch.setattr(soundfile.SoundFile, "write", fail)
    with pytest.raises(OutputError, match="the encoder fails: "):
        write(io.BytesIO(), AudioFormat.of("flac"), sound(10))


@pytest.mark.parametrize(
    ("name", "subtype", "message"),
    [
        ("mp4", None, "unknown format 'mp4': choose wav, flac, ogg"),
        ("flac", "FLOAT", "flac has no 'FLOAT': choose PCM_16, PCM_24, PCM_S8"),
        ("wav", "VORBIS", "wav has no 'VORBIS'"),
        ("ogg", "PCM_16", "ogg has no 'PCM_16': choose VORBIS, OPUS"),
    ],
)
def test_impossible_combinations_name_the_possible_ones(
    name: str, subtype: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        AudioFormat.of(name, subtype)


def test_names_are_taken_in_any_case_and_defaults_are_lossless_16_bit() -> None:
    assert AudioFormat.of() == AudioFormat("wav", "PCM_16") == AudioFormat.of("WAV", "pcm_16")
    assert AudioFormat.of("flac").suffix == ".flac"


@pytest.mark.parametrize(
    ("pair", "rate"),
    [
        (("ogg", "OPUS"), 44_100),
        (("ogg", "VORBIS"), 200_001),  # beyond which libvorbis ends the process
        (("flac", None), 96_096),  # beyond 65 535 Hz a header has tens of Hz
        (("flac", None), 768_000),
    ],
)
def test_a_rate_that_a_format_lacks_is_a_usage_error(pair: tuple[str, str], rate: int) -> None:
    with pytest.raises(UsageError, match=f"{rate} Hz: choose --format wav"):
        written(AudioFormat.of(*pair), sound(10), rate)


@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 24_000, 48_000])
def test_opus_is_written_at_the_rates_that_it_has(rate: int) -> None:
    file = written(AudioFormat.of("ogg", "opus"), sound(500), rate)
    assert soundfile.info(io.BytesIO(file)).samplerate == rate


@pytest.mark.parametrize(("name", "rate"), [("ogg", 200_000), ("flac", 65_535), ("flac", 655_350)])
def test_the_highest_rates_of_a_format_are_written(name: str, rate: int) -> None:
    file = written(AudioFormat.of(name), sound(5000), rate)
    assert soundfile.info(io.BytesIO(file)).samplerate == rate


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.WAVE", ("wav", "PCM_16")), ("a.oga", ("ogg", "VORBIS")), ("a.opus", ("ogg", "OPUS")),
     ("a.take3", ("wav", "PCM_16")), ("a.BWF", ("wav", "PCM_16")), ("a.FLAC", ("flac", "PCM_16"))],
)  # fmt: skip
def test_a_name_asks_for_a_format(name: str, format: tuple[str, str]) -> None:
    assert AudioFormat.named(name) == AudioFormat(*format)


def test_a_name_that_asks_for_a_format_that_is_not_written_is_refused() -> None:
    with pytest.raises(UsageError, match=r"take.mp3: .mp3 is not written here: use one of .wav"):
        AudioFormat.named("take.mp3")


@pytest.mark.parametrize(
    ("file", "subtype", "name", "told"),
    [
        ("x.wav", None, "flac", "--format flac and the name x.wav contradict each other"),
        ("x.ogg", "PCM_24", "WAV", "--format WAV and the name x.ogg contradict"),
        ("x.mp3", None, "wav", "--format wav and the name x.mp3 contradict"),
        ("x.opus", "vorbis", None, "--subtype vorbis and the name x.opus contradict"),
        ("x.wav", None, "mp4", "unknown format 'mp4'"),
    ],
)
def test_a_name_that_promises_another_format_is_refused(
    file: str, subtype: str | None, name: str | None, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        AudioFormat.named(file, subtype, name)


def test_a_name_and_a_format_that_agree_are_one_wish() -> None:
    assert AudioFormat.named("x.opus", name="ogg") == AudioFormat("ogg", "OPUS")
    assert AudioFormat.named("x.WAVE", "pcm_24", "wav") == AudioFormat("wav", "PCM_24")
    assert AudioFormat.named("x.take", name="flac") == AudioFormat("flac", "PCM_16")


def test_a_sink_insists_on_the_samples_it_was_promised() -> None:
    sink = AudioSink(io.BytesIO(), AudioFormat(), rate=8000, channels=1, samples=10)
    with pytest.raises(AssertionError, match="5 samples are missing"), sink:
        sink.write(sound(5))


def test_an_abandoned_sink_sends_nothing_into_the_pipe() -> None:
    pipe = Pipe()
    sink = AudioSink(pipe, AudioFormat.of("flac"), rate=8000, channels=1, samples=10)
    with pytest.raises(KeyboardInterrupt), sink:
        sink.write(sound(5))
        raise KeyboardInterrupt
    assert pipe.getvalue() == b""


def test_beyond_four_gibibytes_the_header_is_rf64() -> None:
    samples = 3 << 30
    header = wav.header(rate=192_000, channels=2, samples=samples, sample_bytes=4, floating=True)
    assert header[:4] == b"RF64" and header[12:16] == b"ds64"
    riff, data, count = struct.unpack("<QQQ", header[20:44])
    assert (data, count) == (8 * samples, samples)
    assert riff == len(header) - 8 + data


@pytest.mark.parametrize("subtype", FORMATS["wav"])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_wav_ends_where_its_header_says_and_at_an_even_byte(subtype: str, samples: int) -> None:
    data = written(AudioFormat("wav", subtype), sound(samples))
    assert len(data) == 8 + struct.unpack("<I", data[4:8])[0]
    assert len(data) % 2 == 0


def test_up_to_four_gibibytes_the_header_is_riff_with_true_sizes() -> None:
    header = wav.header(rate=48_000, channels=1, samples=3, sample_bytes=3, floating=False)
    assert header[:4] == b"RIFF"
    assert struct.unpack("<I", header[4:8])[0] == len(header) - 8 + 9 + 1  # odd data is padded
    assert struct.unpack("<I", header[-4:])[0] == 9
