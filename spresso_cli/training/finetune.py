"""Training stage, step 3: the decoder adapts to quantised latents (S-PRESSO 2.7).

Encoder and quantiser are frozen; f_phi, the audio-down Q/K/V and the LoRA of the DiT (or all of a
DiT that has no pretrained base) are trained further on z_q, while a tenth of the examples keep the
unquantised z. The number of codebooks is drawn for each batch from those of the operating points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from spresso_cli.diffusion.edm import draw_sigma
from spresso_cli.errors import UsageError
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.training import distributed, gradients
from spresso_cli.training.acceleration import autocast
from spresso_cli.training.autoencoder import (
    StepOne,
    crop_frames,
    diffusion_loss,
    example_weights,
    mean_of,
)
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.randomness import normal, one_of
from spresso_cli.training.run import Report, Run, cosine_rate


@dataclass(frozen=True)
class StepThreeTraining:
    """Hyper-parameters of step 3 (the paper's value behind each, where it gives one)."""

    steps: int = 20_000  # paper: 40 epochs
    batch: int = 64  # paper: 32
    crops: tuple[tuple[int, float], ...] = ((500, 1.0),)
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup: float = 0.02  # share of the steps
    clip_norm: float = 1.0
    ema_sigma: float = 0.10
    codebooks: Mapping[int, tuple[int, ...]] | None = None  # by t; paper: one fixed M
    keep_z: float = 0.1  # share of examples on the unquantised z
    p_mean: float = 0.2
    p_std: float = 1.4
    text_keep: float = 0.2
    z_drop: float = 0.1  # paper: 0
    level_floor: float | None = None  # as in step 1
    told_windows: int = 20_000  # likewise, where the pack's z tells nothing yet
    refiner_alone: bool = False  # learns, all else stays as it is
    shortlist: int = 4  # A and B of the search while training
    beam: int = 2

    def options(self, pool: int, quantizer: SequenceQuantizer) -> tuple[int, ...]:
        """The numbers of codebooks that are drawn from at a pooling factor."""
        return (self.codebooks or {}).get(pool, (quantizer.qinco2.config.codebooks,))


def train(
    pool: LatentPool,
    bank: TextBank,
    model: StepOne,
    quantisers: Mapping[int, SequenceQuantizer],
    folder: Path,
    training: StepThreeTraining,
    minutes: float | None,
    report: Report | None = None,
    seed: int = 0,
    finish: bool = False,
) -> None:
    """Train what of `model` is not frozen, in `folder`; continues where a former call stopped.

    Args:
        model: the networks of step 1 (averaged weights); its encoders are frozen here,
            its DiT trains as far as its parameters ask for gradients.
        quantisers: by pooling factor, frozen.

    Raises:
        UsageError: refiners alone are to learn, and there are none.
    """
    distributed.check_batch(training.batch)
    device = pool.latents.device
    model.encoders.requires_grad_(False)
    model.align.requires_grad_(False)
    if training.refiner_alone:
        _freeze_all_but_refiners(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, training.rate, betas=training.betas, weight_decay=training.weight_decay
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
    pools, patch = model.pools(), model.dit.config.patch
    lengths, odds = zip(*training.crops, strict=True)
    fewest = {t: min(training.options(t, quantisers[t])) for t in pools}
    model.fit_deviations(
        pool,
        training.told_windows,
        max(lengths),
        lambda t, z: quantisers[t].searched(z, fewest[t], training.shortlist, training.beam),
    )
    while run.wants_more():
        for group in optimizer.param_groups:
            group["lr"] = training.rate * cosine_rate(run.progress, training.warmup)
        t = pools[run.step % len(pools)]
        choice = torch.multinomial(torch.tensor(odds), 1, generator=run.generator)
        frames = crop_frames(lengths[int(choice)], t, patch)
        x0, mel, clips, _ = pool.crops(training.batch, frames, run.generator)
        options = training.options(t, quantisers[t])
        m = one_of(options, run.generator)
        mine = distributed.share(x0)
        with torch.no_grad(), autocast(device):
            z = model.encoders[str(t)](mine, distributed.share(mel)).float()
        with torch.no_grad():
            z_q = quantisers[t].searched(z, m, training.shortlist, training.beam)
        whole = torch.rand(len(x0), generator=run.generator) < training.keep_z
        whole = distributed.share(whole).to(device, non_blocking=True)
        z = torch.where(whole[:, None, None], z, z_q)
        keep = torch.rand(len(x0), generator=run.generator) >= training.z_drop
        adapter = model.adapters[str(t)]
        sigma = draw_sigma(len(x0), training.p_mean, training.p_std, run.generator)
        noise = normal(x0.shape, run.generator, device)
        text = bank.condition(clips, training.text_keep, run.generator)
        sigma, keep_here = (part.to(device, non_blocking=True) for part in (sigma, keep))
        sigma, noise, text = map(distributed.share, (sigma, noise, text))
        down = adapter.condition(z, distributed.share(keep_here))
        each = diffusion_loss(model.dit, mine, sigma, noise, text, down)
        weights = example_weights(pool, x0, adapter, training.level_floor)
        optimizer.zero_grad()
        (distributed.share(weights) * each).mean().backward()
        gradients.descend(optimizer, trained, training.clip_norm)
        everyone = distributed.everyones(each.detach())
        run.finish_step(
            mean_of(f"loss_t{t}", everyone, keep) | {f"m{m}_t{t}": (weights * everyone).mean()}
        )


def _freeze_all_but_refiners(model: StepOne) -> None:
    model.requires_grad_(False)
    for adapter in model.adapters.values():
        if adapter.refiner is None:
            raise UsageError(f"refiner_alone: the adapter for t = {adapter.config.pool} has none")
        adapter.refiner.requires_grad_(True)
