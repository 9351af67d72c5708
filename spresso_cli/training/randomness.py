"""Random numbers of a training step: all from one CPU generator, whose state checkpoints keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normal(shape: Sequence[int], generator: torch.Generator, device: torch.device | str) -> Tensor:
    """Standard normal float32 numbers on `device`.

    On a CPU they come straight from `generator`. Elsewhere it gives the seed of a generator on the
    device: millions of numbers a step drawn on one core would cost more than the networks.
    """
    return torch.randn(tuple(shape), generator=_on(device, generator), device=device)


def fractions(
    shape: Sequence[int], generator: torch.Generator, device: torch.device | str
) -> Tensor:
    """Float32 numbers from 0 to 1 on `device`, drawn as `normal` draws."""
    return torch.rand(tuple(shape), generator=_on(device, generator), device=device)


def _on(device: torch.device | str, generator: torch.Generator) -> torch.Generator:
    """A generator of this device whose numbers follow from the CPU's."""
    if torch.device(device).type == "cpu":
        return generator
    seed = int(torch.randint(1 << 62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def one_of(options: Sequence[int], generator: torch.Generator) -> int:
    """One of some numbers, all as likely."""
    return options[int(torch.randint(len(options), (1,), generator=generator))]


def chance(probability: float, count: int, generator: torch.Generator) -> Tensor:
    """Independent coin tosses, bool `[count]` on the CPU."""
    return torch.rand(count, generator=generator) < probability
