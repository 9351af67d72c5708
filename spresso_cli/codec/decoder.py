"""Codes to latents: QINCo2, f_phi, and the diffusion sampler over whole sounds (S-PRESSO 2.4, 2.8).

Sounds that are decoded together lie behind each other on one time axis, the field. At every
evaluation the denoiser cuts the field into windows, runs them in micro-batches of one shape, and
averages overlapping estimates: one noise field, one trajectory, nothing to cross-fade afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spresso_cli.audio.windows import Plan, window_weights
from spresso_cli.codec.cores import Each
from spresso_cli.codec.device import Batches
from spresso_cli.codec.envelope import Excerpts, performed
from spresso_cli.codec.packs import FamilyInfo
from spresso_cli.codec.protocol import MAX_GUIDANCE, MAX_STEPS, DecodeOptions
from spresso_cli.diffusion.edm import guided, precondition
from spresso_cli.diffusion.noise import latent_noise
from spresso_cli.diffusion.samplers import SAMPLERS
from spresso_cli.errors import UsageError
from spresso_cli.models.deviations import Told
from spresso_cli.models.dit import AudioDown, DiT, DownCondition, TextCondition
from spresso_cli.models.envelope import EnvelopeFilter
from spresso_cli.models.sequence_quantizer import SequenceQuantizer


@dataclass(frozen=True)
class DecoderModels:
    """The networks of one frame-rate family on their device."""

    dit: DiT
    adapter: AudioDown
    quantizer: SequenceQuantizer
    envelope: EnvelopeFilter | None
    sigma_min: float
    sigma_max: float
    batches: Batches

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.batches.device


@dataclass(frozen=True)
class Piece:
    """One channel, or a stretch of it: what one stretch of the field is made from."""

    codes: np.ndarray  # uint16 [frames, M], of the whole channel
    seed: int
    start: int = 0  # code frame that the stretch begins with
    stop: int | None = None  # and the one behind its last; None: as long as the channel

    @property
    def frames(self) -> int:
        """Code frames of the stretch."""
        return (len(self.codes) if self.stop is None else self.stop) - self.start


@dataclass(frozen=True)
class Solver:
    """How the ODE is solved."""

    sampler: str
    steps: int
    guidance: float = 1.0

    @classmethod
    def of(cls, options: DecodeOptions, family: FamilyInfo) -> Solver:
        """What the options say and, where they say nothing, the pack; raises as `check` does."""
        solver = cls(
            options.sampler or family.sampler,
            family.steps if options.steps is None else options.steps,
            family.guidance if options.guidance is None else options.guidance,
        )
        solver.check()
        return solver

    def check(self) -> None:
        """Raises UsageError where there is no such sampler, guidance or number of steps."""
        if self.sampler not in SAMPLERS:
            raise UsageError(f"no sampler is called {self.sampler}: use {', '.join(SAMPLERS)}")
        if not abs(self.guidance) <= MAX_GUIDANCE:  # nan neither
            raise UsageError(f"guidance {self.guidance:g}: use -{MAX_GUIDANCE} to {MAX_GUIDANCE}")
        if not 1 <= self.steps <= MAX_STEPS:
            raise UsageError(f"{self.steps} steps: use 1 to {MAX_STEPS}")


@dataclass(frozen=True)
class _Window:
    begin: int  # latent frame in the field
    length: int
    tokens: Tensor  # [n, D]
    told: Told | None  # what is told of the latents of its frames
    levels: Tensor  # the last latents, as far as z tells them, [length, levels]
    weights: Tensor  # [length, 1]


@dataclass(frozen=True)
class _Batch:
    """Windows of one length that run through the network together."""

    length: int
    windows: list[_Window]
    padded: list[_Window]  # with the last one again, as often as it takes to fill a batch
    down: DownCondition
    levels: Tensor  # [batch, length, levels]


class LatentDecoder:
    """Samples latents for codes of one family."""

    def __init__(self, models: DecoderModels, each: Each = map):
        """`each` goes through the batches of windows that one evaluation needs."""
        self.models = models
        self._each = each
        self.plan = Plan.of(models.adapter.config.pool, models.dit.config.patch)

    @torch.inference_mode()
    def sample(
        self,
        pieces: Sequence[Piece],
        solver: Solver,
        text: TextCondition | None = None,
    ) -> list[Tensor]:
        """Decode pieces together.

        Args:
            pieces: any mixture of lengths.
            text: one row of text condition for all, or None for the learned null.

        Returns:
            Standardised latents of each piece, float32 `[frames * t, 128]`, on the device.

        Raises:
            OutOfMemory: the device cannot even run one window at a time.
        """
        return self.models.batches.run(lambda size: self._sample(pieces, solver, text, size))

    def _sample(
        self,
        pieces: Sequence[Piece],
        solver: Solver,
        text: TextCondition | None,
        size: int,
    ) -> list[Tensor]:
        """`sample` with `size` windows in a batch."""
        pool, patch = self.plan.pool, self.models.dit.config.patch
        windows: list[_Window] = []
        noise, spans, told, begin = [], [], [], 0
        for piece in pieces:
            frames = length = piece.frames * pool
            if piece.frames <= self.plan.window:
                # A single window is as long as the sound, in whole patches.
                length = -(-frames // patch) * patch
            noise.append(latent_noise(piece.seed, piece.start * pool, length))
            z = self.z(piece.codes, piece.start, piece.start + piece.frames)
            told.append(self._told(z, length))
            windows += self._windows(z, told[-1], begin, length)
            spans.append((begin, begin + frames))
            begin += length
        field = torch.from_numpy(np.concatenate(noise))[None].to(self.models.device)
        solve, schedule = SAMPLERS[solver.sampler]
        sigmas = schedule(solver.steps, self.models.sigma_min, self.models.sigma_max)
        denoise = guided(
            self._denoiser(windows, text, size, null=False),
            self._denoiser(windows, None, size, null=True),
            solver.guidance,
        )
        x = solve(denoise, field, sigmas)[0]
        if self.models.adapter.tells:
            x = Told(*map(torch.cat, zip(*told, strict=True))).restored(x)
        return [x[start:stop] for start, stop in spans]

    def whole(
        self,
        channels: np.ndarray,
        seed: int,
        solver: Solver,
        text: TextCondition | None = None,
    ) -> Iterator[Tensor]:
        """Decode one sound of any length, stretch by stretch.

        Args:
            channels: codes uint16 `[C, frames, M]`.
            seed, solver, text: as in `sample`.

        Yields:
            Standardised latents float32 `[C, n, 128]`, together the whole sound.

        Raises:
            OutOfMemory: as in `sample`.
        """
        pool = self.plan.pool
        ranges = self.plan.stretches(channels.shape[1])
        stretches = (
            torch.stack(
                self.sample([Piece(row, seed, begin, stop) for row in channels], solver, text)
            )
            for begin, stop in ranges
        )
        return joined(stretches, [(begin * pool, stop * pool) for begin, stop in ranges])

    def _windows(self, z: Tensor, told: Told | None, begin: int, length: int) -> Iterator[_Window]:
        """The windows of one piece, with their tokens f_phi(z_q) and what z_q tells of latents."""
        tokens = self.models.adapter.tokens(z[None])[0]  # [frames k, D]
        levels = self._levels(z, length)
        pool, k = self.plan.pool, self.models.adapter.config.tokens
        windows = self.plan.decoder_windows(len(z))
        weights = window_weights(windows, pool, length)
        for (start, stop), weight in zip(windows, weights, strict=True):
            yield _Window(
                begin + start * pool,
                len(weight),
                tokens[start * k : stop * k],
                told and Told(*(part[start * pool :][: len(weight)] for part in told)),
                levels[start * pool :][: len(weight)],
                torch.from_numpy(weight)[:, None].to(self.models.device),
            )

    def _told(self, z: Tensor, length: int) -> Told | None:
        """What z `[n, 64]` tells of the latents of a stretch, `[length, ...]`; None: nothing."""
        adapter = self.models.adapter
        if not adapter.tells:
            return None
        return Told(*(_as_long_as(length, part[0]) for part in adapter.deviations(z[None])))

    def _levels(self, z: Tensor, length: int) -> Tensor:
        """The last latents of a stretch, as z `[n, 64]` tells them, `[length, levels]`. Without
        levels, `[length, 0]`."""
        envelope = self.models.envelope
        if envelope is None or not envelope.config.levels:
            return z.new_zeros(length, 0)
        return _as_long_as(length, envelope.levels(z[None])[0])

    def z(self, codes: np.ndarray, begin: int, stop: int) -> Tensor:
        """The quantised latents of code frames `begin` to `stop - 1` of a channel `[frames, M]`,
        `[stop - begin, 64]` on the device."""
        reach = self.models.quantizer.reach
        first = max(0, begin - reach)
        some = codes[first : stop + reach].astype(np.int64)
        z = self.models.quantizer.decode(torch.from_numpy(some).to(self.models.device)[None])
        return z[0, begin - first : stop - first]

    def excerpts(self, channels: np.ndarray) -> Excerpts:
        """z of any code frames of all channels, for `held_to_envelope`."""
        return lambda begin, stop: torch.stack([self.z(row, begin, stop) for row in channels])

    def performed(self, channels: np.ndarray, variety: float, seed: int) -> Excerpts:
        """`excerpts` of codes `[C, frames, M]` as a seed's performance has them, for a pack that
        has an envelope."""
        whitening, codebooks = self.models.quantizer.whitening, channels.shape[2]
        z, envelope = self.excerpts(channels), self.models.envelope
        return performed(z, envelope, whitening, codebooks, variety, seed)

    def _denoiser(
        self, windows: list[_Window], text: TextCondition | None, micro: int, null: bool
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """D over the whole field `[1, F, 128]`; `null` drops z (the reference of guidance)."""
        dit, adapter = self.models.dit, self.models.adapter
        groups: dict[tuple[int, int], list[_Window]] = defaultdict(list)
        for window in windows:
            groups[window.length, len(window.tokens)].append(window)
        batches: list[_Batch] = []
        for (length, _), members in groups.items():
            for at in range(0, len(members), micro):
                some = members[at : at + micro]
                padded = some + [some[-1]] * (micro - len(some))
                tokens, told = torch.stack([window.tokens for window in padded]), None
                if adapter.tells:
                    told = Told(*map(torch.stack, zip(*(w.told for w in padded), strict=True)))
                down = (adapter.dropped if null else adapter.down)(tokens, told)
                levels = torch.stack([window.levels for window in padded])
                batches.append(_Batch(length, some, padded, down, levels))
        condition = _repeat(text, micro)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            def estimate(batch: _Batch) -> Tensor:
                """D of its windows, `[micro, length, 128]`."""

                def network(y: Tensor, c_noise: Tensor) -> Tensor:
                    return dit(y, c_noise, condition, batch.down)

                rows = [x[0, w.begin : w.begin + batch.length] for w in batch.padded]
                d = precondition(network, 1.0)(torch.stack(rows), sigma.expand(micro))
                # What z tells is known, whatever the noise.
                d[..., d.shape[2] - batch.levels.shape[2] :] = batch.levels
                return d

            out = torch.zeros_like(x)
            for batch, d in zip(batches, self._each(estimate, batches), strict=True):
                for window, row in zip(batch.windows, d, strict=False):
                    out[0, window.begin : window.begin + batch.length] += window.weights * row
            return out

        return denoise


def _as_long_as(length: int, frames: Tensor) -> Tensor:
    """Frames `[n, ...]` whose last one goes on where `length` is more, `[length, ...]`."""
    more = max(0, length - len(frames))
    return torch.cat((frames, frames[-1:].expand(more, *frames.shape[1:])))


def _repeat(text: TextCondition | None, rows: int) -> TextCondition | None:
    if text is None:
        return None
    return TextCondition(
        text.tokens.expand(rows, -1, -1),
        text.mask.expand(rows, -1),
        text.pooled.expand(rows, -1),
        text.present.expand(rows),
    )


def joined(stretches: Iterable[Tensor], ranges: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
    """One run of latents out of overlapping stretches, faded into each other.

    Args:
        stretches: float32 `[C, n, 128]` each, as many frames as its range says.
        ranges: (begin, stop) of each stretch in latent frames.

    Yields:
        float32 `[C, m, 128]`, together the whole sound.
    """
    tail: Tensor | None = None
    for i, latents in enumerate(stretches):
        shared = ranges[i - 1][1] - ranges[i][0] if i else 0
        if tail is not None:
            # Only the middle third fades: windows at the ends of a stretch lacked a neighbour.
            ramp = torch.linspace(-1, 2, shared, device=latents.device).clamp(0, 1)[:, None]
            yield tail * (1 - ramp) + latents[:, :shared] * ramp
        held = ranges[i][1] - ranges[i + 1][0] if i + 1 < len(ranges) else 0
        stop = latents.shape[1] - held
        yield latents[:, shared:stop]
        tail = latents[:, stop:]
