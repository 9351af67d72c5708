"""The decoder's noise, the same bit for bit in whatever pieces it is drawn (format_spec.md, 7).

Every element depends on the seed, its latent frame and its channel alone: not on the length of the
sound, the batch, the window or the device.
"""

from __future__ import annotations

import numpy as np

CHANNELS = 128  # of the latent; also the stride of a frame in the counter
PHASES = 512  # of a frame, at most; the stride of a frame in words
_WORDS = 4  # 64-bit words in one Philox4x64 block
_FRAMES = 512  # drawn at a time: the words alone are eight times as large as the noise


def latent_noise(seed: int, start: int, frames: int, channels: int = CHANNELS) -> np.ndarray:
    """Draws standard normal noise for the latent frames `start` to `start + frames - 1`.

    Args:
        seed: 0..2^64 - 1.
        start: absolute index of the first latent frame (100 Hz) in the sound, at least 0.
        frames: number of latent frames.
        channels: 1..128; fewer than 128 are the first ones of the same field.

    Returns:
        float32 [frames, channels].

    Raises:
        ValueError: an argument is out of its range.
    """
    return _normal_field(seed, 0, start, frames, channels)


def variation_noise(seed: int, start: int, frames: int, channels: int) -> np.ndarray:
    """Draws standard normal noise for what codes leave open, from a separate field.

    Args and errors are those of `latent_noise`, with code frames in place of latent frames.

    Returns:
        float32 [frames, channels].
    """
    return _normal_field(seed, 2, start, frames, channels)


def _normal_field(seed: int, field: int, start: int, frames: int, channels: int) -> np.ndarray:
    if start < 0 or frames < 0 or not 1 <= channels <= CHANNELS:
        raise ValueError(f"no noise for start {start}, {frames} frames, {channels} channels")
    philox = _philox(seed, field, start * CHANNELS)
    noise = np.empty((frames, channels), np.float32)
    for first in range(0, frames, _FRAMES):
        some = noise[first : first + _FRAMES]
        some[:] = _normal(philox, len(some), channels)
    return noise


def phase_noise(seed: int, start: int, frames: int, count: int) -> np.ndarray:
    """Draws uniform noise for the phases of the AudioAE's upper bins, from a separate field.

    Args:
        seed, start, frames: as in `latent_noise`.
        count: phases of a frame, 0..512; fewer than 512 are the first ones of the same field.

    Returns:
        float32 [frames, count] in 0..1.

    Raises:
        ValueError: an argument is out of its range.
    """
    if start < 0 or frames < 0 or not 0 <= count <= PHASES:
        raise ValueError(f"no noise for start {start}, {frames} frames, {count} phases")
    philox = _philox(seed, 1, start * PHASES // _WORDS)
    words = philox.random_raw(frames * PHASES).reshape(frames, PHASES)[:, :count]
    return ((words >> np.uint64(41)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-23)


def _philox(seed: int, field: int, counter: int) -> np.random.Philox:
    """A generator of 64-bit words whose first block is that of `counter`."""
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed {seed} is not in 0..2^64 - 1")
    # NumPy increments the counter before each block, the first included: start one below.
    counter = (counter - 1) % (1 << 256)
    return np.random.Philox(
        key=np.array([seed, field], dtype=np.uint64),
        counter=np.array([counter >> 64 * word & (1 << 64) - 1 for word in range(4)], np.uint64),
    )


def _normal(philox: np.random.Philox, frames: int, channels: int) -> np.ndarray:
    """The next frames of the field, float64 [frames, channels]."""
    words = philox.random_raw(frames * CHANNELS * _WORDS).reshape(frames, CHANNELS, _WORDS)
    words = words[:, :channels, :2]  # [frames, channels, 2]
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # in (0, 1)
    radius = np.sqrt(-2.0 * np.log(uniform[..., 0]))
    return radius * np.cos(2.0 * np.pi * uniform[..., 1])
