"""The tiny pack: untrained networks of the real architecture, for the mechanics of the codec."""

from pathlib import Path

import numpy as np
import pytest

from spresso_cli.codec.codec import Codec

TINY = Path(__file__).parent.parent / "data" / "tiny_pack"


@pytest.fixture(scope="session")
def tiny_path() -> Path:
    return TINY


@pytest.fixture(scope="session")
def codec() -> Codec:
    return Codec.load(TINY, device="cpu")


@pytest.fixture
def sound():
    """`sound(samples, channels=1)`: repeatable noise bursts, float32 `[n, C]`."""

    def make(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((samples, channels)) * 0.1
        envelope = 0.2 + np.abs(np.sin(np.arange(samples) / 5000))[:, None]
        return (x * envelope).astype(np.float32)

    return make
