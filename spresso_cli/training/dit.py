"""Training stage: the base DiT, text to audio on AudioAE latents (S-PRESSO 2.2; EDM2's strategy).

The network learns to denoise latents with or without a caption; the codec decodes with the learned
null, which stands for no caption. A second, small network learns the loss to be expected at each
noise level, by which levels are weighted (EDM2, equation 21); it is used in training only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from spresso_cli.diffusion.edm import draw_sigma
from spresso_cli.models.dit import DiT, DiTConfig
from spresso_cli.training import distributed, gradients
from spresso_cli.training.autoencoder import crop_frames, diffusion_loss
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.randomness import normal
from spresso_cli.training.run import Report, Run, cosine_rate
from spresso_cli.training.stored import part

LEVELS = (0.05, 0.2, 0.6, 1.5, 4.0, 12.0, 40.0)
"""Noise levels (sigma_data = 1) at which the validation loss is measured."""


@dataclass(frozen=True)
class DiTTraining:
    """Hyper-parameters of this stage (the paper's or EDM2's value behind each, if it differs)."""

    steps: int = 200_000  # paper: not given
    batch: int = 64  # paper: not given
    frames: int = 500
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)  # paper: not given
    weight_decay: float = 0.01
    warmup: float = 0.02  # share of the steps
    clip_norm: float = 1.0  # EDM2: none
    p_mean: float = 0.29  # EDM2: -0.4 at sigma_data 0.5, which is 0.29 at ours
    p_std: float = 1.4  # EDM2: 1.0
    text_keep: float = 0.85  # paper: not given
    ema_sigma: float = 0.05
    second_ema_sigma: float = 0.10  # the better of the two on held-out sound is kept
    validate_every: int = 1000  # steps
    validation_crops: int = 64


class Uncertainty(nn.Module):
    """u(sigma), the logarithm of the loss to be expected at a noise level: c_noise `[B]` -> `[B]`.

    Random Fourier features and one linear layer, zero at the start (EDM2).
    """

    def __init__(self):
        super().__init__()
        features = 128
        self.register_buffer("frequency", torch.randn(features))
        self.register_buffer("phase", torch.rand(features))
        self.linear = nn.Linear(features, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, c_noise: Tensor) -> Tensor:
        angle = 2 * torch.pi * (c_noise[:, None] * self.frequency + self.phase)
        return self.linear(2**0.5 * angle.cos())[:, 0]


class Validation:
    """Fixed crops, noise and captions, on which the averaged network is scored level by level."""

    _TOGETHER = 16  # crops that run at a time

    def __init__(
        self, pool: LatentPool, bank: TextBank, config: DiTConfig, crops: int, frames: int
    ):
        generator = torch.Generator().manual_seed(0)
        self.x0, _, clips, _ = pool.crops(crops, frames, generator)
        self.noise = normal(self.x0.shape, generator, self.x0.device)
        # keep = 1: every example has its caption, so there is always a condition.
        self.text = bank.condition(clips, 1.0, generator)
        self.network = DiT(config).to(self.x0.device).eval()

    @torch.no_grad()
    def losses(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """Error of F at each level of `LEVELS` for averaged `weights`, and their mean."""
        self.network.load_state_dict(dict(weights))
        rows = {f"valid_{level:g}": self._at(level) for level in LEVELS}
        return rows | {"valid": sum(rows.values()) / len(rows)}

    def _at(self, level: float) -> float:
        total = 0.0
        for start in range(0, len(self.x0), self._TOGETHER):
            rows = slice(start, start + self._TOGETHER)
            text = replace(
                self.text, **{f.name: getattr(self.text, f.name)[rows] for f in fields(self.text)}
            )
            x0 = self.x0[rows]
            sigma = x0.new_full((len(x0),), level)
            each = diffusion_loss(self.network, x0, sigma, self.noise[rows], text, None)
            total += float(each.sum())
        return total / len(self.x0)


def train(
    pool: LatentPool,
    bank: TextBank,
    held_out: tuple[LatentPool, TextBank],
    dit: DiT,
    folder: Path,
    training: DiTTraining,
    minutes: float | None,
    report: Report | None = None,
    seed: int = 0,
    finish: bool = False,
) -> None:
    """Train `dit` in `folder`; continues where a former call stopped.

    Args:
        held_out: sounds and captions of the validation.
    """
    distributed.check_batch(training.batch)
    device = pool.latents.device
    uncertainty = Uncertainty().to(device)
    learned = [*dit.parameters(), *uncertainty.parameters()]
    optimizer = torch.optim.AdamW(
        learned, training.rate, betas=training.betas, weight_decay=training.weight_decay
    )
    run = Run(
        folder,
        {"dit": dit},
        optimizer,
        steps=training.steps,
        minutes=minutes,
        finish=finish,
        seed=seed,
        ema_sigma=training.ema_sigma,
        more_emas={"second_ema_sigma": training.second_ema_sigma},
        companions={"uncertainty": uncertainty},
        report=report,
    )
    frames = crop_frames(training.frames, 1, dit.config.patch)
    validation = Validation(*held_out, dit.config, training.validation_crops, frames)
    validated = run.step

    def validate() -> None:
        """Of both averages; the curves level by level are the better one's."""
        rows = {key: validation.losses(part(ema.average, "dit")) for key, ema in run.emas.items()}
        errors = {key: row["valid"] for key, row in rows.items()}
        run.prefer(errors)
        run.log(rows[run.preferred] | {f"valid_{key}": error for key, error in errors.items()})

    while run.wants_more():
        for group in optimizer.param_groups:
            group["lr"] = training.rate * cosine_rate(run.progress, training.warmup)
        x0, _, clips, _ = pool.crops(training.batch, frames, run.generator)
        sigma = draw_sigma(len(x0), training.p_mean, training.p_std, run.generator)
        noise = normal(x0.shape, run.generator, device)
        text = bank.condition(clips, training.text_keep, run.generator)
        x0, sigma, noise, text = map(
            distributed.share, (x0, sigma.to(device, non_blocking=True), noise, text)
        )
        each = diffusion_loss(dit, x0, sigma, noise, text, None)
        u = uncertainty(sigma.log() / 4)
        optimizer.zero_grad()
        (each * torch.exp(-u) + u).mean().backward()
        gradients.descend(optimizer, learned, training.clip_norm)
        everyone = distributed.everyones(each.detach())
        run.finish_step({"loss": everyone.mean()})
        if run.step % training.validate_every == 0:
            validate()
            validated = run.step
    if run.step > validated:  # the schedule or the time was over between two
        validate()
