"""RVQ and iRVQ, which QINCo2 is compared with: exact searches, prefixes, scales, inversion."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.training.irvq import IRVQ
from spresso_cli.training.rvq import RVQ

Baseline = RVQ | IRVQ


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def vectors(count: int = 2000, outliers: bool = False) -> Tensor:
    """Noise around a few centres; with outliers, every third vector is ten times as loud."""
    g = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(8, 6, generator=g)[torch.randint(8, (count,), generator=g)]
    noise = torch.randn(count, 6, generator=g)
    if outliers:
        noise *= torch.where(torch.arange(count) % 3 == 0, 10.0, 0.3)[:, None]
    return x + noise + 5.0


def errors(model: Baseline, z: Tensor, codes: Tensor) -> list[float]:
    return [float(((z - xhat) ** 2).mean()) for xhat in model.decode_steps(codes)]


@pytest.mark.parametrize("kind", [RVQ, IRVQ])
def test_each_codebook_lowers_the_error_and_prefixes_are_codes(kind: type) -> None:
    z = vectors()
    model = kind.fit(z, 32, 4, 8, generator())
    codes = model.encode(z)
    found = errors(model, z, codes)
    assert found == sorted(found, reverse=True) and found[-1] < 0.3 * found[0]
    assert torch.equal(model.encode(z, 2), codes[:, :2])
    torch.testing.assert_close(model.decode(codes[:, :2]), model.decode_steps(codes)[1])


def test_greedy_rvq_takes_the_nearest_entry_of_every_residual() -> None:
    z = vectors(100)
    model = RVQ.fit(vectors(), 16, 3, 5, generator())
    residual = z - model.mean
    for m, column in enumerate(model.encode(z).T):
        assert torch.equal(column, torch.cdist(residual, model.codebooks[m]).argmin(1))
        residual = residual - model.codebooks[m, column]


def test_a_beam_lowers_the_error_and_a_full_one_is_exhaustive() -> None:
    z = vectors(60)
    model = RVQ.fit(vectors(), 8, 2, 5, generator())
    every = model.mean + model.codebooks[0][:, None] + model.codebooks[1][None]  # [8, 8, D]
    best = torch.cdist(z, every.flatten(0, 1)).min(1).values
    beams = [((z - model.decode(model.encode(z, beam=b))) ** 2).sum(1) for b in (1, 4, 8)]
    assert beams[0].mean() >= beams[1].mean() >= beams[2].mean()
    torch.testing.assert_close(beams[2].sqrt(), best, rtol=1e-4, atol=1e-4)


def test_rvq_with_a_beam_is_qinco2_whose_networks_add_nothing() -> None:
    z = vectors(80)
    model = RVQ.fit(vectors(), 16, 3, 5, generator())
    qinco2 = QINCo2(QINCo2Config(dim=6, codebook_bits=4, codebooks=3, embed=8, hidden=8, blocks=1))
    with torch.no_grad():
        qinco2.mean.copy_(model.mean)
        qinco2.first.copy_(model.codebooks[0])
        for step, book in zip(qinco2.steps, model.codebooks[1:], strict=True):
            step.codebook.copy_(book)
            step.shortlist.copy_(book)
    codes = model.encode(z, beam=4)
    assert (codes == qinco2.encode(z, shortlist=4, beam=4)).float().mean() > 0.99
    with torch.inference_mode():
        torch.testing.assert_close(model.decode(codes), qinco2.decode(codes))


def test_irvq_inverts_what_it_divides_by() -> None:
    z = vectors(300)
    model = IRVQ.fit(vectors(), 16, 12, 5, generator())
    residual = z - model.mean
    xhat, scale = model.mean, torch.ones(6)
    for m, column in enumerate(model.encode(z).T):
        xhat = xhat + scale * model.codebooks[m, column]
        residual = (residual - model.codebooks[m, column]) / model.scales[m, column]
        scale = scale * model.scales[m, column]
        torch.testing.assert_close(xhat + scale * residual, z, rtol=1e-4, atol=1e-4)
    assert errors(model, z, model.encode(z))[-1] < 1e-2


def test_irvq_keeps_the_zero_vector_in_all_codebooks_but_the_first() -> None:
    model = IRVQ.fit(vectors(), 16, 3, 5, generator())
    assert not model.codebooks[1:, 0].any()
    assert model.codebooks[0].abs().sum(1).min() > 0
    assert model.codebooks.shape == model.scales.shape == (3, 16, 6)


def test_restandardised_residuals_serve_outliers_better() -> None:
    z = vectors(outliers=True)
    plain = RVQ.fit(z, 16, 6, 8, generator())
    improved = IRVQ.fit(z, 16, 6, 8, generator())
    relative = []
    for model in (plain, improved):
        error = ((z - model.decode(model.encode(z))) ** 2).sum(1)
        relative.append(float(error[torch.arange(len(z)) % 3 != 0].mean()))  # of the quiet ones
    assert relative[1] < relative[0]


def test_small_and_equal_clusters_have_usable_scales() -> None:
    z = torch.cat((torch.zeros(50, 6), vectors(30)))
    model = IRVQ.fit(z, 16, 3, 3, generator())
    assert torch.isfinite(model.scales).all() and (model.scales > 0).all()
    assert torch.isfinite(model.decode(model.encode(z))).all()
