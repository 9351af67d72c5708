"""At 1 Hz the shipped pack's codes say best what can be heard of an envelope."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from spresso_cli.audio.files import ArraySource
from spresso_cli.audio.level import NETWORK_PEAK
from spresso_cli.codec.encoder import EncoderModels, SoundEncoder
from spresso_cli.codec.networks import Networks
from spresso_cli.codec.packs import SHIPPED, PackInfo, find_pack
from spresso_cli.container.profile import Profile
from spresso_cli.models.audibility import LOUD
from spresso_cli.models.log_mel import LogMel

SOUNDS = Path(__file__).parents[2] / "examples" / "sounds"


@pytest.fixture(scope="module")
def pack() -> PackInfo:
    return find_pack(next(SHIPPED.iterdir()))


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks(torch.device("cpu"))


@pytest.fixture(scope="module")
def models(pack: PackInfo, networks: Networks) -> EncoderModels:
    return networks.encoder(pack, pack.families[1])


@pytest.fixture(scope="module")
def plain(pack: PackInfo, networks: Networks) -> EncoderModels:
    """The same to which all errors are alike."""
    return networks.encoder(pack, pack.families[1], heard=False)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Three seconds of a fire: crackles, loud in all bands, over a rumble."""
    x, _ = soundfile.read(SOUNDS / "fire_crackle.flac", frames=144_000, dtype="float32")
    return x if x.ndim == 1 else np.ascontiguousarray(x[:, 0])


def codes(models: EncoderModels, sound: np.ndarray) -> torch.Tensor:
    source = ArraySource(sound, 48_000)
    ((_, stream),) = SoundEncoder(models, Profile.of(1, 8)).run([(None, source)])
    return torch.from_numpy(stream.codes().astype(np.int64))


def test_what_is_loud_is_told_better_and_what_is_faint_worse(
    models: EncoderModels, plain: EncoderModels, sound: np.ndarray
) -> None:
    told = models.audibility
    level = float(NETWORK_PEAK / np.abs(sound).max())
    course = told.envelope.windows(LogMel(480)(torch.from_numpy(sound)[None] * level))

    def missed(models: EncoderModels) -> tuple[float, float]:
        z = models.quantizer.decode(codes(models, sound))
        error = (z @ told.read_out + told.mean - course).square()
        return float(error[course > LOUD].mean()), float(error[course < LOUD].mean())

    heard, alike = missed(models), missed(plain)
    assert heard[0] < 0.9 * alike[0] and heard[1] > alike[1]


def test_what_the_network_says_beside_the_envelope_makes_no_difference(
    models: EncoderModels, plain: EncoderModels, sound: np.ndarray
) -> None:
    level = float(NETWORK_PEAK / np.abs(sound).max())
    pcm = torch.from_numpy(sound)[None] * level
    mel, told = LogMel(480)(pcm), models.audibility
    with torch.inference_mode():
        by_all, by_mel = (
            told.heard(models.encoder(latents, mel), mel, torch.tensor([300]))
            for latents in (plain.audio_ae.encode(pcm), None)
        )
    assert models.audio_ae is None, "so it is not even loaded"
    left_open = models.quantizer.decode(codes(models, sound)) - by_mel[0]
    metric = told.metric(by_mel[1][0])

    def counted(error: torch.Tensor) -> float:
        return float((error[0, :, None] @ metric).square().sum())

    assert counted(by_all[0] - by_mel[0]) < 0.01 * counted(left_open)


def test_every_channel_is_told_by_what_is_loud_in_it(
    models: EncoderModels, sound: np.ndarray
) -> None:
    pair = np.stack((sound, sound[::-1]), 1)
    apart = [codes(models, np.ascontiguousarray(channel))[0] for channel in pair.T]
    assert torch.equal(codes(models, pair), torch.stack(apart))


def test_no_bits_are_spent_on_what_fills_the_last_window(
    models: EncoderModels, sound: np.ndarray
) -> None:
    """A quarter of a second is told better than with three quarters of silence that count."""
    told, short = models.audibility, sound[:12_000]
    level = float(NETWORK_PEAK / np.abs(short).max())
    mel = LogMel(480)(torch.from_numpy(np.pad(short * level, (0, 36_000)))[None])
    blocks = 12_000 // 480 // told.envelope.block  # all of which sound

    def missed(sound: np.ndarray) -> float:
        z = models.quantizer.decode(codes(models, sound))
        error = (z @ told.read_out + told.mean - told.envelope.windows(mel)).square()
        return float(error.flatten()[: blocks * 64].mean())

    assert missed(short) < 0.8 * missed(np.pad(short, (0, 36_000)))
