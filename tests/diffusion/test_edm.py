"""EDM's preconditioning and training noise, by the equations of the paper."""

from __future__ import annotations

import pytest
import torch

from spresso_cli.diffusion.edm import (
    coefficients,
    draw_sigma,
    guided,
    precondition,
)

SIGMAS = (0.01, 0.1, 0.5, 2.0, 20.0, 80.0)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_input_and_target_of_the_network_have_unit_variance(
    sigma: float, sigma_data: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    x0 = sigma_data * torch.randn(200_000, generator=generator, dtype=torch.float64)
    noise = torch.randn(200_000, generator=generator, dtype=torch.float64)
    x = x0 + sigma * noise
    c_skip, c_out, c_in, _ = coefficients(torch.tensor(sigma, dtype=torch.float64), sigma_data)
    assert float((c_in * x).std()) == pytest.approx(1.0, abs=0.01)
    assert float(((x0 - c_skip * x) / c_out).std()) == pytest.approx(1.0, abs=0.01)


def test_a_network_that_says_nothing_gives_the_linear_estimate() -> None:
    x, sigma = torch.randn(2, 3, 4), torch.tensor([0.5, 3.0])
    denoise = precondition(lambda y, c_noise: torch.zeros_like(y), 1.0)
    expected = x / (1 + sigma**2)[:, None, None]
    torch.testing.assert_close(denoise(x, sigma), expected)


def test_a_network_that_tells_sound_from_noise_gives_the_sound() -> None:
    """It sees both under one variance, and says the part of that at right angles to what it saw."""
    sound, noise, sigma = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.tensor([0.5, 3.0])
    s = sigma[:, None, None]
    both = (1 + s**2).sqrt()

    def network(y: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        torch.testing.assert_close(y, (sound + s * noise) / both)
        return (s * sound - noise) / both

    denoise = precondition(network, 1.0)
    torch.testing.assert_close(denoise(sound + s * noise, sigma), sound)


def test_the_network_is_told_a_quarter_of_the_log_of_sigma() -> None:
    seen = []
    denoise = precondition(lambda y, c_noise: seen.append(c_noise) or y, 1.0)
    denoise(torch.randn(1, 3, 4), torch.tensor([4.0]))
    torch.testing.assert_close(seen[0], torch.tensor([4.0]).log() / 4)


def test_guidance_of_one_is_no_guidance() -> None:
    def conditional(x, sigma):
        return 2 * x

    def reference(x, sigma):
        return x

    x = torch.ones(1, 1, 1)
    assert guided(conditional, reference, 1.0) is conditional
    assert float(guided(conditional, reference, 3.0)(x, None)) == 4.0
    assert float(guided(conditional, reference, 0.0)(x, None)) == 1.0


def test_guidance_leaves_logarithms_as_the_condition_has_them() -> None:
    guide = guided(lambda x, sigma: x + 1, lambda x, sigma: x, 3.0, logarithms=2)
    assert guide(torch.zeros(1, 1, 4), torch.ones(1)).tolist() == [[[3.0, 3.0, 1.0, 1.0]]]


def test_training_noise_is_log_normal() -> None:
    logs = draw_sigma(20_000, 0.3, 1.4, torch.Generator().manual_seed(0)).log()
    assert float(logs.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(logs.std()) == pytest.approx(1.4, abs=0.01)


def test_training_noise_covers_all_levels_in_every_batch() -> None:
    for seed in range(5):
        logs = draw_sigma(8, 0.0, 1.0, torch.Generator().manual_seed(seed)).log()
        assert int((logs < 0).sum()) == 4  # half of a batch lies below the median, always
