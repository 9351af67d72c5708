"""A folder of sounds, latents without an AudioAE, a clock that stops a run where a test says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from spresso_cli.cli import app as front
from spresso_cli.training import config, run
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.config import Settings
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.stored import checkpoints

NAMES = ("metal", "wood", "rain", "glass", "door", "bell", "step", "wind")


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight decaying tones with noise, 0.4 to 1.1 s."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for i, name in enumerate(NAMES):
        time = np.arange(int(48_000 * (0.4 + 0.1 * i))) / 48_000
        tone = np.sin(2 * np.pi * rng.uniform(100, 3000) * time) * np.exp(-5 * time)
        noise = 0.1 * rng.standard_normal(len(time)) * np.exp(-3 * time)
        soundfile.write(folder / f"{name}_{i}.wav", 0.5 * (tone + noise), 48_000)
    return folder


def broken_in_the_middle(path: Path) -> Path:
    """A FLAC file whose header is right, and whose body was overwritten with zeros in part."""
    soundfile.write(path, 0.3 * np.random.default_rng(0).standard_normal(24_000), 48_000)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session")
def tiny() -> Settings:
    return config.load("tiny")


FINE = config.load("tiny").fine_bands


def four_patterns() -> LatentPool:
    """Latents of four clips; each has a pattern of its own, so there is something to encode."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(4, 1, 128, generator=generator)
    frames = 0.9 * patterns + 0.4 * torch.randn(4, 300, 128, generator=generator)
    mel = patterns[..., :64] - 3 + torch.randn(4, 300, 64, generator=generator)
    fine = patterns[..., :FINE] - 3 + torch.randn(4, 300, FINE, generator=generator)
    mel = torch.cat((mel, fine), 2)
    return LatentPool(
        frames.flatten(0, 1).half(),
        mel.flatten(0, 1).half(),
        torch.arange(5) * 300,
        torch.arange(4),
        torch.zeros(128),
    )


def four_captions(width: int) -> TextBank:
    """Captions of the four clips, three words each."""
    generator = torch.Generator().manual_seed(2)
    return TextBank(
        torch.randn(4, 3, width, generator=generator),
        torch.ones(4, 3, dtype=torch.bool),
        torch.randn(4, width, generator=generator),
    )


@pytest.fixture
def pool() -> LatentPool:
    return four_patterns()


@pytest.fixture
def bank(tiny: Settings) -> TextBank:
    return four_captions(tiny.dit.text_width)


@pytest.fixture
def spresso() -> Callable[..., SimpleNamespace]:
    """Runs `spresso ARGUMENTS...` in this process."""

    def call(*arguments: object) -> SimpleNamespace:
        result = CliRunner().invoke(front.app, [str(part) for part in arguments])
        return SimpleNamespace(code=result.exit_code, stderr=result.stderr, stdout=result.stdout)

    return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes every look at a run's clock last a second, so that time boxes end after known steps."""

    def slow() -> None:
        now = iter(range(1_000_000))
        fake = SimpleNamespace(monotonic=lambda: float(next(now)), time=lambda: 0.0)
        monkeypatch.setattr(run, "time", fake)

    return slow


@pytest.fixture
def maps_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, no file can be replaced or deleted while a tensor lies in its memory."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("nobody tells which files are mapped")

    def guarded(name: str, which: int) -> None:
        function = getattr(os, name)

        def refusing(*paths: Path, **options: object) -> None:
            file = os.path.realpath(paths[which])
            if any(line.endswith(file) for line in maps.read_text().splitlines()):
                raise PermissionError(13, "mapped", file)
            function(*paths, **options)

        monkeypatch.setattr(os, name, refusing)

    guarded("replace", 1)
    guarded("unlink", 0)


def curve(log: Path, name: str) -> list[float]:
    """One logged number, in order of steps."""
    rows = [line.split(",") for line in log.read_text().splitlines()[1:]]
    return [float(value) for _, _, key, value in rows if key == name]


def losses(folder: Path) -> dict[str, list[float]]:
    """By name, those that a run's newest checkpoint has of the steps since the last logged one."""
    with safe_open(checkpoints(folder)[-1], "pt") as file:
        return json.loads(file.metadata()["run"])["seen"]
