"""Training stage, with step 2: which envelope does z describe? The read-out of models/envelope.py.

Nothing is trained: with the encoder done, the best linear map from z to the log-mels of its window
is one least-squares problem over a few thousand windows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.qinco2 import QINCo2
from spresso_cli.training.latents import LatentPool

RIDGE = 1e-4  # of the mean variance of z's channels: a channel that is always 0 gets a row of zeros


@torch.no_grad()
def fit(
    pool: LatentPool,
    encoder: LatentEncoder,
    windows: int,
    frames: int,
    seed: int = 0,
    codebooks: int = 0,
) -> EnvelopeFilter:
    """The read-out for one encoder.

    Args:
        windows: how many code frames to look at, at least.
        frames: latent frames of the crops that they come from.
        codebooks: for how many `left_open` will say what they miss.

    Returns:
        The filter, on the pool's device.
    """
    config = EnvelopeConfig(encoder.config.pool, encoder.config.channels, codebooks)
    generator = torch.Generator().manual_seed(seed)
    frames = max(1, frames // config.pool) * config.pool
    device = pool.latents.device
    moments = torch.zeros(config.channels + 1, config.channels + 1, device=device).double()
    products = torch.zeros(config.channels + 1, config.inputs, device=device).double()
    seen = 0
    while seen < windows:
        crops = pool.crops(32, frames, generator)
        z = encoder(crops.latents, crops.mel).float().flatten(0, 1).double()
        z = torch.cat((z, torch.ones_like(z[:, :1])), 1)  # [n, channels + 1]
        moments += z.T @ z
        products += z.T @ config.windows(crops.mel).flatten(0, 1).double()
        seen += len(z)
    mean = moments[-1, :-1] / seen
    variance = moments.diagonal()[:-1].mean() / seen - mean.square().mean()
    moments[:-1, :-1] += seen * (RIDGE * variance + 1e-12) * torch.eye(len(mean), device=device)
    solution = torch.linalg.solve(moments, products).float()
    return EnvelopeFilter(config).to(device).fill(solution[:-1], solution[-1])


@torch.no_grad()
def left_open(qinco2: QINCo2, z: Tensor) -> Tensor:
    """What codes of 1, 2, ..., M codebooks miss of each channel of z, root mean square, `[M, D]`.

    Args:
        z: `[N, D]` that the quantiser was not trained on: it knows its own vectors by heart.
    """
    steps = qinco2.decode_steps(qinco2.encode(z))
    errors = [(qinco2.denormalise(xhat) - z).square().mean(0).sqrt() for xhat in steps]
    return torch.stack(errors)
