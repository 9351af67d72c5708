"""Training stage: CLAP on a captioned corpus (S-PRESSO 2.2; symmetric InfoNCE as in LAION-CLAP)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from spresso_cli.models.audio_ae import SAMPLE_RATE
from spresso_cli.models.clap import CLAP, CLAPConfig
from spresso_cli.training import distributed, gradients
from spresso_cli.training.augment import set_peak
from spresso_cli.training.corpus import Corpus
from spresso_cli.training.run import Report, Run, cosine_rate
from spresso_cli.training.streaming import CorpusWindows


@dataclass(frozen=True)
class CLAPTraining:
    """Hyper-parameters of this stage."""

    steps: int = 4000
    batch: int = 128
    seconds: float = 4.0
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    warmup: float = 0.03  # share of the steps
    clip_norm: float = 1.0
    ema_sigma: float = 0.10


def text_of(caption: str, category: str, generator: torch.Generator) -> str:
    """The caption, sometimes with its category: terse captions then share a vocabulary."""
    if category and torch.rand((), generator=generator) < 0.3:
        return f"{caption} {category}"
    return caption


def train(
    corpus: Corpus | CorpusWindows,
    device: torch.device,
    folder: Path,
    config: CLAPConfig,
    training: CLAPTraining,
    minutes: float | None,
    report: Report | None = None,
    seed: int = 0,
    finish: bool = False,
) -> None:
    """Train both towers in `folder`; continues where a former call stopped.

    Args:
        device: where the corpus lies, and the towers will.
    """
    distributed.check_batch(training.batch)
    torch.manual_seed(seed)
    model = CLAP(config).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        training.rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
    )
    run = Run(
        folder,
        {"clap": model},
        optimizer,
        steps=training.steps,
        minutes=minutes,
        finish=finish,
        seed=seed,
        ema_sigma=training.ema_sigma,
        report=report,
    )
    samples = round(training.seconds * SAMPLE_RATE)
    while run.wants_more():
        for group in optimizer.param_groups:
            group["lr"] = training.rate * cosine_rate(run.progress, training.warmup)
        window = corpus.at(run.step)
        indices = window.draw(training.batch, run.generator)
        sound = set_peak(window.crops(indices, samples, run.generator), run.generator, -24, -0.5)
        clips = [window.clips[i] for i in indices]
        texts = [text_of(c.caption, c.category, run.generator) for c in clips]
        own = distributed.share(torch.arange(len(texts))).tolist()
        # Every process contrasts the whole batch: its negatives are what the loss lives on.
        audio = distributed.everyones(model.audio(distributed.share(sound)))
        text = distributed.everyones(model.text.embed([texts[i] for i in own]))
        logits = model.log_scale.exp().clamp(max=100) * audio @ text.T
        # Clips with one caption are all right answers for it: spread the target over them.
        numbers: dict[str, int] = {}
        ids = torch.tensor([numbers.setdefault(c.caption, len(numbers)) for c in clips])
        same = (ids[:, None] == ids).to(device, non_blocking=True)
        target = same.float() / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        gradients.descend(optimizer, model.parameters(), training.clip_norm)
        run.finish_step({"loss": loss.detach()})
