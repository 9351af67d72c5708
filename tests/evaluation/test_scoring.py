"""Scores of a system: perfect, degraded and broken outputs read as such, lengths are settled."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spresso_cli.evaluation.embeddings import LogMelEmbedder
from spresso_cli.evaluation.scoring import Reference, metric_of, score_clip, summarise


@pytest.fixture
def clips(noise) -> list[np.ndarray]:
    """Twelve sounds that differ in colour and envelope."""
    sounds = []
    for i in range(12):
        x = np.convolve(noise(24_000, i, 0.3), np.hanning(3 + 5 * i), "same")
        sounds.append((x * np.linspace(1, i / 6, x.size) / 10).astype(np.float32))
    return sounds


def scores(clips, outputs):
    embedders = [LogMelEmbedder()]
    pairs = zip(clips, outputs, strict=True)
    return [score_clip(str(i), Reference(c), o, embedders) for i, (c, o) in enumerate(pairs)]


def test_a_perfect_system_has_perfect_scores(clips) -> None:
    summary = summarise(scores(clips, clips))
    values = {key: interval.value for key, interval in summary.values.items()}
    assert values["si_sdr"] == 60.0
    assert values["cosine_logmel-stats"] == pytest.approx(1.0)
    for key in ("ms_mel", "loudness", "centroid", "high_band"):
        assert values[key] == 0.0
    assert abs(values["fad_logmel-stats"]) < 1e-6
    assert values["kad_logmel-stats"] < 0  # unbiased: below zero for a set against itself
    assert summary.defects == {"silent": 0, "non-finite": 0}
    assert summary.embeddings == {"logmel-stats": (12, 128)}


def test_more_noise_is_worse_on_every_count(clips, noise) -> None:
    mild, harsh = (
        summarise(scores(clips, [c + noise(c.size, 99, level) for c in clips])).values
        for level in (0.001, 0.05)
    )
    for key, interval in mild.items():
        better = interval.value - harsh[key].value
        assert (better > 0) == (metric_of(key).better == "higher"), key


def test_signed_errors_average_as_magnitudes_and_keep_their_bias(clips) -> None:
    gains = [0.5, 2.0] * 6
    summary = summarise(scores(clips, [g * c for g, c in zip(gains, clips, strict=True)]))
    assert summary.values["loudness"].value == pytest.approx(20 * math.log10(2), rel=1e-3)
    assert summary.biases["loudness"] == pytest.approx(0.0, abs=1e-6)


def test_colours_that_err_both_ways_do_not_cancel(noise) -> None:
    plain, bright = (noise(24_000, 1, 0.1), np.diff(noise(24_001, 1, 0.1)))
    errors = [score_clip("a", Reference(plain), bright), score_clip("b", Reference(bright), plain)]
    summary = summarise(errors)
    for key in ("centroid", "high_band"):
        assert summary.values[key].value == pytest.approx(abs(errors[0].values[key]), rel=0.01)
        assert abs(summary.biases[key]) < 0.1 * summary.values[key].value


def test_outputs_are_cut_or_padded_to_their_original(clips) -> None:
    c = clips[3]
    long = score_clip("a", Reference(c), np.append(c, np.ones(500, np.float32)))
    assert long.values["si_sdr"] == 60.0
    short = score_clip("a", Reference(c), c[:-100])
    assert 10 < short.values["si_sdr"] < 60.0


def test_broken_outputs_are_counted_and_those_not_finite_left_out(clips) -> None:
    outputs = [c.copy() for c in clips]
    outputs[0][5] = np.nan
    outputs[1][:] = 0.0
    summary = summarise(scores(clips, outputs))
    assert summary.defects == {"silent": 1, "non-finite": 1}
    assert summary.clips == 12
    assert summary.values["si_sdr"].count == 11
    assert summary.values["loudness"].count == 10
    assert summary.embeddings["logmel-stats"][0] == 11


def test_takes_of_an_original_count_as_outputs_and_not_as_clips(clips, noise) -> None:
    embedders, takes = [LogMelEmbedder()], []
    for i, clip in enumerate(clips):
        reference = Reference(clip)
        for k in range(3):
            take = clip + noise(clip.size, 100 * i + k, 0.1)
            takes.append(score_clip(f"{i}.seed{k}", reference, take, embedders, str(i)))
    several, single = summarise(takes), summarise(takes[::3])
    assert (several.clips, several.outputs) == (12, 36)
    assert several.values["ms_mel"].count == 12
    for key in ("ms_mel", "cosine_logmel-stats", "kad_logmel-stats"):
        widths = [s.values[key].high - s.values[key].low for s in (several, single)]
        assert widths[0] == pytest.approx(widths[1], rel=0.3), key
    assert several.values["kad_logmel-stats"].value == pytest.approx(
        single.values["kad_logmel-stats"].value, abs=2.0
    )
    only = summarise(takes[:3])  # of one original
    assert (only.clips, only.outputs) == (1, 3)
    assert "kad_logmel-stats" not in only.values


def test_a_single_clip_has_no_distances_between_sets(clips) -> None:
    values = summarise(scores(clips[:1], clips[:1])).values
    assert "cosine_logmel-stats" in values
    assert "fad_logmel-stats" not in values


def test_windowed_embedders_pool_all_windows(clips) -> None:
    class Halves:
        name = "halves"

        def embed_windows(self, x):
            return x[:, : x.shape[1] // 2 * 2].reshape(len(x), 2, -1)[:, :, :8]

        def embed(self, x):
            return self.embed_windows(x).mean(axis=1)

    results = [score_clip("a", Reference(c), c, [Halves()]) for c in clips]
    assert summarise(results).embeddings == {"halves": (24, 8)}


def test_keys_know_their_headings() -> None:
    assert metric_of("fad_logmel-stats").heading == "FAD logmel-stats"
    assert metric_of("si_sdr").better == "higher"
