"""An encoder with a bypass sees the log-mels of the sound, whatever windows it sees it through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spresso_cli.audio.files import ArraySource
from spresso_cli.audio.level import NETWORK_PEAK
from spresso_cli.codec.continuous import ContinuousCodec
from spresso_cli.codec.weights import load_encoder
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.log_mel import LogMel

WINDOW = 9 * 480  # samples of a code frame at 11 Hz


def alone(network: LatentEncoder) -> LatentEncoder:
    """The same without what its transformer adds."""
    torch.nn.init.zeros_(network.out.weight)
    torch.nn.init.zeros_(network.out.bias)
    return network


@pytest.mark.parametrize("fine", [0, 96])
def test_windows_of_a_long_sound_have_the_log_mels_of_the_whole(
    tiny_path, sound, monkeypatch, fine
):
    """The tiny pack has a bypass at 11 Hz."""
    x = sound(133 * WINDOW)  # 12 s, which the network sees in three parts
    codec = ContinuousCodec.load(tiny_path, device="cpu")
    network = load_encoder(codec.pack, codec.pack.families[11])
    assert network.needs_mel
    if fine:
        network = LatentEncoder(replace(network.config, fine_bands=fine)).requires_grad_(False)
        torch.nn.init.normal_(network.components, std=0.01)
    torch.nn.init.zeros_(network.out.weight)  # nothing but the bypass
    monkeypatch.setattr("spresso_cli.codec.networks.load_encoder", lambda pack, family: network)
    z = torch.from_numpy(codec.encode(ArraySource(x, 48_000), 11).z)

    frames = z.shape[1]
    whole = torch.zeros(1, frames * 9 * 480)
    whole[0, : len(x)] = torch.from_numpy(x[:, 0] * (NETWORK_PEAK / np.abs(x).max()))
    windows = network.envelope.windows(LogMel(480, fine)(whole))
    expected = (windows - network.mean) @ network.components + network.out.bias
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-4)
    assert float(z.std()) > 0.01


def test_what_a_bypass_says_alone_needs_no_latents(tiny_path, sound, monkeypatch):
    """Byte for byte: a transformer that adds nothing is not run, nor what it would have seen."""
    x = sound(11 * WINDOW)
    codec = ContinuousCodec.load(tiny_path, device="cpu")
    network = load_encoder(codec.pack, codec.pack.families[11])
    assert not network.bypass_alone
    alone(network)
    assert network.bypass_alone
    monkeypatch.setattr("spresso_cli.codec.networks.load_encoder", lambda pack, family: network)

    def encoded():
        codec = ContinuousCodec.load(tiny_path, device="cpu")
        return codec.encode(ArraySource(x, 48_000), 11).z

    with monkeypatch.context() as patched:
        patched.setattr(LatentEncoder, "bypass_alone", False)
        by_all = encoded()
    with monkeypatch.context() as patched:
        patched.setattr(AudioAE, "encode", None)
        assert np.array_equal(encoded(), by_all)


def test_a_sound_that_ends_within_a_window_is_told_as_if_it_went_on(tiny_path, monkeypatch):
    """What fills up the last window is cut off again: silence there would only blur the end."""
    x = np.random.default_rng(0).normal(0, 0.1, 3 * WINDOW).astype(np.float32)
    seen = []
    monkeypatch.setattr(LatentEncoder, "bypass_alone", True)
    monkeypatch.setattr(
        LatentEncoder, "forward", lambda self, latents, mel: seen.append(mel) or mel[:, ::9, :1]
    )
    codec = ContinuousCodec.load(tiny_path, device="cpu")
    codec.encode(ArraySource(x[: -WINDOW // 3, None], 48_000), 11)
    mel = seen[0][0]
    assert len(mel) == 3 * 9
    assert torch.equal(mel[24:], mel[23].expand(3, -1))
    assert float(mel[23].mean()) > float(mel[:23].mean()) - 1.5  # not silence
