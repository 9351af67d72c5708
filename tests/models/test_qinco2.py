"""QINCo2's search and decoding: the facts that hold whatever the weights are."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from spresso_cli.models.qinco2 import QINCo2, QINCo2Config, distances

CONFIG = QINCo2Config(
    dim=4, codebook_bits=3, codebooks=4, embed=8, hidden=16, blocks=2, shortlist=8, beam=4
)


@pytest.fixture
def model() -> QINCo2:
    """A quantiser whose every part is away from zero."""
    torch.manual_seed(0)
    model = QINCo2(CONFIG).eval().requires_grad_(False)
    model.first.normal_()
    for m, step in enumerate(model.steps):
        step.codebook.normal_(std=0.6 ** (m + 1))
        step.shortlist.copy_(step.codebook + 0.02 * torch.randn_like(step.codebook))
        for parameter in (step.p_out.weight, step.mix.weight, *(d.weight for d in step.down)):
            parameter.normal_(std=0.05)
    model.mean.normal_()
    model.std.fill_(1.7)
    return model


@pytest.fixture
def x() -> Tensor:
    """Normalised vectors."""
    return torch.randn(200, CONFIG.dim, generator=torch.Generator().manual_seed(1))


def mse(model: QINCo2, x: Tensor, **search: int) -> float:
    settings = {"codebooks": CONFIG.codebooks, "shortlist": 8, "beam": 1} | search
    return float((model.search(x, **settings)[1] - x).square().mean())


def test_with_zero_step_networks_it_is_residual_quantisation(model: QINCo2, x: Tensor) -> None:
    for step in model.steps:
        step.p_out.weight.zero_()
        step.shortlist.copy_(step.codebook)
    residual, expected = x.clone(), []
    for book in (model.first, *(step.codebook for step in model.steps)):
        index = torch.cdist(residual, book).argmin(1)
        residual = residual - book[index]
        expected.append(index)
    codes, xhat = model.search(x, CONFIG.codebooks, shortlist=1, beam=1)
    assert torch.equal(codes, torch.stack(expected, 1))
    torch.testing.assert_close(xhat, x - residual)


def test_greedy_with_all_entries_on_the_shortlist_is_exhaustive(model: QINCo2, x: Tensor) -> None:
    xhat, expected = torch.zeros_like(x), []
    for m in range(CONFIG.codebooks):
        every = torch.arange(CONFIG.entries).expand(len(x), -1)  # [N, K]
        base = xhat[:, None].expand(-1, CONFIG.entries, -1)
        options = model.first[every] if m == 0 else model.advance(m, every, base)
        index = (x[:, None] - options).square().sum(-1).argmin(1)
        xhat = options[torch.arange(len(x)), index]
        expected.append(index)
    codes, _ = model.search(x, CONFIG.codebooks, shortlist=CONFIG.entries, beam=1)
    assert torch.equal(codes, torch.stack(expected, 1))


def test_a_full_beam_finds_the_best_of_all_codes(model: QINCo2, x: Tensor) -> None:
    entries, x = CONFIG.entries, x[:10]
    every = torch.tensor(list(product(range(entries), repeat=2)))  # [K^2, 2]
    options = model.decode_steps(every)[-1]
    best = (x[:, None] - options).square().sum(-1).min(1).values
    _, xhat = model.search(x, 2, shortlist=entries**2 + 1, beam=entries + 1)  # more than there are
    torch.testing.assert_close((x - xhat).square().sum(-1), best)


def test_a_wider_beam_is_not_worse_on_average(model: QINCo2, x: Tensor) -> None:
    errors = [mse(model, x, beam=beam) for beam in (1, 2, 8)]
    assert errors[0] > errors[1] > errors[2]


def test_candidates_go_to_the_hypotheses_that_they_bring_nearest(model: QINCo2, x: Tensor) -> None:
    for step in model.steps:  # entries are what the shortlist says, so nearest is best
        step.p_out.weight.zero_()
        step.shortlist.copy_(step.codebook)
    of_all = model.search(x, CONFIG.codebooks, shortlist=4, beam=4)
    every = model.search(x, CONFIG.codebooks, shortlist=4 * CONFIG.entries, beam=4)
    assert torch.equal(of_all[0], every[0])


def test_a_longer_shortlist_is_not_worse_on_average(model: QINCo2, x: Tensor) -> None:
    for step in model.steps:  # a shortlist that is often wrong
        step.shortlist.add_(0.3 * torch.randn_like(step.shortlist))
    errors = [mse(model, x, shortlist=shortlist) for shortlist in (1, 2, 8)]
    assert errors[0] > errors[1] > errors[2]


def test_decoding_gives_the_reconstruction_that_the_search_saw(model: QINCo2, x: Tensor) -> None:
    codes, xhat = model.search(x, CONFIG.codebooks, shortlist=4, beam=4)
    torch.testing.assert_close(model.decode_steps(codes)[-1], xhat)
    torch.testing.assert_close(model.decode(codes), model.denormalise(xhat))


def test_every_prefix_of_a_code_decodes_to_the_earlier_reconstruction(
    model: QINCo2, x: Tensor
) -> None:
    codes, _ = model.search(x, CONFIG.codebooks, shortlist=4, beam=4)
    steps = model.decode_steps(codes)
    for m in range(1, CONFIG.codebooks + 1):
        torch.testing.assert_close(model.decode(codes[:, :m]), model.denormalise(steps[m - 1]))


def test_fewer_codes_are_searched_for_and_not_cut_off(model: QINCo2, x: Tensor) -> None:
    short, _ = model.search(x, 2, shortlist=8, beam=4)
    cut = model.search(x, 4, shortlist=8, beam=4)[0][:, :2]
    errors = [(model.decode_steps(codes)[-1] - x).square().mean() for codes in (short, cut)]
    assert errors[0] <= errors[1]


def test_normalisation_is_undone_by_decoding(model: QINCo2, x: Tensor) -> None:
    torch.testing.assert_close(model.normalise(model.denormalise(x)), x)
    z = model.denormalise(x)
    codes = model.encode(z, beam=8, shortlist=8)
    assert (model.decode(codes) - z).square().mean() < 0.2 * z.var()


def test_codes_do_not_depend_on_which_vectors_arrive_together(model: QINCo2, x: Tensor) -> None:
    z = model.denormalise(x)
    together = model.encode(z, micro_batch=16)
    apart = torch.cat([model.encode(row[None], micro_batch=16) for row in z[:20]])
    assert torch.equal(together[:20], apart)
    assert model.encode(z[:0]).shape == (0, CONFIG.codebooks)


def test_what_a_search_is_not_told_its_configuration_says(model: QINCo2, x: Tensor) -> None:
    told = model.encode(x, CONFIG.codebooks, CONFIG.shortlist, CONFIG.beam)
    assert torch.equal(model.encode(x), told)
    assert not torch.equal(model.encode(x, shortlist=CONFIG.beam, beam=CONFIG.shortlist), told)


@pytest.mark.parametrize("codebooks", [0, 5])
def test_more_codebooks_than_there_are_is_refused(model: QINCo2, x: Tensor, codebooks: int) -> None:
    with pytest.raises(ValueError, match="codebooks must be 1 to 4"):
        model.encode(x, codebooks)


def test_distances_are_squared_and_measured_as_a_metric_says(x: Tensor) -> None:
    x, table, metric = x[:8].unflatten(0, (4, 2)), torch.randn(8, CONFIG.dim), torch.randn(4, 4, 4)
    plain = (x[:, :, None] - table).square().sum(-1)
    torch.testing.assert_close(distances(x, table), plain, rtol=1e-3, atol=1e-4)
    weighted = ((x[:, :, None] - table) @ metric[:, None]).square().sum(-1)
    torch.testing.assert_close(distances(x, table, metric), weighted, rtol=1e-3, atol=1e-4)


def test_a_metric_finds_codes_whose_errors_are_small_where_they_count(
    model: QINCo2, x: Tensor
) -> None:
    wide = {"codebooks": CONFIG.codebooks, "shortlist": 64, "beam": 8}
    metric = torch.diag(torch.tensor([3.0, 1.0, 0.3, 0.3])).repeat(len(x), 1, 1)
    plain = (model.search(x, **wide)[1] - x).square().mean(0)
    weighted = (model.search(x, **wide, metric=metric)[1] - x).square().mean(0)
    assert weighted[0] < plain[0] / 2 and weighted[2:].sum() > plain[2:].sum()
    scaled = torch.eye(4).repeat(len(x), 1, 1) * 5
    same = model.search(x, **wide, metric=scaled)[0] == model.search(x, **wide)[0]
    assert same.float().mean() > 0.99


def test_a_plain_shortlist_of_all_there_is_leads_to_the_same_codes(
    model: QINCo2, x: Tensor
) -> None:
    metric = torch.diag(torch.tensor([3.0, 1.0, 0.3, 0.3])).repeat(len(x), 1, 1)
    for shortlist, share in ((8 * CONFIG.entries, (1.0, 1.0)), (4, (0.0, 0.95))):
        wide = {"codebooks": CONFIG.codebooks, "shortlist": shortlist, "beam": 8, "metric": metric}
        same = model.search(x, **wide, plainly=True)[0] == model.search(x, **wide)[0]
        assert share[0] <= same.float().mean() <= share[1]


def test_a_metric_goes_with_its_vectors_however_many_arrive(model: QINCo2, x: Tensor) -> None:
    metrics = torch.eye(4) + 0.5 * torch.rand(len(x), 4, 4)

    def code(begin: int, stop: int) -> Tensor:
        own = metrics[begin:stop]
        return model.encode(x[begin:stop], micro_batch=8, metric=lambda a, b: own[a:b])

    assert torch.equal(code(0, 30), torch.cat((code(0, 3), code(3, 30))))
