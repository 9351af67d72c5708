"""What z learns first: principal components of the log-mel envelope of its window.

Beyond the paper. With the diffusion loss alone, an encoder at first finds only loudness and tilt,
and z stays in a handful of directions (benchmarks/TRAINING_LOG.md). The principal components of the
envelope over a pooling window are its best linear description, they are known before any training,
and they use all 64 directions; the encoder learns to predict them, and the diffusion loss takes
over from there. Because their variances are known, so is the effect of a quantiser on them, which
`distorted` imitates.

With fine bands, the components are those of the course and of the mean spectrum together: the
larger the weight of errors in fine bands, the more of z describes partials.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spresso_cli.models.envelope import EnvelopeConfig
from spresso_cli.models.log_mel import BANDS
from spresso_cli.training.latents import LatentPool


class Envelope(nn.Module):
    """Principal components of one frame rate's envelope, as buffers; `fit` finds them."""

    def __init__(self, config: EnvelopeConfig):
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("components", torch.zeros(config.inputs, config.channels))
        self.register_buffer("variances", torch.ones(config.channels))  # of the targets
        self.register_buffer("spread", torch.ones(()))  # standard deviation of the windows' numbers

    @property
    def fitted(self) -> bool:
        """Whether the components have been found."""
        return bool(self.components.any())

    @torch.no_grad()
    def fit(
        self,
        pool: LatentPool,
        generator: torch.Generator,
        count: int = 20_000,
        fine_weight: float = 1.0,
    ) -> None:
        """Components of `count` random windows, scaled so that the targets have unit mean square.

        Fewer components than channels (short windows, few bands) leave the last channels at zero.

        Args:
            fine_weight: how much an error in a fine band counts, against one in a band of a block.
        """
        t, have, parts = self.config.pool, 0, []
        while have < count:
            parts.append(self.config.windows(pool.crops(256, 2 * t, generator).mel).flatten(0, 1))
            have += len(parts[-1])
        x = torch.cat(parts).double()
        course, fine = self.config.coarse, self.config.fine
        weights = torch.cat((x.new_ones(course), x.new_full((fine,), fine_weight)))
        values, vectors = torch.linalg.eigh(torch.cov((x * weights).T))
        channels = min(self.config.channels, len(values))
        values = values.flip(0)[:channels].clamp(min=0)
        scale = (values.sum() / self.config.channels).sqrt().clamp(min=1e-6)
        self.mean.copy_(x.mean(0))
        self.spread.copy_(x[:, :course].var(0).mean().sqrt().clamp(min=1e-6))
        components = weights[:, None] * vectors.flip(1)[:, :channels] / scale
        self.components[:, :channels] = components.float()
        self.variances.zero_()
        self.variances[:channels] = (values / scale**2).float()

    def targets(self, mel: Tensor) -> Tensor:
        """Log-mels `[B, n t, 64 + fine]` -> what z should be, `[B, n, channels]`."""
        return (self.config.windows(mel) - self.mean) @ self.components

    def per_patch(self, mel: Tensor, patch: int) -> Tensor:
        """Mean log-mel of each patch, about unit variance: `[B, T, 64]` -> `[B, T / patch, 64]`."""
        bands = self.mean[: self.config.coarse].unflatten(0, (-1, BANDS)).mean(0)
        return (mel[..., :BANDS].unflatten(1, (-1, patch)).mean(2) - bands) / self.spread

    def loss(self, z: Tensor, mel: Tensor) -> Tensor:
        """Squared error, each direction relative to its standard deviation: quiet ones count.

        Their weights lie half-way between those of the plain error and of whitened z; 1 = nothing
        is predicted at all.
        """
        deviations = self.variances.sqrt()
        weights = 1 / deviations.maximum(1e-3 * deviations.max())
        errors = ((z - self.targets(mel)) ** 2).mean((0, 1))
        return (weights * errors).sum() / deviations.sum()

    def distorted(self, z: Tensor, distortion: Tensor, noise: Tensor) -> Tensor:
        """z as a good quantiser would return it (the forward test channel of rate distortion).

        Args:
            z: `[B, n, channels]`.
            distortion: share of the variance that is lost, `[B]`, 0 to 1.
            noise: standard normal, like z.

        Returns:
            a z + sqrt(a (1 - a) variance) noise with a = max(0, 1 - level / variance): directions
            below the water level vanish, the others keep an error of that level.
        """
        level = self.water_level(distortion)[:, None]  # [B, 1]
        keep = (1 - level / self.variances.clamp(min=1e-12)).clamp(min=0)[:, None]  # [B, 1, D]
        return keep * z + (keep * (1 - keep) * self.variances).sqrt() * noise

    def water_level(self, distortion: Tensor) -> Tensor:
        """The level at which the sum of min(level, variance) is that share of all variance."""
        ascending = self.variances.sort().values
        below = torch.cat((ascending.new_zeros(1), ascending.cumsum(0)[:-1]))
        above = torch.arange(len(ascending), 0, -1, device=ascending.device)
        lost = below + above * ascending  # at the level of each variance
        wanted = distortion.clamp(0, 1) * ascending.sum()
        place = torch.searchsorted(lost, wanted).clamp(max=len(lost) - 1)
        return (wanted - below[place]) / above[place]
