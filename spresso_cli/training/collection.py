"""z of the corpus, from which step 2 learns: encoded once, and kept even if only in part.

On a CPU, encoding takes longer than the rest of step 2 (an hour on two cores for the adapt
configuration's 200 000 z at 1 Hz), so a time box may end it anywhere, and the next call continues.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.training import distributed
from spresso_cli.training.latents import TOGETHER, LatentPool, sequences, whole_windows
from spresso_cli.training.preparation import Call, TimeIsOver, fingerprint
from spresso_cli.training.stored import damage, write

_SECONDS = 60.0  # of work in a file, about: no more is lost with a process that is killed


def collected(
    call: Call, pool: LatentPool, encoder: LatentEncoder, windows: int, frames: int
) -> Tensor:
    """z `[B, n, channels]` of the crops that `latents.encoded` draws, by the call's seed.

    Raises:
        TimeIsOver: the time box ended before there were all; what there is has been kept.
    """
    mark = fingerprint(encoder, pool.mark(), frames, call.seed)

    def file(before: int) -> Path:
        """The file of crops that so many come before."""
        return call.workspace.folder / "latents" / f"z-{mark}-{before:08d}.safetensors"

    generator = torch.Generator().manual_seed(call.seed)
    count, have = sequences(encoder, windows, frames), 0
    kept: list[Tensor] = []
    while have < count and file(have).exists() and damage(file(have)) is None:
        tensors = load_file(file(have))
        generator.set_state(tensors["generator"])
        kept.append(tensors["z"].to(pool.latents.device))
        have += len(kept[-1])
    distributed.wait()  # all have read the same before the first one writes
    if have < count:
        call.note(f"encoding crops of sounds for step 2, {count - have:,} of {count:,}")
    while have < count:
        if call.over():
            raise TimeIsOver(f"{have:,} of {count:,} crops are encoded")
        z = _for_a_while(call, pool, encoder, frames, count - have, generator)
        write(file(have), {"z": z, "generator": generator.get_state()})
        kept.append(z)
        have += len(z)
    return torch.cat(kept)[:count]


@torch.no_grad()
def _for_a_while(
    call: Call,
    pool: LatentPool,
    encoder: LatentEncoder,
    frames: int,
    most: int,
    generator: torch.Generator,
) -> Tensor:
    """z of so many crops, or of as many as there is time for: until the next are kept, or the time
    box ends."""
    left = call.minutes_left()
    end = time.monotonic() + min(_SECONDS, math.inf if left is None else 60 * left)
    parts: list[Tensor] = []
    while TOGETHER * len(parts) < most:
        if parts and distributed.agreed(end - time.monotonic(), pool.latents.device) <= 0:
            break
        crops = whole_windows(pool, encoder, frames, generator)
        parts.append(encoder(crops.latents, crops.mel).float())
    return torch.cat(parts)
