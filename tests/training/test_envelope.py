"""The envelope of a window: its components, what z should be, what a quantiser does to it."""

from __future__ import annotations

import pytest
import torch

from spresso_cli.models.envelope import EnvelopeConfig
from spresso_cli.training.envelope import Envelope
from spresso_cli.training.latents import LatentPool


@pytest.fixture(scope="module")
def pool() -> LatentPool:
    """Sounds whose bands rise and fall together in six independent ways."""
    generator = torch.Generator().manual_seed(1)
    ways = torch.randn(6, 64, generator=generator) / torch.arange(1, 7)[:, None]
    mel = torch.randn(40_000, 6, generator=generator) @ ways - 3
    owner = torch.arange(400)
    offsets = torch.arange(401) * 100
    return LatentPool(mel.repeat(1, 2), mel, offsets, owner, torch.zeros(128))


@pytest.fixture(scope="module")
def fitted(pool: LatentPool) -> Envelope:
    envelope = Envelope(EnvelopeConfig(2, channels=8))
    envelope.fit(pool, torch.Generator().manual_seed(0))
    return envelope


def test_targets_are_centred_uncorrelated_and_of_unit_mean_square(
    fitted: Envelope, pool: LatentPool
) -> None:
    mel = pool.crops(2000, 20, torch.Generator().manual_seed(1)).mel
    z = fitted.targets(mel).flatten(0, 1)
    assert z.mean(0).abs().max() < 0.05
    assert z.square().mean() == pytest.approx(1.0, rel=0.05)
    torch.testing.assert_close(torch.cov(z.T), fitted.variances.diag(), rtol=0.05, atol=0.05)
    assert fitted.variances.tolist() == sorted(fitted.variances.tolist(), reverse=True)


def test_the_loss_is_zero_for_the_targets_and_one_for_nothing(
    fitted: Envelope, pool: LatentPool
) -> None:
    mel = pool.crops(400, 40, torch.Generator().manual_seed(2)).mel
    z = fitted.targets(mel)
    assert fitted.loss(z, mel) == 0
    assert fitted.loss(torch.zeros_like(z), mel).item() == pytest.approx(1.0, rel=0.05)


def test_a_window_of_few_numbers_leaves_the_last_channels_at_zero(pool: LatentPool) -> None:
    envelope = Envelope(EnvelopeConfig(1, channels=70))
    envelope.fit(pool, torch.Generator().manual_seed(0), count=500)
    z = envelope.targets(pool.crops(8, 10, torch.Generator()).mel)
    assert z.shape == (8, 10, 70)
    assert (z[..., 64:] == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_a_distorted_z_loses_the_share_asked_for_from_the_quietest_directions_first(
    fitted: Envelope, share: float
) -> None:
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(4000, 2, 8, generator=generator) * fitted.variances.sqrt()
    noise = torch.randn(z.shape, generator=generator)
    result = fitted.distorted(z, torch.full((4000,), share), noise)
    lost = (result - z).square().mean((0, 1))
    assert lost.sum().item() == pytest.approx(share * fitted.variances.sum().item(), rel=0.05)
    level = fitted.water_level(torch.tensor([share])).item()
    expected = fitted.variances.clamp(max=level)
    torch.testing.assert_close(lost, expected, rtol=0.1, atol=1e-3)
    if share:  # as of a good quantiser, the error is not correlated with the result
        shared = ((result - z) * result).mean((0, 1))
        assert shared.abs().max() < 0.05


def test_the_more_fine_bands_count_the_more_of_z_is_theirs() -> None:
    """Sounds of eight bands that move by themselves and, as much, six partials likewise."""
    generator = torch.Generator().manual_seed(4)
    mel = torch.full((4000, 64 + 96), -3.0)
    mel[:, 10:18] += torch.randn(4000, 8, generator=generator)
    mel[:, 64 + 40 : 64 + 46] += torch.randn(4000, 6, generator=generator)
    pool = LatentPool(mel[:, :128], mel, torch.tensor([0, 4000]), torch.zeros(1), torch.zeros(128))
    crops = pool.crops(64, 10, generator).mel
    partials = crops[..., 64 + 40 : 64 + 46].flatten(0, 1)
    shares = []
    for weight in (0.1, 3.0):
        envelope = Envelope(EnvelopeConfig(1, channels=6, fine=96))
        envelope.fit(pool, generator, count=4000, fine_weight=weight)
        assert envelope.components.shape == (64 + 96, 6)
        z = envelope.targets(crops).flatten(0, 1)
        shared = torch.corrcoef(torch.cat((z.T, partials.T)))[:6, 6:].square().sum(0)
        shares.append(shared.mean())
    assert shares[0] < 0.1
    assert shares[1] > 0.3
