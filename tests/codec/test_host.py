"""What the program around a codec has set is its own, and changes nothing of what is coded."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spresso_cli.codec.codec import Codec


def coded(path: Path, sound: np.ndarray) -> tuple[bytes, np.ndarray]:
    """What a codec that has loaded nothing yet makes of a sound, both ways, and with a text."""
    codec = Codec.load(path, device="cpu")
    data = codec.compress(sound, 48_000, kbps=1.32)
    return data, codec.decompress(data, steps=1, prompt="rain")[0]


def test_random_numbers_are_left_alone(tiny_path, sound):
    x = sound(10_000)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    coded(tiny_path, x)
    assert torch.equal(torch.get_rng_state(), before)
