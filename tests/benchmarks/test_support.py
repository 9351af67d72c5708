"""What the benchmark scripts share."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.codec.packs import OperatingPoint, read_pack

ROOT = Path(__file__).resolve().parents[2]
TINY_PACK = ROOT / "tests" / "data" / "tiny_pack"


@pytest.fixture
def support(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import support

    return support


@pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="memory is measured as on POSIX")
def test_a_process_is_measured_without_its_parent(support) -> None:
    once = np.ones(50_000_000)  # 400 MB, which Linux would count
    del once
    seconds, peak = support.run_process([sys.executable, "-c", "held = b'1' * 50_000_000"])
    assert 50 < peak < 200
    assert seconds > 0
    with pytest.raises(SystemExit, match="failed: .* raise SystemExit"):
        support.run_process([sys.executable, "-c", "raise SystemExit(3)"])


def test_clips_that_differ_in_their_suffix_alone_keep_it(support, tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "a.wav.flac", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros(480), 48_000)
    names = list(support.load_clips(tmp_path, 0.0, None))
    assert names == ["a.flac", "a.wav", "a.wav.flac", "b"]


def test_a_point_is_measured_by_its_own_rate_even_where_another_ranks_before_it(support) -> None:
    points = OperatingPoint(11, 4, rank=1), OperatingPoint(11, 12, rank=2)
    pack = dataclasses.replace(read_pack(TINY_PACK), points=points)
    assert pack.choose(1.32).codebooks == 4
    assert support.point(pack, 1.32).codebooks == 12
    assert support.point(pack, 1.0).codebooks == 4
