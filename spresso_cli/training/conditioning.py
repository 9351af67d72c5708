"""Text conditions for training: the frozen CLAP text tower's tokens, computed once per caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spresso_cli.models.clap import TextTower
from spresso_cli.models.dit import TextCondition

TOGETHER = 1024  # captions that go through the text tower at a time


@dataclass
class TextBank:
    """Tokens float32 `[clips, L, width]`, mask bool `[clips, L]`, pooled `[clips, width]`."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor

    def __post_init__(self) -> None:
        # On the CPU, where clips are drawn: a step reads nothing back from the device.
        self.lengths = self.mask.sum(1).cpu()  # [clips]

    @classmethod
    @torch.inference_mode()
    def of(cls, tower: TextTower, captions: Sequence[str]) -> TextBank:
        """Encode all captions, some at a time, in one padded table."""
        parts = [tower(captions[i : i + TOGETHER]) for i in range(0, len(captions), TOGETHER)]
        longest = max(tokens.shape[1] for tokens, _, _ in parts)
        tokens, masks, pooled = zip(*parts, strict=True)
        return cls(
            torch.cat([F.pad(t, (0, 0, 0, longest - t.shape[1])) for t in tokens]),
            torch.cat([F.pad(m, (0, longest - m.shape[1])) for m in masks]),
            torch.cat(pooled),
        )

    def condition(
        self, clips: Tensor, keep: float, generator: torch.Generator
    ) -> TextCondition | None:
        """Text for a batch, each example's kept with probability `keep` (S-PRESSO 2.5: 0.2).

        Presence is drawn first per batch, then per example at 0.8 or more, with `keep` as the
        product: most batches then carry no text tokens at all, which costs no attention.
        """
        within = max(keep, 0.8)
        if torch.rand((), generator=generator) >= keep / within:
            return None
        present = torch.rand(len(clips), generator=generator) < within
        longest = int(self.lengths[clips].max())
        device = self.mask.device
        clips = clips.to(device, non_blocking=True)
        return TextCondition(
            self.tokens[clips, :longest],
            self.mask[clips, :longest],
            self.pooled[clips],
            present.to(device, non_blocking=True),
        )
