"""Random numbers of a training step: all follow from one CPU generator, which a checkpoint holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normal(shape: Sequence[int], generator: torch.Generator, device: torch.device | str) -> Tensor:
    """Standard normal float32 numbers on `device`.

    On a CPU they come straight from `generator`. Elsewhere it gives the seed of a generator on the
    device: millions of numbers a step drawn on one core would cost more than the networks.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return torch.randn(tuple(shape), generator=generator)
    seed = int(torch.randint(1 << 62, (), generator=generator))
    child = torch.Generator(device).manual_seed(seed)
    return torch.randn(tuple(shape), generator=child, device=device)


def chance(probability: float, count: int, generator: torch.Generator) -> Tensor:
    """Independent coin tosses, bool `[count]` on the CPU."""
    return torch.rand(count, generator=generator) < probability
