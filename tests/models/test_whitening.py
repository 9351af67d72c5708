"""Filters in time around the quantiser, and codes that are chosen together because of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.models.whitening import Whitening, WhiteningConfig, power

LENGTHS = (1, 2, 4, 5, 12)  # windows, below and above what the filters take in


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whitening() -> Whitening:
    """Two channels, two codebooks; what is behind undoes a good part of what is before."""
    filters = Whitening(WhiteningConfig(channels=2, codebooks=2, reach=2))
    filters.mean.copy_(torch.tensor([3.0, -1.0]))
    filters.before.copy_(torch.tensor([[1.0, -0.3, -0.1], [1.0, -0.2, 0.0]]))
    filters.behind.copy_(
        torch.tensor([[[0.8, 0.3, 0.2], [0.9, 0.2, 0.1]], [[1.1, 0.3, 0.2], [1.0, 0.2, 0.1]]])
    )
    return filters


def quantizer(filters: Whitening | None) -> SequenceQuantizer:
    """Coarse enough that errors of neighbours matter; its entries are random."""
    torch.manual_seed(1)
    qinco2 = QINCo2(QINCo2Config(dim=2, codebook_bits=3, codebooks=2, embed=4, hidden=4, blocks=1))
    torch.nn.init.normal_(qinco2.first)
    torch.nn.init.normal_(qinco2.steps[0].codebook, std=0.4)
    qinco2.steps[0].shortlist.data.copy_(qinco2.steps[0].codebook)
    return SequenceQuantizer(qinco2.requires_grad_(False), filters)


def test_filters_leave_z_as_it_is_until_they_are_fitted() -> None:
    filters = Whitening(WhiteningConfig(channels=3, codebooks=2, reach=4))
    z = noise(2, 7, 3)
    torch.testing.assert_close(filters.restore(filters.whiten(z), 1), z)


def test_beyond_its_ends_a_sound_stays_as_it_ends() -> None:
    filters = whitening()
    for n in LENGTHS:
        steady = torch.tensor([4.0, 1.0]).expand(1, n, 2)
        seen = filters.whiten(steady)
        torch.testing.assert_close(seen, torch.tensor([0.2, 1.2]).expand(1, n, 2))
        back = filters.restore(seen, 2)
        torch.testing.assert_close(
            back, torch.tensor([3 + 0.2 * 2.1, -1 + 1.2 * 1.6]).expand_as(back)
        )


def test_the_colour_of_errors_keeps_the_power_of_noise() -> None:
    filters = whitening()
    taps = filters.colour(2)
    torch.testing.assert_close(power(taps), torch.ones(2))
    torch.testing.assert_close(taps / taps[:, :1], filters.behind[1] / filters.behind[1][:, :1])


@pytest.mark.parametrize("n", LENGTHS)
def test_an_error_pulls_at_the_windows_that_made_it(n: int) -> None:
    """By its gradient, so far that a window alone would take back all that it can."""
    filters = whitening()
    x, error = noise(3, n, 2), noise(3, n, 2, seed=1)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(filters.restore(x, 2), x, error)
    pulled = filters.pulled(error, 2)
    assert torch.equal(pulled.sign(), gradient.sign())
    for window in {0, 1 % n, n // 2, n - 1}:
        unit = torch.zeros(1, n, 2)
        unit[:, window] = 1.0
        moved = filters.restore(unit, 2) - filters.mean
        best = (moved * error).sum(1) / moved.square().sum(1)
        torch.testing.assert_close(pulled[:, window], best)


def test_without_filters_it_is_qinco2_window_by_window() -> None:
    model, z = quantizer(None), noise(3, 5, 2)
    codes = model.encode(z)
    assert torch.equal(codes.flatten(0, 1), model.qinco2.encode(z.flatten(0, 1)))
    assert torch.equal(model.decode(codes), model.qinco2.decode(codes))
    assert torch.equal(model.searched(z, 2, 8, 8), model.decode(model.encode(z, 2, 8, 8)))
    assert model.reach == 0


@pytest.mark.parametrize("n", LENGTHS)
def test_codes_are_chosen_together(n: int) -> None:
    """To better effect than those nearest window by window."""
    model, z = quantizer(whitening()), whitening().mean + 2 * noise(40, n, 2)
    apart = model.searched(z, 2, model.qinco2.config.shortlist, model.qinco2.config.beam)
    together = model.decode(model.encode(z))
    errors = [(zhat - z).square().sum((1, 2)) for zhat in (apart, together)]
    first = (model.searched(z, 2, 24, 16) - z).square().sum((1, 2))
    assert (errors[1] < 1.0001 * first).all()  # a round that did not gain is taken back
    if n > 1:
        assert errors[1].sum() < 0.95 * errors[0].sum()
    else:
        assert errors[1].sum() <= 1.02 * errors[0].sum()


@pytest.mark.parametrize(("told", "narrow"), [((), (24, 16)), ((8, 4), (4, 2)), ((1, 1), (1, 1))])
def test_only_the_last_round_is_searched_as_widely_as_told(
    monkeypatch: pytest.MonkeyPatch, told: tuple[int, ...], narrow: tuple[int, int]
) -> None:
    """Three rounds, the last two of them window by window in turn."""
    model, widths = quantizer(whitening()), []
    encode = model.qinco2.encode

    def watched(x: Tensor, codebooks: int, shortlist: int, beam: int, *more: object) -> Tensor:
        widths.append((len(x), shortlist, beam))
        return encode(x, codebooks, shortlist, beam, *more)

    monkeypatch.setattr(model.qinco2, "encode", watched)
    model.encode(noise(1, 7, 2), 2, *told)
    turns = (3, 2, 2)  # windows that no filter of two windows on either side joins
    wide = told or (48, 32)
    assert widths == [(7, *narrow), *((n, *narrow) for n in turns), *((n, *wide) for n in turns)]


def test_with_filters_errors_have_no_metric_of_their_own() -> None:
    with pytest.raises(ValueError, match="not told apart by window"):
        quantizer(whitening()).encode(noise(1, 3, 2), metric=lambda a, b: torch.eye(2))


def test_a_sound_has_the_codes_that_it_has_alone() -> None:
    model, z = quantizer(whitening()), 2 * noise(4, 9, 2)
    alone = torch.cat([model.encode(row[None], micro_batch=4) for row in z])
    assert torch.equal(model.encode(z, micro_batch=4), alone)


@pytest.mark.parametrize("codebooks", [1, 2])
def test_an_excerpt_is_as_in_the_whole_but_for_its_margins(codebooks: int) -> None:
    model = quantizer(whitening())
    codes = model.encode(2 * noise(1, 12, 2), codebooks)
    whole, part = model.decode(codes), model.decode(codes[:, 3:10])
    assert torch.equal(part[:, model.reach : -model.reach], whole[:, 5:8])
    torch.testing.assert_close(model.decode_steps(codes)[-1], whole)
