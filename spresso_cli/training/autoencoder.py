"""Training stage, step 1: the diffusion autoencoder (S-PRESSO 2.5).

The latent encoder, f_phi and the audio-down Q/K/V learn together with the DiT (its LoRA when the
base is pretrained, all of it when it is not) to denoise AudioAE latents, for several frame rates
on one trunk. Beyond the paper, by configuration: Gaussian noise on unit-RMS z (so that step 2
costs less), z dropped at random (so that guidance on z works), and a warm-up in which the encoder
alone learns to predict the latents' energy envelope (so that z carries something from the start).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.diffusion.edm import coefficients, draw_sigma
from spresso_cli.models.dit import AudioDown, DiT, TextCondition
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.training import distributed
from spresso_cli.training.acceleration import autocast
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.randomness import normal
from spresso_cli.training.run import Report, Run, cosine_rate


@dataclass(frozen=True)
class StepOneTraining:
    """Hyper-parameters of step 1 (the paper's value behind each, where it gives one)."""

    steps: int = 100_000
    warmup_steps: int = 0  # envelope regression only, before the diffusion loss
    batch: int = 64  # paper: 32
    crops: tuple[tuple[int, float], ...] = ((500, 1.0),)  # latent frames and probability
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    p_mean: float = 0.2
    p_std: float = 1.4
    text_keep: float = 0.2
    z_drop: float = 0.1  # paper: 0
    z_noise: Mapping[int, float] | None = None  # by pooling factor; paper: none
    envelope_weight: float = 0.0  # of the auxiliary loss beside the diffusion loss
    level_floor: float | None = None  # see `level_weights`; paper: none


class EnvelopeHead(nn.Module):
    """Predicts from one z the log-energy of its window in 32 bands and short blocks (training aid).

    Its targets are what a Wiener filter needs, so z that serve it serve the denoiser.
    """

    BANDS = 32

    def __init__(self, pool: int, channels: int, hidden: int = 384):
        super().__init__()
        self.blocks = max(1, round(pool / 5))
        self.pool = pool
        outputs = self.blocks * self.BANDS
        self.net = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, outputs))

    def target(self, x0: Tensor) -> Tensor:
        """Latents `[B, n t, 128]` -> `[B, n, blocks * 32]`, natural log energy, about unit scale."""
        energy = (x0**2).unflatten(-1, (self.BANDS, -1)).mean(-1).unflatten(1, (-1, self.pool))
        b, n, t, bands = energy.shape
        blocks = F.adaptive_avg_pool1d(energy.transpose(2, 3).reshape(b * n, bands, t), self.blocks)
        return ((blocks + 1e-4).log().reshape(b, n, -1) + 3.0) / 2.5

    def loss(self, z: Tensor, x0: Tensor) -> Tensor:
        """Mean squared error of the envelope."""
        return F.mse_loss(self.net(z), self.target(x0))


def diffusion_loss(
    dit: DiT,
    x0: Tensor,
    sigma: Tensor,
    noise: Tensor,
    text: TextCondition | None,
    down: tuple[AudioDown, Tensor] | None,
) -> Tensor:
    """lambda(sigma) |D - x0|^2 per example `[B]` with sigma_data = 1, as F's error (EDM eq. 8)."""
    c_skip, c_out, c_in, c_noise = coefficients(sigma, 1.0)
    x = x0 + sigma[:, None, None] * noise
    with autocast(x0.device):
        f = dit(x * c_in[:, None, None], c_noise, text, down)
    target = (x0 - c_skip[:, None, None] * x) / c_out[:, None, None]
    return ((f.float() - target) ** 2).mean((1, 2))


def level_weights(x0: Tensor, floor: float | None) -> Tensor:
    """Loss weight of each example, mean 1, `[B]`: inverse to its power above `floor`.

    At equal peak, a click has a thousandth of the power of a drone; unweighted, its loss is lost in
    the drone's. z carries the level, so the weight hardly moves the optimum of either.
    """
    if floor is None:
        return x0.new_ones(len(x0))
    weights = 1 / ((x0**2).mean((1, 2)) + floor)
    return weights / weights.mean()


@torch.no_grad()
def effective_dimensions(z: Tensor) -> Tensor:
    """How many directions z `[..., D]` spreads over, 1 to D: (sum of variances)^2 / sum of squares.

    A z that has collapsed to a few is the first thing to look for in a run that stops improving.
    """
    rows = z.detach().flatten(0, -2).double()
    rows = rows - rows.mean(0)
    covariance = rows.T @ rows / len(rows)
    return (covariance.diagonal().sum() ** 2 / covariance.square().sum().clamp(min=1e-30)).float()


class StepOne(nn.Module):
    """Encoders, adapters and envelope heads of all frame rates, and the shared trunk."""

    def __init__(
        self,
        dit: DiT,
        adapters: Mapping[int, AudioDown],
        encoders: Mapping[int, LatentEncoder],
    ):
        super().__init__()
        self.dit = dit
        self.adapters = nn.ModuleDict({str(t): a for t, a in adapters.items()})
        self.encoders = nn.ModuleDict({str(t): e for t, e in encoders.items()})
        self.heads = nn.ModuleDict(
            {str(t): EnvelopeHead(t, e.config.channels) for t, e in encoders.items()}
        )

    def pools(self) -> list[int]:
        """Pooling factors, in the order of the configuration."""
        return [int(t) for t in self.encoders]


def crop_frames(frames: int, pool: int, patch: int) -> int:
    """The longest crop up to `frames` that holds whole pooling windows and whole patches."""
    step = math.lcm(pool, patch)
    return max(step, frames // step * step)


def train(
    pool: LatentPool,
    bank: TextBank,
    model: StepOne,
    folder: Path,
    training: StepOneTraining,
    minutes: float | None,
    report: Report | None = None,
    seed: int = 0,
) -> None:
    """Train in `folder`; continues where a former call stopped."""
    distributed.check_batch(training.batch)
    device = pool.latents.device
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        training.rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
    )
    run = Run(
        folder,
        {"model": model},
        optimizer,
        steps=training.steps,
        minutes=minutes,
        seed=seed,
        report=report,
    )
    pools = model.pools()
    patch = model.dit.config.patch
    lengths, odds = zip(*training.crops, strict=True)
    z_noise = training.z_noise or {}
    while run.wants_more():
        for group in optimizer.param_groups:
            group["lr"] = training.rate * cosine_rate(run.progress, 0.02)
        t = pools[run.step % len(pools)]
        choice = torch.multinomial(torch.tensor(odds), 1, generator=run.generator)
        frames = crop_frames(lengths[int(choice)], t, patch)
        x0, clips = pool.crops(training.batch, frames, run.generator)
        encoder, head, adapter = (
            part[str(t)] for part in (model.encoders, model.heads, model.adapters)
        )
        mine = distributed.share(x0)
        with autocast(device):
            z = encoder(mine).float()
        losses = {f"dimensions_t{t}": distributed.mean(effective_dimensions(z))}
        shape = (len(x0), *z.shape[1:])
        z = z + z_noise.get(t, 0.0) * distributed.share(normal(shape, run.generator, device))
        total = torch.zeros((), device=device)
        if training.envelope_weight or run.step < training.warmup_steps:
            envelope = head.loss(z, mine)
            losses[f"envelope_t{t}"] = distributed.mean(envelope)
            weight = 1.0 if run.step < training.warmup_steps else training.envelope_weight
            total = total + weight * envelope
        if run.step >= training.warmup_steps:
            sigma = draw_sigma(len(x0), training.p_mean, training.p_std, run.generator).to(device)
            noise = normal(x0.shape, run.generator, device)
            keep = torch.rand(len(x0), generator=run.generator) >= training.z_drop
            text = bank.condition(clips, training.text_keep, run.generator)
            sigma, noise, text = map(distributed.share, (sigma, noise, text))
            down = (adapter, adapter.tokens(z, distributed.share(keep).to(device)))
            each = diffusion_loss(model.dit, mine, sigma, noise, text, down)
            weights = distributed.share(level_weights(x0, training.level_floor))
            total = total + (weights * each).mean()
            everyone = distributed.everyones(each.detach())
            losses[f"loss_t{t}"] = everyone[keep].mean()
            if not keep.all():
                losses[f"dropped_t{t}"] = everyone[~keep].mean()
        optimizer.zero_grad()
        total.backward()
        distributed.average_gradients(model.parameters())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        run.finish_step(losses)
