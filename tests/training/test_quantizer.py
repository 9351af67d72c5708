"""Step 2: residual k-means, its start, the loss along a path, entries that nobody uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.training import quantizer
from spresso_cli.training.kmeans import kmeans, residual_kmeans
from spresso_cli.training.quantizer import QuantizerTraining, initialise, path_loss, reset_dead
from spresso_cli.training.stored import ema_weights, part

CONFIG = QINCo2Config(
    dim=6, codebook_bits=4, codebooks=4, embed=8, hidden=16, blocks=1, shortlist=4, beam=4
)


def vectors(count: int = 1000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(20, 6, generator=generator)
    picks = torch.randint(20, (count,), generator=generator)
    return centres[picks] + 0.5 * torch.randn(count, 6, generator=generator) + 1.0


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_kmeans_finds_separated_clusters() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    x = centres.repeat_interleave(50, 0) + 0.1 * torch.randn(150, 2, generator=generator())
    found = kmeans(x, 3, 10, generator())
    assert torch.cdist(centres, found).min(1).values.max() < 0.1


def test_more_centroids_than_vectors_leave_no_error() -> None:
    x = torch.randn(40, 3, generator=generator())
    assert torch.cdist(x, kmeans(x, 64, 4, generator())).min(1).values.max() < 1e-3


def test_every_stage_of_residual_kmeans_lowers_the_error() -> None:
    residual, errors = vectors(), []
    for book in residual_kmeans(vectors(), 16, 4, 8, generator()):
        residual = residual - book[torch.cdist(residual, book).argmin(1)]
        errors.append(float(residual.square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def fresh(noise: float = 0.0) -> QINCo2:
    torch.manual_seed(0)
    model = QINCo2(CONFIG)
    training = QuantizerTraining(initial_vectors=1000, initial_iterations=5, codebook_noise=noise)
    initialise(model, vectors(), training)
    return model


def trained_in(folder: Path) -> QINCo2:
    model = QINCo2(CONFIG)
    model.load_state_dict(part(ema_weights(folder), "qinco2"))
    return model


def test_it_starts_as_residual_quantisation_of_normalised_vectors() -> None:
    model = fresh()
    x = model.normalise(vectors())
    assert x.mean(0).abs().max() < 1e-4
    assert float(x.std()) == pytest.approx(1.0, abs=1e-3)
    books = residual_kmeans(x, 16, 4, 5, generator())
    torch.testing.assert_close(model.first, books[0])
    for step, book in zip(model.steps, books[1:], strict=True):
        torch.testing.assert_close(step.codebook, book)
        torch.testing.assert_close(step.shortlist, book)


def test_noise_at_the_start_reaches_both_codebooks_alike() -> None:
    plain, noisy = fresh(), fresh(noise=0.1)
    for a, b in zip(plain.steps, noisy.steps, strict=True):
        assert not torch.equal(a.codebook, b.codebook)
        assert torch.equal(b.codebook, b.shortlist)


def test_the_loss_of_a_path_sums_all_steps_and_teaches_shortlists_apart() -> None:
    model = fresh(noise=0.1)
    x = model.normalise(vectors(50))
    codes, _ = model.search(x, 4, 4, 2)
    loss, errors = path_loss(model, x, codes)
    xhats = model.decode_steps(codes)
    expected = sum((x - xhat).square().mean() for xhat in xhats)
    for m, step in enumerate(model.steps):
        expected += (x - xhats[m] - step.shortlist[codes[:, m + 1]]).square().mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(errors, torch.stack([(x - h).square().mean() for h in xhats]))
    loss.backward()
    assert all(step.shortlist.grad.any() for step in model.steps)
    # A step's own codebook hears of later steps too: gradients flow along the path.
    later = torch.autograd.grad((x - model.decode_steps(codes)[-1]).square().mean(), model.first)
    assert later[0].any()


def test_with_a_metric_the_loss_sums_roots_of_what_counts() -> None:
    model = fresh(noise=0.1)
    x = model.normalise(vectors(50))
    metric = torch.randn(50, 6, 6, generator=generator())
    codes, _ = model.search(x, 3, 4, 2, metric, plainly=True)
    loss, errors = path_loss(model, x, codes, metric)
    xhats = model.decode_steps(codes)
    shortlists = [
        xhats[m] + step.shortlist[codes[:, m + 1]] for m, step in enumerate(model.steps[:2])
    ]

    def missed(said: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nd,nde->ne", x - said, metric).square().mean(1).sqrt().mean()

    torch.testing.assert_close(errors, torch.stack([missed(said) for said in xhats]))
    torch.testing.assert_close(loss, sum(map(missed, xhats + shortlists)))
    loss.backward()
    assert model.steps[1].codebook.grad.any()
    assert model.steps[2].codebook.grad is None, "the paths do not reach it"


def test_what_counts_is_learnt_at_the_cost_of_the_rest(tmp_path: Path) -> None:
    metric = torch.diag(torch.tensor([1.0, 1.0, 0.05, 0.05, 0.05, 0.05]))
    training = QuantizerTraining(
        initial_vectors=1000, initial_iterations=2, steps=150, batch=128, shortlist=4, beam=2,
        reset_every=1000, rate=1e-2, codebooks=(2,),
    )  # fmt: skip

    def of(rows: torch.Tensor) -> torch.Tensor:
        return metric.expand(len(rows), -1, -1)

    @torch.inference_mode()
    def missed(folder: Path) -> float:
        model, x = trained_in(folder), vectors()
        codes = model.encode(x, 2, metric=lambda first, stop: of(torch.arange(first, stop)))
        return float((x - model.decode(codes))[:, :2].square().mean())

    quantizer.train(vectors(), tmp_path / "alike", CONFIG, training, None)
    quantizer.train(vectors(), tmp_path / "weighed", CONFIG, training, None, metric=of)
    assert missed(tmp_path / "weighed") < 0.85 * missed(tmp_path / "alike")


def test_entries_of_steps_that_no_path_reaches_stay() -> None:
    model = fresh()
    used = torch.ones(4, 16, dtype=torch.bool)
    used[3] = False
    before = model.steps[2].codebook.clone()
    assert reset_dead(model, model.normalise(vectors(100)), used, generator()) == 0
    assert torch.equal(model.steps[2].codebook, before)


def test_unused_entries_move_onto_residuals() -> None:
    model = fresh()
    x = model.normalise(vectors(100))
    used = torch.ones(4, 16, dtype=torch.bool)
    used[0, 3] = used[2, 5] = False
    before = model.steps[0].codebook.clone()
    assert reset_dead(model, x, used, generator()) == 2
    assert torch.cdist(model.first[3:4], x).min() < 1e-5
    assert torch.equal(model.steps[1].codebook[5], model.steps[1].shortlist[5])
    assert torch.equal(model.steps[0].codebook, before)


def test_the_steps_networks_are_compiled_if_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.compiler.reset()
    backend = CompileCounter()
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda method: compiled(method, backend=backend))
    training = QuantizerTraining(initial_vectors=100, initial_iterations=1, steps=2, batch=8)
    for wanted in (False, True):
        assert backend.frame_count == 0
        folder = tmp_path / str(wanted)
        quantizer.train(vectors(100), folder, CONFIG, training, None, compiled=wanted)
    assert 0 < backend.frame_count < 8
    plain, fast = (ema_weights(tmp_path / str(wanted)) for wanted in (False, True))
    for name, value in plain.items():
        torch.testing.assert_close(fast[name], value)


def test_training_lowers_the_error_and_each_step_adds_precision(tmp_path: Path) -> None:
    training = QuantizerTraining(
        initial_vectors=1000, initial_iterations=2, steps=60, batch=128, shortlist=4, beam=2,
        reset_every=20, rate=3e-3,
    )  # fmt: skip
    quantizer.train(vectors(), tmp_path, CONFIG, training, None)
    trained = trained_in(tmp_path)
    start = fresh(noise=0.1)
    x = vectors()

    @torch.inference_mode()
    def error(model: QINCo2, codebooks: int) -> float:
        xhat = model.decode(model.encode(x, codebooks, shortlist=4, beam=2))
        return float((xhat - x).square().mean())

    errors = [error(trained, m) for m in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)  # MSE does not grow with m
    assert errors[-1] < error(start, 4)
