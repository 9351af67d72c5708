"""Sounds as restartable streams of float32 blocks, from files, pipes, bytes and arrays.

Nothing here holds a whole file: a pass reads block by block, and every pass starts afresh, so a
caller may measure first and encode second. Formats and rates are those of libsndfile.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np
import soundfile

from spresso_cli.audio import declared, metadata
from spresso_cli.audio.libsndfile import Reader
from spresso_cli.container.profile import MAX_RATE, MAX_SECONDS, MIN_RATE
from spresso_cli.errors import AudioError, reason

if TYPE_CHECKING:
    from spresso_cli.container.stream import Header

BLOCK = 1 << 16  # samples in each channel, the default of `blocks`

_MAX_WHOLE_BYTES = 1 << 31  # of a sound in memory: an hour and a half of stereo at 48 kHz
_MAX_BLOCK_VALUES = 1 << 22  # over all channels: a file of 1000 channels takes no more memory
_SPOOL_BYTES = 1 << 26  # of a pipe in memory; what is beyond goes to a temporary file
_PIPE_BYTES_PER_SECOND = 2 * 192_000 * 4  # bounds a pipe; the richest stereo anyone records
_CUT_OFF = 0.01  # seconds that are missed; careless writers count their headers as sound
_UNKNOWN_LENGTH = (1 << 63) - 1  # how libsndfile says that a header declares no length


class AudioSource(ABC):
    """A sound that can be read any number of times; a context manager.

    Attributes:
        rate: Hz.
        channels: 1 or more.
        file_bytes: size of the file it comes from; of an array 0.
        notes: what is odd about it, one line each, for whoever names the file to tell.
    """

    rate: int
    channels: int
    file_bytes: int
    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def samples(self) -> int:
        """Samples in each channel; reads the sound once where its header does not say."""

    @abstractmethod
    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Yields float32 [1 <= n <= size, channels], finite; every call begins at sample 0.

        Raises:
            AudioError: damaged, truncated or empty, longer than allowed, or not finite.
        """

    @abstractmethod
    def metadata(self) -> tuple[tuple[int, bytes], ...]:
        """Returns what `.spr` can carry beside the sound; see `metadata.read`."""

    @abstractmethod
    def close(self) -> None:
        """Gives up what is held open; there are no more blocks afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ArraySource(AudioSource):
    """A sound in memory: `x` float [n] or [n, C], full scale 1.0; raises AudioError when empty."""

    def __init__(
        self, x: np.ndarray, rate: int, metadata: tuple[tuple[int, bytes], ...] = ()
    ) -> None:
        if x.ndim not in (1, 2) or x.dtype.kind != "f":
            raise AudioError(
                f"an array of {x.dtype} {list(x.shape)} is no sound: pass floats [n] or [n, C]"
            )
        if x.size == 0:
            raise AudioError("there are no samples")
        self.rate = _checked_rate(rate)
        self.file_bytes = 0
        self._x = x.reshape(len(x), -1)  # [n, C]
        self.channels = self._x.shape[1]
        self._metadata = metadata

    @property
    def samples(self) -> int:
        return len(self._x)

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        for start in range(0, len(self._x), size):
            with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
                block = self._x[start : start + size].astype(np.float32)
            _check_finite(block, start)
            yield block

    def metadata(self) -> tuple[tuple[int, bytes], ...]:
        return self._metadata

    def close(self) -> None:
        pass


def whole(sound: AudioSource) -> np.ndarray:
    """Returns all of a sound, float32 [n, channels]; raises AudioError as `refuse_large` does."""
    refuse_large(sound)
    return np.concatenate(list(sound.blocks()))


def refuse_large(sound: AudioSource | Header) -> None:
    """Raises AudioError for a sound that memory is not to be filled with: 21 bytes of a `.spr` file
    can stand for 22 GB, and little more of a FLAC file."""
    if 4 * sound.samples * sound.channels > _MAX_WHOLE_BYTES:
        raise AudioError(
            f"{sound.samples:,} samples are more than are held in memory here: cut it first"
        )


def open_audio(
    source: str | os.PathLike[str] | bytes | BinaryIO, *, max_seconds: float | None = None
) -> AudioSource:
    """Opens a sound: a path, the bytes of a file, or an open binary file.

    What cannot be rewound (a pipe, also one named by a path) is read to its end: into memory up to
    64 MiB, beyond that into a temporary file. An open file is left open and is read through its own
    position: one pass at a time.

    Args:
        max_seconds: longer sounds are refused, from their header where it tells; None allows the
            24 hours that a `.spr` file can hold.

    Raises:
        AudioError: unreadable, of unknown format, empty or too long.
    """
    if isinstance(source, bytes):
        return _FileSource(_Given(io.BytesIO(source)), max_seconds)
    if isinstance(source, str | os.PathLike):
        try:
            mode = os.stat(source).st_mode
            if stat.S_ISFIFO(mode):
                with open(source, "rb") as pipe:
                    return _FileSource(_Given(_spooled(pipe, max_seconds), own=True), max_seconds)
        except (OSError, ValueError) as error:
            raise AudioError(reason(error)) from None
        if not stat.S_ISREG(mode):
            raise AudioError("neither a file nor a pipe")
        return _FileSource(_Named(Path(source)), max_seconds)
    if source.seekable():
        return _FileSource(_Given(source), max_seconds)
    return _FileSource(_Given(_spooled(source, max_seconds), own=True), max_seconds)


def check_channels(source: AudioSource, mix: bool) -> None:
    """Raises AudioError for more channels than a stream has, unless they are to be mixed."""
    if source.channels > 2 and not mix:
        raise AudioError(
            f"{source.channels} channels: spresso codes one or two; --downmix makes it mono"
        )


def blocks_of(source: AudioSource, mix: bool) -> Iterator[np.ndarray]:
    """A source's blocks [n, C] as they are coded: with `mix`, its channels mixed to one."""
    blocks = source.blocks()
    return downmix(blocks) if mix and source.channels > 1 else blocks


def downmix(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields float32 [n, 1], the mean over the channels of float32 [n, C]."""
    for block in blocks:
        yield block.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)


class _Named:
    """A file on disk, opened for every pass: a thousand waiting sources hold no descriptor."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> AbstractContextManager[BinaryIO]:
        try:
            return open(self._path, "rb", buffering=0)
        except OSError as error:
            raise AudioError(reason(error)) from None

    def close(self) -> None:
        pass


class _Given:
    """An open file, shared by all passes; closed in the end if it is our `own`."""

    def __init__(self, file: BinaryIO, *, own: bool = False) -> None:
        self._file = file
        self._own = own

    def open(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(self._file)

    def close(self) -> None:
        if self._own:
            self._file.close()


class _FileSource(AudioSource):
    """Anything that libsndfile decodes."""

    def __init__(self, origin: _Named | _Given, max_seconds: float | None) -> None:
        self._origin = origin
        try:
            with origin.open() as file, _readable():
                self.file_bytes = file.seek(0, os.SEEK_END)
                ratio = declared.ratio(file)
            with self._sound() as sound:
                self.rate, self.channels = _checked_rate(sound.rate), sound.channels
                samples = sound.frames
                # libsndfile estimates the length of MP3; only reading tells.
                certain = samples != _UNKNOWN_LENGTH and sound.format != "MP3"
            self._samples = samples if certain else None
            self._limit = int(_limit(max_seconds) * self.rate)
            if samples == 0:
                raise AudioError("the file holds no samples")
            if certain:
                self._check_length(samples)
            there = samples / self.rate
            if certain and (ratio - 1.0) * there >= _CUT_OFF:
                self.notes = (f"ends after {there:.2f} of {ratio * there:.2f} s: cut off?",)
        except BaseException:
            origin.close()
            raise

    @property
    def samples(self) -> int:
        if self._samples is None:
            for _ in self.blocks():
                pass
        return self._samples

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        size = min(size, max(1, _MAX_BLOCK_VALUES // self.channels))
        done = 0
        with self._sound() as sound:
            while True:
                try:
                    block = sound.read(size)
                except soundfile.LibsndfileError as error:
                    raise AudioError(f"damaged after sample {done}: {_why(error)}") from None
                except (OSError, ValueError) as error:
                    raise AudioError(f"unreadable after sample {done}: {reason(error)}") from None
                if len(block) == 0:
                    break
                _check_finite(block, done)
                done += len(block)
                self._check_length(done)
                yield block
        if done == 0:
            raise AudioError("the file holds no samples")
        if self._samples not in (None, done):
            raise AudioError(
                f"truncated: the header declares {self._samples} samples, {done} are there"
            )
        self._samples = done

    def metadata(self) -> tuple[tuple[int, bytes], ...]:
        with self._sound() as sound:
            tags = sound.tags()
        with self._origin.open() as file, _readable():
            return metadata.read(file, tags)

    def close(self) -> None:
        self._origin.close()

    @contextmanager
    def _sound(self) -> Iterator[Reader]:
        with self._origin.open() as file:
            with _readable():
                sound = Reader(file)
            with closing(sound):
                yield sound

    def _check_length(self, samples: int) -> None:
        if samples > self._limit:
            raise AudioError(
                f"longer than {self._limit / self.rate:g} s: raise --max-duration or cut it"
            )


@contextmanager
def _readable() -> Iterator[None]:
    """Raises AudioError where a file turns out to be damaged or its disk to fail."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise AudioError(f"not a sound file that can be read: {_why(error)}") from None
    except (OSError, ValueError) as error:
        raise AudioError(reason(error)) from None


def _spooled(pipe: BinaryIO, max_seconds: float | None) -> BinaryIO:
    """Reads a pipe to its end into a file that can be rewound."""
    limit = int(_limit(max_seconds) + 1) * _PIPE_BYTES_PER_SECOND
    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - outlives us
    try:
        size = 0
        while piece := pipe.read(1 << 20):
            size += len(piece)
            if size > limit:
                raise AudioError(
                    f"the pipe holds more than {limit >> 20} MiB: "
                    "raise --max-duration or pass a file"
                )
            spool.write(piece)
    except BaseException as error:
        spool.close()
        if isinstance(error, OSError):
            raise AudioError(f"the pipe cannot be held: {reason(error)}") from None
        raise
    return spool


def _limit(max_seconds: float | None) -> float:
    return MAX_SECONDS if max_seconds is None else min(max_seconds, MAX_SECONDS)


def _check_finite(block: np.ndarray, start: int) -> None:
    """Raises AudioError with the first sample of [n, C] that is NaN or infinite."""
    finite = np.isfinite(block)
    if finite.all():
        return
    row, channel = np.argwhere(~finite)[0]
    raise AudioError(
        f"sample {start + row} of channel {channel + 1} is {block[row, channel]}: "
        "repair the file, only finite samples have a sound"
    )


def _checked_rate(rate: int) -> int:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            f"its sample rate of {rate} Hz is not in {MIN_RATE}..{MAX_RATE} Hz: resample it first"
        )
    return int(rate)


def _why(error: soundfile.LibsndfileError) -> str:
    return error.error_string.removeprefix("Error : ").rstrip(". ").lower()
