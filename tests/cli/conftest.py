"""A runner for command lines, and a codec without networks that stands in for the real one.

The fake codec obeys the whole protocol: codes are a checksum of the samples, and decoding is seeded
noise of the right shape. So the tests here are about the command line and about nothing else.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from spresso_cli.cli import app as front
from spresso_cli.cli import describe, loading
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile, code_frames
from spresso_cli.container.stream import Stream
from spresso_cli.errors import AudioError, SpressoError

TAG = b"\xab\xcd"
LOWEST = Profile.of(frame_rate=1, codebooks=8)


@dataclass(frozen=True)
class Outcome:
    """What one command line left behind."""

    code: int
    stdout: str
    stderr: str
    data: bytes  # stdout before decoding

    @property
    def records(self) -> list[dict]:
        """The JSON objects on stdout, one a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@pytest.fixture
def spresso() -> Callable[..., Outcome]:
    """Runs `spresso ARGUMENTS...` in this process, with `stdin` as its standard input."""

    def run(*arguments: object, stdin: bytes = b"") -> Outcome:
        result = CliRunner().invoke(front.app, [str(part) for part in arguments], input=stdin)
        return Outcome(
            result.exit_code,
            result.stdout_bytes.decode("utf-8", "replace"),
            result.stderr,
            result.stdout_bytes,
        )

    return run


def make_stream(samples: int = 240_000, rate: int = 48_000, channels: int = 1, **fields) -> Stream:
    """A valid stream at 96 bps a channel, with codes that count upwards."""
    profile = fields.pop("profile", LOWEST)
    coded = 1 if fields.get("dual_mono") else channels
    frames = code_frames(samples, rate, profile.pool)
    codes = np.arange(coded * frames * profile.codebooks, dtype=np.uint16) % (1 << profile.bits)
    return Stream.from_codes(
        codes.reshape(coded, frames, profile.codebooks),
        profile=profile,
        weights_tag=fields.pop("weights_tag", TAG),
        gain=fields.pop("gain", 201),
        source_rate=rate,
        samples=samples,
        channels=channels,
        levels=(201, 195) if coded == 2 else None,
        **fields,
    )


@pytest.fixture
def spr_file(tmp_path: Path) -> Path:
    """A whole five-second mono file at 0.096 kbps: 73 bytes."""
    path = tmp_path / "door.spr"
    path.write_bytes(spr.write(make_stream()))
    return path


def write_sound(path: Path, seconds: float = 0.5, rate: int = 48_000, channels: int = 1) -> Path:
    """A short noise, different for every name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(zlib.crc32(path.name.encode()))
    samples = generator.uniform(-0.3, 0.3, (round(seconds * rate), channels))
    soundfile.write(path, samples, rate)
    return path


@dataclass
class FakeSound:
    """A decoded sound in memory."""

    rate: int
    samples: np.ndarray  # [n, channels]
    closed: bool = False

    @property
    def channels(self) -> int:
        return self.samples.shape[1]

    def blocks(self, size: int = 1 << 16) -> Iterator[np.ndarray]:
        for start in range(0, len(self.samples), size):
            yield self.samples[start : start + size]

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeCodec:
    """Counts what it is asked for; a sound whose first sample is 0.5 breaks it."""

    seeds: list[int] = field(default_factory=list)
    options: list[DecodeOptions] = field(default_factory=list)

    def compress_many(
        self, items: Iterable, profile: Profile, *, downmix: bool = False, metadata: bool = False
    ) -> Iterator[tuple[object, Stream | SpressoError]]:
        for key, source in items:
            samples = np.concatenate(list(source.blocks(1 << 16)))
            channels = 1 if downmix else samples.shape[1]
            if channels > 2:
                yield key, AudioError(f"{channels} channels: use --downmix")
                continue
            frames = code_frames(len(samples), source.rate, profile.pool)
            seed = zlib.crc32(samples.tobytes())
            generator = np.random.default_rng(seed)
            shape = (channels, frames, profile.codebooks)
            yield (
                key,
                Stream.from_codes(
                    generator.integers(0, 1 << profile.bits, shape, dtype=np.uint16),
                    profile=profile,
                    weights_tag=TAG,
                    gain=201,
                    source_rate=source.rate,
                    samples=len(samples),
                    channels=channels,
                    levels=(201, 201) if channels == 2 else None,
                ),
            )

    def decompress_many(
        self, items: Iterable[tuple[object, Stream, DecodeOptions]]
    ) -> Iterator[tuple[object, FakeSound | SpressoError]]:
        for key, stream, options in items:
            self.options.append(options)
            generator = np.random.default_rng(options.seed)
            shape = (stream.samples, stream.channels)
            noise = generator.uniform(-0.5, 0.5, shape).astype(np.float32)
            yield key, FakeSound(stream.source_rate, noise)


@pytest.fixture
def codec(monkeypatch: pytest.MonkeyPatch) -> FakeCodec:
    """Puts a FakeCodec, and a pack whose lowest rate is 0.096 kbps, behind every command."""
    fake = FakeCodec()
    fake.loads = []

    def factory(pack: str | None, device: str) -> Callable[[], FakeCodec]:
        def load() -> FakeCodec:
            fake.loads.append((pack, device))
            return fake

        return load

    monkeypatch.setattr(loading, "codec_factory", factory)
    monkeypatch.setattr(
        describe, "pack_name", lambda tag, frame_rate: "tiny" if tag == TAG else None
    )
    return fake
