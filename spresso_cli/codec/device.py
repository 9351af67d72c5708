"""Where the networks run, and the fixed batch shapes that make results repeatable, whatever the
program around a codec has torch do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch

from spresso_cli.errors import OutOfMemory, UsageError

Result = TypeVar("Result")
Steps = TypeVar("Steps", bound=Callable[..., Iterator[Any]])  # of which each gives a result

# A forked child has one thread, and torch would wait in it for those of its parent.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

# Windows that run through a network at once. A constant per device, padded up to: the arithmetic of
# a row may depend on the shape of its batch, so the batch must not depend on what else there is.
MICRO_BATCH = {"cpu": 1, "cuda": 16}
# Windows collected before the networks run; a multiple of the micro-batch.
ROUND = {"cpu": 1, "cuda": 64}
# Vectors that one search of the quantiser sees. Sounds are not mixed in it, so that most of them,
# a few seconds at 1 Hz, would search for little but padding in a larger one.
SEARCH_BATCH = {"cpu": 4, "cuda": 64}
# Where each has a metric of its own, together they would save a processor nothing.
WEIGHTED_SEARCH_BATCH = {"cpu": 1, "cuda": 64}


class Batches:
    """How many windows run through a network at once on a device: fixed, while memory lasts.

    When it runs out, the number is halved, for what is at work and for all that follows; a sound
    may then differ from one made with the full number as it would on another device.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.size = MICRO_BATCH[device.type]

    def run(self, work: Callable[[int], Result]) -> Result:
        """What `work(size)` returns at the largest size, from the present one down, that fits.

        Raises:
            OutOfMemory: not even one window fits.
        """
        while True:
            try:
                return work(self.size)
            except RuntimeError as error:
                if not is_memory(error):
                    raise
            # Out of the handler: the traceback held on to every tensor of the attempt.
            if self.size == 1:
                raise OutOfMemory(_advice(self.device, " even with one window at a time"))
            self.size //= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def undisturbed(method: Steps) -> Steps:
    """Shields a generator method of an object with a `device` from what is set in the thread that
    takes its results: autocast is off, the default device is the CPU, and numpy's errors leave out
    underflow. Networks that are loaded inside would keep the types and places of such settings. The
    default dtype is the whole process's and cannot be shielded from: UsageError if not float32."""

    @wraps(method)
    def steps(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with closing(method(self, *args, **kwargs)) as results:
            while True:
                if (kind := torch.get_default_dtype()) != torch.float32:
                    raise UsageError(f"torch's default dtype is {kind}: make it torch.float32")
                # A mode that slows down every operation: set only where it changes something.
                usual = torch.get_default_device().type == "cpu"
                place = nullcontext() if usual else torch.device("cpu")
                autocast = torch.autocast(self.device.type, enabled=False)
                with autocast, place, np.errstate(under="ignore"):
                    try:
                        result = next(results)
                    except StopIteration:
                        return
                yield result
                del result  # or it would lie in memory or on disk while the next one is made

    return steps


@contextmanager
def within_memory(device: torch.device, remedy: str | None = None) -> Iterator[None]:
    """Turns a device that runs out of memory inside the block into `OutOfMemory`.

    Args:
        remedy: what its text advises; None: what helps who compresses or decompresses.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_memory(error):
            raise
        text = f"out of memory on {device}: {remedy}" if remedy else _advice(device)
        raise OutOfMemory(text) from None


def is_memory(error: RuntimeError) -> bool:
    """Whether memory ran out: allocators, cuBLAS and the CUDA driver each say it in their way."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(words in text for words in ("out of memory", "alloc_failed", "allocate memory"))


def _advice(device: torch.device, tried: str = "") -> str:
    if device.type == "cpu":
        return "out of memory: close other programs, or share the work out with --shard"
    return f"out of memory on {device}{tried}: stop what else uses it, or use --device cpu"


def resolve_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: no such device here; the text says what to use instead.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in MICRO_BATCH:
        raise UsageError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"--device {name}: there is no CUDA device here; use --device cpu")
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            raise UsageError(f"--device {name}: there are only cuda:0 to cuda:{count - 1}")
        # Codes are found in float32, and float32 is meant; training asks for less by itself.
        torch.backends.cudnn.allow_tf32 = False
    return device
