"""What QINCo2 learns from if encoders weight errors by what can be heard (models/audibility.py):
the z that they choose, and the weights of its errors. Beyond the paper."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spresso_cli.models.audibility import Audibility, packed, unpacked
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.training.latents import LatentPool, drawn
from spresso_cli.training.quantizer import shuffled


@dataclass(frozen=True)
class Heard:
    """Vectors of code frames, shuffled across clips.

    Attributes:
        z: float32 `[N, D]`.
        weights: how the envelope of each counts, `packed`, uint8 `[N, coarse]`.
    """

    audibility: Audibility
    z: Tensor
    weights: Tensor

    def metric(self, rows: Tensor) -> Tensor:
        """L of these vectors: an error e of z counts |e L|^2. `[n, D, D]`"""
        return self.audibility.metric(unpacked(self.weights[rows]))


@torch.no_grad()
def heard(
    audibility: Audibility,
    pool: LatentPool,
    encoder: LatentEncoder,
    windows: int,
    frames: int,
    seed: int = 0,
) -> Heard:
    """Of `windows` code frames those in which there is sound, as encoders take them: the search
    for z begins at what the bypass says.

    Args:
        frames: latent frames of the crops that they come from.
    """
    some_z, some_weights = [], []
    for crops in drawn(pool, encoder, windows, frames, seed):
        z = encoder(None, crops.mel)
        sounding = crops.sounding.to(z.device)
        taken, weights = audibility.heard(z, crops.mel, sounding)
        begins = torch.arange(z.shape[1], device=z.device) * encoder.config.pool
        sound = begins < sounding[:, None]
        some_z.append(taken[sound])
        some_weights.append(packed(weights[sound]))
    z, weights = (shuffled(torch.cat(some), windows, seed) for some in (some_z, some_weights))
    return Heard(audibility, z, weights)
