"""Sounds for the benchmark scripts, and a runner of their main functions."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
TINY_PACK = ROOT / "tests" / "data" / "tiny_pack"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Five sounds of 1 to 2 seconds that differ in colour."""
    folder = tmp_path / "clips"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        x = np.convolve(rng.standard_normal(48_000 + 12_000 * i), np.hanning(3 + 20 * i), "same")
        soundfile.write(folder / f"sound{i}.wav", 0.3 * x / np.abs(x).max(), 48_000)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a script's main on the tiny pack and returns what it printed."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("SPRESSO_PACK", str(TINY_PACK))

    def call(name: str, *arguments: object, **replaced: object) -> str:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
        script = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, script)
        spec.loader.exec_module(script)
        for key, value in replaced.items():
            monkeypatch.setattr(script, key, value)
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        script.main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve short sounds with a manifest."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["file,split,category,caption"]
    for i in range(12):
        x = np.convolve(rng.standard_normal(12_000), np.hanning(3 + 10 * i), "same")
        soundfile.write(folder / f"s{i}.wav", 0.3 * x / np.abs(x).max(), 48_000)
        lines.append(f"s{i}.wav,dev,{'ab'[i % 2]},sound {i}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder
