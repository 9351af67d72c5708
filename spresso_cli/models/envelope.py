"""The envelope that z describes, and a filter that holds a decoded sound to it. Beyond the paper.

z says how the log-mel spectrum of its window goes, up to what its numbers can hold; a diffusion
decoder that is young, small or in a hurry keeps to it only roughly. A linear read-out, fitted by
least squares after step 1, says which envelope z means. The filter looks at a decoded sound through
the directions in which such envelopes can differ, and makes up for the difference by gains on a
short-time spectrum; the mean spectrum of a window it holds to z's band by band. What lies outside
these directions, the fine structure in time, stays as the decoder made it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spresso_cli.models.log_mel import BANDS, LogMel

BLOCKS = 25  # at most, of time within a window
PASSES = 2  # overlapping frames disagree about a gain: what the first leaves, the second corrects
LIMIT = 3.5  # nepers (30 dB) that one pass may change a band by


@dataclass(frozen=True)
class EnvelopeConfig:
    """Pooling factor and channels of z."""

    pool: int
    channels: int = 64

    @property
    def block(self) -> int:
        """Latent frames that are averaged before anything else."""
        return max(1, self.pool // BLOCKS)

    @property
    def inputs(self) -> int:
        """Numbers that describe one window."""
        return self.pool // self.block * BANDS

    def windows(self, mel: Tensor) -> Tensor:
        """Log-mels `[B, n t, 64]` -> windows in blocks `[B, n, inputs]`."""
        blocks = mel.unflatten(1, (-1, self.block)).mean(2)
        return blocks.unflatten(1, (-1, self.pool // self.block)).flatten(2)

    def frames(self, windows: Tensor) -> Tensor:
        """The reverse: every frame of a block gets the block's numbers, `[B, n t, 64]`."""
        blocks = windows.unflatten(2, (-1, BANDS)).flatten(1, 2)
        return blocks.repeat_interleave(self.block, 1)


class EnvelopeFilter(nn.Module):
    """One frame rate's read-out, as buffers, and the filter that uses it."""

    # Windows on either side of a sound's end that the filter's output there depends on.
    CONTEXT = 2 * PASSES

    def __init__(self, config: EnvelopeConfig, hop: int = 480):
        super().__init__()
        self.config = config
        self.log_mel = LogMel(hop)
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("read_out", torch.zeros(config.channels, config.inputs))
        # What is held: all that z can describe, and what is constant in time; orthonormal columns.
        self.register_buffer("basis", torch.zeros(config.inputs, 0), persistent=False)
        self.register_buffer("to_bins", _interpolation(self.log_mel.filters), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module._find_basis())

    def fill(self, read_out: Tensor, mean: Tensor) -> EnvelopeFilter:
        """Take a read-out `[channels, inputs]` and the envelope of a z of zeros, `[inputs]`."""
        self.read_out.copy_(read_out)
        self.mean.copy_(mean)
        self._find_basis()
        return self

    def _find_basis(self) -> None:
        blocks = self.config.inputs // BANDS
        constant = torch.eye(BANDS, device=self.mean.device).repeat(1, blocks) / blocks**0.5
        self.basis = _span(torch.cat((_span(self.read_out), constant))).T  # [inputs, rank]

    def described(self, z: Tensor) -> Tensor:
        """z `[B, n, channels]` -> the envelope it describes, log-mel `[B, n t, 64]`."""
        return self.config.frames(z @ self.read_out + self.mean)

    def forward(self, sound: Tensor, z: Tensor) -> Tensor:
        """Hold a decoded sound to the envelope of its z.

        Args:
            sound: `[B, hop t n]`, at the level that networks see.
            z: `[B, n, channels]`.

        Returns:
            The filtered sound, like `sound`.
        """
        wanted = z @ self.read_out + self.mean  # [B, n, inputs]
        for _ in range(PASSES):
            spectrum = self.log_mel.spectrum(sound)
            missing = wanted - self.config.windows(self.log_mel.of(spectrum))
            gains = self.config.frames((missing @ self.basis) @ self.basis.T).clamp(-LIMIT, LIMIT)
            sound = self.log_mel.sound(spectrum * (gains @ self.to_bins).exp())
        return sound


def _span(rows: Tensor) -> Tensor:
    """Orthonormal rows that span the same space, without directions that are next to nothing."""
    _, strength, basis = torch.linalg.svd(rows, full_matrices=False)
    return basis[strength > 1e-4 * strength.max().clamp(min=1e-12)]


def _interpolation(filters: Tensor) -> Tensor:
    """Filters `[bins, 64]` -> the matrix `[64, bins]` that takes numbers of bands to bins: linear
    between the bands' centres, constant beyond the outer ones."""
    bands = filters.shape[1]
    centres = filters.argmax(0)
    weights = filters / filters.sum(1, keepdim=True).clamp(min=1e-9)
    weights[: centres[0]] = torch.eye(bands)[0]
    weights[centres[-1] :] = torch.eye(bands)[-1]
    return weights.T.contiguous()
