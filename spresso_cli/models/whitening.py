"""Filters in time around the quantiser, so that what neighbouring windows share is coded only once.
Beyond the paper.

QINCo2 sees one window at a time, but at 25 Hz a window repeats much of what its neighbours say. The
classic remedy for a quantiser without memory is half whitening: before it, a filter whose power
response is 1 / sqrt(spectrum), and after it the inverse. The noise of quantisation then comes out
shaped like the spectrum itself, and at the same number of bits its power falls by
(mean of sqrt(spectrum))^2 / mean of spectrum. The filters are short and symmetric, one for each
channel of z; beyond either end of a sound the outermost window is repeated. The filter after the
quantiser depends on how much noise it has to suppress, and so on the number of codebooks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class WhiteningConfig:
    """Channels of z, codebooks of its quantiser, and windows on either side that filters reach."""

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
        """z of whole sounds `[B, n, D]` -> what the quantiser sees, `[B, n, D]`."""
        return filtered(z - self.mean, self.before)

    def restore(self, x: Tensor, codebooks: int) -> Tensor:
        """The reverse, from what `codebooks` codebooks gave."""
        return filtered(x, self.behind[codebooks - 1]) + self.mean

    def colour(self, codebooks: int) -> Tensor:
        """Taps of the filter after `codebooks` codebooks, `[D, reach + 1]`, scaled so that white
        noise keeps its power: how the errors of neighbouring windows are correlated."""
        taps = self.behind[codebooks - 1]
        return taps / power(taps).sqrt().clamp(min=1e-6)[:, None]

    def pulled(self, error: Tensor, codebooks: int) -> Tensor:
        """The changes in the quantiser's output that an error of z `[B, n, D]` calls for, each by
        itself: the adjoint of `restore`, over the squared length of what a unit change does."""
        taps = self.behind[codebooks - 1]
        reach, n = self.config.reach, error.shape[1]
        beyond = error.new_zeros(len(error), 2 * reach, error.shape[2])
        spread = _convolved(torch.cat((beyond, error, beyond), 1), taps)  # [B, n + 2 reach, D]
        inner = spread[:, reach : reach + n].clone()
        # What reaches beyond an end belongs to the outermost window, which is repeated there.
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
    """x `[B, n, D]` filtered with symmetric taps `[D, reach + 1]`, its ends repeated beyond."""
    reach = taps.shape[1] - 1
    places = torch.arange(-reach, x.shape[1] + reach, device=x.device).clamp(0, x.shape[1] - 1)
    return _convolved(x[:, places], taps)


def _convolved(x: Tensor, taps: Tensor) -> Tensor:
    """x `[B, n + 2 reach, D]` -> `[B, n, D]`; adds in the same order for every window."""
    reach = taps.shape[1] - 1
    n = x.shape[1] - 2 * reach
    out = taps[:, 0] * x[:, reach : reach + n]
    for k in range(1, reach + 1):
        pair = x[:, reach - k : reach - k + n] + x[:, reach + k : reach + k + n]
        out = out + taps[:, k] * pair
    return out
