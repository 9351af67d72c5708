"""Latents to PCM: AudioAE decoder, resampling to the source rate, level; block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from spresso_cli.audio.expander import raised, shortfall
from spresso_cli.audio.files import BLOCK
from spresso_cli.audio.level import NETWORK_PEAK, Fit, Leveller, rms_of
from spresso_cli.audio.resample import resample_blocks, resampled_length
from spresso_cli.audio.spool import Spool
from spresso_cli.container.profile import CODEC_RATE
from spresso_cli.container.stream import Header
from spresso_cli.diffusion.noise import phase_noise
from spresso_cli.errors import UsageError
from spresso_cli.models.audio_ae import AudioAE

CHUNK_FRAMES = 500  # latent frames that the AudioAE decodes at a time


class Performance:
    """A decoded sound (`Decoded` of the protocol): spooled at network level, levelled when read."""

    def __init__(self, header: Header, blocks: Iterable[np.ndarray]):
        """`blocks` float32 `[n, coded channels]` at the source rate, together `samples` long."""
        self.rate = header.source_rate
        self.channels = header.channels
        self.samples = header.samples
        self._coded = header.coded_channels
        try:
            leveller = self._taken(blocks)
            missing = shortfall(leveller.peak, NETWORK_PEAK)
            if missing.any():
                with closing(self._spool) as low:
                    leveller = self._taken(raised(low.blocks, low.samples, self.rate, missing))
        except BaseException:
            self.close()  # what is raised holds on to all this for as long as anyone keeps it
            raise
        levels = header.levels or (header.gain,) * self._coded
        self._fit: Fit = leveller.fit([rms_of(level) for level in levels])

    def _taken(self, blocks: Iterable[np.ndarray]) -> Leveller:
        """Spool a sound; returns what knows how to level it."""
        self._spool, leveller = Spool(self.rate, self._coded), Leveller(self._coded)
        for block in blocks:
            leveller.add(block)
            self._spool.append(np.asarray(block, np.float32))
        return leveller

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Yields float32 `[n <= size, channels]` in -1..1; every call begins at sample 0."""
        for stored in self._spool.blocks(size):
            block = self._fit.apply(stored)
            yield np.repeat(block, 2, axis=1) if self.channels > self._coded else block

    def close(self) -> None:
        """Frees the memory or the temporary file."""
        self._spool.close()


class Silence:
    """The decoding of digital silence: exact zeros, no network involved."""

    def __init__(self, header: Header):
        self.rate = header.source_rate
        self.channels = header.channels
        self.samples = header.samples

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Yields zeros, float32 `[n <= size, channels]`."""
        for start in range(0, self.samples, size):
            yield np.zeros((min(size, self.samples - start), self.channels), np.float32)

    def close(self) -> None:
        """Nothing is held."""


@torch.inference_mode()
def sound_of(latents: Iterable[Tensor], audio_ae: AudioAE, seed: int) -> Iterator[Tensor]:
    """Decode latents in chunks with context on both sides.

    Args:
        latents: float32 `[C, n, 128]` pieces of one run.
        seed: of the phases that the AudioAE takes from noise, if it does.

    Yields:
        48 kHz sound, float32 `[C, 480 n]`, on the device.
    """
    context, hop = audio_ae.config.context, audio_ae.config.hop
    device = audio_ae.latent_mean.device
    held = torch.zeros(0, 0, 0, device=device)
    begin = 0  # the frame that `held` begins with
    lead = 0  # frames at its head that were decoded before

    def decoded(run: Tensor) -> Tensor:
        phases = None
        if count := audio_ae.config.phases:
            noise = phase_noise(seed, begin, run.shape[1], count)
            phases = torch.from_numpy(noise).to(device)
        return audio_ae.decode(run, phases)

    for piece in latents:
        held = torch.cat((held, piece), 1) if held.numel() else piece
        while held.shape[1] >= lead + CHUNK_FRAMES + context:
            stop = lead + CHUNK_FRAMES
            sound = decoded(held[:, : stop + context])
            yield sound[:, lead * hop : stop * hop]
            held, begin, lead = held[:, stop - context :], begin + stop - context, context
    if held.shape[1] > lead:
        yield decoded(held)[:, lead * hop :]


def at_source_rate(sound: Iterable[Tensor], header: Header) -> Iterator[np.ndarray]:
    """48 kHz sound `[C, n]` -> blocks `[m, C]` at the source rate, exactly the header's samples.

    Raises UsageError for what is no sound, as `finite` does.
    """
    blocks = (finite(block.T.cpu().numpy()) for block in sound)
    needed = resampled_length(header.samples, header.source_rate, CODEC_RATE)
    left = header.samples
    for block in resample_blocks(
        _first(blocks, needed), CODEC_RATE, header.source_rate, header.coded_channels
    ):
        yield block[:left]
        left -= len(block[:left])


def finite(sound: np.ndarray) -> np.ndarray:
    """The sound itself; UsageError if it overflowed, as under much guidance in many steps."""
    if not np.isfinite(sound).all():
        raise UsageError(
            "what is decoded grows beyond all bounds: --guidance nearer to 1, or fewer --steps"
        )
    return sound


def _first(blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """The first `samples` samples."""
    for block in blocks:
        yield block[:samples]
        samples -= len(block[:samples])
        if samples == 0:
            return
