"""The AudioAE: its linear path is an MDCT, its frames are exact, its reach is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spresso_cli.models.audio_ae import (
    AudioAE,
    AudioAEConfig,
    high_band_matrices,
    mdct_rows,
    overlap_add,
)

SMALL = AudioAEConfig(dim=8, encoder_blocks=1, decoder_blocks=2, kernel=3, expansion=2)


def silent_networks(config: AudioAEConfig) -> AudioAE:
    """An AudioAE whose networks add nothing: the linear path alone."""
    torch.manual_seed(0)
    model = AudioAE(config).eval().requires_grad_(False)
    model.to_latent.weight.zero_()
    model.head.weight.zero_()
    model.head.bias[: config.n_fft // 2 + 1] = -40.0  # log magnitudes
    return model


def noise(samples: int, batch: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(1))


def test_mdct_rows_are_orthonormal() -> None:
    rows = mdct_rows(480, 480).double()
    torch.testing.assert_close(rows @ rows.T, torch.eye(480).double(), atol=1e-5, rtol=0)


def test_all_mdct_rows_with_overlap_add_reconstruct_perfectly() -> None:
    rows, x = mdct_rows(48, 48), noise(48 * 12)
    frames = x.unfold(-1, 96, 48)
    y = overlap_add(frames @ rows.T @ rows, 48)
    torch.testing.assert_close(y[:, 48:-48], x[:, 48:-48], atol=1e-5, rtol=0)


def test_the_linear_path_keeps_what_lies_below_6400_hz() -> None:
    time = torch.arange(4800) / 48_000
    low, high = (torch.sin(2 * torch.pi * hz * time)[None] for hz in (1000.0, 9000.0))
    model = silent_networks(SMALL)
    middle = slice(960, -960)
    torch.testing.assert_close(
        model.decode(model.encode(low))[:, middle], low[:, middle], atol=2e-3, rtol=0
    )
    assert model.decode(model.encode(high))[:, middle].abs().max() < 1e-2


@pytest.mark.parametrize("bypass", ["none", "mdct"])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_a_frame_is_exactly_480_samples(bypass: str, frames: int) -> None:
    model = AudioAE(AudioAEConfig(dim=8, encoder_blocks=1, decoder_blocks=1, bypass=bypass))
    with torch.no_grad():
        z = model.encode(noise(480 * frames, 2))
        assert z.shape == (2, frames, 128)
        assert model.decode(z).shape == (2, 480 * frames)


def test_standardisation_is_undone_by_decoding() -> None:
    model = silent_networks(SMALL)
    x = noise(4800)
    before = model.decode(model.encode(x))
    model.latent_mean.normal_()
    model.latent_std.uniform_(0.5, 2.0)
    torch.testing.assert_close(model.decode(model.encode(x)), before, atol=1e-5, rtol=1e-4)


def test_nothing_beyond_the_stated_context_reaches_a_frame() -> None:
    torch.manual_seed(0)
    model = AudioAE(SMALL).eval().requires_grad_(False)
    model.head.weight.normal_()
    x = noise(480 * 60)
    context = model.config.context
    cut = 480 * (30 - context)
    torch.testing.assert_close(
        model.encode(x[:, cut:])[:, context:], model.encode(x)[:, 30:], atol=1e-5, rtol=1e-4
    )
    z = torch.randn(1, 60, 128)
    piece = model.decode(z[:, 30 - context :])[:, 480 * context :]
    torch.testing.assert_close(piece, model.decode(z)[:, 480 * 30 :], atol=1e-5, rtol=1e-4)


def test_digital_silence_has_finite_latents_and_gradients() -> None:
    model = AudioAE(SMALL)
    y = model.decode_raw(model.encode_raw(torch.zeros(1, 4800)))
    y.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def with_levels(config: AudioAEConfig = SMALL, **changes) -> AudioAE:
    """Networks that add nothing to MDCT rows and to the levels of high bands."""
    model = silent_networks(replace(config, high_bands=8, noise_from=120, **changes))
    model.head.bias[120:481] = 0.0
    return model


def through(model: AudioAE, x: torch.Tensor) -> torch.Tensor:
    """Sound as the codec decodes it: phases from noise."""
    generator = torch.Generator().manual_seed(5)
    phases = torch.rand(x.shape[1] // 480, model.config.phases, generator=generator)
    return model.decode(model.encode(x), phases)


def test_high_bands_share_the_spectrum_above_the_mdct_rows() -> None:
    to, back = high_band_matrices(120, 481, 8)
    assert to.shape == (361, 8)
    assert back.shape == (8, 361)
    torch.testing.assert_close(to.sum(0), torch.ones(8))  # means
    assert ((to > 0).sum(1) == 1).all()  # of every bin once
    torch.testing.assert_close(back.sum(0), torch.ones(361))  # equal levels stay equal
    widths = (to > 0).sum(0)
    assert (widths.diff() > 0).all()  # as on the mel scale
    assert back[0, 0] == back[7, -1] == 1


def test_high_bands_bring_noise_back_at_its_level() -> None:
    """White noise above 6 kHz, 20 dB louder above 12 kHz: nothing of it fits into MDCT rows."""
    model = with_levels()
    spectrum = torch.fft.rfft(noise(48_000))
    hertz = torch.arange(spectrum.shape[1])
    spectrum[:, hertz < 12_000] *= 0.1
    x = torch.fft.irfft(spectrum)
    before, after = (torch.fft.rfft(y)[0].abs().square() for y in (x, through(model, x)))
    for band in (slice(7000, 9500), slice(15_000, 23_000)):
        assert 10 * (after[band].mean() / before[band].mean()).log10().abs() < 1


def test_high_bands_are_heard_when_they_sound() -> None:
    model = with_levels()
    x = noise(48_000)
    x[:, :24_000] *= 1e-3
    y = through(model, x)
    high = torch.fft.rfft(y.unflatten(1, (-1, 4800)))[..., 800:].abs().square().mean(2)[0]
    quiet, loud = high[:4].mean(), high[6:].mean()
    assert 10 * (loud / quiet).log10().item() == pytest.approx(60, abs=1)


def test_high_bands_of_silence_are_finite_and_inaudible() -> None:
    model = with_levels()
    assert torch.isfinite(model.encode(torch.zeros(1, 4800))).all()
    assert through(model, torch.zeros(1, 4800)).abs().max() < 1e-6


def test_high_bands_of_wild_latents_are_finite() -> None:
    model = with_levels()
    latents = torch.full((1, 20, 128), 1e3)
    phases = torch.rand(20, model.config.phases)
    assert all(torch.isfinite(model.decode(x, phases)).all() for x in (latents, -latents))


def test_high_bands_leave_what_lies_below_them_alone() -> None:
    time = torch.arange(9600) / 48_000
    low = torch.sin(2 * torch.pi * 1000.0 * time)[None]
    middle = slice(960, -960)
    torch.testing.assert_close(
        through(with_levels(), low)[:, middle], low[:, middle], atol=1e-2, rtol=0
    )


@pytest.mark.parametrize("wrong", [{"high_bands": 128}, {"high_bands": 8, "bypass": "none"}])
def test_high_bands_need_a_bypass_that_keeps_rows(wrong: dict) -> None:
    with pytest.raises(ValueError, match="high_bands"):
        AudioAEConfig(**wrong)


def test_another_bypass_is_refused() -> None:
    with pytest.raises(ValueError, match="'none' or 'mdct'"):
        AudioAEConfig(bypass="pca")


def with_noise(**changes) -> AudioAE:
    torch.manual_seed(0)
    sizes = {"dim": 8, "encoder_blocks": 1, "decoder_blocks": 1, "bypass": "none"}
    return AudioAE(AudioAEConfig(**sizes, **changes)).eval()


def test_phases_from_noise_leave_the_lower_bins_alone() -> None:
    audio_ae = with_noise(noise_from=128)
    assert audio_ae.config.phases == 481 - 128
    z = torch.randn(1, 60, 128, generator=torch.Generator().manual_seed(1))
    phases = torch.rand(60, audio_ae.config.phases, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        own, noisy = audio_ae.decode(z), audio_ae.decode(z, phases)
    own, noisy = (torch.fft.rfft(x[0]) for x in (own, noisy))
    low = int(5800 / 24_000 * len(own))
    torch.testing.assert_close(noisy[10:low], own[10:low], rtol=0.1, atol=0.05 * own.abs().max())
    assert (noisy[2 * low :] - own[2 * low :]).abs().mean() > 0.5 * own[2 * low :].abs().mean()


def test_phases_from_noise_keep_the_power_and_end_the_buzz() -> None:
    """A head that repeats one frame has lines at multiples of 100 Hz; noise has none."""
    audio_ae = with_noise(noise_from=100)
    with torch.no_grad():
        audio_ae.head.weight.zero_()
        audio_ae.head.bias[:481] = 4.0  # magnitude 1 in every bin
        audio_ae.head.bias[481:] = 6.28 * torch.rand(
            481, generator=torch.Generator().manual_seed(3)
        )
    frames = 400
    phases = torch.rand(frames, 381, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        noisy = audio_ae.decode(torch.zeros(1, frames, 128), phases)[0]
    spectrum = torch.fft.rfft(noisy).abs()[: frames * 240].square()
    high = spectrum[frames * 60 :]  # above 6 kHz
    on, off = high.unflatten(0, (-1, 400))[:, :4].mean(), high.mean()  # bins of 0.25 Hz
    assert on < 3 * off
    # White noise whose windowed spectra have magnitude 1: variance 1 / sum of the squared window.
    wanted = 1 / audio_ae.window.square().sum()
    band = (high.mean() / (frames * 480)).item()
    assert band == pytest.approx(wanted.item(), rel=0.1)


def test_noise_begins_at_a_bin_there_is() -> None:
    for bin_ in (0, 481):
        with pytest.raises(ValueError, match="noise_from"):
            AudioAEConfig(noise_from=bin_)
