"""What QINCo2 learns from where encoders weigh: the z that they take, where there is sound."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from spresso_cli.models.audibility import Audibility
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.log_mel import FLOOR
from spresso_cli.training import quantizer, read_out
from spresso_cli.training.config import Settings
from spresso_cli.training.heard import Heard, heard
from spresso_cli.training.latents import TAIL_FRAMES, LatentPool

from .test_step_two import step, with_encoder

WINDOW = 100  # latent frames at 1 Hz


@pytest.fixture(scope="module")
def encoder(tiny: Settings) -> LatentEncoder:
    torch.manual_seed(0)
    encoder = LatentEncoder(tiny.rates[1].encoder).requires_grad_(False)
    torch.nn.init.normal_(encoder.components, std=0.01)
    return encoder


@pytest.fixture(scope="module")
def pool() -> LatentPool:
    """Two sounds, of 150 and 230 latent frames."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([0, 150 + TAIL_FRAMES, 230 + TAIL_FRAMES]).cumsum(0)
    frames = int(lengths[-1])
    mel = 3 * torch.randn(frames, 64, generator=generator)
    return LatentPool(torch.zeros(frames, 128), mel, lengths, torch.arange(2), torch.zeros(128))


@pytest.fixture
def taken(encoder: LatentEncoder, pool: LatentPool) -> Heard:
    told = read_out.fit(pool, encoder, 200, 3 * WINDOW)
    return heard(Audibility.of(told), pool, encoder, 300, 3 * WINDOW)


def test_crops_say_where_their_sound_ends(pool: LatentPool) -> None:
    crops = pool.crops(40, 3 * WINDOW, torch.Generator().manual_seed(0))
    assert {(int(c), int(s)) for c, s in zip(crops.clip, crops.sounding, strict=True)} == {
        (0, 150),
        (1, 230),
    }
    short = pool.crops(40, 60, torch.Generator().manual_seed(0)).sounding
    assert short.max() == 60
    assert short.min() >= 60 - TAIL_FRAMES


def test_windows_behind_the_end_of_a_sound_are_no_examples(taken: Heard) -> None:
    """A crop of three windows has two of the first sound, and three of the second."""
    assert 200 < len(taken.z) <= 300
    assert taken.weights.dtype == torch.uint8
    assert taken.weights.amax(1).min() > 0


def test_an_example_is_what_an_encoder_would_take_and_count(
    taken: Heard, encoder: LatentEncoder, pool: LatentPool
) -> None:
    """The windows of the first sound, with which all its crops of 300 frames begin."""
    tail = torch.full((30, 64), math.log(FLOOR))
    mel = torch.cat((pool.mel[: 150 + TAIL_FRAMES], tail))[None]
    z = encoder(None, mel)
    expected, weights = taken.audibility.heard(z, mel, torch.tensor([150]))
    found = torch.cdist(taken.z, expected[0]).argmin(0)
    torch.testing.assert_close(taken.z[found], expected[0], rtol=0, atol=1e-3)
    metric = taken.audibility.metric(weights[0])
    torch.testing.assert_close(taken.metric(found), metric, rtol=0.01, atol=0.01)


def test_step_two_learns_so_at_1_hz(
    tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = with_encoder(tmp_path, tiny, 1)
    seen = {}

    def train(z: torch.Tensor, *arguments: object) -> None:
        seen.update(z=z, metric=arguments[-1])
        raise InterruptedError

    monkeypatch.setattr(quantizer, "train", train)
    with pytest.raises(InterruptedError):
        step(workspace, rate=1).train()
    metric = seen["metric"](torch.arange(3))
    assert metric.shape == (3, 4, 4)
    assert torch.linalg.det(metric).min() > 0
    other = dataclasses.replace(tiny.rates[1], whitening_reach=1)
    assert tiny.rates[1].weighs and not other.weighs
