"""Training stage, part of step 2: the envelope that z describes, read out for models/envelope.py.

Once the encoder is trained, the best linear map from z to the log-mels of its window, and to those
latents that are levels of high bands, is one least-squares problem over a few thousand windows. How
strongly a sound fluctuates beyond that is not linear in z: a small network learns it within a
minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from spresso_cli.models.envelope import (
    STILL,
    EnvelopeFilter,
    fluctuation_network,
)
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.training.latents import LatentPool, encoded
from spresso_cli.training.least_squares import LeastSquares

# Of the network that tells fluctuation.
BATCH, RATE, WEIGHT_DECAY = 512, 2e-3, 0.05


@torch.no_grad()
def fit(
    pool: LatentPool,
    encoder: LatentEncoder,
    windows: int,
    frames: int,
    seed: int = 0,
    codebooks: int = 0,
    fluctuation: int = 0,
    known: Sequence[Tensor] | Tensor = (),
) -> EnvelopeFilter:
    """The read-out for one encoder.

    Args:
        windows: how many code frames to look at, at least.
        frames: latent frames of the crops that they come from.
        known: see `encoded`.
        codebooks: for how many `left_open` will say what they miss.
        fluctuation: width of the network that `learn_fluctuation` will train.

    Returns:
        The filter, on the pool's device.
    """
    config = replace(
        encoder.config.envelope,
        codebooks=codebooks,
        fluctuation=fluctuation,
        levels=int(pool.levels),
    )
    wanted = config.inputs + config.pool * config.levels
    fitted = LeastSquares(config.channels, wanted, pool.latents.device)
    for crops, z in encoded(pool, encoder, windows, frames, seed, known):
        levels = pool.high_bands(crops.latents).unflatten(1, (-1, config.pool)).flatten(2)
        told = torch.cat((config.windows(crops.mel), levels), 2)
        fitted.add(z.flatten(0, 1), told.flatten(0, 1))
    return EnvelopeFilter(config).to(pool.latents.device).fill(*fitted.solve())


@torch.no_grad()
def left_open(quantizer: SequenceQuantizer, z: Tensor) -> Tensor:
    """What codes of 1, 2, ..., M codebooks miss of each channel of z, root mean square, `[M, D]`.

    Args:
        z: sequences `[B, n, D]` that the quantiser was not trained on: it knows its own vectors by
            heart.
    """
    steps = quantizer.decode_steps(quantizer.encode(z))
    return torch.stack([(zhat - z).square().mean((0, 1)).sqrt() for zhat in steps])


def learn_fluctuation(
    envelope: EnvelopeFilter,
    pool: LatentPool,
    encoder: LatentEncoder,
    windows: int,
    frames: int,
    steps: int,
    seed: int = 0,
    known: Sequence[Tensor] | Tensor = (),
) -> float:
    """Train a fitted filter's network, by the likelihood of Gaussian fluctuation.

    It sees z with noise, as much as codes of some number of codebooks leave open: set `spread`
    first.

    Args:
        windows: how many code frames to look at, at least.
        frames: latent frames of the crops that they come from.
        known: see `encoded`.

    Returns:
        The loss in the end, a negative log-likelihood in nats.
    """
    z, mean_square = _fluctuations(envelope, pool, encoder, windows, frames, seed, known)
    device = z.device
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = fluctuation_network(envelope.config).to(device)
    first, last = network[0], network[-1]
    with torch.no_grad():
        deviation = z.std(0)
        scale = deviation.clamp(min=0.05 * deviation.max() + 1e-6)
        last.weight.zero_()
        last.bias.copy_(0.5 * (mean_square.mean(0) + STILL).log())
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    spread = envelope.spread if len(envelope.spread) else z.new_zeros(1, z.shape[1])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        rows = torch.randint(len(z), (BATCH,), generator=generator)
        codebooks = torch.randint(len(spread), (BATCH,), generator=generator)
        noise = torch.randn(BATCH, z.shape[1], generator=generator)
        rows, codebooks, noise = (
            part.to(device, non_blocking=True) for part in (rows, codebooks, noise)
        )
        told = network((z[rows] + spread[codebooks] * noise) / scale)
        loss = (told + 0.5 * (mean_square[rows] + STILL) * (-2 * told).exp()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        first.weight /= scale
    envelope.fluctuation.load_state_dict(network.state_dict())
    return float(loss.detach())


@torch.no_grad()
def _fluctuations(
    envelope: EnvelopeFilter,
    pool: LatentPool,
    encoder: LatentEncoder,
    windows: int,
    frames: int,
    seed: int,
    known: Sequence[Tensor] | Tensor,
) -> tuple[Tensor, Tensor]:
    """z `[n, channels]`, and the mean square of what it does not describe, `[n, spells x 64]`."""
    spells = envelope.config.pool // envelope.config.spell
    vectors, squares = [], []
    for crops, z in encoded(pool, encoder, windows, frames, seed, known):
        square = envelope.mean_square(envelope.unheld(crops.mel))
        vectors.append(z.flatten(0, 1))
        squares.append(square.unflatten(1, (-1, spells)).flatten(2).flatten(0, 1))
    return torch.cat(vectors), torch.cat(squares)
