"""A runner for command lines, and the library's codec without networks in the real one's place."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from spresso_cli.cli import app as front
from spresso_cli.cli import describe, loading
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile, code_frames
from spresso_cli.container.stream import Header, Stream
from spresso_cli.errors import UsageError
from tests.library.conftest import TAG, FakeCodec, sound

ROOT = Path(__file__).parents[2]
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


def in_shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a line of shell does in a folder; `PYTHON` in it is this one, which finds spresso."""
    if shutil.which("sh") is None:
        pytest.skip("needs a POSIX shell")
    return subprocess.run(
        ["sh", "-c", script.replace("PYTHON", shlex.quote(sys.executable))],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )


def make_stream(samples: int = 240_000, rate: int = 48_000, channels: int = 1, **fields) -> Stream:
    """A valid stream at 96 bps a channel, with codes that count upwards."""
    profile = fields.pop("profile", LOWEST)
    coded = 1 if fields.get("dual_mono") else channels
    frames = code_frames(samples, rate, profile.pool)
    codes = np.arange(coded * frames * profile.codebooks, dtype=np.uint16) % (1 << profile.bits)
    return Stream.from_codes(
        Header(
            profile=profile,
            weights_tag=fields.pop("weights_tag", TAG),
            gain=fields.pop("gain", 201),
            source_rate=rate,
            samples=samples,
            channels=channels,
            levels=fields.pop("levels", (201, 195) if coded == 2 else None),
            **fields,
        ),
        codes.reshape(coded, frames, profile.codebooks),
    )


@pytest.fixture
def spr_file(tmp_path: Path) -> Path:
    """A whole five-second mono file at 0.096 kbps: 73 bytes."""
    path = tmp_path / "door.spr"
    path.write_bytes(spr.write(make_stream()))
    return path


def write_sound(path: Path, seconds: float = 0.1, rate: int = 48_000, channels: int = 1) -> Path:
    """A short noise, different for every name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = sound(round(seconds * rate), channels, seed=zlib.crc32(path.name.encode()))
    with path.open("wb") as file:
        soundfile.write(file, samples, rate, format=path.suffix[1:].upper())
    return path


@dataclass
class Bench:
    """The fake codec behind the command line, and how it was asked for."""

    codec: FakeCodec = field(default_factory=FakeCodec)
    loads: list[tuple[str | None, str]] = field(default_factory=list)  # pack and device


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Puts a FakeCodec, and a pack whose lowest rate is 0.096 kbps, behind every command."""
    bench = Bench()

    def factory(pack: str | None, device: str) -> Callable[[], FakeCodec]:
        def load() -> FakeCodec:
            bench.loads.append((pack, device))
            return bench.codec

        return load

    def choose(pack, kbps, frame_rate, codebooks) -> tuple[Profile, bytes]:
        if kbps is not None and kbps < LOWEST.kbps:
            raise UsageError(f"{kbps:g} kbps is below the lowest rate: use -b {LOWEST.kbps:g}")
        return Profile.of(frame_rate or 1, codebooks or 8), TAG

    monkeypatch.setattr(loading, "codec_factory", factory)
    monkeypatch.setattr(loading, "choose_profile", choose)
    monkeypatch.setattr(loading, "better_points", lambda pack, profile: ((Profile.of(5, 8), TAG),))
    monkeypatch.setattr(describe, "pack_name", lambda tag, rate: "tiny" if tag == TAG else None)
    return bench
