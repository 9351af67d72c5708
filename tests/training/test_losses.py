"""The AudioAE's losses against formulas written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spresso_cli.evaluation.metrics import ms_mel
from spresso_cli.training import losses


def signals(batch: int = 2, samples: int = 4800) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(batch, samples, generator=generator)
    return x + 0.1 * torch.randn(batch, samples, generator=generator), x


def numpy_stft(x: np.ndarray, window: int) -> np.ndarray:
    """Centred, reflected, periodic Hann, hop of a quarter window: [T, F]."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.pad(x.astype(np.float64), window // 2, mode="reflect")
    starts = range(0, len(x) + 1, window // 4)
    return np.stack([np.fft.rfft(padded[s : s + window] * hann) for s in starts])


def test_the_mel_loss_is_the_metric_of_the_evaluation() -> None:
    # evaluation/ has its own numpy code, from the same paper.
    y, x = signals(batch=1)
    expected = ms_mel(x[0].numpy(), y[0].numpy(), 48_000)
    assert float(losses.mel_loss(y, x)) == pytest.approx(expected, rel=1e-4)


def test_the_seven_scales_are_dacs() -> None:
    windows, bands = zip(*losses.MEL_SCALES, strict=True)
    assert windows == (32, 64, 128, 256, 512, 1024, 2048)
    assert bands == (5, 10, 20, 40, 80, 160, 320)


def test_a_mel_band_has_unit_area_over_frequency() -> None:
    filters = losses.mel_filters(2048, 20, torch.device("cpu"))
    areas = filters.sum(0) * (48_000 / 2048)
    torch.testing.assert_close(areas, torch.ones(20), atol=0.02, rtol=0)


def test_the_stft_loss_compares_spectra_with_compressed_magnitudes() -> None:
    y, x = signals(batch=1)
    expected = 0.0
    for window in (512, 1024, 2048):
        a, b = (numpy_stft(s[0].numpy(), window) for s in (y, x))
        a, b = (s / np.sqrt(np.abs(s)) for s in (a, b))
        expected += np.mean([np.abs((a - b).real).mean(), np.abs((a - b).imag).mean()])
    assert float(losses.stft_loss(y, x)) == pytest.approx(expected, rel=1e-3)


def test_the_waveform_loss_is_the_mean_absolute_error() -> None:
    y, x = signals()
    expected = np.abs(y.numpy() - x.numpy()).mean()
    assert float(losses.waveform_loss(y, x)) == pytest.approx(expected)


@pytest.mark.parametrize("loss", [losses.mel_loss, losses.stft_loss, losses.waveform_loss])
def test_equal_signals_cost_nothing_and_silence_has_finite_gradients(loss) -> None:
    _, x = signals()
    assert float(loss(x, x)) == 0.0
    y = torch.zeros_like(x, requires_grad=True)
    loss(y, x).backward()
    assert torch.isfinite(y.grad).all()


def maps(seed: int) -> list[list[torch.Tensor]]:
    """Feature maps of two discriminators with different depths."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [[(1, 2, 3), (1, 1, 5)], [(1, 4, 2), (1, 3, 3), (1, 1, 2)]]
    return [[torch.randn(s, generator=generator) for s in member] for member in shapes]


def test_adversarial_losses_are_least_squares_summed_over_discriminators() -> None:
    real, fake = maps(0), maps(1)
    last_real, last_fake = ([m[-1].numpy() for m in some] for some in (real, fake))
    judged = sum(
        ((1 - r) ** 2).mean() + (f**2).mean() for r, f in zip(last_real, last_fake, strict=True)
    )
    assert float(losses.discriminator_loss(real, fake)) == pytest.approx(judged, rel=1e-5)
    fooled = sum(((1 - f) ** 2).mean() for f in last_fake)
    assert float(losses.adversarial_loss(fake)) == pytest.approx(fooled, rel=1e-5)


def test_feature_matching_sums_all_layers_but_the_logits_without_normalising() -> None:
    real, fake = maps(0), maps(1)
    expected = sum(
        np.abs(f.numpy() - r.numpy()).mean()
        for reals, fakes in zip(real, fake, strict=True)
        for r, f in zip(reals[:-1], fakes[:-1], strict=True)
    )
    assert float(losses.feature_loss(real, fake)) == pytest.approx(expected, rel=1e-5)


def test_feature_matching_moves_the_decoded_sound_only() -> None:
    real, fake = maps(0), maps(1)
    for some in (*real, *fake):
        for layer in some:
            layer.requires_grad_()
    losses.feature_loss(real, fake).backward()
    assert all(layer.grad is None for member in real for layer in member)
    assert all(layer.grad is not None for member in fake for layer in member[:-1])


def test_filters_and_windows_are_made_once_a_device() -> None:
    device = torch.device("cpu")
    assert losses.mel_filters(512, 80, device) is losses.mel_filters(512, 80, device)
    assert losses.hann(512, device) is losses.hann(512, device)
