"""Filters in time around the quantiser: what neighbouring windows share is not paid for twice.
Beyond the paper.

QINCo2 sees one window at a time, but at 25 Hz a window says much of what its neighbours said. The
old remedy for a quantiser without memory is to whiten by half: a filter before it whose power
response is 1 / sqrt(spectrum), its inverse behind. The noise of quantisation then comes out with
the spectrum's own shape, and its power falls by (mean of sqrt(spectrum))^2 / mean of spectrum at
the same bits. Filters are short, symmetric and one for each channel of z; at either end of a sound
the outermost window stands for what lies beyond. The filter behind depends on how much noise there
is to keep back, and so on the number of codebooks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class WhiteningConfig:
    """Channels of z, codebooks of its quantiser, and how many windows on either side count."""

    channels: int = 64
    codebooks: int = 20
    reach: int = 4


class Whitening(nn.Module):
    """Both filters of one frame rate, as buffers; taps from the middle outwards."""

    def __init__(self, config: WhiteningConfig):
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.channels))
        # Before anything is fitted, both leave z as it is.
        impulse = torch.eye(config.reach + 1)[0]
        self.register_buffer("before", impulse.repeat(config.channels, 1))
        self.register_buffer("behind", impulse.repeat(config.codebooks, config.channels, 1))

    def whiten(self, z: Tensor) -> Tensor:
        """z `[B, n, D]` of whole sounds -> what the quantiser sees, likewise."""
        return filtered(z - self.mean, self.before)

    def restore(self, x: Tensor, codebooks: int) -> Tensor:
        """The reverse, of what came out of so many codebooks."""
        return filtered(x, self.behind[codebooks - 1]) + self.mean

    def colour(self, codebooks: int) -> Tensor:
        """Taps of the filter behind so many codebooks, scaled so that white noise keeps its power,
        `[D, reach + 1]`: how the errors of neighbouring windows hang together."""
        taps = self.behind[codebooks - 1]
        return taps / power(taps).sqrt().clamp(min=1e-6)[:, None]

    def pulled(self, error: Tensor, codebooks: int) -> Tensor:
        """How the quantiser's numbers would move an error of z `[B, n, D]`: the adjoint of
        `restore`, over the squared length of what one of them does."""
        taps = self.behind[codebooks - 1]
        reach, n = self.config.reach, error.shape[1]
        beyond = error.new_zeros(len(error), 2 * reach, error.shape[2])
        spread = _convolved(torch.cat((beyond, error, beyond), 1), taps)  # [B, n + 2 reach, D]
        inner = spread[:, reach : reach + n].clone()
        # What reaches beyond an end is the outermost window's, which stands for all of it.
        inner[:, 0] += spread[:, :reach].sum(1)
        inner[:, -1] += spread[:, reach + n :].sum(1)
        return inner / self._weights(n, taps)

    def _weights(self, n: int, taps: Tensor) -> Tensor:
        """Squared length of what a unit in each of `n` windows does to z, `[n, D]`."""
        reach = self.config.reach
        few = min(n, 2 * reach + 1)
        units = torch.eye(few, device=taps.device)[..., None].expand(-1, -1, len(taps))
        weights = filtered(units, taps).square().sum(1)  # [few, D]
        if n == few:
            return weights
        middle = weights[reach].expand(n - 2 * reach, -1)
        return torch.cat((weights[:reach], middle, weights[reach + 1 :]))


def power(taps: Tensor) -> Tensor:
    """By how much symmetric taps `[D, reach + 1]` amplify white noise, `[D]`."""
    return taps[:, 0].square() + 2 * taps[:, 1:].square().sum(1)


def filtered(x: Tensor, taps: Tensor) -> Tensor:
    """x `[B, n, D]` under symmetric taps `[D, reach + 1]`, the ends held; likewise."""
    reach = taps.shape[1] - 1
    places = torch.arange(-reach, x.shape[1] + reach, device=x.device).clamp(0, x.shape[1] - 1)
    return _convolved(x[:, places], taps)


def _convolved(x: Tensor, taps: Tensor) -> Tensor:
    """x `[B, n + 2 reach, D]` -> `[B, n, D]`; sums in one order, wherever a window lies."""
    reach = taps.shape[1] - 1
    n = x.shape[1] - 2 * reach
    out = taps[:, 0] * x[:, reach : reach + n]
    for k in range(1, reach + 1):
        pair = x[:, reach - k : reach - k + n] + x[:, reach + k : reach + k + n]
        out = out + taps[:, k] * pair
    return out
