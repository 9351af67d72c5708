"""Decoded sound held to the envelope of its z, as it streams by (models/envelope.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from spresso_cli.diffusion.noise import variation_noise
from spresso_cli.models.envelope import EnvelopeFilter
from spresso_cli.models.whitening import Whitening, filtered

CHUNK_FRAMES = 1000  # latent frames that are filtered at a time, about

Excerpts = Callable[[int, int], Tensor]  # z of code frames `begin` to `stop - 1`, [C, n, channels]


def varied(z: Excerpts, spread: Tensor, seed: int, taps: Tensor | None = None) -> Excerpts:
    """z as the seed's performance has it: noise stands for what the codes leave open.

    Args:
        z: what the codes say.
        spread: standard deviation of the noise in each channel of z, `[channels]`.
        seed: 0..2^64 - 1; the channels of a sound share the noise.
        taps: of the filter that the noise goes through, of unit power, `[channels, reach + 1]`.
    """
    reach = 0 if taps is None else taps.shape[1] - 1

    def excerpt(begin: int, stop: int) -> Tensor:
        first = max(0, begin - reach)
        field = variation_noise(seed, first, stop + reach - first, len(spread))
        noise = torch.from_numpy(field).to(spread)
        if taps is not None:
            noise = filtered(noise[None], taps)[0, begin - first : stop - first]
        return z(begin, stop) + spread * noise

    return excerpt


def performed(
    z: Excerpts,
    envelope: EnvelopeFilter,
    whitening: Whitening | None,
    codebooks: int,
    variety: float,
    seed: int,
) -> Excerpts:
    """z of codes of so many codebooks as a seed's performance has it.

    Args:
        whitening: the filters around the quantiser: its errors, and so the noise that stands for
            them, go through the one behind.
        variety: of what such codes leave open, where the pack knows it, the share that is filled
            in.
    """
    if not variety or codebooks > len(envelope.spread):
        return z
    taps = None if whitening is None else whitening.colour(codebooks)
    return varied(z, variety * envelope.spread[codebooks - 1], seed, taps)


@torch.inference_mode()
def held_to_envelope(
    sound: Iterable[Tensor], z: Excerpts, envelope: EnvelopeFilter
) -> Iterator[Tensor]:
    """Filter a sound in chunks of whole code frames, with as many on both sides as matter.

    Args:
        sound: float32 `[C, n]` blocks at 48 kHz and network level, together whole code frames.
        z: float32.

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
