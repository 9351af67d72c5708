"""What the networks see of a long sound: the whole at its level, whatever windows it comes in."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spresso_cli.audio.files import ArraySource
from spresso_cli.audio.level import NETWORK_PEAK
from spresso_cli.audio.windows import Plan
from spresso_cli.codec.continuous import ContinuousCodec
from spresso_cli.models.audio_ae import AudioAE


class Pooled(nn.Module):
    """An encoder that says no more than the mean latent of each code frame."""

    needs_mel, bypass_alone = False, False

    def __init__(self, pool: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(stride=1, channels=128)
        self.pool = pool

    def forward(self, latents: Tensor, mel: None) -> Tensor:
        return latents.unflatten(1, (-1, self.pool)).mean(2)


@pytest.mark.parametrize("channels", [1, 2])
def test_windows_of_a_long_sound_have_the_latents_of_the_whole(
    tiny_path, sound, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    """Each channel at its own peak, its ends the only ones, and zeros behind the last sample."""
    x = sound(12 * 48_000 + 100, channels)  # three windows
    x *= np.linspace(1, 0.5, channels, dtype=np.float32)
    monkeypatch.setattr("spresso_cli.codec.networks.load_encoder", lambda pack, family: Pooled(9))
    seen: list[Tensor] = []
    encode = AudioAE.encode
    monkeypatch.setattr(AudioAE, "encode", lambda self, x: seen.append(x) or encode(self, x))
    codec = ContinuousCodec.load(tiny_path, device="cpu")
    z = torch.from_numpy(codec.encode(ArraySource(x, 48_000), 11).z)

    whole = torch.zeros(channels, z.shape[1] * 9 * 480)
    whole[:, : len(x)] = torch.from_numpy((x * (NETWORK_PEAK / np.abs(x).max(0))).T)
    audio_ae = codec._networks.audio_ae(codec.pack)
    windows = list(Plan.of(9).encoder_windows(z.shape[1]))
    assert len(seen) == len(windows) * channels
    for number, pcm in enumerate(seen):
        window = windows[number // channels]
        first = max(0, window.start * 9 - audio_ae.config.context) * 480
        last = (window.stop * 9 + audio_ae.config.context) * 480
        torch.testing.assert_close(pcm[0], whole[number % channels, first:last])
    with torch.inference_mode():
        latents = encode(audio_ae, whole)
    torch.testing.assert_close(z, Pooled(9)(latents, None), rtol=0, atol=1e-4)
    assert float(z.std()) > 0.01
