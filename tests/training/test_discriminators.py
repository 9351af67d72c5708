"""DAC's discriminators: what each looks at, and how large they are."""

from __future__ import annotations

import pytest
import torch

from spresso_cli.training.discriminators import (
    BandDiscriminator,
    DiscriminatorConfig,
    Discriminators,
    PeriodDiscriminator,
)

SMALL = DiscriminatorConfig(periods=(2, 3), windows=(512,), period_width=1, band_width=2)


def noise(samples: int = 2400) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(0))


def test_at_full_width_they_are_dacs() -> None:
    full = Discriminators(DiscriminatorConfig())
    assert len(full.members) == 5 + 3
    first, last = full.members[0], full.members[-1]
    assert [layer.weight.shape[0] for layer in first.layers] == [32, 128, 512, 1024, 1024]
    assert [band[0].weight.shape[0] for band in last.bands] == [32] * 5


@pytest.mark.parametrize("period", [2, 3, 7])
@pytest.mark.parametrize("samples", [420, 421])
def test_a_period_discriminator_sees_columns_of_every_pth_sample(period: int, samples: int) -> None:
    member = PeriodDiscriminator(period, 1)
    maps = member(noise(samples))
    assert len(maps) == 6
    assert all(m.shape[-1] == period for m in maps)
    # Three rows later is one output later, away from the ends: rows are whole periods.
    shifted = member(noise(samples).roll(-3 * period, -1))
    torch.testing.assert_close(shifted[0][..., 4:14, :], maps[0][..., 5:15, :])


@pytest.mark.parametrize("window", [512, 2048])
def test_a_band_discriminator_has_one_frame_for_each_hop(window: int) -> None:
    member = BandDiscriminator(window, 2)
    spectrum = member.spectrum(noise(4 * window))
    assert spectrum.shape == (2, 2, 16, window // 2 + 1)
    assert member.edges[0][0] == 0
    assert member.edges[-1][1] == window // 2 + 1
    assert all(a[1] == b[0] for a, b in zip(member.edges[:-1], member.edges[1:], strict=True))


def test_its_frames_are_plain_stfts_of_a_reflected_signal() -> None:
    x = noise(2048)
    spectrum = BandDiscriminator(512, 2).spectrum(x)
    frame = x[:, 512 - 192 : 1024 - 192]  # the fifth one begins at 4 hops less the padding
    expected = torch.fft.rfft(frame * torch.hann_window(512))
    torch.testing.assert_close(spectrum[:, 0, 4], expected.real, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(spectrum[:, 1, 4], expected.imag, atol=1e-4, rtol=1e-3)


def test_level_and_offset_of_a_sound_do_not_matter() -> None:
    torch.manual_seed(0)
    judges = Discriminators(SMALL)
    with torch.no_grad():
        for a, b in zip(judges(noise()), judges(0.1 * noise() + 0.5), strict=True):
            torch.testing.assert_close(a[-1], b[-1], atol=1e-4, rtol=1e-3)
