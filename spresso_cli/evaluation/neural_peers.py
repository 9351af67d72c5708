"""Neural codecs through their own packages, each used only with weights already on this machine.

Rates are those of S-PRESSO's tables (section 4): SemantiCodec 1.4, 1.35 and 0.3125 kbps, DAC 1.7
(two of nine codebooks), EnCodec; Music2Latent and the Stable Audio Open autoencoder have continuous
latents and no bitrate. Codes count as packed bits; no entropy coding, no header.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from spresso_cli.audio.resample import resample
from spresso_cli.errors import UsageError
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.peers import Coded, Peer, PeerUnavailable, fitted

if TYPE_CHECKING:
    import torch

SEMANTICODEC_SETTINGS = {0.3125: (25, 4096), 1.35: (100, 16_384), 1.4: (100, 32_768)}
"""kbps: token rate in Hz and size of the semantic vocabulary."""


class EnCodec:
    """EnCodec 24 kHz mono at 1.5, 3, 6, 12 or 24 kbps (package encodec)."""

    rates = (1.5, 3.0, 6.0, 12.0, 24.0)
    _rate = 24_000

    def __init__(self, kbps: float, weights: Path) -> None:
        package = _package("encodec")
        _file(weights, "encodec_24khz-d7cc33bc.th")
        self.name = f"EnCodec {kbps:g}"
        self._model = package.EncodecModel.encodec_model_24khz(repository=weights)
        self._model.set_target_bandwidth(kbps)

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`."""
        import torch

        with torch.inference_mode():
            frames = self._model.encode(_tensor(clip, self._rate)[None])
            decoded = self._model.decode(frames)
        bits = sum(codes.numel() for codes, _ in frames) * 10
        return _coded(decoded, self._rate, clip.size, bits)


class Dac:
    """DAC 44.1 kHz with its first codebooks (package descript-audio-codec)."""

    rates = (0.86, 1.7, 2.6, 3.4, 4.3, 5.2, 6.0, 6.9, 7.8)
    _rate = 44_100

    def __init__(self, kbps: float, weights: Path) -> None:
        package = _package("dac", "descript-audio-codec")
        self.name = f"DAC {kbps:g}"
        self._codebooks = self.rates.index(kbps) + 1
        self._model = package.DAC.load(str(_file(weights, "weights_44khz_8kbps_0.0.1.pth"))).eval()

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`."""
        import torch

        with torch.inference_mode():
            x = self._model.preprocess(_tensor(clip, self._rate)[None], self._rate)
            latent, codes, *_ = self._model.encode(x, n_quantizers=self._codebooks)
            decoded = self._model.decode(latent)
        return _coded(decoded, self._rate, clip.size, codes.numel() * 10)


class SemantiCodec:
    """SemantiCodec (package semanticodec), 50 DDIM steps and guidance 2 as published."""

    rates = tuple(SEMANTICODEC_SETTINGS)
    _rate = 16_000
    _acoustic_bits = 13

    def __init__(self, kbps: float, weights: Path) -> None:
        package = _package("semanticodec")
        token_rate, vocabulary = SEMANTICODEC_SETTINGS[kbps]
        folder = _file(weights, f"semanticodec_tokenrate_{token_rate}")
        self.name = f"SemantiCodec {kbps:g}"
        self._bits = int(math.log2(vocabulary)) + self._acoustic_bits
        self._model = package.SemantiCodec(token_rate, vocabulary, checkpoint_path=str(folder))

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`; its encoder reads a file."""
        import torch

        with TemporaryDirectory() as folder, torch.inference_mode():
            path = Path(folder, "a.wav")
            soundfile.write(path, _at_rate(clip, self._rate), self._rate, subtype="FLOAT")
            tokens = self._model.encode(str(path))  # [1, T, 2]
            torch.manual_seed(0)
            decoded = self._model.decode(tokens)
        return _coded(decoded, self._rate, clip.size, tokens.shape[1] * self._bits)


class Music2Latent:
    """Music2Latent (package music2latent): 64 continuous latents at 10.8 Hz."""

    rates = (None,)
    _rate = 44_100

    def __init__(self, _: None, weights: Path) -> None:
        package = _package("music2latent.inference", "music2latent")
        path = _file(weights, "music2latent.pt")
        # Its constructor fetches its default weights, whatever path it is given.
        package.download_model = lambda: None
        self.name = "Music2Latent"
        self._model = package.EncoderDecoder(load_path_inference=str(path))

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`."""
        import torch

        torch.manual_seed(0)
        # It drops up to 8 frames of 512 samples at the end: pad, so that it drops zeros.
        padded = np.pad(_at_rate(clip, self._rate), (0, 16 * 512))
        decoded = self._model.decode(self._model.encode(padded))
        return _coded(decoded, self._rate, clip.size, None)


class StableAudioOpen:
    """The Stable Audio Open 1.0 autoencoder (package diffusers): 64 latents at 21.5 Hz, stereo."""

    rates = (None,)
    _rate = 44_100
    _hop = 2048

    def __init__(self, _: None, weights: Path) -> None:
        package = _package("diffusers")
        folder = _file(weights, "stable-audio-open-1.0/vae")
        self.name = "Stable Audio Open"
        self._model = package.AutoencoderOobleck.from_pretrained(folder, local_files_only=True)

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`; the mean of the latent distribution, both channels alike."""
        import torch

        x = _tensor(clip, self._rate)  # [1, n]
        x = torch.nn.functional.pad(x, (0, -x.shape[-1] % self._hop)).expand(2, -1)
        with torch.inference_mode():
            latent = self._model.encode(x[None]).latent_dist.mode()
            decoded = self._model.decode(latent).sample.mean(dim=1)
        return _coded(decoded, self._rate, clip.size, None)


NEURAL_PEERS: dict[str, Callable[..., Peer]] = {
    "encodec": EnCodec,
    "dac": Dac,
    "semanticodec": SemantiCodec,
    "music2latent": Music2Latent,
    "stable-audio-open": StableAudioOpen,
}


def neural_peer(kind: str, rate: str, weights: Path | None) -> Peer:
    """The neural peer of a kind and a rate in kbps ('' for continuous latents).

    Raises UsageError for an unknown kind or rate, PeerUnavailable without package or weights.
    """
    if kind not in NEURAL_PEERS:
        raise UsageError(f"{kind}: no such peer")
    build = NEURAL_PEERS[kind]
    rates = build.rates
    try:
        kbps = float(rate) if rate else None
    except ValueError:
        kbps = math.nan
    if kbps not in rates:
        choices = ", ".join(kind if r is None else f"{kind}:{r:g}" for r in rates)
        raise UsageError(f"{kind}:{rate}: choose from {choices}")
    return build(kbps, weights or Path("weights"))


def _package(module: str, distribution: str | None = None) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise PeerUnavailable(f"package {distribution or module} is not installed") from None


def _file(weights: Path, name: str) -> Path:
    path = weights / name
    if not path.exists():
        raise PeerUnavailable(f"weights not found: {path}")
    return path


def _at_rate(clip: np.ndarray, rate: int) -> np.ndarray:
    return resample(clip[:, None], CLIP_RATE, rate)[:, 0]


def _tensor(clip: np.ndarray, rate: int) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(_at_rate(clip, rate)))[None]  # [1, n]


def _coded(decoded: torch.Tensor | np.ndarray, rate: int, length: int, bits: int | None) -> Coded:
    """A decoded tensor or array whose last axis with more than one entry is time."""
    samples = np.squeeze(np.asarray(decoded, dtype=np.float32))
    wide = resample(samples[:, None], rate, CLIP_RATE)[:, 0]
    size = None if bits is None else -(-bits // 8)
    return Coded(fitted(wide, length), size, size)
