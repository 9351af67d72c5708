"""Deterministic solvers of the probability-flow ODE: pure functions of (denoiser, noise, steps).

Heun is the paper's (EDM Algorithm 2 with S_churn = 0). iPNDM-3 and DPM-Solver++(3M) are multistep:
one evaluation a step, and about Heun's quality at a third of its evaluations. No sampler draws
noise; everything is float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spresso_cli.diffusion.edm import Denoiser

Progress = Callable[[int, int], None]


def rho_schedule(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> list[float]:
    """EDM noise levels: `steps` values from sigma_max to sigma_min, then 0 (equation 5)."""
    if steps == 1:
        return [sigma_max, 0.0]
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [(high + i / (steps - 1) * (low - high)) ** rho for i in range(steps)] + [0.0]


def log_schedule(steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    """Noise levels with equal ratios, `steps` values from sigma_max to sigma_min, then 0."""
    if steps == 1:
        return [sigma_max, 0.0]
    ratio = math.log(sigma_min / sigma_max) / (steps - 1)
    return [sigma_max * math.exp(ratio * i) for i in range(steps)] + [0.0]


def _evaluate(denoise: Denoiser, x: Tensor, sigma: float) -> Tensor:
    return denoise(x, torch.full((x.shape[0],), sigma, dtype=torch.float32, device=x.device))


def heun(
    denoise: Denoiser, noise: Tensor, sigmas: Sequence[float], progress: Progress | None = None
) -> Tensor:
    """Second-order Heun; 2 N - 1 evaluations for N steps.

    Args:
        denoise: D(x, sigma).
        noise: unit Gaussian noise, float32 `[B, T, C]`.
        sigmas: N decreasing noise levels and a final 0.
        progress: called with (steps done, steps) after each step.
    """
    x = noise * sigmas[0]
    last = len(sigmas) - 2
    for i in range(last + 1):
        here, there = sigmas[i], sigmas[i + 1]
        slope = (x - _evaluate(denoise, x, here)) / here
        ahead = x + (there - here) * slope
        if there > 0:
            slope_ahead = (ahead - _evaluate(denoise, ahead, there)) / there
            ahead = x + (there - here) * (slope + slope_ahead) / 2
        x = ahead
        if progress:
            progress(i + 1, last + 1)
    return x


# Adams-Bashforth weights on the newest slopes (newest first), by number of slopes at hand.
_ADAMS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12))


def ipndm3(
    denoise: Denoiser, noise: Tensor, sigmas: Sequence[float], progress: Progress | None = None
) -> Tensor:
    """Improved PNDM of order 3 (Zhang and Chen 2023); N evaluations for N steps."""
    x = noise * sigmas[0]
    slopes: list[Tensor] = []
    last = len(sigmas) - 2
    for i in range(last + 1):
        here, there = sigmas[i], sigmas[i + 1]
        estimate = _evaluate(denoise, x, here)
        if there == 0:
            x = estimate
        else:
            slopes = [(x - estimate) / here, *slopes[:2]]
            weights = _ADAMS[len(slopes) - 1]
            slope = sum(w * s for w, s in zip(weights, slopes, strict=True))
            x = x + (there - here) * slope
        if progress:
            progress(i + 1, last + 1)
    return x


def dpmpp3m(
    denoise: Denoiser, noise: Tensor, sigmas: Sequence[float], progress: Progress | None = None
) -> Tensor:
    """DPM-Solver++(3M) (Lu et al. 2022), multistep in ln sigma; N evaluations for N steps."""
    x = noise * sigmas[0]
    history: list[tuple[float, Tensor]] = []  # (sigma, D), newest first
    last = len(sigmas) - 2
    for i in range(last + 1):
        here, there = sigmas[i], sigmas[i + 1]
        estimate = _evaluate(denoise, x, here)
        if there == 0:
            x = estimate
        else:
            x = _dpmpp_step(x, estimate, here, there, history)
            history = [(here, estimate), *history[:1]]
        if progress:
            progress(i + 1, last + 1)
    return x


def _dpmpp_step(
    x: Tensor, d: Tensor, here: float, there: float, history: list[tuple[float, Tensor]]
) -> Tensor:
    """One step of the exponential integrator at the order that the history allows.

    The released solver uses half of the value that the third order gives for `second`, and so does
    this one: in 4 to 8 steps, the full value comes no nearer to the solution.
    """
    h = math.log(here / there)
    p1 = math.expm1(-h)
    base = (there / here) * x - p1 * d
    if not history:
        return base
    sigma1, d1 = history[0]
    q0 = math.log(sigma1 / here) / h
    a = (d - d1) / q0
    if len(history) == 1:
        return base - p1 * a / 2
    sigma2, d2 = history[1]
    q1 = math.log(sigma2 / sigma1) / h
    b = (d1 - d2) / q1
    first = a + q0 / (q0 + q1) * (a - b)
    second = (a - b) / (q0 + q1)
    p2 = p1 / h + 1
    p3 = p2 / h - 0.5
    return base + p2 * first - p3 * second


Sampler = Callable[..., Tensor]
SAMPLERS: dict[str, tuple[Sampler, Callable[[int, float, float], list[float]]]] = {
    "heun": (heun, rho_schedule),
    "ipndm3": (ipndm3, rho_schedule),
    "dpmpp3m": (dpmpp3m, log_schedule),
}
"""Name -> (solver, schedule from (steps, sigma_min, sigma_max))."""


def evaluations(sampler: str, steps: int) -> int:
    """Network evaluations that `sampler` spends on `steps` steps."""
    return 2 * steps - 1 if sampler == "heun" else steps
