"""The power-function EMA, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spresso_cli.training.ema import PowerEMA, gamma_of


@pytest.mark.parametrize(
    ("width", "gamma"), [(0.05, 16.97), (0.10, 6.94), (0.15, 3.56), (0.20, 1.83)]
)
def test_exponents_are_those_of_edm2(width: float, gamma: float) -> None:
    assert gamma_of(width) == pytest.approx(gamma, abs=0.01)


@pytest.mark.parametrize("width", [0.05, 0.10])
def test_the_average_is_the_weighted_sum_of_all_steps(width: float) -> None:
    values = np.random.default_rng(0).standard_normal(60)
    tensor = torch.tensor(99.0, dtype=torch.float64)  # the start does not count
    ema = PowerEMA({"w": tensor}, width, {"w"})
    for value in values:
        ema.update({"w": torch.tensor(value, dtype=torch.float64)})
    t = np.arange(1, 61)
    kept = np.array([np.prod((1 - 1 / t[i + 1 :]) ** (ema.gamma + 1)) for i in range(60)])
    weights = kept * (1 - (1 - 1 / t) ** (ema.gamma + 1))
    assert weights.sum() == pytest.approx(1.0)
    assert float(ema.average["w"]) == pytest.approx(weights @ values, rel=1e-9)


def test_the_profile_has_the_relative_width_that_names_it() -> None:
    t = np.arange(1, 4001)
    for width in (0.05, 0.10):
        gamma = gamma_of(width)
        profile = (t / t[-1]) ** gamma
        profile /= profile.sum()
        mean = profile @ t
        assert np.sqrt(profile @ (t - mean) ** 2) / t[-1] == pytest.approx(width, rel=0.01)


def test_after_the_first_step_the_average_is_the_weights() -> None:
    ema = PowerEMA({"w": torch.zeros(3)}, learned={"w"})
    ema.update({"w": torch.tensor([1.0, 2.0, 3.0])})
    assert ema.average["w"].tolist() == [1.0, 2.0, 3.0]


def test_what_is_not_learnt_is_kept_as_it_was_last() -> None:
    """A buffer that is fitted late in a run would otherwise be exported as a part of itself."""
    ema = PowerEMA({"n": torch.tensor(1), "fitted": torch.tensor(0.0)}, learned=())
    for n in range(2, 8):
        ema.update({"n": torch.tensor(n), "fitted": torch.tensor(2.0 * (n > 5))})
    assert int(ema.average["n"]) == 7
    assert float(ema.average["fitted"]) == 2.0
