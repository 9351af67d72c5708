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
from spresso_cli.models.log_mel import LogMel, going_on

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
    """And of what fills up its last code frame: there it goes on as it ends, as silence would only
    blur the end and is cut off again. The tiny pack has a bypass at 11 Hz."""
    x = sound(12 * 48_000)  # three windows; of the last code frame a third sounds
    codec = ContinuousCodec.load(tiny_path, device="cpu")
    network = load_encoder(codec.pack, codec.pack.families[11])
    assert network.needs_mel
    if fine:
        network = LatentEncoder(replace(network.config, fine_bands=fine)).requires_grad_(False)
        torch.nn.init.normal_(network.components, std=0.01)
    alone(network)
    monkeypatch.setattr("spresso_cli.codec.networks.load_encoder", lambda pack, family: network)
    z = torch.from_numpy(codec.encode(ArraySource(x, 48_000), 11).z)

    frames = z.shape[1]
    whole = torch.zeros(1, frames * 9 * 480)
    whole[0, : len(x)] = torch.from_numpy(x[:, 0] * (NETWORK_PEAK / np.abs(x).max()))
    mel = going_on(LogMel(480, fine)(whole), torch.tensor([1200]))
    windows = network.envelope.windows(mel)
    expected = (windows - network.mean) @ network.components
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
