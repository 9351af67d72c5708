"""CLAP: an audio tower and a text tower trained to agree on pairs (S-PRESSO 2.2 conditions on it).

The audio tower is a ConvNeXt over a 64-band log-mel; the text tower reads words as sums of hashed
character n-grams, which needs no vocabulary file and gives unseen words a meaning from their
parts. Text tokens condition the DiT; pooled embeddings serve evaluation.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spresso_cli.models.audio_ae import Backbone
from spresso_cli.models.layers import MLP, QKV, check_qkv, merge_heads, rope_table
from spresso_cli.models.log_mel import mel_filters


@dataclass(frozen=True)
class CLAPConfig:
    """Sizes of the two towers."""

    embedding: int = 256
    audio_dim: int = 192
    audio_blocks: int = 4
    mel_bands: int = 64
    n_fft: int = 2048
    hop: int = 960
    text_width: int = 192
    text_heads: int = 3
    text_blocks: int = 2
    text_buckets: int = 8192
    max_words: int = 16

    def __post_init__(self) -> None:
        check_qkv(self.text_width, self.text_heads)


def words_of(text: str, limit: int) -> list[str]:
    """Lower-case words and numbers of a caption, at most `limit`."""
    return re.findall(r"[^\W_]+", text.lower())[:limit]


@lru_cache(1 << 16)
def ngram_buckets(word: str, buckets: int) -> tuple[int, ...]:
    """Hash buckets (CRC-32) of a word and of its character 3- to 5-grams; bucket 0 stays free."""
    marked = f"<{word}>"
    grams = {marked} | {
        marked[i : i + n] for n in (3, 4, 5) for i in range(max(0, len(marked) - n + 1))
    }
    return tuple(sorted(zlib.crc32(g.encode()) % (buckets - 1) + 1 for g in grams))


class TextTower(nn.Module):
    """Words -> tokens `[B, L, text_width]`, mask `[B, L]`, pooled `[B, text_width]`."""

    def __init__(self, config: CLAPConfig):
        super().__init__()
        self.config = config
        width = config.text_width
        self.table = nn.EmbeddingBag(config.text_buckets, width, mode="mean")
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "qkv": QKV(width, config.text_heads),
                    "proj": nn.Linear(width, width),
                    "norm2": nn.LayerNorm(width),
                    "mlp": MLP(width),
                }
            )
            for _ in range(config.text_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.to_embedding = nn.Linear(width, config.embedding)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """A text without words counts as one empty word, so that every row has a token."""
        config, device = self.config, self.table.weight.device
        rows = [words_of(text, config.max_words) or [""] for text in texts]
        length = max(map(len, rows))
        words = [word for row in rows for word in row]
        bags = [ngram_buckets(word, config.text_buckets) for word in words]
        offsets = torch.tensor([0, *map(len, bags)]).cumsum(0)[:-1]
        flat = torch.tensor([b for bag in bags for b in bag])
        mask = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
        places = mask.flatten().nonzero()[:, 0]  # of the words; found here, so that nothing waits
        offsets, flat, mask, places = (
            part.to(device, non_blocking=True) for part in (offsets, flat, mask, places)
        )
        vectors = self.table(flat, offsets) * math.sqrt(config.text_width)  # [words, D]
        x = vectors.new_zeros(len(rows) * length, config.text_width)
        x = x.index_copy(0, places, vectors).unflatten(0, (len(rows), length))
        rope = rope_table(torch.arange(length, device=device), x.shape[-1] // config.text_heads)
        for block in self.blocks:
            q, k, v = block["qkv"](block["norm1"](x), rope)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
            x = x + block["proj"](merge_heads(attended))
            x = x + block["mlp"](block["norm2"](x))
        x = self.norm(x) * mask[..., None]
        return x, mask, x.sum(1) / mask.sum(1, keepdim=True)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Unit-norm text embeddings `[B, embedding]`."""
        return F.normalize(self.to_embedding(self(texts)[2]), dim=-1)


class AudioTower(nn.Module):
    """48 kHz sound `[B, n]` -> unit-norm embedding `[B, embedding]`."""

    def __init__(self, config: CLAPConfig):
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        filters = mel_filters(config.n_fft, config.mel_bands, 50.0, 20_000.0)
        self.register_buffer("filters", filters, persistent=False)
        self.backbone = Backbone(config.mel_bands, config.audio_dim, 7, 3, config.audio_blocks)
        self.pool = nn.Linear(config.audio_dim, 1)
        self.to_embedding = nn.Linear(3 * config.audio_dim, config.embedding)

    def features(self, x: Tensor) -> Tensor:
        """Log-mel frames at 50 Hz, about zero mean and unit range, `[B, frames, bands]`."""
        spectrum = torch.stft(
            x,
            self.config.n_fft,
            self.config.hop,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        mel = spectrum.abs().transpose(1, 2) @ self.filters
        return (mel.clamp(min=1e-3).log() + 1.0) / 4.0

    def forward(self, x: Tensor) -> Tensor:
        h = self.backbone(self.features(x))  # [B, frames, D]
        attention = self.pool(h).softmax(1)
        pooled = torch.cat(((attention * h).sum(1), h.mean(1), h.std(1)), -1)
        return F.normalize(self.to_embedding(pooled), dim=-1)


class CLAP(nn.Module):
    """Both towers and the learned temperature of the contrastive loss."""

    def __init__(self, config: CLAPConfig):
        super().__init__()
        self.config = config
        self.audio = AudioTower(config)
        self.text = TextTower(config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
