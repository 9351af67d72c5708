"""Training stage: the AudioAE, first by reconstruction alone, then with DAC's discriminators.

S-PRESSO 2.1 follows DAC. This stage differs where an improvement is cheap: the linear bypass starts
as the lowest MDCT bins and stays frozen while the networks learn around it, and discriminators are
added only when reconstruction improves no more, on fewer and shorter crops. Every step of the
adversarial phase runs the discriminators once on the real and once on the decoded sound: both
losses come from the same feature maps, each with gradients to its own weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from spresso_cli.models.audio_ae import LEVEL_SPREAD, SAMPLE_RATE, AudioAE, AudioAEConfig
from spresso_cli.training import distributed, gradients, losses
from spresso_cli.training.acceleration import autocast
from spresso_cli.training.augment import change_speed, mix, random_eq, uniform
from spresso_cli.training.corpus import Corpus
from spresso_cli.training.discriminators import DiscriminatorConfig, Discriminators
from spresso_cli.training.randomness import chance, fractions
from spresso_cli.training.run import Report, Run, cosine_rate
from spresso_cli.training.streaming import CorpusWindows

ENCODER = ("enc.", "to_latent.", "ana")  # what latents depend on
_SPEEDS = 4  # groups of a batch that are resampled together
_NETWORK_LEVEL = (-9.0, -3.0)  # dBFS of peaks that later stages and the codec encode at


@dataclass(frozen=True)
class AudioAETraining:
    """Hyper-parameters of this stage (DAC's value behind each, where it differs)."""

    steps: int = 40_000  # DAC: 400 000
    adversarial_from: int = 30_000  # step; DAC: 0
    batch: int = 64  # DAC: 72
    seconds: float = 1.0  # DAC: 0.38
    adversarial_batch: int = 32
    adversarial_seconds: float = 0.5
    rate: float = 3e-4  # DAC: 1e-4
    adversarial_rate: float = 1e-4  # of the AudioAE in the second phase
    discriminator_rate: float = 1e-4
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    warmup: float = 0.02  # share of the first phase; of the second where that is all there is
    mel_weight: float = 15 / 7  # DAC: 15
    stft_weight: float = 5.0  # DAC: 0
    waveform_weight: float = 20.0  # DAC: 0
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    ramp_steps: int = 500  # over which both of them rise; DAC: 0
    clip_norm: float = 1e3
    discriminator_clip_norm: float = 10.0
    bypass_frozen_steps: int = 5000
    bypass_rate: float = 0.1  # times the rate, afterwards
    ema_sigma: float = 0.05
    level: tuple[float, float] = (-24.0, -0.5)  # dBFS of a clip's peak
    speed_probability: float = 0.5
    eq_probability: float = 0.4
    mix_probability: float = 0.3
    # The decoder alone: the latents stay those that later stages have learnt. DAC: false
    encoder_frozen: bool = False
    latent_frames: int = 100_000  # that mean and std of the latents are measured on
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)


def warm_start(network: AudioAE, given: AudioAE) -> str:
    """Copy what fits from trained weights into a fresh network; says what that was.

    The same sizes with as many blocks or more take everything: blocks beyond the given ones start
    with a zero scale, so that the network computes exactly what the given one did. High bands that
    the given one lacks take the place of what its last latents were. Otherwise only the linear
    bypass is taken, if both have one of the same length.
    """
    sizes = ("dim", "kernel", "expansion", "latent", "n_fft", "hop", "bypass")
    ours, theirs = network.config, given.config
    fits = all(getattr(ours, name) == getattr(theirs, name) for name in sizes)
    deep = (
        ours.encoder_blocks >= theirs.encoder_blocks
        and ours.decoder_blocks >= theirs.decoder_blocks
    )
    fits = fits and theirs.high_bands in (0, ours.high_bands)
    weights = given.state_dict()
    with torch.no_grad():
        if fits and deep:
            if ours.high_bands > theirs.high_bands:
                weights = _with_high_bands(weights, ours)
            network.load_state_dict(weights, strict=False)
            for name, parameter in network.named_parameters():
                if name.endswith("gamma") and name not in weights:
                    parameter.zero_()
            return "all weights"
        if ours.bypass == theirs.bypass == "mdct" and ours.rows == theirs.rows:
            network.ana.copy_(given.ana)
            network.syn.copy_(given.syn)
            return "the linear bypass"
    return "nothing"


def _with_high_bands(weights: dict[str, Tensor], config: AudioAEConfig) -> dict[str, Tensor]:
    """Weights of an AudioAE without high bands for one of `config`, whose networks add nothing to
    the levels of its bands."""
    weights = {name: value.clone() for name, value in weights.items()}
    rows, bins = config.rows, config.n_fft // 2 + 1
    weights["ana"], weights["syn"] = weights["ana"][:rows], weights["syn"][:, :rows]
    for name in ("to_latent.weight", "to_latent.bias", "latent_mean"):
        weights[name][rows:] = 0
    weights["latent_std"][rows:] = 1 / LEVEL_SPREAD
    weights["dec.embed.weight"][:, rows:] = 0
    for name in ("head.weight", "head.bias"):
        weights[name][rows:bins] = 0  # magnitudes
    return weights


def sounds(
    corpus: Corpus,
    count: int,
    samples: int,
    level: tuple[float, float],
    training: AudioAETraining,
    generator: torch.Generator,
) -> Tensor:
    """Augmented crops `[count, samples]` on the corpus's device, peaks at most 1.

    Levels are those of whole clips, so that the quiet passages of a sound stay quiet.
    """
    parts = []
    for indices in corpus.draw(count, generator).chunk(_SPEEDS):
        factor = 1.0
        if chance(training.speed_probability, 1, generator):
            factor = float(2 ** uniform(1, -0.6, 0.6, generator))
        crops = corpus.crops(indices, round(samples * max(1.0, factor)), generator)
        if factor != 1.0:
            crops = change_speed(crops, factor)
        parts.append(F.pad(crops, (0, max(0, samples - crops.shape[-1])))[:, :samples])
    # Shuffled: no part of a batch may be systematically different from another.
    order = torch.randperm(count, generator=generator)
    x = torch.cat(parts)[order.to(corpus.pcm.device, non_blocking=True)]
    coloured = chance(training.eq_probability, count, generator).to(x.device, non_blocking=True)
    x = torch.where(coloured[:, None], random_eq(x, generator)[:, :samples], x)
    x = mix(x, generator, training.mix_probability)
    gain = 10 ** (uniform(count, *level, generator) / 20)
    sign = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
    x = x * (gain * sign).to(x, non_blocking=True)[:, None]
    return x / x.abs().amax(-1, keepdim=True).clamp(min=1.0)


def reconstruction(
    y: Tensor, clear: Tensor, x: Tensor, training: AudioAETraining
) -> dict[str, Tensor]:
    """The weighted reconstruction losses of decoded `y` against `x`; `clear` is `y` without what
    has its phases from noise, `[B, n]` each.

    Noise can have the level of what it stands for, never its phase: losses that compare phases do
    not hear it, or the best noise would be none.
    """
    return {
        "mel": training.mel_weight * losses.mel_loss(y, x),
        "stft": training.stft_weight * losses.stft_loss(clear, x),
        "waveform": training.waveform_weight * losses.waveform_loss(clear, x),
    }


class Stage:
    """Networks and optimisers of this stage, and its two kinds of step."""

    def __init__(self, audio_ae: AudioAE, training: AudioAETraining):
        self.audio_ae = audio_ae
        self.training = training
        device = audio_ae.latent_mean.device
        self.judges = Discriminators(training.discriminators).to(device)
        if training.encoder_frozen:
            for name, parameter in audio_ae.named_parameters():
                parameter.requires_grad_(not name.startswith(ENCODER))
        learning = [(n, p) for n, p in audio_ae.named_parameters() if p.requires_grad]
        self.learning = [p for _, p in learning]
        bypass = [p for name, p in learning if name in ("ana", "syn")]
        rest = [p for name, p in learning if name not in ("ana", "syn")]
        self.optimizer = torch.optim.AdamW(
            [{"params": rest}, {"params": bypass, "weight_decay": 0.0}],
            training.rate,
            betas=training.betas,
            weight_decay=training.weight_decay,
        )
        self.judging = torch.optim.AdamW(
            self.judges.parameters(),
            training.discriminator_rate,
            betas=training.betas,
            weight_decay=training.weight_decay,
        )

    def set_rates(self, step: int) -> None:
        """Learning rates of one step of the schedule: a cosine a phase, the bypass behind."""
        training = self.training
        first = training.adversarial_from
        if step < first:
            progress = step / min(first, training.steps)
            rate = training.rate * cosine_rate(progress, training.warmup, 0.3)
        else:
            progress = (step - first) / (training.steps - first)
            factor = cosine_rate(progress, 0.01 if first else training.warmup, 0.1)
            rate = training.adversarial_rate * factor
            self.judging.param_groups[0]["lr"] = training.discriminator_rate * factor
        network, bypass = self.optimizer.param_groups
        network["lr"] = rate
        bypass["lr"] = training.bypass_rate * rate * (step >= training.bypass_frozen_steps)

    def decoded(self, x: Tensor, phases: Tensor | None) -> tuple[Tensor, Tensor]:
        """`x` `[B, n]` through the AudioAE, see `AudioAE.decode_parts`."""
        with torch.set_grad_enabled(not self.training.encoder_frozen):
            z = self.audio_ae.encode_raw(x)
        return self.audio_ae.decode_parts(z, phases)

    def reconstruct(self, x: Tensor, phases: Tensor | None = None) -> dict[str, Tensor]:
        """A step of the first phase on `x` `[B, n]`, `phases` `[B, T, phases]` to decode by."""
        parts = reconstruction(*self.decoded(x, phases), x, self.training)
        self.optimizer.zero_grad(set_to_none=True)
        sum(parts.values()).backward()
        gradients.descend(self.optimizer, self.audio_ae.parameters(), self.training.clip_norm)
        return parts

    def compete(self, x: Tensor, ramp: float, phases: Tensor | None = None) -> dict[str, Tensor]:
        """A step of the second phase; `ramp` 0..1 scales what the discriminators say."""
        training = self.training
        y, clear = self.decoded(x, phases)
        parts = reconstruction(y, clear, x, training)
        with autocast(x.device):
            real, fake = self.judges(x), self.judges(y)
        judged = losses.discriminator_loss(real, fake)
        parts["adversarial"] = ramp * training.adversarial_weight * losses.adversarial_loss(fake)
        parts["feature"] = ramp * training.feature_weight * losses.feature_loss(real, fake)
        self.optimizer.zero_grad(set_to_none=True)
        self.judging.zero_grad(set_to_none=True)
        # Each loss reaches its own weights only; autograd skips what leads elsewhere.
        judged.backward(inputs=list(self.judges.parameters()), retain_graph=True)
        sum(parts.values()).backward(inputs=self.learning)
        gradients.descend(self.judging, self.judges.parameters(), training.discriminator_clip_norm)
        gradients.descend(self.optimizer, self.audio_ae.parameters(), training.clip_norm)
        return parts | {"discriminator": judged}


def train(
    windows: CorpusWindows,
    audio_ae: AudioAE,
    folder: Path,
    training: AudioAETraining,
    minutes: float | None,
    report: Report | None = None,
    seed: int = 0,
    finish: bool = False,
) -> None:
    """Train in `folder`; continues where a former call stopped.

    Ends, also at the end of a time box, by measuring the latents' mean and std with the averaged
    weights, unless the encoder is frozen: the checkpoint then holds an AudioAE that can be used.
    """
    for batch in (training.batch, training.adversarial_batch):
        distributed.check_batch(batch)
    stage = Stage(audio_ae, training)
    run = Run(
        folder,
        {"audio_ae": audio_ae},
        stage.optimizer,
        companions={"discriminators": stage.judges},
        more_optimizers={"discriminators": stage.judging},
        steps=training.steps,
        minutes=minutes,
        finish=finish,
        seed=seed,
        ema_sigma=training.ema_sigma,
        report=report,
    )
    while run.wants_more():
        stage.set_rates(run.due)
        late = run.due - training.adversarial_from
        count = training.adversarial_batch if late >= 0 else training.batch
        seconds = training.adversarial_seconds if late >= 0 else training.seconds
        hop = audio_ae.config.hop
        samples = max(1, round(seconds * SAMPLE_RATE / hop)) * hop
        corpus = windows.at(run.step)
        x = sounds(corpus, count, samples, training.level, training, run.generator)
        x, phases = distributed.share(x), None
        if noisy := audio_ae.config.phases:
            shape = (count, samples // hop, noisy)
            phases = distributed.share(fractions(shape, run.generator, x.device))
        if late < 0:
            parts = stage.reconstruct(x, phases)
        else:
            parts = stage.compete(x, min(1.0, late / max(1, training.ramp_steps)), phases)
        run.finish_step({name: distributed.mean(value) for name, value in parts.items()})
    if not training.encoder_frozen:
        standardise(run, audio_ae, windows, training, seed)


@torch.no_grad()
def standardise(
    run: Run,
    audio_ae: AudioAE,
    windows: CorpusWindows,
    training: AudioAETraining,
    seed: int,
) -> None:
    """Measure mean and std of the averaged encoder's latents and put them into the checkpoint."""
    averaged = AudioAE(audio_ae.config).to(audio_ae.latent_mean.device)
    averaged.load_state_dict(
        {name: run.ema.average[f"audio_ae.{name}"] for name in audio_ae.state_dict()}
    )
    generator = torch.Generator().manual_seed(seed)
    corpus, seen = windows.at(run.step), 0
    total = torch.zeros(2, audio_ae.config.latent, dtype=torch.float64)
    total = total.to(audio_ae.latent_mean.device)
    while seen < training.latent_frames:
        x = sounds(corpus, 16, SAMPLE_RATE, _NETWORK_LEVEL, training, generator)
        z = averaged.encode_raw(x).flatten(0, 1).double()
        total += torch.stack((z.sum(0), z.square().sum(0)))
        seen += len(z)
    mean = total[0] / seen
    std = (total[1] / seen - mean**2).clamp(min=1e-8).sqrt()
    std[audio_ae.config.rows :] /= LEVEL_SPREAD
    for name, value in (("latent_mean", mean), ("latent_std", std)):
        getattr(audio_ae, name).copy_(value)
        run.ema.average[f"audio_ae.{name}"].copy_(value)
    run.save()
