"""Fitting the filters around the quantiser."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.models.whitening import WhiteningConfig, filtered, power
from spresso_cli.training import quantizer, whitening
from spresso_cli.training.quantizer import QuantizerTraining


def steady(correlation: float, deviation: float, seed: int) -> Tensor:
    """A channel of unit windows that remember the one before, `[400, 40, 1]`."""
    generator = torch.Generator().manual_seed(seed)
    fresh = torch.randn(400, 40, generator=generator)
    fresh[:, 1:] *= (1 - correlation**2) ** 0.5
    for i in range(1, 40):
        fresh[:, i] += correlation * fresh[:, i - 1]
    return deviation * fresh[..., None]


@pytest.mark.parametrize("bits", [0.5, 3.0, 12.0])
def test_the_ideal_code_spends_its_bits_where_they_save_most(bits: float) -> None:
    variances = torch.tensor([1.0, 100.0, 1e-3, 4.0])
    noise = whitening.ideal_noise(variances, bits)
    assert 0.5 * (variances / noise).log2().sum() == pytest.approx(bits, rel=1e-4)
    coded = noise < variances
    torch.testing.assert_close(noise[coded], noise.max().expand(int(coded.sum())))
    assert (variances[~coded] <= noise.max()).all()


def test_what_neighbours_share_is_worth_bits() -> None:
    """A first-order process of 0.9 beside one without memory: theory says 0.63 of the error in
    both, which share the bits, if the filters were long."""
    z = torch.cat((steady(0.9, 2.0, 0), steady(0.0, 2.0, 1)), 2) + 5.0
    filters = whitening.fit(z, WhiteningConfig(channels=2, codebooks=1, reach=4), bits=6.0)
    before = filters.before
    assert before[0, 1] < -0.1 * before[0, 0]
    assert before[1, 1:].abs().max() < 0.05 * before[1, 0]
    plain = whitening.ideal_noise(z.flatten(0, 1).var(0), 6.0)
    level = whitening.ideal_noise(filters.whiten(z).flatten(0, 1).var(0), 6.0)
    whitening.complete(filters, z, level[None])
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(2)) * level.sqrt()
    error = (filters.restore(filters.whiten(z) + noise, 1) - z).square().mean((0, 1))
    assert (error < 0.75 * plain).all()


def test_the_filter_behind_keeps_back_as_much_as_there_is_noise() -> None:
    z = steady(0.95, 1.0, 0)
    filters = whitening.fit(z, WhiteningConfig(channels=1, codebooks=3, reach=4), bits=2.0)
    whitening.complete(filters, z, torch.tensor([[1.0], [1e-2], [0.0]]))
    gains = power(filters.behind.flatten(0, 1))
    assert gains[0] < gains[1] < gains[2]
    whole = filters.restore(filters.whiten(z), 3) - z
    assert whole.square().mean() < 0.02 * z.var()  # no noise: the reverse, as well as it can
    without = filtered(filters.whiten(z), filters.behind[0]) + filters.mean - z
    assert without.square().mean() > 2 * whole.square().mean()


def test_noise_is_measured_where_the_quantiser_makes_it() -> None:
    torch.manual_seed(0)
    z = torch.cat((steady(0.9, 3.0, 0), steady(0.5, 1.0, 1)), 2)
    filters = whitening.fit(z, WhiteningConfig(channels=2, codebooks=2, reach=2), bits=8.0)
    qinco2 = QINCo2(QINCo2Config(dim=2, codebook_bits=4, codebooks=2, embed=4, hidden=4, blocks=1))
    seen = filters.whiten(z)
    quantizer.initialise(
        qinco2,
        quantizer.shuffled(seen.flatten(0, 1), 4000),
        QuantizerTraining(initial_iterations=3),
    )
    qinco2.requires_grad_(False)
    spared = z[:50]
    noise = whitening.noise_of(filters, qinco2, spared)
    x = filters.whiten(spared).flatten(0, 1)
    error = qinco2.decode(qinco2.encode(x)) - x
    torch.testing.assert_close(noise[-1], error.square().mean(0))
    assert (noise[1] < noise[0]).all()
