"""Training stage, step 1: the diffusion autoencoder (S-PRESSO 2.5).

The latent encoder, f_phi and the audio-down Q/K/V learn together with the DiT (its LoRA when the
base is pretrained, all of it when it is not) to denoise AudioAE latents, for several frame rates
on one trunk. Beyond the paper, by configuration: z dropped at random (so that guidance on z works);
a warm-up in which the encoders alone learn to predict the envelope of their windows (envelope.py),
after which they may be frozen; Gaussian noise on z, or the distortion that a quantiser will cause;
and a loss that requires the trunk's hidden states to predict the envelope, which teaches a small or
untrained trunk early what z is for. Unlike in the base DiT's stage, noise levels are not weighted
by a learned uncertainty, as they are in EDM2's loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from spresso_cli.diffusion.edm import coefficients, draw_sigma
from spresso_cli.models.dit import AudioDown, DiT, DownCondition, TextCondition
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.log_mel import BANDS
from spresso_cli.training import deviations, distributed, gradients
from spresso_cli.training.acceleration import autocast
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.envelope import Envelope
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.randomness import normal
from spresso_cli.training.run import Report, Run, cosine_rate


@dataclass(frozen=True)
class StepOneTraining:
    """Hyper-parameters of step 1 (the paper's value behind each, where it gives one)."""

    steps: int = 100_000
    warmup_steps: int = 0  # encoders alone, towards the envelope; paper: none
    encoders_frozen: bool = False  # after the warm-up
    batch: int = 64  # paper: 32
    crops: tuple[tuple[int, float], ...] = ((500, 1.0),)  # latent frames and probability
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup: float = 0.02  # of the rate, share of the steps
    clip_norm: float = 1.0
    ema_sigma: float = 0.10
    p_mean: float = 0.2
    p_std: float = 1.4
    text_keep: float = 0.2
    z_drop: float = 0.1  # paper: 0
    z_noise: Mapping[int, float] | None = None  # by pooling factor; paper: none
    # By pooling factor: range of the share of z's variance that is lost as a quantiser would lose
    # it, drawn log-uniformly for each example (envelope.py). Paper: none.
    z_distortion: Mapping[int, tuple[float, float]] | None = None
    component_windows: int = 20_000  # whose principal components z starts from; paper: none
    envelope_weight: float = 0.0  # of the encoders' loss after the warm-up; paper: 0
    # By pooling factor: how much fine bands count in the bypass (envelope.py); else 1.
    fine_weights: Mapping[int, float] | None = None
    align_weight: float = 0.0  # of the envelope in the trunk's hidden states; paper: 0
    level_floor: float | None = None  # see `level_weights`; paper: none
    told_windows: int = 20_000  # code frames that what z tells of latents is fitted to; paper: none

    @property
    def asks_for_envelopes(self) -> bool:
        """Whether any part of the training needs the envelopes' principal components."""
        weights = self.envelope_weight or self.align_weight
        return bool(self.warmup_steps or weights or self.z_distortion)


SILENT = 0.02  # what a silent frame counts, where z tells which are


def diffusion_loss(
    dit: DiT,
    x0: Tensor,
    sigma: Tensor,
    noise: Tensor,
    text: TextCondition | None,
    down: DownCondition | None,
) -> Tensor:
    """lambda(sigma) |D - x0|^2 per example `[B]` with sigma_data = 1, as F's error (EDM eq. 8).

    Where z tells deviations, x0 is scaled by these, and silent frames hardly count.
    """
    return diffusion_loss_and_hidden(dit, x0, sigma, noise, text, down)[0]


def diffusion_loss_and_hidden(
    dit: DiT,
    x0: Tensor,
    sigma: Tensor,
    noise: Tensor,
    text: TextCondition | None,
    down: DownCondition | None,
) -> tuple[Tensor, Tensor]:
    """`diffusion_loss`, and the audio tokens that the joint blocks hand on, `[B, N, D]`."""
    if down is not None and down.told is not None:
        x0 = down.told.scaled(x0)
    c_skip, c_out, c_in, c_noise = coefficients(sigma, 1.0)
    x = x0 + sigma[:, None, None] * noise
    with autocast(x0.device):
        joint = dit.joint(x * c_in[:, None, None], c_noise, text, down)
        f = dit.read_out(joint)
    target = (x0 - c_skip[:, None, None] * x) / c_out[:, None, None]
    error = ((f.float() - target) ** 2).mean(2)  # [B, T]
    if down is not None and down.told is not None:
        counts = down.told.heard.clamp(min=SILENT)
        error = error * counts / distributed.mean(counts.mean())
    return error.mean(1), joint.hidden


def level_weights(x0: Tensor, floor: float | None) -> Tensor:
    """Loss weight of each example, mean 1, `[B]`: inverse to its power above `floor`.

    At equal peak, a click has a thousandth of the power of a drone; unweighted, its loss is lost in
    the drone's. z carries the level, so the weight hardly moves the optimum of either.
    """
    if floor is None:
        return x0.new_ones(len(x0))
    weights = 1 / ((x0**2).mean((1, 2)) + floor)
    return weights / weights.mean()


def example_weights(
    pool: LatentPool, latents: Tensor, adapter: AudioDown, floor: float | None
) -> Tensor:
    """`level_weights` of latents as a pool has them, `[B]`; all 1 where z tells deviations, in
    units of which a click and a drone are alike."""
    return level_weights(pool.waveform(latents), None if adapter.tells else floor)


def mean_of(name: str, values: Tensor, rows: Tensor) -> dict[str, Tensor]:
    """The mean of those `values` `[B]` whose row, bool `[B]` on the CPU, is true, under its name;
    nothing, if none is."""
    if not rows.any():
        return {}
    rows = rows.to(values, non_blocking=True)
    return {name: (values * rows).sum() / rows.sum()}


@torch.no_grad()
def effective_dimensions(z: Tensor) -> Tensor:
    """How many independent directions the channels of all processes' z `[B, ..., D]` span, 1 to D.

    Of the channels' correlation matrix R: (tr R)^2 / |R|^2. A z that has collapsed to a few is the
    first thing to look for in a run that stops improving.
    """
    rows = distributed.everyones(z.detach()).flatten(0, -2).double()
    rows = rows - rows.mean(0)
    rows = rows / rows.square().mean(0).sqrt().clamp(min=1e-9)
    correlation = rows.T @ rows / len(rows)
    return (correlation.diagonal().sum() ** 2 / correlation.square().sum().clamp(min=1e-30)).float()


class StepOne(nn.Module):
    """Encoders, adapters and envelopes of all frame rates, and the shared trunk."""

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
        self.envelopes = nn.ModuleDict(
            {str(t): Envelope(e.config.envelope) for t, e in encoders.items()}
        )
        self.align = nn.Sequential(  # a training aid
            nn.LayerNorm(dit.config.width), nn.Linear(dit.config.width, BANDS)
        )

    @property
    def has_bypass(self) -> bool:
        """Whether any encoder has a linear path from the envelope."""
        return any(encoder.needs_mel for encoder in self.encoders.values())

    def fit_envelopes(
        self,
        pool: LatentPool,
        generator: torch.Generator,
        windows: int = 20_000,
        fine_weights: Mapping[int, float] | None = None,
    ) -> None:
        """Principal components of all rates' envelopes, of so many windows each, where the model
        does not bring them, and the bypasses that consist of them."""
        for t, envelope in self.envelopes.items():
            if not envelope.fitted:
                weight = (fine_weights or {}).get(int(t), 1.0)
                envelope.fit(pool, generator, windows, weight)
            if self.encoders[t].needs_mel:
                self.encoders[t].fill_bypass(envelope.mean, envelope.components)

    def fit_deviations(
        self,
        pool: LatentPool,
        windows: int,
        frames: int,
        as_coded: Callable[[int, Tensor], Tensor] | None = None,
    ) -> None:
        """What all rates' z tell of the size of latents, where the model does not bring it.

        Args:
            windows: how many code frames to look at, at least.
            frames: latent frames of the crops that they come from.
            as_coded: (pooling factor, z) -> z as the decoder will see it; None: as it is.
        """
        # Other numbers of rows than training has, and no gradients: not worth compilations.
        with torch.compiler.set_stance("force_eager"):
            for t, adapter in self.adapters.items():
                if adapter.tells and not adapter.deviations.fitted:
                    coded = partial(as_coded, int(t)) if as_coded else None
                    deviations.fit(
                        adapter.deviations, pool, self.encoders[t], windows, frames, as_coded=coded
                    )

    def pools(self) -> list[int]:
        """Pooling factors, in the order of the configuration."""
        return [int(t) for t in self.encoders]


def crop_frames(frames: int, pool: int, patch: int) -> int:
    """The longest crop up to `frames` that holds whole pooling windows and whole patches."""
    step = math.lcm(pool, patch)
    return max(step, frames // step * step)


def disturbed(
    z: Tensor,
    t: int,
    envelope: Envelope,
    training: StepOneTraining,
    generator: torch.Generator,
) -> Tensor:
    """This process's z `[B, n, 64]` with the noise and the distortion of the configuration."""
    shape = (training.batch, *z.shape[1:])
    if spread := (training.z_noise or {}).get(t):
        z = z + spread * distributed.share(normal(shape, generator, z.device))
    if limits := (training.z_distortion or {}).get(t):
        low, high = map(math.log, limits)
        share = torch.exp(low + (high - low) * torch.rand(training.batch, generator=generator))
        noise = normal(shape, generator, z.device)
        share = share.to(z.device, non_blocking=True)
        z = envelope.distorted(z, *map(distributed.share, (share, noise)))
    return z


def train(
    pool: LatentPool,
    bank: TextBank,
    model: StepOne,
    folder: Path,
    training: StepOneTraining,
    minutes: float | None,
    report: Report | None = None,
    seed: int = 0,
    finish: bool = False,
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
        finish=finish,
        seed=seed,
        ema_sigma=training.ema_sigma,
        report=report,
    )
    pools = model.pools()
    patch = model.dit.config.patch
    lengths, odds = zip(*training.crops, strict=True)
    if run.step == 0 and (training.asks_for_envelopes or model.has_bypass):
        model.fit_envelopes(pool, run.generator, training.component_windows, training.fine_weights)
    fitted = False  # whether this call has seen to it that z tells deviations
    while run.wants_more():
        for group in optimizer.param_groups:
            group["lr"] = training.rate * cosine_rate(run.progress, training.warmup)
        t = pools[run.step % len(pools)]
        choice = torch.multinomial(torch.tensor(odds), 1, generator=run.generator)
        frames = crop_frames(lengths[int(choice)], t, patch)
        crops = pool.crops(training.batch, frames, run.generator)
        warming = run.due < training.warmup_steps
        if not (warming or fitted):
            model.fit_deviations(pool, training.told_windows, frames)
            fitted = True
        if training.encoders_frozen:
            model.encoders.requires_grad_(warming)
        encoder, adapter = model.encoders[str(t)], model.adapters[str(t)]
        envelope = model.envelopes[str(t)]
        x0, mel = map(distributed.share, (crops.latents, crops.mel))
        with autocast(device):
            z = encoder(x0, mel).float()
        losses = {f"dimensions_t{t}": effective_dimensions(z)}
        total = torch.zeros((), device=device)
        if warming or training.envelope_weight:
            error = envelope.loss(z, mel)
            losses[f"envelope_t{t}"] = distributed.mean(error)
            total = total + (1.0 if warming else training.envelope_weight) * error
        if not warming:
            sigma = draw_sigma(training.batch, training.p_mean, training.p_std, run.generator)
            noise = normal(crops.latents.shape, run.generator, device)
            keep = torch.rand(training.batch, generator=run.generator) >= training.z_drop
            text = bank.condition(crops.clip, training.text_keep, run.generator)
            sigma, keep_here = (part.to(device, non_blocking=True) for part in (sigma, keep))
            sigma, noise, text = map(distributed.share, (sigma, noise, text))
            z = disturbed(z, t, envelope, training, run.generator)
            down = adapter.condition(z, distributed.share(keep_here))
            each, hidden = diffusion_loss_and_hidden(model.dit, x0, sigma, noise, text, down)
            weights = example_weights(pool, crops.latents, adapter, training.level_floor)
            total = total + (distributed.share(weights) * each).mean()
            if training.align_weight:
                aligned = (model.align(hidden.float()) - envelope.per_patch(mel, patch)) ** 2
                total = total + training.align_weight * aligned.mean()
                losses[f"align_t{t}"] = distributed.mean(aligned.mean())
            everyone = distributed.everyones(each.detach())
            losses |= mean_of(f"loss_t{t}", everyone, keep)
            losses |= mean_of(f"dropped_t{t}", everyone, ~keep)
        optimizer.zero_grad()
        total.backward()
        gradients.descend(optimizer, model.parameters(), training.clip_norm)
        run.finish_step(losses)
