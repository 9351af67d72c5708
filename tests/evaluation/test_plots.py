"""Plots are written without a display, and bad names are refused in one line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from spresso_cli.errors import UsageError
from spresso_cli.evaluation.mushra_results import Result
from spresso_cli.evaluation.plots import Point, mushra_figure, rate_quality_figure, sound_figure
from spresso_cli.evaluation.statistics import Interval

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("samples", [1, 100, 50_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_sound_has_a_picture(samples: int, channels: int) -> None:
    x = 0.1 * np.random.default_rng(0).standard_normal((samples, channels))
    picture = sound_figure(Path("a.png"), x.astype(np.float32), 44_100, "a")
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["x\udcff.wav", r"p$\x$_^{.wav"], ids=["no UTF-8", "no maths"])
def test_any_name_can_be_a_title(name: str) -> None:
    assert b"<svg" in sound_figure(Path("a.svg"), np.zeros((10, 1), np.float32), 48_000, name)


def test_rates_and_qualities_become_one_panel_a_metric(tmp_path: Path) -> None:
    points = [
        Point("spresso", 0.117, 0.5, 0.4, 0.6, own=True),
        Point("spresso", 1.4, 0.7, math.nan, math.nan, own=True),
        Point("Opus", 6.0, 0.6, 0.5, 0.7),
    ]
    path = tmp_path / "rates.svg"
    rate_quality_figure(path, [("KAD", points), ("cosine", points)])
    assert "<svg" in path.read_text(encoding="utf-8")


def test_scores_become_one_panel_a_question() -> None:
    results = [
        Result(q, c, Interval(v, v - 5, v + 5, 20))
        for q in ("quality", "similarity")
        for c, v in (("reference", 98.0), ("spresso", 60.0))
    ]
    assert len(mushra_figure(Path("scores.pdf"), results)) > 1000


def test_a_name_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png"):
        sound_figure(Path("a.txt"), np.zeros((10, 1)), 48_000, "a")
    with pytest.raises(UsageError, match=r"\.png"):
        rate_quality_figure(tmp_path / "a.txt", [("KAD", [])])
    assert not list(tmp_path.iterdir())
