"""Data parallelism over the processes that torchrun starts; a no-op in a single process.

Every process draws the same global batch from the same random generator and computes its own rows
of it. N processes therefore do what one would, and a checkpoint does not know how many there were.
Gradients are averaged by one flat all-reduce after the backward pass: for networks of tens of
millions of parameters that costs a few milliseconds, and it does not matter which of the
parameters took part in a step, which differs from step to step when several frame rates share a
trunk.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

# Its functions' default group is the one of the moment they are imported. Imported first by an
# optimiser, in the middle of a run, they would keep that run's group and its threads alive behind
# its end, and such a thread can abort the process on its way out.
import torch.distributed.nn
from torch import Tensor, nn

from spresso_cli.errors import UsageError

Rows = TypeVar("Rows")


def size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 writes checkpoints and talks."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; gives the device of this one.

    NCCL between GPUs, each process on the GPU of its local rank; gloo between CPU processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    # The first process may prepare data for an hour while the others wait.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=3))
    try:
        yield device
    finally:
        dist.destroy_process_group()


def check_batch(batch: int) -> None:
    """Raises UsageError unless a global batch divides evenly over the processes."""
    if batch % size():
        raise UsageError(f"a batch of {batch} does not divide over {size()} processes")


def share(rows: Rows) -> Rows:
    """This process's rows of a global batch: of a tensor, a dataclass of tensors, or None."""
    if size() == 1 or rows is None:
        return rows
    if isinstance(rows, Tensor):
        return rows.chunk(size())[rank()]
    values = {f.name: share(getattr(rows, f.name)) for f in dataclasses.fields(rows)}
    return dataclasses.replace(rows, **values)


def everyones(rows: Tensor) -> Tensor:
    """The global batch `[B, ...]` of results, given this process's rows; gradients flow back.

    Every process must go on to compute the same loss from it: the gradients that come back are
    then right after `average_gradients`.
    """
    return rows if size() == 1 else _Gathered.apply(rows)


def mean(value: Tensor) -> Tensor:
    """The mean of a number `[]` over the processes, without gradients."""
    return everyones(value.detach()[None]).mean()


class _Gathered(torch.autograd.Function):
    """Rows of all processes; backward, the sum of what all of them want of one's own rows."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(size())[rank()]


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes."""
    if size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def align(tensors: Iterable[Tensor]) -> None:
    """Give every process the first one's values, in place."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def wait() -> None:
    """Until all processes have come here."""
    if size() > 1:
        dist.barrier()


def anyone(asks: bool, device: torch.device) -> bool:
    """Whether any process asks for it; all of them have to come here."""
    if size() == 1:
        return asks
    asked = torch.tensor(float(asks), device=device)
    dist.all_reduce(asked, dist.ReduceOp.MAX)
    return bool(asked)


def agreed(number: float, device: torch.device) -> float:
    """The first process's number, for all."""
    if size() == 1:
        return number
    shared = torch.tensor(number, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return float(shared)
