"""The envelope that z describes, and a filter that holds a decoded sound to it. Beyond the paper.

z says how the log-mel spectrum of its window goes, up to what its numbers can hold; a diffusion
decoder that is young, small or in a hurry keeps to it only roughly. A linear read-out, fitted by
least squares after step 1, says which envelope z means. The filter looks at a decoded sound through
the directions in which such envelopes can differ, and makes up for the difference by gains on a
short-time spectrum; the mean spectrum of a window it holds to z's band by band. What lies outside
these directions, the fine structure in time, stays as the decoder made it, but for its strength,
which a small network can tell from z: at 1 Hz most of what makes a fire a fire happens between the
numbers of z, and a young decoder fluctuates too little. Where z describes next to nothing, before a
sound and behind it, nothing is left.

Windows as short as a pitch is steady can be described at two resolutions: bands of each frame, and
the mean spectrum of the window in bands fine enough for partials, as what it has beside the others.

An AudioAE's latents may hold levels of high bands (audio_ae.py). z tells these as it tells the
envelope, and what is told the diffusion network need not find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.log_mel import BANDS, FLOOR, LogMel, fine_detail

BLOCKS = 25  # at most, of time within a window
PASSES = 4  # overlapping frames disagree about a gain: what one leaves, the next corrects
LIMIT = 3.5  # nepers (30 dB) that one pass may change a band by
FINE_SMOOTHED = 13  # frames at most, or a window: likewise of the fine bands' gains
# z tells a partial as the mean over where it could be, and gains of overlapping bands blur it
# again. So what fine bands have beside the others counts this many times.
CONTRAST = 1.4
# Frames at most, or a window: likewise of levels told, whose detail gains bring.
LEVELS_SMOOTHED = 31
# Neighbouring windows are looked at apart and disagree where they meet. Within so many frames of a
# border, or this share of a window, gains follow the envelope band by band as well, at the border
# by EDGE_SHARE. In short windows that would be everywhere, and level what a sound is made of.
EDGE, EDGE_PART, EDGE_SHARE = 6, 0.1, 0.5
# Fluctuation is told for so many frames at a time, or a window. A pass changes it by SWING nepers
# at most; what is stiller than STILL, a mean square, is still. What has to fluctuate more goes
# LIVELINESS of the way in a pass: when is left to chance, and events at the wrong moment are worse
# than none.
SPELL, SWING, STILL, LIVELINESS = 20, 1.0, 1e-4, 0.3
# Log-mels end at a floor of -94 dB, so z cannot tell silence from less than that. In nepers above
# the floor: a frame without a band above the first is made quieter, by MUTED (61 dB) if none is
# above the second. A band alone at its floor is seldom empty: in recordings it lies UNDER it (7
# dB).
FRAME_FAINT, FRAME_SILENT, MUTED = 1.2, 0.6, 7.0
BAND_FAINT, BAND_SILENT, UNDER = 0.5, 0.2, 0.8


@dataclass(frozen=True)
class EnvelopeConfig:
    """What an envelope is made of.

    Attributes:
        pool: t, the latent frames of one window.
        channels: of z.
        codebooks: of how many it is known what they leave open.
        fluctuation: width of the network that tells it; 0: there is none.
        fine: bands that describe the mean spectrum of a window; 0: none do.
        levels: how many of the last latents are levels that z tells.
    """

    pool: int
    channels: int = 64
    codebooks: int = 0
    fluctuation: int = 0
    fine: int = 0
    levels: int = 0

    @property
    def block(self) -> int:
        """Latent frames that are averaged before anything else."""
        return max(1, self.pool // BLOCKS)

    @property
    def edge(self) -> int:
        """Frames on either side of a border where gains follow the envelope as well."""
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
        """Latent frames that fluctuation is told for at a time; whole spells make up a window."""
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
        # Root mean square of what a code of 1, 2, ... codebooks misses of each channel of z.
        self.register_buffer("spread", torch.zeros(config.codebooks, config.channels))
        self.fluctuation = fluctuation_network(config) if config.fluctuation else None
        if config.levels:  # of the latents of a window
            self.register_buffer("level_mean", torch.zeros(config.pool * config.levels))
            self.register_buffer(
                "level_read_out", torch.zeros(config.channels, config.pool * config.levels)
            )
        coarse, fine = self.log_mel.filters.tensor_split((BANDS,), 1)
        # What is held: all that z can describe, and what is constant in time; orthonormal columns.
        self.register_buffer("basis", torch.zeros(config.coarse, 0), persistent=False)
        self.register_buffer("to_bins", _interpolation(coarse), persistent=False)
        if config.fine:  # of the mean spectrum, what z can describe
            self.register_buffer("fine_basis", torch.zeros(config.fine, 0), persistent=False)
            self.register_buffer("fine_to_bins", _interpolation(fine), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module._find_basis())

    def fill(self, read_out: Tensor, mean: Tensor) -> EnvelopeFilter:
        """Take a read-out `[channels, inputs]` and the envelope of a z of zeros, `[inputs]`, both
        with those of levels behind, `[..., pool x levels]`, if z tells any."""
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
        """Of a z of zeros, `[levels]`."""
        if not self.config.levels:
            return self.mean.new_zeros(0)
        return self.level_mean.unflatten(0, (self.config.pool, -1)).mean(0)

    def levels(self, z: Tensor) -> Tensor:
        """The last latents of every frame, as z `[B, n, channels]` tells, `[B, n t, levels]`."""
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
        # Smoother where it counts, so that it does not jump between windows itself.
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
        """How strongly a sound of this z `[B, n, channels]` fluctuates besides what z describes:
        the natural logarithm of a root mean square, of each spell and band, `[B, spells, 64]`."""
        return self.fluctuation(z).unflatten(2, (-1, BANDS)).flatten(1, 2)

    def unheld(self, mel: Tensor) -> Tensor:
        """What the filter does not hold of log-mels `[B, n t, 64 + fine]`: their fluctuation, of
        the 64 bands."""
        return mel[..., :BANDS] - self._held(self.config.course(mel))

    def mean_square(self, fluctuation: Tensor) -> Tensor:
        """Of each spell, `[B, n t, 64]` -> `[B, spells, 64]`."""
        return fluctuation.square().unflatten(1, (-1, self.config.spell)).mean(2)

    def _held(self, course: Tensor) -> Tensor:
        """The part of a course `[B, n, coarse]` that is held, in frames `[B, n t, 64]`."""
        return self.config.frames((course @ self.basis) @ self.basis.T)

    def _fine_gains(self, detail: Tensor) -> Tensor:
        """Gains of bins, `[B, n t, 1025]`, for what windows miss in fine bands, `[B, n, fine]`."""
        held = (detail @ self.fine_basis) @ self.fine_basis.T
        over = min(FINE_SMOOTHED, self.config.pool)
        gains = smoothed(held.repeat_interleave(self.config.pool, 1), over)
        return gains.clamp(-LIMIT, LIMIT) @ self.fine_to_bins

    def _livened(self, fluctuation: Tensor, strength: Tensor) -> Tensor:
        """Gains that bring a fluctuation `[B, n t, 64]` nearer its strength `[B, spells, 64]`."""
        own = 0.5 * (self.mean_square(fluctuation) + STILL).log()
        change = (strength - own).clamp(-SWING, SWING)
        change = change.where(change < 0, LIVELINESS * change)
        change = change.repeat_interleave(self.config.spell, 1)
        return fluctuation * smoothed(change, self.config.spell).expm1()

    def _edges(self, windows: int) -> Tensor:
        """How much each frame counts as the border of two windows, `[n t, 1]`."""
        pool, reach = self.config.pool, self.config.edge
        if not reach:
            return self.mean.new_zeros(windows * pool, 1)
        place = torch.arange(windows * pool, device=self.mean.device) + 0.5
        distance = (place % pool).minimum(pool - place % pool) / reach
        share = EDGE_SHARE * (0.5 + 0.5 * torch.cos(math.pi * distance.clamp(max=1)))
        outside = (place < reach) | (place > windows * pool - reach)
        return share.masked_fill(outside, 0.0)[:, None]


def fluctuation_network(config: EnvelopeConfig) -> nn.Sequential:
    """Untrained: z `[..., channels]` -> `[..., 64 numbers for each spell of a window]`."""
    width = config.fluctuation
    return nn.Sequential(
        nn.Linear(config.channels, width),
        nn.GELU(),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Linear(width, config.pool // config.spell * BANDS),
    )


def _silencing(described: Tensor) -> Tensor:
    """Gains where an envelope `[B, T, 64]` has next to nothing, elsewhere 0, alike."""
    above = described - math.log(FLOOR)
    frames = _share(above.amax(2, keepdim=True), FRAME_FAINT, FRAME_SILENT)
    return -MUTED * frames - UNDER * _share(above, BAND_FAINT, BAND_SILENT)


def _share(level: Tensor, none: float, whole: float) -> Tensor:
    """0 above `none`, 1 below `whole`, linear between."""
    return ((none - level) / (none - whole)).clamp(0, 1)


def smoothed(frames: Tensor, over: int) -> Tensor:
    """Averaged in time under a Hann window of `over` frames, or one more, an odd number,
    `[B, T, bands]`."""
    over = over // 2 * 2 + 1
    window = torch.hann_window(over + 2, periodic=False, device=frames.device)[1:-1]
    bands = frames.shape[2]
    kernel = (window / window.sum()).expand(bands, 1, -1)
    padded = F.pad(frames.transpose(1, 2), (over // 2,) * 2, "replicate")
    return F.conv1d(padded, kernel, groups=bands).transpose(1, 2)


def _span(rows: Tensor) -> Tensor:
    """Orthonormal rows that span the same space, without directions that are next to nothing."""
    _, strength, basis = torch.linalg.svd(rows, full_matrices=False)
    return basis[strength > 1e-4 * strength.max().clamp(min=1e-12)]


def _interpolation(filters: Tensor) -> Tensor:
    """Filters `[bins, bands]` -> the matrix `[bands, bins]` that takes numbers of bands to bins:
    linear between the bands' centres, constant beyond the outer ones."""
    bands = filters.shape[1]
    centres = filters.argmax(0)
    weights = filters / filters.sum(1, keepdim=True).clamp(min=1e-9)
    weights[: centres[0]] = torch.eye(bands)[0]
    weights[centres[-1] :] = torch.eye(bands)[-1]
    return weights.T.contiguous()
