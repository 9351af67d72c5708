"""EDM preconditioning and training noise levels (Karras et al. 2022, table 1; EDM2 for the loss).

D(x; sigma) = c_skip x + c_out F(c_in x, c_noise): the network F sees unit variance and is asked
for unit variance at every noise level.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x `[B, T, C]`, sigma `[B]`) -> estimate of the clean x0 `[B, T, C]`."""


def coefficients(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in, c_noise for noise levels `sigma` of any shape."""
    total = sigma**2 + sigma_data**2
    c_skip = sigma_data**2 / total
    c_out = sigma * sigma_data * total.rsqrt()
    c_in = total.rsqrt()
    return c_skip, c_out, c_in, sigma.log() / 4


def precondition(network: Callable[[Tensor, Tensor], Tensor], sigma_data: float) -> Denoiser:
    """The denoiser D around a network F(c_in x, c_noise); everything outside F in float32."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = coefficients(sigma.float(), sigma_data)
        f = network(x * c_in[:, None, None], c_noise)
        return c_skip[:, None, None] * x + c_out[:, None, None] * f.float()

    return denoise


def guided(
    conditional: Denoiser, reference: Denoiser, weight: float, logarithms: int = 0
) -> Denoiser:
    """Guidance D_ref + w (D_cond - D_ref); w = 1 is the conditional denoiser itself.

    Args:
        logarithms: how many of the last channels are logarithms. There, w times a difference would
            mean the w-th power, so these channels come from the conditional denoiser alone.
    """
    if weight == 1.0:
        return conditional

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        base, wanted = reference(x, sigma), conditional(x, sigma)
        estimate = base + weight * (wanted - base)
        if logarithms:
            estimate[..., -logarithms:] = wanted[..., -logarithms:]
        return estimate

    return denoise


def draw_sigma(
    count: int, p_mean: float, p_std: float, generator: torch.Generator | None = None
) -> Tensor:
    """Log-normal training noise levels, `[count]`: ln sigma ~ N(p_mean, p_std).

    The normal draws are stratified over the batch (one per quantile bin), which lowers the
    variance of the loss without changing the distribution.
    """
    quantile = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    quantile = quantile[torch.randperm(count, generator=generator)].clamp(1e-4, 1 - 1e-4)
    normal = math.sqrt(2) * torch.erfinv(2 * quantile - 1)
    return torch.exp(p_mean + p_std * normal)
