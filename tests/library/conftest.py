"""A codec without networks: its codes are a hash of the samples, its sound is seeded noise."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.audio.files import ArraySource, downmix
from spresso_cli.audio.level import fit_level, gain_byte, measure, rms_of
from spresso_cli.container.profile import Profile, best_fit, code_frames
from spresso_cli.container.stream import Header, Stream
from spresso_cli.errors import AudioError, MissingPack, SpressoError
from spresso_cli.library.engine import RunOptions

TAG = b"\xab\xcd"


class FakeCodec:
    """Keeps `batch` items before it gives results, as a codec that fills device batches does."""

    def __init__(self, batch: int = 3) -> None:
        self.batch = batch
        self.closed = 0

    def compress_many(self, items, profile, *, better=(), downmix=False, metadata=False):
        def stream(source) -> Stream:
            fitting = best_fit(profile, better, source.samples, source.rate)
            return self._stream(source, fitting, downmix, metadata)

        yield from self._batched(
            (key, lambda source=source: stream(source)) for key, source in items
        )

    def decompress_many(self, items):
        yield from self._batched(
            (key, lambda stream=stream, options=options: self._sound(stream, options))
            for key, stream, options in items
        )

    def _batched(self, calls) -> Iterator:
        waiting = []
        for key, call in calls:
            waiting.append((key, call))
            if len(waiting) == self.batch:
                yield from map(self._result, waiting)
                waiting = []
        yield from map(self._result, waiting)

    @staticmethod
    def _result(item):
        key, call = item
        try:
            return key, call()
        except SpressoError as error:
            return key, error

    @staticmethod
    def _stream(source, profile: Profile, mix: bool, metadata: bool) -> Stream:
        if source.channels > 2 and not mix:
            raise AudioError(f"{source.channels} channels: --downmix makes them one")
        blocks = list(downmix(source.blocks()) if mix else source.blocks())
        level = measure(blocks)
        fields = {
            "profile": profile,
            "weights_tag": TAG,
            "source_rate": source.rate,
            "samples": level.samples,
            "channels": blocks[0].shape[1],
            "metadata": source.metadata() if metadata else (),
        }
        if level.silent:
            return Stream(gain=0, payload=b"", **fields)
        dual = fields["channels"] == 2 and level.identical
        levels = tuple(map(gain_byte, level.rms)) if len(level.rms) == 2 and not dual else None
        fields |= {"gain": gain_byte(level.overall_rms), "dual_mono": dual, "levels": levels}
        digest = hashlib.sha256(b"".join(block.tobytes() for block in blocks)).digest()
        frames = code_frames(level.samples, source.rate, profile.pool)
        shape = (1 if dual else fields["channels"], frames, profile.codebooks)
        random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        codes = random.integers(0, 1 << profile.bits, shape)
        return Stream.from_codes(Header(**fields), codes.astype(np.uint16))

    def _sound(self, stream: Stream, options) -> Decoded:
        if stream.weights_tag != TAG:
            raise MissingPack(f"no pack has the weights {stream.weights_tag.hex()}")
        seed = [options.seed, int.from_bytes(stream.payload[:8], "big")]
        x = np.random.default_rng(seed).standard_normal((stream.samples, stream.channels))
        x = fit_level(x.astype(np.float32), [rms_of(stream.gain)] * stream.channels)
        return Decoded(x, stream.source_rate, self)


class Decoded(ArraySource):
    """A decoded sound in memory that tells its codec when it is closed."""

    def __init__(self, x: np.ndarray, rate: int, codec: FakeCodec) -> None:
        super().__init__(x, rate)
        self._codec = codec

    def close(self) -> None:
        self._codec.closed += 1


class Endless(io.RawIOBase):
    """A pipe that gives a beginning and then one byte for ever; it knows how much it gave."""

    def __init__(self, byte: bytes, beginning: bytes = b"") -> None:
        self._byte = byte
        self._beginning = beginning
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        data = self._beginning[: len(buffer)] or self._byte * len(buffer)
        self._beginning = self._beginning[len(data) :]
        buffer[: len(data)] = data
        self.given += len(data)
        return len(data)


def sound(samples: int = 4000, channels: int = 1, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (0.1 * random.standard_normal((samples, channels))).astype(np.float32)


@pytest.fixture
def make_sound() -> Callable[..., Path]:
    """Writes noise to a path, whose suffix is the format; returns the path."""

    def make(path: Path, samples: int = 4000, channels: int = 1, seed: int = 0, rate: int = 48_000):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            name = path.suffix[1:].upper() or "WAV"
            soundfile.write(file, sound(samples, channels, seed), rate, format=name)
        return path

    return make


@pytest.fixture
def codec() -> FakeCodec:
    return FakeCodec()


@pytest.fixture
def no_codec() -> Callable[[], FakeCodec]:
    """A factory that must not be called."""

    def fail() -> FakeCodec:
        raise AssertionError("the codec was loaded")

    return fail


@pytest.fixture
def options() -> Callable[..., RunOptions]:
    """Run options that have no stdin and no stdout unless they are given."""

    def none():
        raise AssertionError("a standard stream was opened")

    def make(**fields) -> RunOptions:
        return RunOptions(**({"stdin": none, "stdout": none, "threads": 2} | fields))

    return make


class Clock:
    """Stands in the place of the module `time`; moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("spresso_cli.library.shares.time", clock)
    return clock
