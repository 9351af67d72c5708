"""Diversity: nothing for equal takes, one for takes that know nothing of their clip."""

from __future__ import annotations

import numpy as np
import pytest

from spresso_cli.evaluation.diversity import distances, diversity


def takes(spread: float, clips: int = 30, count: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clips, 1, 24))
    return centres + spread * rng.standard_normal((clips, count, 24))


def test_equal_takes_have_no_diversity() -> None:
    found = diversity(np.repeat(takes(0.0)[:, :1], 4, axis=1))
    assert found.value == pytest.approx(0.0, abs=1e-6)
    assert found.count == 30


def test_takes_that_know_nothing_of_their_clip_have_all_of_it() -> None:
    x = np.random.default_rng(1).standard_normal((60, 4, 24))
    found = diversity(x)
    assert found.value == pytest.approx(1.0, abs=0.03)
    assert found.low < 1.0 < found.high or found.high - found.low < 0.05


def test_the_ratio_is_that_of_the_mean_distances() -> None:
    x = takes(0.3)
    within = np.mean([np.linalg.norm(c[i] - c[j]) for c in x for i in range(3) for j in range(i)])
    across = np.mean(
        [np.linalg.norm(a - b) for i in range(30) for j in range(30) if i != j
         for a in x[i] for b in x[j]]
    )  # fmt: skip
    found = diversity(x)
    assert found.value == pytest.approx(within / across)
    assert found.low < found.value < found.high
    assert diversity(takes(0.6)).value > found.value


def test_distances_do_not_compare_a_take_with_itself() -> None:
    x = np.zeros((2, 2, 1))
    x[0, 1], x[1, :] = 2.0, 10.0
    within, across = distances(x)
    np.testing.assert_allclose(within, [2.0, 0.0])
    np.testing.assert_allclose(across, [[0.0, 9.0], [9.0, 0.0]])


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 1, 4), (3, 4)])
def test_one_clip_or_one_take_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two takes of two clips"):
        diversity(np.ones(shape))


def test_takes_that_are_all_equal_are_refused() -> None:
    with pytest.raises(ValueError, match="equal"):
        diversity(np.ones((3, 2, 4)))
