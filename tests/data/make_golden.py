"""Writes tests/data/golden.spr and golden.wav: a file of the shipped pack, and what it decodes to.

To be run again where a pack has been replaced, or decoding was changed on purpose; then the
changelog has to say so. From the top of the repository:

    python -m tests.data.make_golden
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from spresso_cli import Codec

FOLDER = Path(__file__).parent
RATE, KBPS, SEED = 16_000, 0.096, 3


def sound() -> np.ndarray:
    """A second and a half of two strokes over a tone, float32 [n, 1]."""
    seconds = np.arange(22_000) / RATE
    strokes = np.random.default_rng(0).standard_normal(len(seconds)) * np.exp(-3 * (seconds % 0.7))
    x = 0.1 * strokes + 0.03 * np.sin(2 * np.pi * 440 * seconds)
    return x.astype(np.float32)[:, None]


def main() -> None:
    codec = Codec.load(device="cpu")
    data = codec.compress(sound(), RATE, kbps=KBPS)
    take, rate = codec.decompress(data, seed=SEED)
    (FOLDER / "golden.spr").write_bytes(data)
    soundfile.write(FOLDER / "golden.wav", take, rate, subtype="PCM_16")


if __name__ == "__main__":
    main()
