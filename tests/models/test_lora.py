"""LoRA: adding it changes nothing, merging it changes nothing either."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spresso_cli.models.lora import LoRALinear, add_lora, load_lora, lora_tensors, merge_lora


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 4))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


def test_fresh_adapters_change_nothing_at_all(x: torch.Tensor) -> None:
    plain, wrapped = network(), network()
    add_lora(wrapped, rank=3, alpha=3.0)
    assert torch.equal(plain(x), wrapped(x))


def test_only_the_adapters_learn(x: torch.Tensor) -> None:
    wrapped = network()
    add_lora(wrapped, rank=3, alpha=3.0)
    wrapped(x).sum().backward()
    learning = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    assert learning == set(lora_tensors(wrapped))
    assert all(p.grad is None for p in wrapped.parameters() if not p.requires_grad)


def test_only_wanted_layers_are_wrapped() -> None:
    wrapped = network()
    add_lora(wrapped, rank=3, alpha=3.0, wants=lambda name: name == "2")
    assert isinstance(wrapped[2], LoRALinear)
    assert not isinstance(wrapped[0], LoRALinear)


@pytest.mark.parametrize("rank", [1, 3, 64])
def test_merged_weights_compute_what_the_adapters_did(x: torch.Tensor, rank: int) -> None:
    base, wrapped = network(), network()
    add_lora(wrapped, rank=rank, alpha=5.0)
    for parameter in lora_tensors(wrapped).values():
        parameter.normal_()
    merged = network()
    merged.load_state_dict(merge_lora(base.state_dict(), lora_tensors(wrapped), alpha=5.0))
    torch.testing.assert_close(merged(x), wrapped(x))


def test_adapters_can_be_carried_to_another_copy(x: torch.Tensor) -> None:
    first, second = network(), network()
    for model in (first, second):
        add_lora(model, rank=2, alpha=2.0)
    for parameter in lora_tensors(first).values():
        parameter.normal_()
    load_lora(second, {name: value.clone() for name, value in lora_tensors(first).items()})
    assert torch.equal(first(x), second(x))


def test_adapters_of_another_network_are_refused() -> None:
    wrapped = network()
    add_lora(wrapped, rank=2, alpha=2.0)
    with pytest.raises(KeyError, match="do not fit"):
        load_lora(wrapped, {"9.a": torch.zeros(1)})
