"""Text to sound with the base DiT: what the decoder knows before any code arrives (S-PRESSO 2.2).

The same noise field, samplers and overlapping windows as in decoding; the condition is a caption
alone, and no frame rate's adapter takes part. That suits a DiT which has never been without one as
well: captions of such a pack rank higher with the bare DiT than with an adapter's null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spresso_cli.audio.windows import CONTEXT_FRAMES, WINDOW_FRAMES, Plan, window_weights
from spresso_cli.codec.decoder import Solver
from spresso_cli.codec.device import resolve_device, within_memory
from spresso_cli.codec.networks import text_condition
from spresso_cli.codec.packs import PackInfo
from spresso_cli.codec.performance import finite, sound_of
from spresso_cli.codec.weights import load_audio_ae, load_clap, load_dit, load_envelope
from spresso_cli.container.profile import CODEC_RATE, LATENT_HOP
from spresso_cli.diffusion.edm import Denoiser, guided, precondition
from spresso_cli.diffusion.noise import latent_noise
from spresso_cli.diffusion.samplers import SAMPLERS
from spresso_cli.errors import UsageError
from spresso_cli.models.audio_ae import LEVEL_SPREAD, AudioAE
from spresso_cli.models.clap import TextTower
from spresso_cli.models.dit import DiT, TextCondition

DEVIATIONS = 2.0  # above their mean: one level of a thousand is higher, and what guidance made up
GUIDANCE = 3.0  # of the caption against none; the strength that text needs and codes do not
MAX_SECONDS = 60.0


@dataclass(frozen=True)
class Generator:
    """The networks that turn a caption into sound, on their device."""

    audio_ae: AudioAE
    text: TextTower
    dit: DiT
    highest: Tensor  # that levels among the last latents are let go to, [levels]
    pack: PackInfo
    device: torch.device

    @classmethod
    def load(cls, pack: PackInfo, device: str = "auto") -> Generator:
        """Read a pack's networks; raises BadPack if it is damaged, OutOfMemory."""
        place = resolve_device(device)
        lowest = pack.families[min(pack.families)]
        highest = torch.zeros(0)
        if lowest.envelope is not None:
            highest = load_envelope(pack, lowest).mean_levels + DEVIATIONS * LEVEL_SPREAD
        with within_memory(place):
            return cls(
                load_audio_ae(pack).to(place),
                load_clap(pack).text.to(place),
                load_dit(pack, None)[0].to(place),
                highest.to(place),
                pack,
                place,
            )

    @torch.inference_mode()
    def generate(
        self,
        caption: str,
        seconds: float,
        seed: int = 0,
        solver: Solver | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """One sound.

        Args:
            caption: what it should be.
            seconds: its length, up to `MAX_SECONDS`.
            seed: names one of the caption's sounds, 0..2^64 - 1.
            solver: sampler, steps and guidance of the caption; None: Heun, 32 steps, `GUIDANCE`.
            progress: called with (steps done, steps).

        Returns:
            float32 `[n, 1]` at 48 kHz, peak at most 1.

        Raises:
            UsageError: the length is out of range, there is no such solver, or what it gives is no
                sound.
            OutOfMemory: the device's memory ends.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise UsageError(f"{seconds:g} s: a sound has up to {MAX_SECONDS:g} s")
        solver = solver or Solver("heun", 32, GUIDANCE)
        solver.check()
        samples = max(1, round(seconds * CODEC_RATE))
        patch = self.dit.config.patch
        frames = -(-samples // LATENT_HOP)
        frames = -(-frames // patch) * patch
        solve, schedule = SAMPLERS[solver.sampler]
        sigmas = schedule(solver.steps, self.pack.sigma_min, self.pack.sigma_max)
        with within_memory(self.device):
            windows = self._windows(frames)
            denoise = guided(
                self._denoiser(windows, text_condition(self.text, caption)),
                self._denoiser(windows, None),
                solver.guidance,
                self.audio_ae.config.high_bands,
            )
            noise = torch.from_numpy(latent_noise(seed, 0, frames))[None].to(self.device)
            latents = solve(denoise, noise, sigmas, progress)
            sound = torch.cat(list(sound_of([latents], self.audio_ae, seed)), 1)
        sound = finite(sound[:, :samples].T.cpu().numpy())
        return sound / max(1.0, float(np.abs(sound).max()))

    def _windows(self, frames: int) -> list[tuple[int, int, Tensor]]:
        """Overlapping windows (begin, stop, weights `[n, 1]`) over the latent frames."""
        patch = self.dit.config.patch
        plan = Plan(patch, WINDOW_FRAMES // patch, -(-CONTEXT_FRAMES // patch))
        spans = plan.decoder_windows(frames // patch)
        return [
            (begin * patch, stop * patch, torch.from_numpy(weights)[:, None].to(self.device))
            for (begin, stop), weights in zip(
                spans, window_weights(spans, patch, frames), strict=True
            )
        ]

    def _denoiser(
        self, windows: list[tuple[int, int, Tensor]], text: TextCondition | None
    ) -> Denoiser:
        """D over the whole sound `[1, T, 128]`; estimates of overlapping windows are averaged."""

        def network(x: Tensor, c_noise: Tensor) -> Tensor:
            return self.dit(x, c_noise, text)

        whole = precondition(network, 1.0)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            out = torch.zeros_like(x)
            for begin, stop, weights in windows:
                out[:, begin:stop] += weights * whole(x[:, begin:stop], sigma)
            levels = out[..., out.shape[2] - len(self.highest) :]
            torch.minimum(levels, self.highest, out=levels)
            return out

        return denoise
