"""What was coded earlier: its file, its codes and its sound stay as they were.

Of the networks, only weights are told apart by their tag. All numbers beside these, from the floor
of a log-mel to the noise, are the code's: a change to one lets old files sound otherwise.
"""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from spresso_cli import Codec
from spresso_cli.container import spr
from spresso_cli.container.stream import Header
from tests.data.make_golden import FOLDER, KBPS, RATE, SEED, sound

ROUNDING = 40.0  # dB of a sound over what other machines and devices may make of it


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return Codec.load(device="cpu")


def test_an_old_file_sounds_as_it_did(shipped: Codec) -> None:
    was, rate = soundfile.read(FOLDER / "golden.wav", always_2d=True)
    take, its_rate = shipped.decompress((FOLDER / "golden.spr").read_bytes(), seed=SEED)
    assert (take.shape, its_rate) == (was.shape, rate)
    change = np.square(take - was).mean() / np.square(was).mean()
    assert 10 * np.log10(change) < -ROUNDING


def test_a_sound_is_coded_as_it_was(shipped: Codec) -> None:
    was = spr.read((FOLDER / "golden.spr").read_bytes())
    stream = spr.read(shipped.compress(sound(), RATE, kbps=KBPS))
    for name in Header.__dataclass_fields__:
        assert getattr(stream, name) == getattr(was, name), name
    assert (stream.codes() == was.codes()).mean() > 0.9  # but for two that are as good
