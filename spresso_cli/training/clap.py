"""Training stage: CLAP on a captioned corpus (S-PRESSO 2.2; symmetric InfoNCE as in LAION-CLAP)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from spresso_cli.models.audio_ae import SAMPLE_RATE
from spresso_cli.models.clap import CLAP, CLAPConfig
from spresso_cli.training.augment import set_peak
from spresso_cli.training.corpus import Corpus
from spresso_cli.training.run import Run, cosine_rate


@dataclass(frozen=True)
class CLAPTraining:
    """Hyper-parameters of this stage."""

    steps: int = 4000
    batch: int = 128
    seconds: float = 4.0
    rate: float = 1e-3
    weight_decay: float = 0.05
    mel_noise: float = 0.05


def text_of(caption: str, category: str, generator: torch.Generator) -> str:
    """The caption, sometimes with its category: terse captions then share a vocabulary."""
    if category and torch.rand((), generator=generator) < 0.3:
        return f"{caption} {category}"
    return caption


def train(
    corpus: Corpus,
    folder: Path,
    config: CLAPConfig,
    training: CLAPTraining,
    minutes: float | None,
    report: Callable[[dict[str, float]], None] | None = None,
) -> None:
    """Train both towers in `folder`; continues where a former call stopped."""
    torch.manual_seed(0)
    model = CLAP(config).to(corpus.pcm.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), training.rate, betas=(0.9, 0.98), weight_decay=training.weight_decay
    )
    run = Run(
        folder, {"clap": model}, optimizer, steps=training.steps, minutes=minutes, report=report
    )
    samples = round(training.seconds * SAMPLE_RATE)
    while run.wants_more():
        for group in optimizer.param_groups:
            group["lr"] = training.rate * cosine_rate(run.progress, 0.03)
        indices = corpus.draw(training.batch, run.generator)
        sound = set_peak(corpus.crops(indices, samples, run.generator), run.generator, -24, -0.5)
        clips = [corpus.clips[i] for i in indices]
        texts = [text_of(c.caption, c.category, run.generator) for c in clips]
        audio, text = model.audio(sound), model.text.embed(texts)
        logits = model.log_scale.exp().clamp(max=100) * audio @ text.T
        # Clips with one caption are all right answers for it: spread the target over them.
        captions = [c.caption for c in clips]
        same = torch.tensor([[a == b for b in captions] for a in captions], device=logits.device)
        target = same.float() / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        run.finish_step({"loss": loss.detach()})
