"""The filter that holds a decoded sound to the envelope of its z."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter
from spresso_cli.models.log_mel import FLOOR

POOL, CHANNELS = 20, 4


@pytest.fixture
def envelope() -> EnvelopeFilter:
    """Of windows of 200 ms: z is a loudness, a tilt and its change, and a fourth number that
    describes nothing."""
    filter_ = EnvelopeFilter(EnvelopeConfig(POOL, CHANNELS))
    time = torch.linspace(-1, 1, POOL)[:, None].expand(POOL, 64)
    band = torch.linspace(-1, 1, 64).expand(POOL, 64)
    ways = (torch.ones(POOL, 64), band, time * band, torch.zeros(POOL, 64))
    read_out = torch.stack([way.flatten() for way in ways])
    return filter_.fill(read_out, torch.full((POOL * 64,), -1.0))


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
    """But for chance: the mean of a band of noise over a window is levelled."""
    sound = noise(4)
    own = torch.cat((z_of(envelope, sound), torch.ones(2, 4, 1)), 2)
    change = (envelope(sound, own) - sound).square().mean() / sound.square().mean()
    assert change < 0.01


def test_z_tells_the_levels_among_the_latents_of_every_frame() -> None:
    """A read-out of envelope and levels together; the envelope's part is the filter's."""
    config = EnvelopeConfig(POOL, CHANNELS, levels=2)
    read_out = torch.zeros(CHANNELS, config.inputs + POOL * 2)
    read_out[0, config.inputs :] = torch.tensor([1.0, 2.0]).repeat(POOL)
    mean = torch.full((config.inputs + POOL * 2,), -3.0)
    envelope = EnvelopeFilter(config).fill(read_out, mean)
    z = torch.zeros(1, 6, CHANNELS)
    z[0, 3:, 0] = 1.0
    told = envelope.levels(z)
    assert told.shape == (1, 6 * POOL, 2)
    torch.testing.assert_close(told[0, : 2 * POOL], torch.full((2 * POOL, 2), -3.0))
    after = torch.tensor([-2.0, -1.0]).expand(2 * POOL, 2)
    torch.testing.assert_close(told[0, 4 * POOL :], after)
    assert (told[0].diff(dim=0) < 0.2).all()  # no jump where windows meet


def test_what_z_does_not_describe_is_left_alone(envelope: EnvelopeFilter) -> None:
    """A swell of 20 ms in the middle of every window is none of the ways that z knows."""
    window = POOL * 480
    swell = torch.ones(window)
    swell[4320:5280] = 8.0
    sound = noise(4) * swell.repeat(4)
    own = torch.cat((z_of(envelope, sound), torch.zeros(2, 4, 1)), 2)
    after = envelope(sound, own).unflatten(1, (4, window)).square()
    assert after[..., 4320:5280].mean() > 20 * after[..., :2500].mean()


def test_the_mean_spectrum_of_a_window_is_held_band_by_band(envelope: EnvelopeFilter) -> None:
    """A dip that no tilt can describe, and that z does not speak of, is filled."""
    spectrum = torch.fft.rfft(noise(4))
    low, high = spectrum.shape[1] // 10, spectrum.shape[1] // 5
    spectrum[:, low:high] *= 0.1
    sound = torch.fft.irfft(spectrum)
    after = torch.fft.rfft(envelope(sound, torch.zeros(2, 4, CHANNELS))).abs()
    wanted = torch.fft.rfft(envelope(noise(4), torch.zeros(2, 4, CHANNELS))).abs()
    dip = slice(low + low // 5, high - low // 5)
    assert after[:, dip].mean() > 0.7 * wanted[:, dip].mean()


def test_silence_stays_silence(envelope: EnvelopeFilter) -> None:
    assert not envelope(torch.zeros(1, POOL * 480), torch.ones(1, 1, CHANNELS)).any()


def fluctuation(sound: Tensor, pool: int, told: float | None = None) -> Tensor:
    """Root mean square, in each band, of what a sound does that z does not describe, `[64]`; after
    the filter, if it is told how strong that should be."""
    envelope = EnvelopeFilter(EnvelopeConfig(pool, CHANNELS, fluctuation=8))
    envelope.fill(torch.zeros_like(envelope.read_out), torch.full_like(envelope.mean, -1.0))
    with torch.inference_mode():
        if told is not None:
            last = envelope.fluctuation[-1]
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.constant_(last.bias, math.log(told))
            windows = sound.shape[1] // (480 * pool)
            sound = envelope(sound, torch.zeros(len(sound), windows, CHANNELS))
        return envelope.mean_square(envelope.unheld(envelope.log_mel(sound))).mean((0, 1)).sqrt()


@pytest.mark.parametrize("told", [0.15, 0.2])
@pytest.mark.parametrize("pool", [20, 100])
def test_a_sound_fluctuates_no_more_strongly_than_is_told(pool: int, told: float) -> None:
    """Crackling noise, which fluctuates by 0.4 or so."""
    generator = torch.Generator().manual_seed(5)
    sound = 0.05 * torch.randn(2, 400 * 480, generator=generator)
    sound *= torch.randn(2, 400, generator=generator).exp().repeat_interleave(480, 1) ** 0.5
    found = fluctuation(sound, pool, told)
    assert fluctuation(sound, pool).min() > 1.5 * told
    assert found.median() == pytest.approx(told, rel=0.2)
    assert found.max() < 1.5 * told


@pytest.mark.parametrize("pool", [20, 100])
def test_a_sound_that_should_fluctuate_more_goes_a_part_of_the_way(pool: int) -> None:
    sound = 0.05 * torch.randn(2, 400 * 480, generator=torch.Generator().manual_seed(5))
    before, after = fluctuation(sound, pool), fluctuation(sound, pool, 0.7)
    assert (after > 1.05 * before).all()
    assert after.median() < 0.5


def test_fluctuation_is_told_for_spells_that_make_up_a_window() -> None:
    """A fifth of a second at 1 and 5 Hz, a window at 11 and 25 Hz."""
    assert [EnvelopeConfig(pool).spell for pool in (4, 9, 20, 100)] == [4, 9, 20, 20]
    envelope = EnvelopeFilter(EnvelopeConfig(100, CHANNELS, fluctuation=8))
    assert envelope.strength(torch.zeros(2, 3, CHANNELS)).shape == (2, 15, 64)


@pytest.mark.parametrize("fluctuation", [0, 8])
@pytest.mark.parametrize("pool", [4, 9, 20, 100])
def test_the_ends_of_a_cut_matter_no_further_than_the_context(pool: int, fluctuation: int) -> None:
    """What streams rely on: code frames beyond the context on either side change nothing."""
    config = EnvelopeConfig(pool, CHANNELS, fluctuation=fluctuation)
    generator = torch.Generator().manual_seed(2)
    envelope = EnvelopeFilter(config).requires_grad_(False)
    read_out = torch.randn(CHANNELS, config.inputs, generator=generator)
    envelope.fill(read_out, torch.zeros(config.inputs))
    context, window = envelope.context, pool * 480
    windows = 2 * context + 3
    sound = 0.1 * torch.randn(1, windows * window, generator=generator)
    z = 0.3 * torch.randn(1, windows, CHANNELS, generator=generator)
    whole = envelope(sound, z)
    part = envelope(sound[:, window:-window], z[:, 1:-1])
    kept = slice(context * window, -context * window)
    torch.testing.assert_close(part[:, kept], whole[:, window:-window][:, kept], rtol=0, atol=1e-5)


def test_borders_of_windows_are_no_rougher_than_other_places(envelope: EnvelopeFilter) -> None:
    """Though z jumps from window to window by what would be 9 dB."""
    windows = 60
    z = torch.randn(2, windows, CHANNELS, generator=torch.Generator().manual_seed(4))
    z[..., 1:] = 0
    mel = envelope.log_mel(envelope(noise(windows), z))
    jumps = mel.diff(dim=1).abs().mean((0, 2))  # [T - 1], the last of a window leads to the next
    borders = torch.arange(1, windows) * POOL - 1
    steepest = z[..., 0].diff(dim=1).abs().mean()
    assert jumps[borders].mean() < 0.35 * steepest + jumps.median()


def test_what_z_describes_as_nothing_is_silent(envelope: EnvelopeFilter) -> None:
    """As noise of a decoder would not be: the floor of log-mels is only as low as they can tell."""
    z = torch.zeros(2, 6, CHANNELS)
    z[:, 3:, 0] = math.log(FLOOR) - envelope.mean[0]
    after = envelope(noise(6), z).abs().unflatten(1, (6, -1))
    assert after[:, 4:].max() < 1e-6
    assert after[:, :2].mean() > 1e-4


def test_a_band_that_z_describes_as_empty_is_fainter_than_the_floor(
    envelope: EnvelopeFilter,
) -> None:
    """But not silent, as long as others sound: recordings have such bands, and seldom zeros."""
    band = torch.zeros(POOL, 64)
    band[:, 40:] = math.log(FLOOR) - envelope.mean[0]
    envelope.fill(torch.cat((envelope.read_out[:3], band.flatten()[None])), envelope.mean)
    z = torch.zeros(2, 4, CHANNELS)
    z[..., 3] = 1.0
    log_mel = envelope.log_mel
    bands = (log_mel.spectrum(envelope(noise(4), z)).abs() @ log_mel.filters).mean((0, 1))
    assert (bands[44:] < 0.6 * FLOOR).all() and (bands[44:] > 0.1 * FLOOR).all()
    assert (bands[:36] > 10 * FLOOR).all()


FINE, TONES = 256, (90, 120)  # fine bands


@pytest.fixture
def two_resolutions() -> EnvelopeFilter:
    """z is a loudness, and how much each of two partials stands out from the mean spectrum."""
    config = EnvelopeConfig(9, 3, fine=FINE)
    read_out = torch.zeros(3, config.inputs)
    read_out[0, : config.coarse] = 1.0
    for channel, band in enumerate(TONES, 1):
        read_out[channel, config.coarse + band - 1 : config.coarse + band + 2] = 1.0
    mean = torch.cat((torch.full((config.coarse,), 1.0), torch.zeros(FINE)))
    return EnvelopeFilter(config).fill(read_out, mean)


def test_partials_are_where_z_describes_them(two_resolutions: EnvelopeFilter) -> None:
    z = torch.zeros(1, 12, 3)
    z[:, :6, 1], z[:, 6:, 2] = 1.5, 1.5  # one, then the other
    sound = 0.05 * torch.randn(1, 12 * 9 * 480, generator=torch.Generator().manual_seed(0))
    after = two_resolutions(sound, z)
    config, log_mel = two_resolutions.config, two_resolutions.log_mel
    detail = config.windows(log_mel(after))[0, :, config.coarse :]
    first, second = (detail[:, band] for band in TONES)
    assert (first[1:5] - second[1:5]).min() > 0.25
    assert (second[7:11] - first[7:11]).min() > 0.25
    # What has no direction in z stays: noise has a detail of its own.
    before = config.windows(log_mel(sound))[0, :, config.coarse :]
    elsewhere = [band for band in range(FINE) if min(abs(band - t) for t in TONES) > 6]
    change = (detail - before)[:, elsewhere]
    assert change.std() < 0.5 * before[:, elsewhere].std()


def test_fine_bands_do_not_change_what_the_others_are_held_to(
    two_resolutions: EnvelopeFilter,
) -> None:
    coarse = EnvelopeFilter(EnvelopeConfig(9, 3))
    read_out, mean = two_resolutions.read_out, two_resolutions.mean
    coarse.fill(read_out[:, : coarse.config.inputs], mean[: coarse.config.inputs])
    sound = 0.05 * torch.randn(1, 6 * 9 * 480, generator=torch.Generator().manual_seed(1))
    z = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(2)) * torch.tensor([0.5, 0, 0])
    levels = [f.log_mel(f(sound, z))[..., :64].mean(1) for f in (coarse, two_resolutions)]
    assert (levels[0] - levels[1]).abs().mean() < 0.1
