"""Latents in units of what z tells of them: scaling, what a network starts with and is shown."""

from __future__ import annotations

import math

import pytest
import torch

from spresso_cli.diffusion.edm import precondition
from spresso_cli.diffusion.samplers import SAMPLERS
from spresso_cli.models.deviations import LIMIT, Deviations, Told
from spresso_cli.models.dit import AudioDown, AudioDownConfig, DiT, DiTConfig
from spresso_cli.models.envelope import EnvelopeConfig
from spresso_cli.models.log_mel import FLOOR

CONFIG = DiTConfig(width=16, heads=2, joint_blocks=2, audio_blocks=1, text_width=8, patch=4)
POOL, TOLD = 20, 120


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def adapter() -> AudioDown:
    """Of 5 Hz; the first number of z is how loud every band is, the second tilts the spectrum."""
    torch.manual_seed(0)
    adapter = AudioDown(AudioDownConfig(POOL, channels=2, deviations=TOLD), CONFIG)
    own = adapter.deviations
    bands = torch.stack((torch.ones(64), torch.linspace(-1, 1, 64)))
    own.read_out.copy_(bands.repeat(1, own.config.coarse // 64))
    own.to_size[torch.arange(TOLD) // 2, torch.arange(TOLD)] = 1.0  # two latents a band
    return adapter.requires_grad_(False)


def test_scaled_latents_are_in_units_of_their_deviations_and_come_back() -> None:
    units = drawn(2, 8, 128).clamp(-LIMIT, LIMIT)
    told = Told(drawn(2, 8, TOLD, seed=1), drawn(2, 8, TOLD, seed=2), torch.ones(2, 8))
    latents = told.restored(units)
    wanted = units[..., :TOLD] * told.size.exp() + told.mean
    torch.testing.assert_close(latents[..., :TOLD], wanted)
    assert torch.equal(latents[..., TOLD:], units[..., TOLD:])
    torch.testing.assert_close(told.scaled(latents), units)


def test_what_z_misses_by_far_is_limited() -> None:
    click, nothing = (
        torch.tensor([1000.0, -1000.0])[:, None].expand(1, 2, 128),
        torch.zeros(1, 2, TOLD),
    )
    units = Told(nothing, nothing, torch.ones(1, 2)).scaled(click)
    assert units[0, :, :TOLD].tolist() == [[LIMIT] * TOLD, [-LIMIT] * TOLD]
    assert torch.equal(units[..., TOLD:], click[..., TOLD:])


def test_z_tells_the_deviation_of_every_frame(adapter: AudioDown) -> None:
    z = torch.tensor([[[0.0, 0.0], [2.0, 1.0]]])
    told = adapter.deviations(z).size
    assert told.shape == (1, 2 * POOL, TOLD)
    assert not told[0, :POOL].any()
    torch.testing.assert_close(told[0, -1, :2], torch.tensor([1.0, 1.0]))  # 2 - 1, the lowest band
    assert told[0, -1, -1] > 2.5


def test_fine_bands_add_what_they_have_beside_the_others() -> None:
    config = EnvelopeConfig(POOL, 1, fine=128)
    own = Deviations(config, TOLD)
    own.read_out[0, config.coarse + 30] = 1.0
    own.to_size[64 + 30, 7] = 1.0
    told = own(torch.ones(1, 1, 1)).size
    torch.testing.assert_close(told[0, :, 7], torch.ones(POOL))
    assert not told[0, :, [*range(7), *range(8, TOLD)]].any()


def test_frames_without_a_band_above_the_floor_are_not_heard(adapter: AudioDown) -> None:
    floor = math.log(FLOOR)
    level_tilt = torch.tensor([[[floor, 0.0], [floor + 3, 0.0], [floor, 3.0]]])
    heard = adapter.deviations(level_tilt).heard
    middles = heard[0, POOL // 2 :: POOL]  # apart from where windows meet
    assert middles.tolist() == [0.0, 1.0, 1.0]


@torch.no_grad()
def test_a_network_that_knows_nothing_yet_is_a_wiener_filter_of_what_z_tells(
    adapter: AudioDown,
) -> None:
    torch.manual_seed(0)
    dit = DiT(CONFIG)
    torch.nn.init.normal_(dit.out.weight, std=0.1)  # a base that was trained
    torch.nn.init.normal_(dit.gate.weight, std=0.1)
    adapter.start_head(dit)
    down = adapter.condition(torch.tensor([[[0.0, 0.0], [2.0, 1.0]]]))
    denoise = precondition(lambda x, c: dit(x, c, None, down), 1.0)
    noise = drawn(1, 2 * POOL, 128)
    estimate = denoise(noise, torch.ones(1))
    torch.testing.assert_close(estimate[..., :TOLD], noise[..., :TOLD] / 2)
    base = precondition(lambda x, c: dit(x, c), 1.0)(noise, torch.ones(1))
    assert not torch.allclose(estimate[..., TOLD:], noise[..., TOLD:] / 2)  # the base's say
    assert not torch.allclose(base[..., :TOLD], noise[..., :TOLD] / 2)

    solve, schedule = SAMPLERS["heun"]
    sample = down.told.restored(solve(denoise, noise, schedule(16, 0.02, 40.0)))
    level = sample[..., :TOLD].square().mean((0, 2)).sqrt().log()
    told = down.told.size[0].mul(2).exp().mean(1).sqrt().log()
    torch.testing.assert_close(level, told, atol=0.25, rtol=0)


@torch.no_grad()
def test_the_network_is_shown_what_is_told_unless_z_is_dropped(adapter: AudioDown) -> None:
    torch.manual_seed(0)
    dit = DiT(CONFIG)
    adapter.start_head(dit)
    torch.nn.init.normal_(adapter.head.out.weight, std=0.1)
    z, x = drawn(1, 2, 2), drawn(1, 2 * POOL, 128)

    def seen(z: torch.Tensor, present: bool) -> torch.Tensor:
        down = adapter.condition(z, torch.tensor([present]))
        return dit(x, torch.zeros(1), None, down)

    assert not torch.allclose(seen(z, True), seen(2 * z, True), atol=1e-4)
    torch.testing.assert_close(seen(z, False), seen(2 * z, False))


def test_where_no_row_has_its_z_nothing_is_shown(adapter: AudioDown) -> None:
    z = drawn(2, 2, 2)
    none = adapter.dropped(adapter.tokens(z), adapter.deviations(z))
    each = adapter.condition(z, torch.tensor([False, False]))
    assert none.shown is None
    assert not each.shown.any()
    assert not none.size.any()
    assert torch.equal(none.tokens, each.tokens)
    assert torch.equal(none.told.size, each.told.size)


def test_no_gradient_reaches_z_by_way_of_deviations(adapter: AudioDown) -> None:
    # An encoder could make its task easier by telling more of what it is asked for.
    z = drawn(1, 2, 2).requires_grad_()
    down = adapter.condition(z)
    assert down.tokens.requires_grad
    assert not any(part.requires_grad for part in down.told)
