"""Where the networks run, and the fixed batch shapes that make results repeatable."""

from __future__ import annotations

import torch

from spresso_cli.errors import UsageError

# Windows that run through a network at once. A constant per device, padded up to: the arithmetic of
# a row may depend on the shape of its batch, so the batch must not depend on what else there is.
MICRO_BATCH = {"cpu": 1, "cuda": 16}
# Windows collected before the networks run; a multiple of the micro-batch.
ROUND = {"cpu": 1, "cuda": 64}
# Vectors that one search of the quantiser sees. Sounds are not mixed in it, so that most of them,
# a few seconds at 1 Hz, would search for little but padding in a larger one.
SEARCH_BATCH = {"cpu": 4, "cuda": 64}


def resolve_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: no such device here; the text says what to use instead.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in MICRO_BATCH:
        raise UsageError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"--device {name}: there is no CUDA device here; use --device cpu")
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            raise UsageError(f"--device {name}: there are only cuda:0 to cuda:{count - 1}")
    return device
