"""Spectra: Parseval, the number of frames, the two mel scales."""

from __future__ import annotations

import numpy as np
import pytest

from spresso_cli.evaluation import spectra


def test_mean_power_sums_to_the_mean_square_of_the_signal() -> None:
    x = 0.3 * np.random.default_rng(0).standard_normal(200_000)
    assert spectra.mean_power(x).sum() == pytest.approx(np.mean(x**2), rel=0.01)


@pytest.mark.parametrize("samples", [1, 479, 480, 481, 48_000])
def test_frames_are_centred_one_more_than_hops(samples: int) -> None:
    blocks = list(spectra.magnitudes(np.ones(samples), 1024, 480))
    assert sum(map(len, blocks)) == spectra.frame_count(samples, 480) == 1 + samples // 480


def test_blocks_do_not_change_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).standard_normal(10_000)
    whole = np.concatenate(list(spectra.magnitudes(x, 256, 64)))
    monkeypatch.setattr(spectra, "BLOCK_SAMPLES", 1000)
    pieces = list(spectra.magnitudes(x, 256, 64))
    assert len(pieces) > 10
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_short_window_is_centred_in_a_longer_transform() -> None:
    x = np.zeros(2000)
    x[1000] = 1.0  # the centre of frame 10
    frames = np.concatenate(list(spectra.magnitudes(x, 400, 100, n_fft=512)))
    np.testing.assert_allclose(frames[10], 1.0, atol=1e-12)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scales_invert(scale: spectra.MelScale) -> None:
    hz = np.array([0.0, 200.0, 999.0, 1000.0, 1001.0, 8000.0, 24_000.0])
    np.testing.assert_allclose(
        spectra.mel_to_hz(spectra.hz_to_mel(hz, scale), scale), hz, rtol=1e-9, atol=1e-9
    )


def test_mel_scales_at_their_anchors() -> None:
    assert spectra.hz_to_mel(np.array(1000.0), "slaney") == 15.0
    assert spectra.hz_to_mel(np.array(6400.0), "slaney") == pytest.approx(42.0)
    assert spectra.hz_to_mel(np.array(1000.0), "htk") == pytest.approx(1000.0, abs=0.02)


def test_slaney_filters_have_unit_area_and_htk_filters_unit_height() -> None:
    slaney = spectra.mel_filters(48_000, 8192, 20)
    np.testing.assert_allclose(slaney.sum(axis=1) * 48_000 / 8192, 1.0, rtol=1e-2)
    htk = spectra.mel_filters(48_000, 8192, 20, scale="htk")
    np.testing.assert_allclose(htk.max(axis=1), 1.0, atol=0.05)


def test_an_empty_signal_is_refused() -> None:
    with pytest.raises(ValueError, match="non-empty"):
        next(spectra.magnitudes(np.zeros(0), 32, 8))
