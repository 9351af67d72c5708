"""Decoded sound held to the envelope of its z, as it streams by (models/envelope.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from spresso_cli.models.envelope import EnvelopeFilter

CHUNK_FRAMES = 1000  # latent frames that are filtered at a time, about


@torch.inference_mode()
def held_to_envelope(
    sound: Iterable[Tensor], z: Callable[[int, int], Tensor], envelope: EnvelopeFilter
) -> Iterator[Tensor]:
    """Filter a sound in chunks of whole code frames, with as many on both sides as matter.

    Args:
        sound: float32 `[C, n]` blocks at 48 kHz and network level, together whole code frames.
        z: gives z of the code frames `begin` to `stop - 1`, float32 `[C, stop - begin, channels]`.

    Yields:
        float32 `[C, m]`, together as long.
    """
    window = envelope.config.pool * envelope.log_mel.hop  # samples of a code frame
    step, context = max(1, CHUNK_FRAMES // envelope.config.pool), envelope.context
    held, first, done = torch.zeros(0, 0), 0, 0  # `held` begins with code frame `first`

    def filtered(stop: int, until: int) -> Tensor:
        """Code frames `done` to `stop - 1`, out of what is held up to `until`."""
        part = held[:, : (until - first) * window]
        return envelope(part, z(first, until))[:, (done - first) * window : (stop - first) * window]

    for block in sound:
        held = torch.cat((held, block), 1) if held.numel() else block
        while held.shape[1] >= (done + step + context - first) * window:
            yield filtered(done + step, done + step + context)
            done += step
            kept = max(first, done - context)
            held, first = held[:, (kept - first) * window :], kept
    last = first + held.shape[1] // window
    if last > done:
        yield filtered(last, last)
