"""The filter that holds a decoded sound to the envelope of its z."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter

POOL, CHANNELS = 20, 4


@pytest.fixture
def envelope() -> EnvelopeFilter:
    """Of windows of 200 ms: z is a loudness, a tilt and its change, and a fourth number that
    describes nothing."""
    filter_ = EnvelopeFilter(EnvelopeConfig(POOL, CHANNELS))
    time = torch.linspace(-1, 1, POOL)[:, None].expand(POOL, 64)
    band = torch.linspace(-1, 1, 64).expand(POOL, 64)
    ways = (torch.ones(POOL, 64), band, time * band, torch.zeros(POOL, 64))
    filter_.read_out.copy_(torch.stack([way.flatten() for way in ways]))
    filter_.mean.fill_(-1.0)
    return filter_


def noise(windows: int, seed: int = 0) -> Tensor:
    return 0.05 * torch.randn(
        2, windows * POOL * 480, generator=torch.Generator().manual_seed(seed)
    )


def z_of(envelope: EnvelopeFilter, sound: Tensor) -> Tensor:
    """What a sound's own envelope would be in the directions of z (the fourth left out)."""
    seen = envelope.config.windows(envelope.log_mel(sound)) - envelope.mean
    return torch.linalg.lstsq(envelope.read_out[:3].T, seen.flatten(0, 1).T).solution.T.unflatten(
        0, seen.shape[:2]
    )


def test_the_filtered_sound_has_the_envelope_that_z_describes(envelope: EnvelopeFilter) -> None:
    z = torch.randn(2, 5, CHANNELS, generator=torch.Generator().manual_seed(1))
    before, after = noise(5), envelope(noise(5), z)
    assert after.shape == before.shape
    error = (z_of(envelope, after) - z[..., :3]).square().mean().sqrt()
    assert error < 0.25 * (z_of(envelope, before) - z[..., :3]).square().mean().sqrt()


def test_a_sound_that_has_its_envelope_stays_as_it_is(envelope: EnvelopeFilter) -> None:
    sound = noise(4)
    own = torch.cat((z_of(envelope, sound), torch.ones(2, 4, 1)), 2)
    change = (envelope(sound, own) - sound).square().mean() / sound.square().mean()
    assert change < 1e-3


def test_what_z_does_not_describe_is_left_alone(envelope: EnvelopeFilter) -> None:
    """A dip in the middle of the spectrum is none of the ways that z knows."""
    spectrum = torch.fft.rfft(noise(4))
    low, high = spectrum.shape[1] // 10, spectrum.shape[1] // 5
    spectrum[:, low:high] *= 0.03
    sound = torch.fft.irfft(spectrum)
    own = torch.cat((z_of(envelope, sound), torch.zeros(2, 4, 1)), 2)
    after = torch.fft.rfft(envelope(sound, own)).abs()
    assert after[:, low:high].mean() < 0.06 * after[:, high:].mean()


def test_silence_stays_silence(envelope: EnvelopeFilter) -> None:
    assert not envelope(torch.zeros(1, POOL * 480), torch.ones(1, 1, CHANNELS)).any()


@pytest.mark.parametrize("pool", [4, 9, 20, 100])
def test_the_ends_of_a_cut_matter_no_further_than_the_context(pool: int) -> None:
    """What streams rely on: code frames beyond the context on either side change nothing."""
    config = EnvelopeConfig(pool, CHANNELS)
    generator = torch.Generator().manual_seed(2)
    envelope = EnvelopeFilter(config)
    envelope.read_out.copy_(torch.randn(CHANNELS, config.inputs, generator=generator))
    context, window = envelope.CONTEXT, pool * 480
    windows = 2 * context + 3
    sound = 0.1 * torch.randn(1, windows * window, generator=generator)
    z = 0.3 * torch.randn(1, windows, CHANNELS, generator=generator)
    whole = envelope(sound, z)
    part = envelope(sound[:, window:-window], z[:, 1:-1])
    kept = slice(context * window, -context * window)
    torch.testing.assert_close(part[:, kept], whole[:, window:-window][:, kept], rtol=0, atol=1e-5)


def test_a_read_out_of_nothing_changes_nothing() -> None:
    envelope = EnvelopeFilter(EnvelopeConfig(9, CHANNELS))
    sound = torch.randn(1, 9 * 480 * 3, generator=torch.Generator().manual_seed(0))
    after = envelope(sound, torch.ones(1, 3, CHANNELS))
    torch.testing.assert_close(after, sound, rtol=0, atol=1e-4)
