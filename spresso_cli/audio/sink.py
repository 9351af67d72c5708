"""Writing sounds: WAV, FLAC and Ogg, block by block, also into pipes.

Integer samples are x * 2^(bits - 1), rounded to the nearest integer (halves to even) and clipped:
the inverse of how they are read, so a 16-bit file that is read and written keeps every sample.
WAV and FLAC bytes depend on the samples alone; Ogg has a random serial number by design.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import soundfile

from spresso_cli.audio import wav
from spresso_cli.audio.libsndfile import Writer
from spresso_cli.audio.metadata import chunk_names, tags_of, wav_chunks
from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.errors import OutputError, UsageError

# Format -> its subtypes, the default first; names are those of libsndfile.
FORMATS = {
    "wav": ("PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE"),
    "flac": ("PCM_16", "PCM_24", "PCM_S8"),
    "ogg": ("VORBIS", "OPUS"),
}

# Names that people give to files of these formats, besides the formats' own.
_SUFFIXES = {
    "wave": ("wav", None),
    "bwf": ("wav", None),
    "oga": ("ogg", None),
    "opus": ("ogg", "OPUS"),
}
_OPUS_RATES = (8000, 12_000, 16_000, 24_000, 48_000)

_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_FLOATS = {"FLOAT": np.dtype("<f4"), "DOUBLE": np.dtype("<f8")}
_SPOOL_BYTES = 1 << 26  # of a FLAC or Ogg for a pipe in memory; what is beyond goes to disk
_OGG_STEP = 1 << 12  # samples a call: libvorbis keeps a whole call on its stack


@dataclass(frozen=True)
class AudioFormat:
    """A file format and a sample type that go together."""

    name: str = "wav"
    subtype: str = "PCM_16"

    @classmethod
    def of(cls, name: str = "wav", subtype: str | None = None) -> AudioFormat:
        """Returns a format by its names, in any case; None is the format's default subtype.

        Raises:
            UsageError: unknown, or a subtype that the format does not have.
        """
        name = name.lower()
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}: choose {', '.join(FORMATS)}")
        subtype = FORMATS[name][0] if subtype is None else subtype.upper()
        if subtype not in FORMATS[name]:
            raise UsageError(f"{name} has no {subtype!r}: choose {', '.join(FORMATS[name])}")
        return cls(name, subtype)

    @classmethod
    def named(
        cls, file: str | PurePath, subtype: str | None = None, name: str | None = None
    ) -> AudioFormat:
        """Returns the format that a file's name asks for by its suffix, else `name`, else WAV.

        Raises:
            UsageError: a format that is not written here, a subtype that the format does not have,
                a suffix that asks for something else than `name` or the subtype.
        """
        wanted = None if name is None else cls.of(name).name
        suffix = PurePath(file).suffix.lower()
        if suffix not in SOUND_SUFFIXES:
            return cls.of(wanted or "wav", subtype)
        own, usual = _SUFFIXES.get(suffix[1:], (suffix[1:], None))
        if wanted not in (None, own):
            raise UsageError(f"--format {name} and the name {file} contradict each other")
        if own not in FORMATS:
            known = ", ".join(f".{name}" for name in FORMATS)
            raise UsageError(f"{file}: {suffix} is not written here: use one of {known}")
        if usual is not None and (subtype or usual).upper() != usual:
            raise UsageError(f"--subtype {subtype} and the name {file} contradict each other")
        return cls.of(own, subtype or usual)

    @property
    def suffix(self) -> str:
        """Of file names, with the dot."""
        return f".{self.name}"

    def holds(self, rate: int, channels: int) -> bool:
        """Whether there can be such a file.

        libvorbis ends the process at rates that it does not know, libFLAC fails at the first
        sample: neither may be asked.
        """
        if self.subtype == "VORBIS":
            return rate <= 200_000 and channels <= 255
        if self.subtype == "OPUS":
            return rate in _OPUS_RATES and channels <= 255
        if self.name == "flac":
            return (rate < 1 << 16 or rate % 10 == 0) and rate <= 655_350 and channels <= 8
        return True

    def notes(self, metadata: tuple[tuple[int, bytes], ...]) -> tuple[str, ...]:
        """What of a stream's metadata a file of this format goes without, one line each."""
        lost = () if self.name == "wav" else chunk_names(metadata)
        return (f"{self.name} cannot hold {', '.join(lost)}: wav can",) if lost else ()

    def check(self, rate: int, channels: int) -> None:
        """Raises UsageError where there can be no such file."""
        if not self.holds(rate, channels):
            raise UsageError(
                f"{self.name} {self.subtype} cannot hold {channels} channels at {rate} Hz: "
                "choose --format wav"
            )


class AudioSink:
    """Writes one sound of known length into an open binary file, which stays open.

    A context manager; leaving it without an exception completes the file. WAV goes straight into
    pipes too; FLAC and Ogg for a pipe are collected first.

    Args:
        file: open for writing, at its start.
        samples: in each channel; exactly so many must be written.
        metadata: records of a stream: all of them reach a WAV, FLAC and Ogg take the tags.

    Raises:
        UsageError: the format cannot have this rate or number of channels.
        CorruptStream: the metadata's tags are damaged.
        OutputError: the encoder fails.
        OSError: while writing: no space, closed pipe.
    """

    def __init__(
        self,
        file: BinaryIO,
        format: AudioFormat,
        *,
        rate: int,
        channels: int,
        samples: int,
        metadata: tuple[tuple[int, bytes], ...] = (),
    ) -> None:
        format.check(rate, channels)
        self._missing = samples
        self._writer: _Wav | _Encoded
        if format.name == "wav":
            chunks = wav_chunks(metadata)
            self._writer = _Wav(file, format.subtype, rate, channels, samples, *chunks)
        else:
            self._writer = _Encoded(file, format, rate, channels, tags_of(metadata))

    def write(self, block: np.ndarray) -> None:
        """Takes float32 [n, channels]; full scale is 1.0, what lies beyond is clipped."""
        self._missing -= len(block)
        self._writer.write(block)

    def close(self) -> None:
        """Completes the file."""
        assert self._missing == 0, f"{self._missing} samples are missing"
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.abandon()


def quantise(x: np.ndarray, bits: int) -> np.ndarray:
    """Rounds floats, full scale 1.0, to int32 within -2^(bits-1) .. 2^(bits-1) - 1."""
    full = 1 << (bits - 1)
    return np.clip(np.rint(x.astype(np.float64) * full), -full, full - 1).astype(np.int32)


class _Wav:
    """A WAV file, front to back."""

    def __init__(
        self,
        file: BinaryIO,
        subtype: str,
        rate: int,
        channels: int,
        samples: int,
        before: bytes,
        behind: bytes,
    ) -> None:
        self._file = file
        self._subtype = subtype
        floating = _FLOATS.get(subtype)
        sample_bytes = floating.itemsize if floating else _BITS[subtype] // 8
        self._end = b"\0" * (samples * channels * sample_bytes % 2) + behind
        file.write(
            wav.header(
                rate=rate,
                channels=channels,
                samples=samples,
                sample_bytes=sample_bytes,
                floating=floating is not None,
                before=before,
                behind=behind,
            )
        )

    def write(self, block: np.ndarray) -> None:
        self._file.write(self._bytes(block))

    def _bytes(self, block: np.ndarray) -> bytes:
        if self._subtype in _FLOATS:
            return block.astype(_FLOATS[self._subtype]).tobytes()
        bits = _BITS[self._subtype]
        integers = quantise(block, bits)
        if bits == 8:  # the only unsigned one
            return (integers + 128).astype(np.uint8).tobytes()
        octets = integers.astype("<i4")[..., None].view(np.uint8)  # [n, C, 4], lowest first
        return octets[..., : bits // 8].tobytes()

    def close(self) -> None:
        self._file.write(self._end)

    def abandon(self) -> None:
        pass


class _Encoded:
    """A FLAC or Ogg file, by libsndfile, which has to seek."""

    def __init__(
        self,
        file: BinaryIO,
        format: AudioFormat,
        rate: int,
        channels: int,
        tags: dict[str, str],
    ) -> None:
        self._pipe = None if file.seekable() else file
        if self._pipe is not None:
            file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115
        self._file = file
        self._bits = _BITS.get(format.subtype)
        with self._errors():
            self._writer = Writer(file, format.name.upper(), format.subtype, rate, channels, tags)

    def write(self, block: np.ndarray) -> None:
        with self._errors():
            if self._bits is not None:
                # libsndfile takes the upper bits of 32.
                self._writer.write(quantise(block, self._bits) << (32 - self._bits))
            else:
                for start in range(0, len(block), _OGG_STEP):
                    self._writer.write(np.clip(block[start : start + _OGG_STEP], -1.0, 1.0))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raises OutputError where the encoder complains."""
        try:
            yield
        except soundfile.LibsndfileError as error:
            raise OutputError(f"the encoder fails: {error.error_string}") from None

    def close(self) -> None:
        with self._errors():
            self._writer.close()
        if self._pipe is not None:
            with self._file as spool:
                spool.seek(0)
                shutil.copyfileobj(spool, self._pipe)

    def abandon(self) -> None:
        self._writer.abandon()
        if self._pipe is not None:
            self._file.close()
