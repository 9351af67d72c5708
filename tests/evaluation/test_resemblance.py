"""The identification test: exact chances, a ceiling of one, chance for those who know nothing."""

from __future__ import annotations

import numpy as np
import pytest

from spresso_cli.evaluation import resemblance


def embeddings(count: int = 60, dimensions: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimensions)) + 3.0


def test_perfect_decodes_are_always_identified() -> None:
    x = embeddings()
    assert resemblance.identify(x, x).share.value == 1.0


def test_unrelated_decodes_fall_to_chance() -> None:
    values = [
        resemblance.identify(embeddings(seed=i), embeddings(seed=1000 + i)).share.value
        for i in range(30)
    ]
    assert np.mean(values) == pytest.approx(1 / 20, abs=0.01)


def test_decodes_of_another_clip_fall_below_chance() -> None:
    x = embeddings()
    order = resemblance.derangement(len(x))
    assert resemblance.identify(x, x[order]).share.value < 1 / 20


def test_the_share_is_the_average_over_random_draws_of_the_others() -> None:
    rng = np.random.default_rng(1)
    sources = embeddings(40, 8)
    decodes = sources + 2.5 * rng.standard_normal(sources.shape)
    exact = resemblance.identify(sources, decodes, candidates=5).share.value
    centre = sources.mean(axis=0)
    a, b = decodes - centre, sources - centre
    cosines = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    hits = 0
    for _ in range(200):
        for i in range(40):
            others = rng.choice(np.delete(np.arange(40), i), 4, replace=False)
            hits += cosines[i, i] > cosines[i, others].max()
    assert exact == pytest.approx(hits / 8000, abs=0.02)


def test_what_all_sources_share_counts_for_nothing() -> None:
    sources = embeddings()
    decodes = sources + np.random.default_rng(2).standard_normal(sources.shape)
    shifted = resemblance.identify(sources + 100, decodes + 100)
    assert shifted.share.value == pytest.approx(resemblance.identify(sources, decodes).share.value)


def test_ties_count_against_the_decode() -> None:
    same = np.ones((5, 3))
    assert resemblance.identify(same, same).share.value == 0.0


def test_few_sources_compete_all_at_once() -> None:
    result = resemblance.identify(embeddings(6), embeddings(6))
    assert (result.candidates, result.chance) == (6, 1 / 6)


def test_clips_get_one_loudness_and_silence_stays() -> None:
    x = np.random.default_rng(3).standard_normal((3, 1000)) * [[0.001], [0.5], [0.0]]
    level = np.sqrt(np.mean(resemblance.at_equal_loudness(x) ** 2, axis=1))
    np.testing.assert_allclose(level, [0.1, 0.1, 0.0], rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 17])
def test_in_a_derangement_nobody_keeps_their_place(count: int) -> None:
    order = resemblance.derangement(count, seed=count)
    assert sorted(order) == list(range(count))
    assert np.all(order != np.arange(count))


def test_a_single_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="single"):
        resemblance.derangement(1)
    with pytest.raises(ValueError, match="two sets"):
        resemblance.identify(embeddings(1), embeddings(1))
