"""The base DiT's stage: uncertainty weighting, two averages, a validation that disturbs nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spresso_cli.models.dit import DiT
from spresso_cli.training import dit
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.config import Settings
from spresso_cli.training.dit import LEVELS, Uncertainty, Validation
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.stored import checkpoints, ema_weights

from .conftest import curve


def test_uncertainty_learns_the_logarithm_of_the_loss_at_each_noise_level() -> None:
    torch.manual_seed(0)
    u = Uncertainty()
    optimizer = torch.optim.Adam(u.parameters(), 0.01)

    def loss_of(sigma: torch.Tensor) -> torch.Tensor:
        return 0.1 + 2 * torch.exp(-0.5 * (sigma.log() - 0.5) ** 2)

    for _ in range(1000):
        sigma = torch.exp(0.3 + 1.4 * torch.randn(128))
        each = loss_of(sigma) * torch.rand(128) * 2  # mean 1 times the loss
        value = u(sigma.log() / 4)
        optimizer.zero_grad()
        (each * torch.exp(-value) + value).mean().backward()
        optimizer.step()
    sigma = torch.tensor([0.5, 1.0, 3.0])
    assert u(sigma.log() / 4).tolist() == pytest.approx(loss_of(sigma).log().tolist(), abs=0.3)


def test_untrained_uncertainty_is_zero_and_changes_no_loss() -> None:
    assert not Uncertainty()(torch.randn(5)).any()


def train(
    settings: Settings, pool: LatentPool, bank: TextBank, folder: Path, **changes: object
) -> DiT:
    torch.manual_seed(0)
    network = DiT(settings.dit)
    training = dataclasses.replace(settings.dit_training, **changes)
    dit.train(pool, bank, (pool, bank), network, folder, training, None)
    return network


def test_a_run_is_validated_at_its_end_wherever_that_is(
    tiny: Settings, pool: LatentPool, bank: TextBank, tmp_path: Path
) -> None:
    """Whether its schedule has ended, or its time; once, if that is when it was due."""
    train(tiny, pool, bank, tmp_path / "due", steps=6, validate_every=3)
    train(tiny, pool, bank, tmp_path / "between", steps=5, validate_every=3)
    for name, times in (("due", 2), ("between", 2)):
        assert len(curve(tmp_path / name / "log.csv", f"valid_{LEVELS[0]:g}")) == times


def test_validation_reports_every_band_and_does_not_touch_the_training(
    tiny: Settings, pool: LatentPool, bank: TextBank, tmp_path: Path
) -> None:
    often = train(tiny, pool, bank, tmp_path / "often", steps=6, validate_every=2)
    seldom = train(tiny, pool, bank, tmp_path / "seldom", steps=6, validate_every=100)
    log = tmp_path / "often" / "log.csv"
    assert all(len(curve(log, f"valid_{level:g}")) == 3 for level in LEVELS)
    assert len(curve(tmp_path / "seldom" / "log.csv", "valid")) == 1  # at the end
    for a, b in zip(often.parameters(), seldom.parameters(), strict=True):
        assert torch.equal(a, b)


def test_validation_falls_when_the_network_learns(
    tiny: Settings, pool: LatentPool, bank: TextBank, tmp_path: Path
) -> None:
    train(tiny, pool, bank, tmp_path, steps=60, validate_every=20)
    valid = curve(tmp_path / "log.csv", "valid")
    assert valid[-1] < valid[0]


def test_an_untrained_networks_error_is_the_variance_of_its_target(
    tiny: Settings, pool: LatentPool, bank: TextBank
) -> None:
    pool.latents = torch.randn(1200, 128, generator=torch.Generator().manual_seed(0)).half()
    torch.manual_seed(0)
    network = DiT(tiny.dit)
    rows = Validation(pool, bank, tiny.dit, 16, 40).losses(network.state_dict())
    assert list(rows.values()) == pytest.approx([1.0] * len(rows), abs=0.03)


def test_of_two_averages_the_one_with_less_error_on_held_out_sound_is_for_later_stages(
    tiny: Settings, pool: LatentPool, bank: TextBank, tmp_path: Path
) -> None:
    train(tiny, pool, bank, tmp_path, steps=10)
    errors = {key: curve(tmp_path / "log.csv", f"valid_{key}")[-1] for key in ("ema", "ema-0.1")}
    better = min(errors, key=errors.get)
    assert errors["ema"] != errors["ema-0.1"]
    assert curve(tmp_path / "log.csv", "valid")[-1] == errors[better]
    stored = load_file(checkpoints(tmp_path)[-1])
    assert not torch.equal(stored["ema.dit.embed.weight"], stored["ema-0.1.dit.embed.weight"])
    chosen = ema_weights(tmp_path)["dit.embed.weight"]
    assert torch.equal(chosen, stored[f"{better}.dit.embed.weight"])
