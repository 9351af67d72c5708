"""VGGish and LAION-CLAP from the user's own ONNX files, for numbers comparable with papers.

Front ends follow torchvggish and LAION-CLAP to the sample, except that resampling is soxr's (extra
`[eval]`). VGGish is used as both FAD toolkits do: without its PCA and without its last ReLU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from spresso_cli.audio.resample import resample
from spresso_cli.errors import UsageError
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.spectra import hann, magnitudes, mel_filters

Network = Callable[[np.ndarray], np.ndarray]

VGGISH_RATE = 16_000
VGGISH_FRAMES = 96  # 0.96 s
VGGISH_MIN_SAMPLES = 400 + (VGGISH_FRAMES - 1) * 160
CLAP_SAMPLES = 480_000  # 10 s


class VggishEmbedder:
    """VGGish: non-overlapping examples of 0.96 s, [B, n] -> [B, examples, 128]."""

    name = "vggish"

    def __init__(self, network: Network, rank: int = 4) -> None:
        """`network` maps [N, 96, 64] (rank 3) or [N, 1, 96, 64] (rank 4) to [N, 128]."""
        self._network = network
        self._rank = rank

    def embed(self, x: np.ndarray) -> np.ndarray:
        """Mean over a clip's examples, float32 [B, 128]."""
        return self.embed_windows(x).mean(axis=1)

    def embed_windows(self, x: np.ndarray) -> np.ndarray:
        """Clips float32 [B, n] at 48 kHz -> float32 [B, examples, 128].

        The incomplete last example is dropped; a clip shorter than one is zero-padded to it.
        Raises UsageError when the file still ends in a ReLU.
        """
        clips = resample(np.ascontiguousarray(x.T), CLIP_RATE, VGGISH_RATE).T
        examples = np.stack([vggish_examples(clip) for clip in clips])  # [B, E, 96, 64]
        flat = examples.reshape(-1, *examples.shape[2:])
        vectors = self._network(flat if self._rank == 3 else flat[:, None])
        if np.min(vectors) >= 0.0:
            raise UsageError(
                "the VGGish file ends in a ReLU: export it without the last activation"
            )
        return vectors.reshape(*examples.shape[:2], -1)


class LaionClapEmbedder:
    """LAION-CLAP's audio branch (no fusion): [B, n] -> unit vectors [B, 512].

    Clips longer than 10 s are cut to their first 10 s (the original crops at random); shorter
    ones are repeated as often as they fit and then zero-padded.
    """

    name = "laion-clap"

    def __init__(self, network: Network, rank: int = 2) -> None:
        """`network` maps waveforms [B, 480000] (rank 2) or log-mels [B, 1, 1001, 64] (rank 4)."""
        self._network = network
        self._rank = rank

    def embed(self, x: np.ndarray) -> np.ndarray:
        """Clips float32 [B, n] at 48 kHz -> float32 [B, 512], each of length 1."""
        clips = np.stack([laion_clap_waveform(clip) for clip in x])
        if self._rank == 4:
            clips = np.stack([laion_clap_mel(clip) for clip in clips])[:, None]
        vectors = self._network(clips)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def vggish_examples(clip: np.ndarray) -> np.ndarray:
    """VGGish's input from a clip [n] at 16 kHz: float32 [examples, 96, 64].

    Frames of 400 samples every 160, not centred; FFT 512; 64 bands from 125 to 7500 Hz on the
    magnitude spectrum; log(x + 0.01).
    """
    clip = np.asarray(clip, dtype=np.float64)
    clip = np.pad(clip, (0, max(0, VGGISH_MIN_SAMPLES - clip.size)))
    framed = np.lib.stride_tricks.sliding_window_view(clip, 400)[::160]
    spectrum = np.abs(np.fft.rfft(framed * hann(400), 512))
    logs = np.log(spectrum @ vggish_filters().T + 0.01)
    count = len(logs) // VGGISH_FRAMES
    return logs[: count * VGGISH_FRAMES].reshape(count, VGGISH_FRAMES, 64).astype(np.float32)


@lru_cache(maxsize=1)
def vggish_filters() -> np.ndarray:
    """VGGish's own filters, float64 [64, 257]: triangles linear in mel, not in Hz; no DC."""

    def mel(hz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log(1.0 + hz / 700.0)

    bins = mel(np.linspace(0.0, VGGISH_RATE / 2, 257))
    edges = np.linspace(mel(np.float64(125.0)), mel(np.float64(7500.0)), 66)
    rising = (bins[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[:, 0] = 0.0
    filters.setflags(write=False)
    return filters


def laion_clap_waveform(clip: np.ndarray) -> np.ndarray:
    """LAION-CLAP's input from a clip [n] at 48 kHz: float32 [480000], through 16-bit integers."""
    clip = np.trunc(np.clip(clip[:CLAP_SAMPLES], -1.0, 1.0) * 32767.0) / 32767.0
    clip = np.tile(clip, CLAP_SAMPLES // clip.size)
    return np.pad(clip, (0, CLAP_SAMPLES - clip.size)).astype(np.float32)


def laion_clap_mel(clip: np.ndarray) -> np.ndarray:
    """Log-mel power in dB of a waveform [480000]: float32 [1001, 64] (Slaney, 50 to 14 000 Hz)."""
    filters = mel_filters(CLIP_RATE, 1024, 64, 50.0, 14_000.0)
    power = np.concatenate([block**2 @ filters.T for block in magnitudes(clip, 1024, 480)])
    return (10.0 * np.log10(np.maximum(power, 1e-10))).astype(np.float32)


def load_vggish(path: Path) -> VggishEmbedder:
    """VGGish from an ONNX file with input [N, 96, 64] or [N, 1, 96, 64] and output [N, 128].

    Raises UsageError without onnxruntime or for a file of another shape.
    """
    network, rank = _onnx(path)
    if rank not in (3, 4):
        raise UsageError(f"{path}: VGGish takes [N, 96, 64] or [N, 1, 96, 64], not rank {rank}")
    return VggishEmbedder(network, rank)


def load_laion_clap(path: Path) -> LaionClapEmbedder:
    """LAION-CLAP's audio branch from an ONNX file that takes waveforms or log-mels.

    Raises UsageError without onnxruntime or for a file of another shape.
    """
    network, rank = _onnx(path)
    if rank not in (2, 4):
        raise UsageError(f"{path}: CLAP takes [B, 480000] or [B, 1, 1001, 64], not rank {rank}")
    return LaionClapEmbedder(network, rank)


def _onnx(path: Path) -> tuple[Network, int]:
    """The first output of an ONNX file as a function of its only input, and that input's rank."""
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            "ONNX checkpoints need onnxruntime: pip install 'spresso_cli[eval]'"
        ) from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - every kind of bad file has a class of its own
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path}: not a usable ONNX file ({reason})") from None
    entry = session.get_inputs()[0]

    def network(x: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {entry.name: x.astype(np.float32)})[0])

    return network, len(entry.shape)
