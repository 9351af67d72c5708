"""Power-function EMA of network weights (EDM2, section 3.1)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

WIDEST = 12**-0.5  # relative width at gamma 0, where all steps count alike; there is none above


def gamma_of(sigma_rel: float) -> float:
    """The exponent gamma whose profile has relative width `sigma_rel` (EDM2, algorithm 2)."""
    s = sigma_rel**-2
    return float(np.roots([1, 7, 16 - s, 12 - s]).real.max())


class PowerEMA:
    """Running average over named tensors; the averaging window grows with the training time.

    Args:
        tensors: weights and buffers, as they are now.
        sigma_rel: relative width of the profile.
        learned: names of those that are averaged, which are floats. All others are kept as they
            last were: an average of a buffer that was fitted once would be neither old nor new.
    """

    def __init__(
        self, tensors: dict[str, Tensor], sigma_rel: float = 0.10, learned: Collection[str] = ()
    ):
        self.gamma = gamma_of(sigma_rel)
        self.learned = [name for name in tensors if name in learned]
        self.step = 0
        self.average = {name: t.detach().clone() for name, t in tensors.items()}

    @torch.no_grad()
    def update(self, tensors: dict[str, Tensor]) -> None:
        """Move the average after one optimiser step: beta_t = (1 - 1/t)^(gamma + 1)."""
        self.step += 1
        beta = (1 - 1 / self.step) ** (self.gamma + 1)
        # One fused call for hundreds of tensors: on a GPU each would be a launch of its own.
        if self.learned:
            torch._foreach_lerp_(
                [self.average[name] for name in self.learned],
                [tensors[name].detach().to(self.average[name].dtype) for name in self.learned],
                1 - beta,
            )
        for name in self.average.keys() - set(self.learned):
            self.average[name].copy_(tensors[name])
