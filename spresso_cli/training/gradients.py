"""From gradients to a step of the optimiser, in the same way for every stage."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from spresso_cli.training import distributed


def replace_broken(parameters: Iterable[nn.Parameter]) -> None:
    """Set gradients that are not finite to zero, as EDM2 does: one bad batch ends no long run."""
    for parameter in parameters:
        if parameter.grad is not None:
            torch.nan_to_num(parameter.grad, 0.0, 0.0, 0.0, out=parameter.grad)


def gather(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Give parameters the mean of all processes' gradients, finite; returns them."""
    parameters = list(parameters)
    distributed.average_gradients(parameters)
    replace_broken(parameters)
    return parameters


def descend(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], clip_norm: float
) -> None:
    """One step of the optimiser along all processes' gradients, clipped to `clip_norm`."""
    nn.utils.clip_grad_norm_(gather(parameters), clip_norm)
    optimizer.step()
