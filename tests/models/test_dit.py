"""The DiT: conditions, the exact start of LoRA training, where audio-down tokens look."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from spresso_cli.models.dit import (
    AudioDown,
    AudioDownConfig,
    DiT,
    DiTConfig,
    DownCondition,
    TextCondition,
)
from spresso_cli.models.layers import rope_table, rotate
from spresso_cli.models.lora import add_lora

CONFIG = DiTConfig(width=16, heads=2, joint_blocks=2, audio_blocks=1, text_width=8, latent=128)


def made(config: DiTConfig = CONFIG) -> DiT:
    """A network whose output is not zero, as it would be at the start."""
    torch.manual_seed(0)
    dit = DiT(config).requires_grad_(False)
    dit.out.weight.normal_(std=0.1)
    if config.gated_output:
        dit.gate.weight.normal_(std=0.1)
    return dit


def latents(batch: int = 2, frames: int = 24) -> torch.Tensor:
    return torch.randn(batch, frames, 128, generator=torch.Generator().manual_seed(2))


def captions(batch: int, length: int, present: list[bool]) -> TextCondition:
    generator = torch.Generator().manual_seed(3)
    return TextCondition(
        torch.randn(batch, length, 8, generator=generator),
        torch.ones(batch, length, dtype=torch.bool),
        torch.randn(batch, 8, generator=generator),
        torch.tensor(present),
    )


@pytest.fixture
def level() -> torch.Tensor:
    """c_noise of two examples."""
    return torch.tensor([0.1, -0.3])


def test_a_fresh_network_says_zero(level: torch.Tensor) -> None:
    torch.manual_seed(0)
    assert not DiT(CONFIG)(latents(), level).any()


def test_every_parameter_of_a_fresh_network_is_reached_within_two_steps(
    level: torch.Tensor,
) -> None:
    # Zero gates in front of zero projections would have no gradient for ever.
    torch.manual_seed(0)
    dit = DiT(CONFIG)
    adapter = AudioDown(AudioDownConfig(8, channels=4), CONFIG)
    moved = {name: torch.zeros_like(p) for name, p in dit.named_parameters()}
    optimizer = torch.optim.SGD([*dit.parameters(), *adapter.parameters()], 0.1)
    for _ in range(3):
        tokens = adapter.tokens(torch.randn(2, 3, 4))
        y = dit(latents(), level, captions(2, 3, [True, False]), DownCondition(adapter, tokens))
        (y - latents()).square().mean().backward()
        for name, parameter in dit.named_parameters():
            if parameter.grad is not None:
                moved[name] += parameter.grad.abs()
        optimizer.step()
        optimizer.zero_grad()
    # Nothing reads what the last joint block makes of its text tokens.
    unused = ("joint_text.1.proj", "joint_text.1.mlp", "joint_text.1.qkv.q_norm")
    still = {n for n, g in moved.items() if not g.any() and not n.startswith(unused)}
    assert not still


def test_fresh_lora_and_absent_tokens_leave_the_pretrained_network_as_it_was(
    level: torch.Tensor,
) -> None:
    dit = made()
    before = dit(latents(), level, captions(2, 3, [True, True]))
    add_lora(dit, rank=4, alpha=4.0)
    none = DownCondition(AudioDown(AudioDownConfig(8), CONFIG), torch.zeros(2, 0, CONFIG.width))
    assert torch.equal(dit(latents(), level, captions(2, 3, [True, True])), before)
    torch.testing.assert_close(dit(latents(), level, captions(2, 3, [True, True]), none), before)


def test_dropped_text_is_the_learned_null(level: torch.Tensor) -> None:
    dit = made()
    dropped = dit(latents(), level, captions(2, 5, [False, False]))
    torch.testing.assert_close(dropped, dit(latents(), level, None))
    mixed = dit(latents(), level, captions(2, 5, [True, False]))
    torch.testing.assert_close(mixed[1], dropped[1])
    assert not torch.allclose(mixed[0], dropped[0])


def test_padding_behind_a_caption_changes_nothing(level: torch.Tensor) -> None:
    dit, text = made(), captions(2, 3, [True, True])
    padded = dataclasses.replace(
        text,
        tokens=torch.cat((text.tokens, torch.full((2, 4, 8), 9.0)), 1),
        mask=torch.cat((text.mask, torch.zeros(2, 4, dtype=torch.bool)), 1),
    )
    torch.testing.assert_close(dit(latents(), level, padded), dit(latents(), level, text))


def test_dropped_z_is_the_adapters_null_token() -> None:
    adapter = AudioDown(AudioDownConfig(8, channels=4), CONFIG)
    down = adapter.condition(torch.randn(2, 3, 4), torch.tensor([True, False]))
    assert torch.equal(down.tokens[1], adapter.null.expand(3, -1))
    assert not torch.equal(down.tokens[0], adapter.null.expand(3, -1))


@pytest.mark.parametrize(("pool", "centres"), [(4, [2, 6, 10]), (9, [4, 13, 22])])
def test_a_token_sits_at_the_centre_of_its_pooling_window(pool: int, centres: list[int]) -> None:
    adapter = AudioDown(AudioDownConfig(pool), CONFIG)
    assert adapter.positions(3, torch.device("cpu")).tolist() == centres


def test_several_tokens_of_one_z_share_its_window_evenly() -> None:
    adapter = AudioDown(AudioDownConfig(100, channels=4, tokens=5), CONFIG)
    assert adapter.tokens(torch.randn(2, 3, 4)).shape == (2, 15, CONFIG.width)
    places = adapter.positions(10, torch.device("cpu")).tolist()
    assert places == [9.5 + 20 * i for i in range(10)]


def test_rotary_attention_depends_on_distance_alone() -> None:
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(a: int, b: int) -> float:
        rotated = (
            rotate(q, rope_table(torch.tensor([a]), 8)),
            rotate(k, rope_table(torch.tensor([b]), 8)),
        )
        return float((rotated[0] * rotated[1]).sum())

    assert score(3, 10) == pytest.approx(score(103, 110), abs=1e-4)
    assert score(3, 10) != pytest.approx(score(3, 11), abs=1e-4)


def test_shifting_z_by_one_token_shifts_its_effect_by_t_frames() -> None:
    # All keys but one token's are made zero, so that what a frame receives depends on its
    # distance to that token alone, and the ends of the sequence do not show.
    config = dataclasses.replace(CONFIG, joint_blocks=1, audio_blocks=0, gated_output=False)
    dit, pool = made(config), 5
    dit.adaln.weight.zero_()
    for stream in (dit.joint_audio[0], dit.joint_text[0]):
        stream.qkv.k_norm.weight.zero_()
        stream.qkv.linear.weight[2 * config.width :].zero_()
    adapter = AudioDown(AudioDownConfig(pool, channels=4), config).requires_grad_(False)
    adapter.qkv[0].linear.bias.zero_()
    x = latents(1, 1).expand(1, 40, 128)  # the same in every frame

    def response(token: int) -> torch.Tensor:
        tokens = torch.zeros(1, 8, config.width)
        tokens[0, token] = torch.randn(config.width, generator=torch.Generator().manual_seed(5))
        return dit(x, torch.zeros(1), None, DownCondition(adapter, tokens))[0]

    here, there = response(3), response(4)
    torch.testing.assert_close(there[pool:], here[:-pool], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(there, here, atol=1e-3)


def test_patches_keep_positions_in_frames(level: torch.Tensor) -> None:
    patched = made(dataclasses.replace(CONFIG, patch=4))
    assert patched(latents(2, 24), level).shape == (2, 24, 128)


def test_examples_of_a_batch_do_not_touch_each_other(level: torch.Tensor) -> None:
    dit = made()
    text = captions(2, 3, [True, True])
    both = dit(latents(), level, text)
    first = dataclasses.replace(
        text, **{f.name: getattr(text, f.name)[:1] for f in dataclasses.fields(text)}
    )
    torch.testing.assert_close(dit(latents()[:1], level[:1], first)[0], both[0])
