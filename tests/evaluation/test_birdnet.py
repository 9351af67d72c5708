"""BirdNET's front end, without its weights, and what is said when they are missing or wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from spresso_cli.errors import UsageError
from spresso_cli.evaluation.birdnet import WINDOW, BirdNetEmbedder, load_birdnet


def first_and_last(x: np.ndarray) -> np.ndarray:
    """In place of the network: the ends of its window."""
    assert x.shape == (1, WINDOW) and x.dtype == np.float32
    return x[:, [0, -1]]


def counting(samples: int) -> np.ndarray:
    return np.arange(1, samples + 1, dtype=np.float32)


class TestWindows:
    def test_a_short_clip_is_padded_behind(self) -> None:
        vectors = BirdNetEmbedder(first_and_last).embed(counting(1000)[None])
        assert vectors.tolist() == [[1, 0]]

    def test_a_clip_hardly_longer_than_a_window_loses_its_end(self) -> None:
        vectors = BirdNetEmbedder(first_and_last).embed(counting(WINDOW + 100)[None])
        assert vectors.tolist() == [[1, WINDOW]]

    def test_of_a_long_one_beginning_and_end_count_alike(self) -> None:
        clip = counting(240_000)
        vectors = BirdNetEmbedder(first_and_last).embed(np.stack([clip, 2 * clip]))
        own = [(1 + 96_001) / 2, (WINDOW + 240_000) / 2]
        assert vectors.tolist() == [own, [2 * x for x in own]]


class TestLoading:
    def test_without_a_runtime_names_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
        with pytest.raises(UsageError, match=r"spresso_cli\[eval\]"):
            load_birdnet(tmp_path / "any.tflite")

    def test_another_file_is_refused_by_name(self, tmp_path: Path) -> None:
        pytest.importorskip("ai_edge_litert")
        path = tmp_path / "notes.tflite"
        path.write_text("not a network", encoding="utf-8")
        with pytest.raises(UsageError, match=r"notes\.tflite: not a usable TFLite file"):
            load_birdnet(path)
