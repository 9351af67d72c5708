"""Fits the maps that predict the size of latents from z (models/deviations.py).

The map from z to log-mels is fitted by least squares; the map from these predicted log-mels to
deviations by the likelihood of Gaussian latents, so that scaled latents have unit mean square
everywhere. With a logarithm as link function, that is iterated least squares (McCullagh and Nelder,
Generalized Linear Models, 2.5).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spresso_cli.models.deviations import LIMIT, Deviations
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.training.latents import LatentPool, encoded
from spresso_cli.training.least_squares import LeastSquares

FRAMES = 200_000  # latent frames, about: so many are drawn, if the windows looked at have more
ROUNDS = 12
HELPS = 0.8  # of the mean square that is left without it: a mean that leaves more is not told
SMALLEST = 1e-3  # what lies below that is as good as nothing, in units of a latent's deviation


@torch.no_grad()
def fit(
    deviations: Deviations,
    pool: LatentPool,
    encoder: LatentEncoder,
    windows: int,
    frames: int,
    seed: int = 0,
    as_coded: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Fill the buffers of `deviations` for one encoder.

    Args:
        windows: how many code frames to look at, at least.
        frames: latent frames of the crops that they come from.
        as_coded: z `[B, n, channels]` as the decoder will see it; None: as it is.
    """
    config, device = deviations.config, pool.latents.device
    course = LeastSquares(config.channels, config.inputs, device)
    generator = torch.Generator().manual_seed(seed)
    share = min(1.0, FRAMES / (windows * config.pool))
    seen = []
    for crops, z in encoded(pool, encoder, windows, frames, seed):
        z = z if as_coded is None else as_coded(z)
        course.add(z.flatten(0, 1), config.windows(crops.mel).flatten(0, 1))
        latents = crops.latents[..., : deviations.latents]
        drawn = (torch.rand(latents.shape[:2], generator=generator) < share).to(device)
        seen.append((z, drawn, latents[drawn]))
    read_out, mean = course.solve()
    deviations.read_out.copy_(read_out)
    deviations.mean.copy_(mean)

    kept = []
    for z, drawn, latents in seen:
        heard = deviations(z).heard[drawn] > 0
        kept.append((deviations.mel(z)[drawn][heard], latents[heard]))
    told, latents = (torch.cat(parts) for parts in zip(*kept, strict=True))
    sizes = _likeliest(deviations, told, latents)
    means = _regressed(told, latents, deviations.to_mean, deviations.mean_offset)
    # Most latents are about zero, and a mean found of them is that of a few loud sounds.
    without, within = (
        (x * (-sizes).exp()).square().clamp(max=LIMIT**2) for x in (latents, latents - means)
    )
    none = within.mean(0) > HELPS * without.mean(0)
    deviations.to_mean[:, none] = 0
    deviations.mean_offset[none] = 0
    _likeliest(deviations, told, latents - means.masked_fill(none, 0))


def _likeliest(deviations: Deviations, told: Tensor, latents: Tensor) -> Tensor:
    """Fill the map to deviations of zero-mean latents `[n, latents]`; returns what it gives."""
    wanted = 0.5 * (latents.square() + SMALLEST**2).log()
    for _ in range(1 + ROUNDS):
        sizes = _regressed(told, wanted, deviations.to_size, deviations.size_offset)
        square = (latents * (-sizes).exp()).clamp(-LIMIT, LIMIT).square()
        wanted = sizes + 0.5 * (square - 1)
    return sizes


def _regressed(told: Tensor, wanted: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Fill the map from log-mels as told `[n, 64 + fine]` to what is wanted `[n, latents]`, by
    least squares; returns what it gives."""
    fitted = LeastSquares(told.shape[1], wanted.shape[1], told.device)
    fitted.add(told, wanted)
    for buffer, value in zip((matrix, offset), fitted.solve(), strict=True):
        buffer.copy_(value)
    return told @ matrix + offset
