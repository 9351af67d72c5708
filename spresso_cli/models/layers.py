"""What several of our transformers share: rotary positions, QK-normalised attention, the MLP.

RoPE follows Su et al. (pairs (2i, 2i+1), theta 10000, float32); QK-RMS-normalisation and the
GELU(tanh) MLP follow SD3 and EDM2 (S-PRESSO 2.1 and 2.2 name the block, not its details).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROPE_THETA = 10_000.0


def check_qkv(width: int, heads: int) -> None:
    """Raises ValueError unless a width divides into this many heads, each of whole rotary pairs."""
    if width % (2 * heads):
        raise ValueError(f"{heads} heads do not make a width of {width}: each is an even number")


def rope_table(positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding.

    Args:
        positions: integer or float positions in latent frames, `[N]`.
        head_dim: width of one attention head, even.

    Returns:
        `(cos, sin)`, each float32 `[N, head_dim / 2]`.
    """
    half = torch.arange(head_dim // 2, device=positions.device, dtype=torch.float32)
    frequency = ROPE_THETA ** (-2.0 * half / head_dim)
    angle = positions.float()[:, None] * frequency[None]
    return angle.cos(), angle.sin()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn every pair (2i, 2i+1) of `x` `[B, H, N, head_dim]` by its position's angle."""
    cos, sin = (part.to(x.dtype) for part in table)  # [N, head_dim/2]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def fourier_features(c_noise: Tensor, frequency: Tensor) -> Tensor:
    """Noise levels `[B]` at random frequencies `[n]`, unit power, `[B, 2 n]` (EDM2)."""
    phase = 2 * torch.pi * c_noise[:, None] * frequency
    return torch.cat((phase.cos(), phase.sin()), -1) * 2**0.5


class HeadNorm(nn.Module):
    """RMS normalisation of queries or keys per head, with a learned scale (eps 1e-6)."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head_dim))

    def forward(self, x: Tensor) -> Tensor:
        # In x's type: mixed types (autocast) would miss the fused kernel.
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), 1e-6)


class QKV(nn.Module):
    """Queries, keys and values of one modality, `[B, N, D]` -> three `[B, H, N, D/H]`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.linear = nn.Linear(width, 3 * width)
        self.q_norm = HeadNorm(width // heads)
        self.k_norm = HeadNorm(width // heads)

    def forward(
        self, x: Tensor, table: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`table` None leaves the tokens without a position (text)."""
        q, k, v = self.linear(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)  # [B, H, N, D/H]
        if table is not None:
            q, k = rotate(q, table), rotate(k, table)
        return q, k, v


def merge_heads(x: Tensor) -> Tensor:
    """`[B, H, N, D/H]` -> `[B, N, D]`."""
    return x.transpose(1, 2).flatten(2)


class MLP(nn.Module):
    """Linear, GELU(tanh), Linear: `[..., D]` -> `[..., D]` through `4 D`."""

    def __init__(self, width: int):
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))
