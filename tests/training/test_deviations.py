"""What z tells of the size of latents, fitted: it holds for loud and quiet, coded or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from spresso_cli.models.deviations import Deviations
from spresso_cli.models.latent_encoder import LatentEncoderConfig
from spresso_cli.training import deviations
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.least_squares import LeastSquares

POOL, LATENTS, FRAMES = 4, 10, 8000
ONE_OF_ITS_OWN = torch.arange(128) == 3


class Loudness(nn.Module):
    """An encoder whose z is how loud a window is."""

    config = LatentEncoderConfig(POOL, 1, width=8, heads=1, channels=1, unit_rms=False)

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        return mel[..., :1].unflatten(1, (-1, POOL)).mean(2)


@pytest.fixture(scope="module")
def pool() -> LatentPool:
    """Noise that gets louder and quieter, each latent in its own proportion to that."""
    generator = torch.Generator().manual_seed(0)
    loudness = 3 * torch.sin(torch.arange(FRAMES) / 60)[:, None]  # little within a window
    noise = torch.randn(FRAMES, 128, generator=generator)
    slopes = torch.cat((torch.linspace(0.2, 1.0, LATENTS), torch.zeros(128 - LATENTS)))
    return LatentPool(
        noise * (0.5 * slopes * loudness).exp(),
        loudness.expand(-1, 64),
        torch.tensor([0, FRAMES]),
        torch.tensor([0]),
        torch.zeros(128),
    )


def fitted(pool: LatentPool, **options: object) -> Deviations:
    own = Deviations(Loudness.config.envelope, LATENTS)
    assert not own.fitted
    deviations.fit(own, pool, Loudness(), windows=4000, frames=400, **options)
    assert own.fitted
    return own


def test_scaled_latents_have_unit_mean_square_at_every_level(pool: LatentPool) -> None:
    own = fitted(pool)
    z = Loudness()(None, pool.mel[None])
    units = own(z).scaled(pool.latents[None])[0, :, :LATENTS]
    for part in units[pool.mel[:, 0].argsort()].chunk(4):  # from quiet to loud
        torch.testing.assert_close(part.square().mean(0), torch.ones(LATENTS), atol=0.2, rtol=0)


def test_what_codes_leave_open_is_part_of_the_deviation(pool: LatentPool) -> None:
    """Where the decoder's z says nothing, deviations are those of all sound."""
    own = fitted(pool, as_coded=torch.zeros_like)
    told = own(torch.zeros(1, 5, 1))
    wanted = pool.latents[:, :LATENTS].square().mean(0).sqrt()
    torch.testing.assert_close(told.size[0, 0].exp(), wanted, atol=0, rtol=0.15)


def test_latents_that_are_not_about_zero_have_their_mean_told(pool: LatentPool) -> None:
    """As those are that an AudioAE uses for something of its own: here, for loudness."""
    moved = replace(
        pool, latents=pool.latents + torch.where(ONE_OF_ITS_OWN, 2 * pool.mel[:, :1], 0)
    )
    own = fitted(moved)
    told = own(Loudness()(None, pool.mel[None]))
    torch.testing.assert_close(told.mean[0, :, 3], 2 * pool.mel[:, 0], atol=0.3, rtol=0)
    assert told.mean[0, :, :3].abs().max() < 0.3


def test_least_squares_over_parts_are_those_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 3, generator=generator)
    matrix, constant = torch.randn(3, 2, generator=generator), torch.tensor([5.0, -7.0])
    sums = LeastSquares(3, 2, x.device)
    for part in x.split(77):
        sums.add(part, part @ matrix + constant)
    found = sums.solve()
    torch.testing.assert_close(found[0], matrix, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[1], constant, atol=1e-3, rtol=0)
