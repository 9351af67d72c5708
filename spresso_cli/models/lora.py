"""Low-rank adapters on the linear layers of a frozen network (S-PRESSO 2.5; Hu et al. 2021).

y = W x + b + (alpha / r) B (A x), B zero at the start so that adding adapters changes nothing.
Training wraps the layers; inference merges the product into W in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """A frozen `nn.Linear` plus its trainable low-rank update."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float):
        super().__init__()
        rank = min(rank, base.in_features, base.out_features)
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * ((x @ self.a.T) @ self.b.T)


def add_lora(
    model: nn.Module, rank: int, alpha: float, wants: Callable[[str], bool] = lambda name: True
) -> None:
    """Freeze `model` and wrap every `nn.Linear` whose qualified name `wants` accepts, in place."""
    model.requires_grad_(False)
    linears = [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    for name in filter(wants, linears):
        parent, _, child = name.rpartition(".")
        holder = model.get_submodule(parent)
        setattr(holder, child, LoRALinear(getattr(holder, child), rank, alpha))


def lora_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The adapters of a wrapped model: `<linear>.a` `[r, in]` and `<linear>.b` `[out, r]`."""
    return {
        f"{name}.{part}": getattr(module, part).detach()
        for name, module in model.named_modules()
        if isinstance(module, LoRALinear)
        for part in ("a", "b")
    }


def load_lora(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy adapters into a wrapped model; raises KeyError where one is missing or left over."""
    own = {f"{n}.{p}" for n, m in model.named_modules() if isinstance(m, LoRALinear) for p in "ab"}
    if own != set(tensors):
        raise KeyError(f"adapters do not fit the model: {sorted(own ^ set(tensors))[:3]}")
    with torch.no_grad():
        for name, value in tensors.items():
            model.get_parameter(name).copy_(value)


def merge_lora(
    weights: dict[str, Tensor], adapters: dict[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """Weights of the unwrapped model with the adapters added in float32; inputs stay as they are.

    Args:
        weights: state dict of the base model.
        adapters: what `lora_tensors` gave.
        alpha: the scale's numerator; the rank is read from each adapter.
    """
    merged = dict(weights)
    for key, a in adapters.items():
        if not key.endswith(".a"):
            continue
        name = key[:-2]
        b = adapters[f"{name}.b"]
        update = (alpha / a.shape[0]) * (b.float() @ a.float())
        merged[f"{name}.weight"] = merged[f"{name}.weight"].float() + update
    return merged
