"""A pool of AudioAE latents of (augmented) corpus sound, from which the later stages draw crops.

Because sounds are encoded once and cropped many times, a training step runs the diffusion network
alone. Every pass over the corpus draws new augmentation; a clip's latents end in silence, as files
do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.log_mel import FLOOR, LogMel
from spresso_cli.training.augment import change_speed, random_eq, set_peak
from spresso_cli.training.corpus import Corpus

TOGETHER = 32  # crops that are drawn and encoded at a time
TAIL_FRAMES = 20  # zeros encoded behind a clip, so that its end sounds like a file's end


def mark_of(rows: Tensor, *others: object) -> str:
    """Eight hex digits that change with a table `[N, ...]`, of which a thousand rows are looked at,
    or anything else given."""
    digest = hashlib.sha256(repr((rows.shape, others)).encode())
    some = rows[:: len(rows) // 1000 + 1]
    digest.update(some.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


class Crops(NamedTuple):
    """Latents float32 `[B, T, 128]`, log-mels float32 `[B, T, 64 + fine]`, corpus indices `[B]`, in
    how many frames there is sound `[B]`."""

    latents: Tensor
    mel: Tensor
    clip: Tensor
    sounding: Tensor


@dataclass
class LatentPool:
    """Flat latents and where each entry lies.

    Attributes:
        latents: float16 `[frames, 128]`, standardised.
        mel: float16 `[frames, 64 + fine]`, the `LogMel` of the sound.
        offsets: int64 `[entries + 1]`.
        clip: int64 `[entries]`, the corpus index of each entry (its caption).
        silence: float32 `[128]`, the latent of digital silence.
        levels: int64 `[]`, how many of the last channels are levels of high bands: their power says
            nothing of a sound's.
    """

    latents: Tensor
    mel: Tensor
    offsets: Tensor
    clip: Tensor
    silence: Tensor
    levels: Tensor = field(default_factory=lambda: torch.tensor(0))

    def waveform(self, latents: Tensor) -> Tensor:
        """Those channels `[..., 128 - levels]` of latents whose power is that of sound."""
        return latents[..., : latents.shape[-1] - int(self.levels)]

    def high_bands(self, latents: Tensor) -> Tensor:
        """Those channels `[..., levels]` of latents that are levels of high bands."""
        return latents[..., latents.shape[-1] - int(self.levels) :]

    def crops(self, count: int, frames: int, generator: torch.Generator) -> Crops:
        """`count` random crops of `frames`, short entries continued in silence."""
        lengths = (self.offsets[1:] - self.offsets[:-1]).double()
        entries = torch.multinomial(lengths.sqrt(), count, replacement=True, generator=generator)
        start, end = self.offsets[entries], self.offsets[entries + 1]
        slack = (end - start - frames).clamp(min=0)
        # A third of the crops begin with the clip: onsets matter, and files begin there.
        begin = torch.rand(count, generator=generator) * 1.5 - 0.5
        begin = start + (begin.clamp(min=0) * (slack + 1)).long().clamp(max=slack)
        position = begin[:, None] + torch.arange(frames)
        device = self.latents.device
        inside = (position < end[:, None]).to(device, non_blocking=True)[..., None]
        position = position.clamp(max=len(self.latents) - 1).to(device, non_blocking=True)
        latents = torch.where(inside, self.latents[position].float(), self.silence)
        mel = torch.where(inside, self.mel[position].float(), math.log(FLOOR))
        sounding = (end - TAIL_FRAMES - begin).clamp(0, frames)
        return Crops(latents, mel, self.clip[entries], sounding)

    @classmethod
    def join(cls, pools: Sequence[LatentPool]) -> LatentPool:
        """Several passes as one pool."""
        starts = [0]
        for pool in pools:
            starts.append(starts[-1] + int(pool.offsets[-1]))
        offsets = [pool.offsets[:-1] + start for pool, start in zip(pools, starts, strict=False)]
        return cls(
            torch.cat([pool.latents for pool in pools]),
            torch.cat([pool.mel for pool in pools]),
            torch.cat([*offsets, torch.tensor(starts[-1:])]),
            torch.cat([pool.clip for pool in pools]),
            pools[0].silence,
            pools[0].levels,
        )

    def to(self, device: torch.device | str) -> LatentPool:
        """What crops are made of on a device; the indices stay on the CPU."""
        moved = {name: getattr(self, name).to(device) for name in ("latents", "mel", "silence")}
        return replace(self, **moved)

    def mark(self) -> str:
        """Changes with the sounds, and with the AudioAE that they were encoded by."""
        return mark_of(self.latents, self.offsets.tolist(), self.silence.tolist())

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        save_file({name: getattr(self, name).cpu() for name in self.__annotations__}, path)

    @classmethod
    def load(cls, path: Path) -> LatentPool:
        """Read what `save` wrote, on the CPU."""
        return cls(**load_file(path))


@torch.inference_mode()
def build_pool(
    corpus: Corpus,
    audio_ae: AudioAE,
    augment: bool,
    seed: int = 0,
    fine: int = 0,
) -> LatentPool:
    """Encode every clip that is not empty once, plain or augmented; join the pools of several
    passes.

    Args:
        fine: how many fine bands the log-mels have as well.
    """
    generator = torch.Generator().manual_seed(seed)
    device = corpus.pcm.device
    hop = audio_ae.config.hop
    log_mel = LogMel(hop, fine).to(device)
    pieces, mels, lengths, owners = [], [], [], []
    for index in range(len(corpus)):
        if corpus.offsets[index] == corpus.offsets[index + 1]:
            continue  # left out: a caption of silence would be learnt
        sound = corpus.clip(index)[None]
        if augment:
            sound = augmented(corpus, sound, generator)
        sound = set_peak(sound, generator, -9, -3)
        frames = -(-sound.shape[-1] // hop) + TAIL_FRAMES
        # Few distinct shapes: every new one costs the convolution library a set-up.
        padded = -(-frames // 100) * 100
        sound = F.pad(sound, (0, padded * hop - sound.shape[-1]))
        pieces.append(audio_ae.encode(sound)[0, :frames].half())
        mels.append(log_mel(sound)[0, :frames].half())
        lengths.append(frames)
        owners.append(index)
    silence = audio_ae.encode(torch.zeros(1, 100 * hop, device=device))[0, 50]
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), torch.tensor(lengths).cumsum(0)))
    owner = torch.tensor(owners)
    levels = torch.tensor(audio_ae.config.high_bands)
    return LatentPool(torch.cat(pieces), torch.cat(mels), offsets, owner, silence.float(), levels)


@torch.no_grad()
def encoded(
    pool: LatentPool,
    encoder: LatentEncoder,
    windows: int,
    frames: int,
    seed: int,
    known: Sequence[Tensor] | Tensor = (),
) -> Iterator[tuple[Crops, Tensor]]:
    """`TOGETHER` random crops of n windows and their z `[TOGETHER, n, channels]`, until there are
    `windows`.

    Args:
        frames: latent frames of a crop, at most.
        known: z `[n, channels]` of the first crops, which spare the encoder.
    """
    for number, crops in enumerate(drawn(pool, encoder, windows, frames, seed)):
        z = known[number * TOGETHER :][:TOGETHER]
        yield crops, z if len(z) else encoder(crops.latents, crops.mel).float()


def drawn(
    pool: LatentPool, encoder: LatentEncoder, windows: int, frames: int, seed: int
) -> Iterator[Crops]:
    """The crops of `encoded` alone."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(0, sequences(encoder, windows, frames), TOGETHER):
        yield whole_windows(pool, encoder, frames, generator)


def whole_windows(
    pool: LatentPool, encoder: LatentEncoder, frames: int, generator: torch.Generator
) -> Crops:
    """`TOGETHER` random crops of up to `frames`, which hold whole windows of an encoder."""
    t = encoder.config.pool
    return pool.crops(TOGETHER, max(1, frames // t) * t, generator)


def sequences(encoder: LatentEncoder, windows: int, frames: int) -> int:
    """How many such crops hold so many windows or more, by whole batches."""
    each = max(1, frames // encoder.config.pool)
    return -(-windows // (TOGETHER * each)) * TOGETHER


def augmented(corpus: Corpus, sound: Tensor, generator: torch.Generator) -> Tensor:
    """One clip `[1, n]` with random speed, equalisation and a second sound mixed in."""

    def chance(probability: float) -> bool:
        return bool(torch.rand((), generator=generator) < probability)

    if chance(0.7):
        factor = 2 ** float(torch.rand((), generator=generator) * 1.2 - 0.6)
        sound = change_speed(sound, factor)
    if chance(0.5):
        sound = random_eq(sound, generator)
    if chance(0.25):
        other = corpus.clip(int(corpus.draw(1, generator)))[None]
        n = sound.shape[-1]
        gain = 10 ** float((torch.rand((), generator=generator) * 20 - 20) / 20)
        other = F.pad(other, (0, max(0, n - other.shape[-1])))[:, :n]
        sound = sound / sound.abs().amax().clamp(min=1e-4) + gain * other
    return sound
