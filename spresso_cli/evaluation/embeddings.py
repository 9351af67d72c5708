"""Embeddings by which metrics compare clips: the project's CLAP, and log-mel statistics.

S-PRESSO's section 4 measures FAD, KAD and a cosine on CLAP audio embeddings. Values on the
project's own embeddings compare systems within one run; they are not comparable with published
ones, which need the checkpoints of `onnx_embedders`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.spectra import magnitudes, mel_filters

if TYPE_CHECKING:
    from spresso_cli.models.clap import AudioTower


class Embedder(Protocol):
    """Turns clips of one length into vectors."""

    @property
    def name(self) -> str:
        """Short name, printed beside every number that depends on it."""

    def embed(self, x: np.ndarray) -> np.ndarray:
        """Clips at 48 kHz, float32 [B, n] -> one vector a clip, float32 [B, D]."""


@runtime_checkable
class WindowedEmbedder(Embedder, Protocol):
    """An embedder whose convention for FAD and KAD is several vectors a clip."""

    def embed_windows(self, x: np.ndarray) -> np.ndarray:
        """Clips at 48 kHz, float32 [B, n] -> float32 [B, windows, D]."""


def windows_of(embedder: Embedder, x: np.ndarray) -> np.ndarray:
    """The vectors that FAD and KAD pool, float32 [B, windows, D]; one a clip unless windowed."""
    if isinstance(embedder, WindowedEmbedder):
        return embedder.embed_windows(x)
    return embedder.embed(x)[:, None]


class LogMelEmbedder:
    """Mean and standard deviation over time of a 64-band log-mel spectrum: [B, n] -> [B, 128].

    Needs no weights and no torch. 1024-sample windows every 480 samples, HTK bands from 50 Hz to
    20 kHz, natural logarithm of magnitudes floored at 1e-4.
    """

    name = "logmel-stats"
    _window, _hop, _bands, _floor = 1024, 480, 64, 1e-4

    def embed(self, x: np.ndarray) -> np.ndarray:
        """Clips float32 [B, n] at 48 kHz -> float32 [B, 128]: 64 means, 64 deviations."""
        return np.stack([self._one(clip) for clip in _clips(x)])

    def _one(self, clip: np.ndarray) -> np.ndarray:
        filters = mel_filters(CLIP_RATE, self._window, self._bands, 50.0, 20_000.0, "htk")
        blocks = [block @ filters.T for block in magnitudes(clip, self._window, self._hop)]
        logs = np.log(np.maximum(np.concatenate(blocks), self._floor))  # [T, 64]
        return np.concatenate((logs.mean(axis=0), logs.std(axis=0))).astype(np.float32)


class ClapEmbedder:
    """The audio tower of the project's CLAP: [B, n] -> unit vectors [B, D].

    Whole clips of any length; those below 0.2 s are zero-padded to it.
    """

    name = "clap"
    _min_samples = CLIP_RATE // 5

    def __init__(self, tower: AudioTower) -> None:
        self._tower = tower.eval()

    def embed(self, x: np.ndarray) -> np.ndarray:
        """Clips float32 [B, n] at 48 kHz -> float32 [B, D], each of length 1."""
        import torch

        missing = max(0, self._min_samples - _clips(x).shape[1])
        clips = torch.from_numpy(np.pad(x, ((0, 0), (0, missing))).astype(np.float32))
        with torch.inference_mode():
            return self._tower(clips).numpy()


def project_embedders(pack: str | None = None) -> list[Embedder]:
    """The embedders that need nothing from the user: the pack's CLAP, if it has one, and log-mels.

    Raises BadPack for a damaged pack; without any pack there are log-mels alone.
    """
    from spresso_cli.codec.packs import find_pack
    from spresso_cli.errors import MissingPack

    embedders: list[Embedder] = [LogMelEmbedder()]
    try:
        info = find_pack(pack)
    except MissingPack:
        if pack is not None:
            raise
        return embedders
    if info.clap:
        from spresso_cli.codec.weights import load_clap

        embedders.insert(0, ClapEmbedder(load_clap(info).audio))
    return embedders


def _clips(x: np.ndarray) -> np.ndarray:
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"expected clips [B, n], got shape {x.shape}")
    return x
