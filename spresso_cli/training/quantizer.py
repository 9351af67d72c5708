"""Training stage, step 2: offline QINCo2 on the latents of the averaged encoder (S-PRESSO 2.6).

The encoder is fully trained. A fixed set of its z is drawn from the latent pool, residual k-means
initialises the codebooks, and then codebooks and step networks train on the winning paths of a beam
search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.training import distributed, gradients
from spresso_cli.training.acceleration import accelerate
from spresso_cli.training.kmeans import residual_kmeans
from spresso_cli.training.latents import LatentPool, encoded
from spresso_cli.training.randomness import one_of
from spresso_cli.training.run import Report, Run
from spresso_cli.training.stored import trained_at

_EXACT = 1e-6  # a mean square of which a root still has a slope


@dataclass(frozen=True)
class QuantizerTraining:
    """Hyper-parameters of step 2 (QINCo2's defaults behind each, where they differ)."""

    vectors: int = 1_000_000
    initial_vectors: int = 200_000  # of them for residual k-means; QINCo2: 1 000 000
    initial_iterations: int = 12  # QINCo2: 10, from a uniform start
    steps: int = 20_000  # QINCo2: 60 epochs
    batch: int = 4096  # paper: 8000
    rate: float = 8e-4
    weight_decay: float = 0.1
    warmup: float = 0.05  # share of the steps
    clip_value: float = 0.1  # of each gradient
    ema_sigma: float = 0.05  # QINCo2: none
    shortlist: int = 24  # A in training; QINCo2: 16 of each hypothesis
    beam: int = 16  # B in training; QINCo2: 32
    reset_every: int = 250  # steps between resets of dead codes; QINCo2: an epoch
    reset_until: float = 0.8  # share of the steps
    codebook_noise: float = 0.1  # of the codebook's std, at the start
    codebooks: tuple[int, ...] = ()  # of a batch's paths, drawn; (): all, as QINCo2


def draw_sequences(
    pool: LatentPool, encoder: LatentEncoder, count: int, frames: int, seed: int = 0
) -> Tensor:
    """z of random crops of `frames` latent frames, float32 `[B, n, 64]`, at least `count`."""
    return torch.cat([z for _, z in encoded(pool, encoder, count, frames, seed)])


def shuffled(vectors: Tensor, count: int, seed: int = 0) -> Tensor:
    """At most `count` of vectors `[N, D]`, shuffled across clips; as long tables go alike."""
    generator = torch.Generator().manual_seed(seed)
    return vectors[torch.randperm(len(vectors), generator=generator)[:count].to(vectors.device)]


@torch.no_grad()
def initialise(model: QINCo2, z: Tensor, training: QuantizerTraining, seed: int = 0) -> None:
    """Normalisation from the data, codebooks from residual k-means; on those of the steps a little
    noise (QINCo2: on all)."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    x = standardised(model, z, training)
    books = residual_kmeans(
        x, config.entries, config.codebooks, training.initial_iterations, generator
    )
    fill(model, books, training, generator)


@torch.no_grad()
def standardised(model: QINCo2, z: Tensor, training: QuantizerTraining) -> Tensor:
    """Normalisation from the data; those vectors, normalised, that residual k-means is to see."""
    model.mean.copy_(z.mean(0))
    model.std.copy_((z - model.mean).std())
    return model.normalise(z[: training.initial_vectors])


@torch.no_grad()
def fill(
    model: QINCo2, books: Sequence[Tensor], training: QuantizerTraining, generator: torch.Generator
) -> None:
    """Codebooks `[K, D]` of all steps, with the noise of `initialise`."""
    model.first.copy_(books[0])
    for step, book in zip(model.steps, books[1:], strict=True):
        noise = torch.randn(book.shape, generator=generator).to(book)
        book = book + training.codebook_noise * book.std() * noise
        step.codebook.copy_(book)
        step.shortlist.copy_(book)


def path_loss(
    model: QINCo2, x: Tensor, codes: Tensor, metric: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Loss along chosen codes `[N, M']`, and the error after each step (detached, `[M']`).

    Sum over steps of the error, whose gradient flows into earlier steps, plus what teaches the
    shortlists to predict the residual before each step. The error is the mean square; with a metric
    (of `QINCo2.search`) the mean of every vector's root mean square, as an envelope's distance is
    heard: else the few that are furthest away would count for more than all others.
    """
    xhats = model.decode_steps(codes)
    steps = model.steps[: len(xhats) - 1]

    def missed(error: Tensor) -> Tensor:
        if metric is None:
            return error.square().mean()
        return ((error[:, None] @ metric).square().mean((1, 2)) + _EXACT).sqrt().mean()

    errors = torch.stack([missed(x - xhat) for xhat in xhats])
    shortlists = [
        missed(x - before.detach() - step.shortlist[codes[:, m + 1]])
        for m, (step, before) in enumerate(zip(steps, xhats[:-1], strict=True))
    ]
    return errors.sum() + sum(shortlists), errors.detach()


@torch.no_grad()
def reset_dead(model: QINCo2, x: Tensor, used: Tensor, generator: torch.Generator) -> int:
    """Move unused entries onto residuals of real vectors; returns how many were moved.

    Args:
        x: normalised vectors of the last batch `[N, D]`.
        used: whether each entry was chosen since the last reset, bool `[M, K]`.
    """
    codes, _ = model.search(x, model.config.codebooks, 1, 1)
    xhats = model.decode_steps(codes)
    moved = 0
    for m in range(model.config.codebooks):
        dead = (~used[m]).nonzero()[:, 0]
        if not len(dead) or not used[m].any():  # no path has come as far
            continue
        residual = x if m == 0 else x - xhats[m - 1]
        rows = torch.randint(len(x), (len(dead),), generator=generator).to(x.device)
        if m == 0:
            model.first[dead] = residual[rows]
        else:
            model.steps[m - 1].codebook[dead] = residual[rows]
            model.steps[m - 1].shortlist[dead] = residual[rows]
        moved += len(dead)
    return moved


def quarter_cosine(progress: float, warmup: float) -> float:
    """QINCo2's schedule: linear warm-up, then a quarter cosine to zero."""
    if progress < warmup:
        return progress / warmup
    return max(1e-3, math.cos(math.pi / 2 * (progress - warmup) / (1 - warmup)))


def train(
    z: Tensor,
    folder: Path,
    config: QINCo2Config,
    training: QuantizerTraining,
    minutes: float | None,
    report: Report | None = None,
    seed: int = 0,
    start: QINCo2 | None = None,
    finish: bool = False,
    compiled: bool = False,
    metric: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Train a quantiser on `z` `[N, 64]` in `folder`; continues where a former call stopped.

    Args:
        start: a quantiser of the same encoder to go on from; None: residual k-means of z.
        compiled: whether the steps' networks go through torch.compile.
        metric: gives L of `QINCo2.search` for some rows of z, `[n, 64, 64]`; None: all errors count
            alike.
    """
    distributed.check_batch(training.batch)
    torch.manual_seed(seed)
    model = QINCo2(config).to(z.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), training.rate, weight_decay=training.weight_decay
    )
    if start is not None:
        model.load_state_dict(start.state_dict())
    elif trained_at(folder) is None:
        initialise(model, z, training, seed)
    used = torch.zeros(config.codebooks, config.entries, dtype=torch.bool, device=z.device)
    run = Run(
        folder,
        {"qinco2": model},
        optimizer,
        steps=training.steps,
        minutes=minutes,
        finish=finish,
        seed=seed,
        ema_sigma=training.ema_sigma,
        state={"used": used},
        report=report,
    )
    accelerate(model, z.device, compiled)
    # Paths are chosen in bfloat16 where that is fast; what is learnt from them is not rounded.
    choosing = torch.autocast(z.device.type, torch.bfloat16, enabled=z.device.type == "cuda")
    kind = "mse" if metric is None else "rms"  # what `path_loss` gives
    while run.wants_more():
        for group in optimizer.param_groups:
            group["lr"] = training.rate * quarter_cosine(run.progress, training.warmup)
        rows = torch.randint(len(z), (training.batch,), generator=run.generator)
        rows = rows.to(z.device, non_blocking=True)
        x = model.normalise(z[rows])
        length = config.codebooks
        if training.codebooks:
            length = one_of(training.codebooks, run.generator)
        mine = distributed.share(x)
        own = None if metric is None else metric(distributed.share(rows))
        with torch.no_grad(), choosing:
            codes, _ = model.search(
                mine, length, training.shortlist, training.beam, own, plainly=True
            )
        used[:length].scatter_(1, distributed.everyones(codes).T, True)
        loss, errors = path_loss(model, mine, codes, own)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(gradients.gather(model.parameters()), training.clip_value)
        optimizer.step()
        if (run.step + 1) % training.reset_every == 0 and run.progress < training.reset_until:
            reset_dead(model, x, used, run.generator)
            used.zero_()
        errors = distributed.everyones(errors[None]).mean(0)
        told = {"loss": distributed.mean(loss)}
        if length == config.codebooks:
            told[f"{kind}_all"] = errors[-1]
        if length >= 8:
            told[f"{kind}_8"] = errors[7]
        run.finish_step(told)
