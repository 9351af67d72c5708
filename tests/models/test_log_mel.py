"""Log-mel spectra, a frame for each latent, and their way back to sound."""

from __future__ import annotations

import torch

from spresso_cli.models.log_mel import FLOOR, LogMel


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
