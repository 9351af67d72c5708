"""The envelope that z describes, and a filter that holds a decoded sound to it. Beyond the paper.

z describes the course of the log-mel spectrum in its window, as far as its numbers can hold it; a
diffusion decoder that is small, briefly trained or run for few steps follows it only roughly. A
linear read-out, fitted by least squares after step 1, gives the envelope that a z stands for. The
filter compares a decoded sound with it in the directions in which such envelopes can differ, and
corrects the difference by gains on a short-time spectrum; the mean spectrum of a window is held to
that of z band by band. What lies outside these directions, the fine structure in time, stays as the
decoder made it, except for its strength, which a small network can predict from z: at 1 Hz most of
what makes a fire a fire is faster than z can follow, and a briefly trained decoder fluctuates too
little. Where z describes next to nothing, before a sound and after it, the filter leaves silence.

Windows so short that pitch is steady in them can be described at two resolutions: bands of each
frame, and the mean spectrum of the window in bands fine enough for partials, of which only what
they add to the other bands is described.

An AudioAE's latents may hold levels of high bands (audio_ae.py). These are read out of z like the
envelope, so the diffusion network need not find them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.log_mel import BANDS, FLOOR, LogMel, fine_detail

BLOCKS = 25  # at most, of time within a window
PASSES = 4  # overlapping frames disagree about a gain: each pass corrects what the last one left
LIMIT = 3.5  # nepers (30 dB) that one pass may change a band by
# Frames over which the gains of fine bands are smoothed in time, or a window if that is shorter.
FINE_SMOOTHED = 13
# z describes a partial by the mean over where it could be, and the gains of overlapping bands blur
# it once more. So what fine bands add to the others is multiplied by this.
CONTRAST = 1.4
# Frames over which levels read out of z are smoothed, or a window; gains restore their detail.
LEVELS_SMOOTHED = 31
# Neighbouring windows are treated separately and disagree where they meet. Within EDGE frames of a
# border, or EDGE_PART of a window if that is less, gains also follow the envelope band by band,
# with a weight of EDGE_SHARE at the border. In short windows that would be everywhere, and would
# flatten the details of a sound.
EDGE, EDGE_PART, EDGE_SHARE = 6, 0.1, 0.5
# Fluctuation is predicted for SPELL frames at a time, or a window. A pass changes it by SWING
# nepers at most; a mean square below STILL counts as no fluctuation. What should fluctuate more
# goes only LIVELINESS of the way in each pass: the moments are left to chance, and events at the
# wrong moment are worse than none.
SPELL, SWING, STILL, LIVELINESS = 20, 1.0, 1e-4, 0.3
# Log-mels end at a floor of -94 dB, so z cannot tell silence from anything else below it. In nepers
# above the floor: a frame in which no band exceeds FRAME_FAINT is made quieter, and by MUTED (61
# dB) if none exceeds FRAME_SILENT. A single band at its floor is seldom empty: in recordings it
# lies UNDER (7 dB) below the floor.
FRAME_FAINT, FRAME_SILENT, MUTED = 1.2, 0.6, 7.0
BAND_FAINT, BAND_SILENT, UNDER = 0.5, 0.2, 0.8


@dataclass(frozen=True)
class EnvelopeConfig:
    """What an envelope is made of.

    Attributes:
        pool: t, the latent frames of one window.
        channels: of z.
        codebooks: the largest number of codebooks for which `spread` is known.
        fluctuation: width of the network that predicts fluctuation; 0: there is none.
        fine: bands that describe the mean spectrum of a window; 0: none do.
        levels: how many of the last latents are levels, which are read out of z.
    """

    pool: int
    channels: int = 64
    codebooks: int = 0
    fluctuation: int = 0
    fine: int = 0
    levels: int = 0

    @property
    def block(self) -> int:
        """Latent frames in a block; an envelope is described by averages over blocks."""
        return max(1, self.pool // BLOCKS)

    @property
    def edge(self) -> int:
        """Frames on either side of a border where gains also follow the envelope band by band."""
        return min(EDGE, round(self.pool * EDGE_PART))

    @property
    def coarse(self) -> int:
        """Numbers that describe the course of one window."""
        return self.pool // self.block * BANDS

    @property
    def inputs(self) -> int:
        """Numbers that describe one window: its course, then its mean spectrum in fine bands."""
        return self.coarse + self.fine

    @property
    def spell(self) -> int:
        """Latent frames that one prediction of fluctuation covers; a divisor of the window."""
        return math.gcd(self.pool, SPELL) if self.pool > SPELL else self.pool

    def windows(self, mel: Tensor) -> Tensor:
        """Log-mels `[B, n t, 64 + fine]` -> windows `[B, n, inputs]`; fine bands that are not asked
        for are left out."""
        course = self.course(mel)
        if not self.fine:
            return course
        wanted = mel[..., : BANDS + self.fine]
        return torch.cat((course, fine_detail(wanted.unflatten(1, (-1, self.pool)))), 2)

    def course(self, mel: Tensor) -> Tensor:
        """Log-mels `[B, n t, 64 or more]` -> the course of windows, in blocks `[B, n, coarse]`."""
        blocks = mel[..., :BANDS].unflatten(1, (-1, self.block)).mean(2)
        return blocks.unflatten(1, (-1, self.pool // self.block)).flatten(2)

    def frames(self, course: Tensor) -> Tensor:
        """The reverse, linear between the middles of blocks: `[B, n t, 64]`."""
        blocks = course.unflatten(2, (-1, BANDS)).flatten(1, 2).transpose(1, 2)
        if self.block > 1:
            blocks = F.interpolate(blocks, scale_factor=self.block, mode="linear")
        return blocks.transpose(1, 2)


class EnvelopeFilter(nn.Module):
    """One frame rate's read-out, as buffers, and the filter that uses it."""

    def __init__(self, config: EnvelopeConfig, hop: int = 480):
        super().__init__()
        self.config = config
        self.log_mel = LogMel(hop, config.fine)
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("read_out", torch.zeros(config.channels, config.inputs))
        # RMS error of each channel of z when it is coded with 1, 2, ... codebooks.
        self.register_buffer("spread", torch.zeros(config.codebooks, config.channels))
        self.fluctuation = fluctuation_network(config) if config.fluctuation else None
        if config.levels:  # of the latents of a window
            self.register_buffer("level_mean", torch.zeros(config.pool * config.levels))
            self.register_buffer(
                "level_read_out", torch.zeros(config.channels, config.pool * config.levels)
            )
        coarse, fine = self.log_mel.filters.tensor_split((BANDS,), 1)
        # What is held: all that z can describe and all that is constant in time; orthonormal
        # columns
        self.register_buffer("basis", torch.zeros(config.coarse, 0), persistent=False)
        self.register_buffer("to_bins", _interpolation(coarse), persistent=False)
        if config.fine:  # of the mean spectrum, what z can describe
            self.register_buffer("fine_basis", torch.zeros(config.fine, 0), persistent=False)
            self.register_buffer("fine_to_bins", _interpolation(fine), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module._find_basis())

    def fill(self, read_out: Tensor, mean: Tensor) -> EnvelopeFilter:
        """Take a read-out `[channels, inputs]` and the envelope of a z of zeros, `[inputs]`. If z
        describes levels, theirs follow in the last dimension of both, `[..., pool x levels]`."""
        envelope = self.config.inputs
        self.read_out.copy_(read_out[:, :envelope])
        self.mean.copy_(mean[:envelope])
        if self.config.levels:
            self.level_read_out.copy_(read_out[:, envelope:])
            self.level_mean.copy_(mean[envelope:])
        self._find_basis()
        return self

    @property
    def mean_levels(self) -> Tensor:
        """Mean levels that a z of zeros describes, `[levels]`."""
        if not self.config.levels:
            return self.mean.new_zeros(0)
        return self.level_mean.unflatten(0, (self.config.pool, -1)).mean(0)

    def levels(self, z: Tensor) -> Tensor:
        """The last latents of every frame, read out of z `[B, n, channels]`, `[B, n t, levels]`."""
        told = z @ self.level_read_out + self.level_mean
        told = told.unflatten(2, (self.config.pool, -1)).flatten(1, 2)
        return smoothed(told, min(LEVELS_SMOOTHED, self.config.pool))

    def _find_basis(self) -> None:
        blocks = self.config.coarse // BANDS
        course, fine = self.read_out.tensor_split((self.config.coarse,), 1)
        constant = torch.eye(BANDS, device=self.mean.device).repeat(1, blocks) / blocks**0.5
        self.basis = _span(torch.cat((_span(course), constant))).T  # [coarse, rank]
        if self.config.fine:
            self.fine_basis = _span(fine).T  # [fine, rank]

    @property
    def context(self) -> int:
        """Windows on either side of a cut that the filter's output there depends on."""
        return PASSES * (1 + math.ceil(10 / self.config.pool))

    def forward(self, sound: Tensor, z: Tensor) -> Tensor:
        """Hold a decoded sound to the envelope of its z.

        Args:
            sound: `[B, hop t n]`, at the level that networks see.
            z: `[B, n, channels]`.

        Returns:
            The filtered sound, like `sound`.
        """
        wanted = z @ self.read_out + self.mean  # [B, n, inputs]
        wanted[..., self.config.coarse :] *= CONTRAST
        described = self.config.frames(wanted[..., : self.config.coarse])  # [B, n t, 64]
        # Smoothed as far as edges reach, so that it does not itself jump between windows.
        course = smoothed(described, 2 * self.config.edge + 1)
        strength = None if self.fluctuation is None else self.strength(z)
        edges = self._edges(z.shape[1])
        silencing = [0.0] * (PASSES - 1) + [_silencing(described)]
        for mute in silencing:
            spectrum = self.log_mel.spectrum(sound)
            mel = self.log_mel.of(spectrum)
            missing = wanted - self.config.windows(mel)
            missing, detail = missing.tensor_split((self.config.coarse,), 2)
            gains = smoothed(self._held(missing), self.config.block)  # no faster than blocks
            if strength is not None:
                gains = gains + self._livened(self.unheld(mel), strength)
            gains = torch.lerp(gains, course - mel[..., :BANDS], edges)
            gains = (gains.clamp(-LIMIT, LIMIT) + mute) @ self.to_bins
            if self.config.fine:
                gains = gains + self._fine_gains(detail)
            sound = self.log_mel.sound(spectrum * gains.exp())
        return sound

    def strength(self, z: Tensor) -> Tensor:
        """How strongly a sound of this z `[B, n, channels]` fluctuates beyond what z describes: the
        natural logarithm of the root mean square in each spell and band, `[B, spells, 64]`."""
        return self.fluctuation(z).unflatten(2, (-1, BANDS)).flatten(1, 2)

    def unheld(self, mel: Tensor) -> Tensor:
        """The part of the 64 bands in log-mels `[B, n t, 64 + fine]` that the filter does not hold:
        their fluctuation."""
        return mel[..., :BANDS] - self._held(self.config.course(mel))

    def mean_square(self, fluctuation: Tensor) -> Tensor:
        """Mean square of each spell, `[B, n t, 64]` -> `[B, spells, 64]`."""
        return fluctuation.square().unflatten(1, (-1, self.config.spell)).mean(2)

    def _held(self, course: Tensor) -> Tensor:
        """The part of a course `[B, n, coarse]` that is held, in frames `[B, n t, 64]`."""
        return self.config.frames((course @ self.basis) @ self.basis.T)

    def _fine_gains(self, detail: Tensor) -> Tensor:
        """Gains of bins, `[B, n t, 1025]`, that correct windows in fine bands, `[B, n, fine]`."""
        held = (detail @ self.fine_basis) @ self.fine_basis.T
        over = min(FINE_SMOOTHED, self.config.pool)
        gains = smoothed(held.repeat_interleave(self.config.pool, 1), over)
        return gains.clamp(-LIMIT, LIMIT) @ self.fine_to_bins

    def _livened(self, fluctuation: Tensor, strength: Tensor) -> Tensor:
        """Gains that bring a fluctuation `[B, n t, 64]` nearer to a strength `[B, spells, 64]`."""
        own = 0.5 * (self.mean_square(fluctuation) + STILL).log()
        change = (strength - own).clamp(-SWING, SWING)
        change = change.where(change < 0, LIVELINESS * change)
        change = change.repeat_interleave(self.config.spell, 1)
        return fluctuation * smoothed(change, self.config.spell).expm1()

    def _edges(self, windows: int) -> Tensor:
        """How much each frame counts as part of a border between windows, `[n t, 1]`."""
        pool, reach = self.config.pool, self.config.edge
        if not reach:
            return self.mean.new_zeros(windows * pool, 1)
        place = torch.arange(windows * pool, device=self.mean.device) + 0.5
        distance = (place % pool).minimum(pool - place % pool) / reach
        share = EDGE_SHARE * (0.5 + 0.5 * torch.cos(math.pi * distance.clamp(max=1)))
        outside = (place < reach) | (place > windows * pool - reach)
        return share.masked_fill(outside, 0.0)[:, None]


def fluctuation_network(config: EnvelopeConfig) -> nn.Sequential:
    """An untrained network, z `[..., channels]` -> `[..., 64 numbers for each spell]`."""
    width = config.fluctuation
    return nn.Sequential(
        nn.Linear(config.channels, width),
        nn.GELU(),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Linear(width, config.pool // config.spell * BANDS),
    )


def _silencing(described: Tensor) -> Tensor:
    """Gains that mute where an envelope `[B, T, 64]` has next to nothing, 0 elsewhere."""
    above = described - math.log(FLOOR)
    frames = _share(above.amax(2, keepdim=True), FRAME_FAINT, FRAME_SILENT)
    return -MUTED * frames - UNDER * _share(above, BAND_FAINT, BAND_SILENT)


def _share(level: Tensor, none: float, whole: float) -> Tensor:
    """0 above `none`, 1 below `whole`, linear between."""
    return ((none - level) / (none - whole)).clamp(0, 1)


def smoothed(frames: Tensor, over: int) -> Tensor:
    """Averages in time under a Hann window of `over` frames (one more if that is even),
    `[B, T, bands]`."""
    over = over // 2 * 2 + 1
    window = torch.hann_window(over + 2, periodic=False, device=frames.device)[1:-1]
    bands = frames.shape[2]
    kernel = (window / window.sum()).expand(bands, 1, -1)
    padded = F.pad(frames.transpose(1, 2), (over // 2,) * 2, "replicate")
    return F.conv1d(padded, kernel, groups=bands).transpose(1, 2)


def _span(rows: Tensor) -> Tensor:
    """Orthonormal rows that span the same space, less directions of almost no strength."""
    _, strength, basis = torch.linalg.svd(rows, full_matrices=False)
    return basis[strength > 1e-4 * strength.max().clamp(min=1e-12)]


def _interpolation(filters: Tensor) -> Tensor:
    """Filters `[bins, bands]` -> the matrix `[bands, bins]` from values of bands to bins: linear
    between the centres of bands, constant beyond the outer ones."""
    bands = filters.shape[1]
    centres = filters.argmax(0)
    weights = filters / filters.sum(1, keepdim=True).clamp(min=1e-9)
    weights[: centres[0]] = torch.eye(bands)[0]
    weights[centres[-1] :] = torch.eye(bands)[-1]
    return weights.T.contiguous()
