"""Solvers on a problem with a known answer: data N(0, sd^2), whose denoiser is D = c_skip x."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from spresso_cli.diffusion.samplers import (
    SAMPLERS,
    evaluations,
    log_schedule,
    rho_schedule,
)

SD, SIGMA_MIN, SIGMA_MAX = 1.0, 0.004, 160.0


class Gaussian:
    """The exact denoiser, in float64, which counts its evaluations."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * (SD**2 / (sigma.double() ** 2 + SD**2))[:, None, None]


def solved(name: str, steps: int, sigma_max: float = SIGMA_MAX) -> tuple[float, int]:
    """Relative error of the solution from `sigma_max`, and the evaluations it took."""
    solve, schedule = SAMPLERS[name]
    denoise, noise = Gaussian(), torch.ones(1, 1, 1, dtype=torch.float64)
    x = float(solve(denoise, noise, schedule(steps, SIGMA_MIN, sigma_max)))
    exact = sigma_max * SD / math.sqrt(sigma_max**2 + SD**2)
    return abs(x / exact - 1), denoise.calls


def test_64_heun_steps_are_the_papers_127_evaluations() -> None:
    assert evaluations("heun", 64) == 127


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_evaluations_are_counted_as_they_happen(name: str, steps: int) -> None:
    assert solved(name, steps)[1] == evaluations(name, steps)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_of_gaussian_data_are_gaussian_data(name: str) -> None:
    assert solved(name, 64)[0] < 0.01


@pytest.mark.parametrize(("name", "order"), [("heun", 2.0), ("ipndm3", 2.0), ("dpmpp3m", 2.0)])
def test_halving_the_steps_of_a_solver_costs_what_its_order_says(name: str, order: float) -> None:
    # The multistep solvers start with one first-order step, which is what limits them here.
    errors = [solved(name, steps, sigma_max=4.0)[0] for steps in (32, 64)]
    assert errors[1] < 1e-3
    assert math.log2(errors[0] / errors[1]) > 0.85 * order


def steps_of(
    name: str, estimate: Callable[[float, float], float], levels: list[float]
) -> list[float]:
    """What a solver has at each level, when D at (x, sigma) is `estimate`."""
    seen: list[float] = []

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.append(float(x))
        return torch.full_like(x, estimate(float(x), float(sigma)))

    SAMPLERS[name][0](denoise, torch.ones(1, 1, 1, dtype=torch.float64), levels)
    return seen


def test_three_slopes_of_ipndm_follow_a_parabola() -> None:
    """After the first two steps, at equal distances, which its weights are made for."""
    levels = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 0.0]
    xs = steps_of("ipndm3", lambda x, sigma: x - sigma * (sigma**2 - 2 * sigma), levels)

    def integral(sigma: float) -> float:
        return sigma**3 / 3 - sigma**2

    for i in range(2, 5):
        expected = xs[i] + integral(levels[i + 1]) - integral(levels[i])
        assert xs[i + 1] == pytest.approx(expected, rel=1e-5)


def test_dpm_solver_follows_a_line_over_the_logarithm_of_sigma() -> None:
    """After the first two steps, at any distances: its integral over e^l D is exact there."""
    levels = [8.0, 5.0, 3.0, 2.0, 1.3, 0.7, 0.0]
    xs = steps_of("dpmpp3m", lambda x, sigma: 0.3 - 0.7 * math.log(sigma), levels)

    def integral(sigma: float) -> float:
        return (0.3 + 0.7 * (-math.log(sigma) - 1)) / sigma

    for i in range(2, 5):
        here, there = levels[i], levels[i + 1]
        expected = there * (xs[i] / here + integral(there) - integral(here))
        assert xs[i + 1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_levels_are_gone_through_from_above(name: str) -> None:
    """A Gaussian comes out of them in the opposite order too."""
    solve, schedule = SAMPLERS[name]
    levels = schedule(8, SIGMA_MIN, SIGMA_MAX)
    seen: list[float] = []
    solve(lambda x, sigma: seen.append(float(sigma)) or x / 2, torch.ones(1, 1, 1), levels)
    assert seen == sorted(seen, reverse=True)
    assert sorted(set(seen), reverse=True) == pytest.approx(levels[:-1])


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_is_the_denoisers_first_estimate(name: str) -> None:
    solve, schedule = SAMPLERS[name]
    noise = torch.randn(2, 3, 4, dtype=torch.float64)
    sigma = torch.full((2,), SIGMA_MAX)
    expected = Gaussian()(noise * SIGMA_MAX, sigma)
    x = solve(Gaussian(), noise, schedule(1, SIGMA_MIN, SIGMA_MAX))
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("name", SAMPLERS)
def test_progress_is_told_after_every_step(name: str) -> None:
    solve, schedule = SAMPLERS[name]
    told = []
    solve(
        Gaussian(), torch.ones(1, 1, 1), schedule(3, SIGMA_MIN, SIGMA_MAX),
        lambda done, steps: told.append((done, steps)),
    )  # fmt: skip
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("schedule", [rho_schedule, log_schedule])
def test_schedules_fall_from_the_highest_level_to_the_lowest_and_then_to_zero(schedule) -> None:
    levels = schedule(16, SIGMA_MIN, SIGMA_MAX)
    assert levels[0] == pytest.approx(SIGMA_MAX)
    assert levels[-2] == pytest.approx(SIGMA_MIN)
    assert levels[-1] == 0.0
    assert all(a > b for a, b in pairwise(levels))


def test_edms_own_schedule_starts_and_ends_as_published() -> None:
    levels = rho_schedule(64, 0.002, 80.0)
    assert levels[:3] == pytest.approx([80, 73.3, 67.1], abs=0.05)
    assert levels[-5:] == pytest.approx([0.0059, 0.0042, 0.0029, 0.002, 0], abs=1e-4)
