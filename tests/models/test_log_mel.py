"""Log-mel spectra, a frame for each latent, and their way back to sound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spresso_cli.models.log_mel import (
    BANDS,
    FLOOR,
    WINDOW,
    LogMel,
    fine_detail,
    going_on,
    mel_filters,
    to_fine_bands,
)


def test_bands_are_triangles_at_even_distances_on_the_htk_scale() -> None:
    mels = np.linspace(*(2595 * np.log10(1 + hz / 700) for hz in (50, 20_000)), 10)
    corners = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(1025) * 48_000 / 2048
    rows = [np.interp(bins, corners[i : i + 3], [0, 1, 0]) for i in range(8)]
    filters = mel_filters(2048, 8, 50.0, 20_000.0).numpy()
    np.testing.assert_allclose(filters, np.stack(rows, 1), atol=1e-5)


def test_a_sine_of_full_scale_has_a_magnitude_of_512() -> None:
    sine = (2 * torch.pi * 100 * torch.arange(4800) / WINDOW).sin()[None]  # in a bin
    magnitude = LogMel(480).spectrum(sine)[0, 5].abs()
    assert int(magnitude.argmax()) == 100
    assert float(magnitude.max()) == pytest.approx(512, abs=0.1)


def test_finer_bands_lie_between_the_others_and_level_out_beyond_them() -> None:
    assert torch.equal(to_fine_bands(BANDS, torch.device("cpu")), torch.eye(BANDS))
    twice = torch.arange(float(BANDS)) @ to_fine_bands(2 * BANDS + 1, torch.device("cpu"))
    expected = (torch.arange(2.0 * BANDS + 1) / 2 - 0.5).clamp(0, BANDS - 1)
    torch.testing.assert_close(twice, expected)


def test_a_flat_spectrum_has_no_fine_detail() -> None:
    mel = LogMel(480, 256).of(torch.ones(3, 1025, dtype=torch.complex64))
    torch.testing.assert_close(fine_detail(mel), torch.zeros(256), rtol=0, atol=1e-5)


def test_log_mel_has_a_frame_for_every_latent_at_its_middle() -> None:
    sound = torch.zeros(1, 480 * 50)
    sound[0, 480 * 20 + 240] = 1.0  # a click in the middle of frame 20
    mel = LogMel(480)(sound)
    assert mel.shape == (1, 50, 64)
    assert int(mel[0].mean(1).argmax()) == 20


def test_bands_rise_with_frequency_and_silence_is_the_floor() -> None:
    time = torch.arange(48_000) / 48_000
    tones = torch.stack([(2 * torch.pi * f * time).sin() for f in (100.0, 1000.0, 10_000.0)])
    loudest = LogMel(480)(tones)[:, 50].argmax(1)
    assert loudest.tolist() == sorted(set(loudest.tolist()))
    assert torch.equal(
        LogMel(480)(torch.zeros(1, 4800)).exp().round(decimals=4).unique(), torch.tensor([FLOOR])
    )


def test_spectra_lead_back_to_the_sound() -> None:
    sound = torch.randn(2, 480 * 12, generator=torch.Generator().manual_seed(0))
    log_mel = LogMel(480)
    torch.testing.assert_close(log_mel.sound(log_mel.spectrum(sound)), sound, rtol=0, atol=1e-4)


def test_finer_bands_come_behind_the_others_at_their_level() -> None:
    noise = 0.1 * torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    mel = LogMel(480, 256)(noise)
    assert mel.shape == (1, 100, BANDS + 256)
    torch.testing.assert_close(mel[..., :BANDS], LogMel(480)(noise))
    assert mel[..., BANDS:].mean() - mel[..., :BANDS].mean() < 0.1
    silence = LogMel(480, 256)(torch.zeros(1, 4800))
    torch.testing.assert_close(silence, torch.full_like(silence, math.log(FLOOR)))


def test_a_filter_reaches_as_far_as_it_is_told_to() -> None:
    """256 bands are narrower than a bin below 1 kHz: with a bin on either side, all hear something,
    and a sound between two bins is heard as much as one in a bin."""
    bin_width = 48_000 / WINDOW
    narrow, wide = (mel_filters(WINDOW, 256, 50.0, 20_000.0, w) for w in (0.0, bin_width))
    assert (narrow.sum(0) == 0).any()
    torch.testing.assert_close(wide[:, :60].sum(0), torch.ones(60), rtol=0, atol=1e-5)
    torch.testing.assert_close(narrow[:, 200:], wide[:, 200:])


def test_fine_detail_shows_a_partial_where_it_lies_and_nothing_of_what_is_smooth() -> None:
    time = torch.arange(48_000) / 48_000
    noise = 0.01 * torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    found = {}
    for hz in (0.0, 1000.0, 1100.0, 3000.0):
        sound = noise + 0.3 * (2 * torch.pi * hz * time).sin()
        found[hz] = fine_detail(LogMel(480, 256)(sound))[0]
    assert found[0.0].abs().mean() < 0.1
    peaks = [int(found[hz].argmax()) for hz in (1000.0, 1100.0, 3000.0)]
    centres = mel_filters(1 << 16, 256, 50.0, 20_000.0).argmax(0) * 48_000 / (1 << 16)
    for peak, hz in zip(peaks, (1000.0, 1100.0, 3000.0), strict=True):
        assert abs(float(centres[peak]) - hz) < 24.0
        assert found[hz].max() > 0.7


def test_fine_detail_is_that_of_what_sounds_however_short() -> None:
    time = torch.arange(48_000) / 48_000
    tone = (0.3 * (2 * torch.pi * 1000 * time).sin())[None]
    short = torch.cat((tone[:, :12_000], torch.zeros(1, 36_000)), 1)
    log_mel = LogMel(480, 256)
    whole, part = (fine_detail(log_mel(x)) for x in (tone, short))
    assert int(whole.argmax()) == int(part.argmax())
    assert (whole - part).abs().mean() < 0.1


def test_a_sound_goes_on_as_its_last_frame_is() -> None:
    mel = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    for frames, last in ((5, 4), (9, 4), (3, 2), (1, 0), (0, 0), (-2, 0)):
        held = going_on(mel, torch.tensor([frames, 5]))
        assert torch.equal(held[0, : last + 1], mel[0, : last + 1])
        assert torch.equal(held[0, last:], mel[0, last].expand(5 - last, -1))
        assert torch.equal(held[1], mel[1]), "the other sound ends elsewhere"
