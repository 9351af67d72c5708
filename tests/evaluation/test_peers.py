"""Peers give back the clip in place and of its length, and count their bytes honestly."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation import neural_peers
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.peers import Peer, PeerUnavailable, ogg_packet_sizes, peer

RATE = CLIP_RATE


def available(spec: str) -> Peer:
    try:
        return peer(spec)
    except PeerUnavailable as error:
        pytest.skip(f"{spec}: {error}")


def bursts(seconds: float = 2.0) -> np.ndarray:
    """Noise below 3 kHz in bursts of random strength: its envelope tells where things are."""
    rng = np.random.default_rng(0)
    n = int(seconds * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[int(3000 * seconds) :] = 0
    envelope = np.interp(np.arange(n), np.arange(0, n, RATE // 12), rng.random(-(-n * 12 // RATE)))
    x = np.fft.irfft(spectrum, n) * envelope**3
    return (0.5 * x / np.abs(x).max()).astype(np.float32)


def lag_ms(x: np.ndarray, y: np.ndarray) -> float:
    """The delay of y against x by their envelopes."""
    smooth = np.hanning(481) / 240
    a, b = (np.log(np.convolve(np.abs(s), smooth, "same") + 0.003) for s in (x, y))
    a, b = a - a.mean(), b - b.mean()
    lags = np.arange(-4800, 4801, 24)
    return float(lags[np.argmax([a[4800:-4800] @ np.roll(b, -k)[4800:-4800] for k in lags])]) / 48


@pytest.mark.parametrize(
    "spec",
    ["opus:6", "opus:12", "vorbis:12", "vorbis:32", "vorbis:64", "mp3:8", "mp3:24", "mp3:32"]
    + ["mp3:64", "codec2:3.2", "codec2:1.3", "codec2:0.7", "codec2:0.45"],
)
def test_a_tool_keeps_length_and_place_and_comes_near_its_rate(spec: str) -> None:
    codec = available(spec)
    clip = bursts()
    coded = codec.code(clip)
    assert coded.samples.shape == clip.shape
    assert coded.samples.dtype == np.float32
    assert abs(lag_ms(clip, coded.samples)) <= 10.0
    nominal = float(spec.partition(":")[2])
    kbps = coded.payload_bytes * 8 / (clip.size / RATE) / 1000
    assert 0.5 * nominal < kbps < 2.2 * nominal
    assert coded.payload_bytes <= coded.file_bytes


@pytest.mark.parametrize("spec", ["mp3:64", "vorbis:64", "opus:64"])
def test_a_waveform_codec_is_in_place_to_the_sample(spec: str) -> None:
    codec = available(spec)
    clip = bursts()
    error = codec.code(clip).samples - clip
    assert 10 * np.log10(np.sum(clip**2) / np.sum(error**2)) > 6.0


def test_codec2_counts_its_frames_alone_as_payload() -> None:
    coded = available("codec2:1.3").code(bursts(1.0))
    assert coded.file_bytes - coded.payload_bytes == 7
    assert coded.payload_bytes == 7 * 26  # 52 bits a frame of 40 ms, 26 frames with the delay


@pytest.mark.parametrize("samples", [1, 100, 5000])
def test_tools_take_very_short_clips(samples: int) -> None:
    clip = np.full(samples, 0.1, np.float32)
    for spec in ("opus:12", "codec2:1.3"):
        assert available(spec).code(clip).samples.shape == (samples,)


def test_packets_of_an_ogg_stream_may_span_segments_and_pages() -> None:
    def page(lacing: list[int]) -> bytes:
        head = b"OggS" + struct.pack("<BBqIII", 0, 0, 0, 1, 0, 0) + bytes([len(lacing)])
        return head + bytes(lacing) + bytes(sum(lacing))

    data = page([19]) + page([255, 255]) + page([10, 0, 255, 5])
    assert ogg_packet_sizes(data) == [19, 520, 0, 260]
    with pytest.raises(SpressoError, match="Ogg"):
        ogg_packet_sizes(b"RIFF" + data)


class TestSpecs:
    @pytest.mark.parametrize(
        "spec",
        ["opus", "opus:fast", "codec2:5", "lyra:3", "encodec:5", "encodec:x", "dac", "mp3:-5"]
        + ["opus:nan", "opus:0", "vorbis:inf", "codec2:nan", "encodec:nan"],
    )
    def test_that_no_peer_has_are_refused(self, spec: str) -> None:
        with pytest.raises(UsageError, match="(?i)" + spec.partition(":")[0]) as caught:
            peer(spec)
        assert not isinstance(caught.value, PeerUnavailable)

    def test_of_a_missing_program_name_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(PeerUnavailable, match="opus-tools"):
            peer("opus:6")

    @pytest.mark.parametrize(
        "spec", ["encodec:6", "dac:1.7", "semanticodec:1.4", "music2latent", "stable-audio-open"]
    )
    def test_of_a_neural_peer_never_reach_for_a_network(self, spec: str, tmp_path: Path) -> None:
        # Without the package or without its weights in the folder, it is unavailable.
        with pytest.raises(PeerUnavailable, match="not installed|not found"):
            peer(spec, tmp_path)


class TestNeuralPeers:
    """With stand-ins for their packages: what is fed in, what is counted."""

    def test_dac_uses_the_codebooks_of_its_rate(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        torch = pytest.importorskip("torch")

        class Model:
            def eval(self):
                return self

            def preprocess(self, x, rate):
                assert rate == 44_100
                return torch.nn.functional.pad(x, (0, -x.shape[-1] % 512))

            def encode(self, x, n_quantizers):
                assert x.ndim == 3
                return x, torch.zeros(1, n_quantizers, x.shape[-1] // 512), None, None, None

            def decode(self, latent):
                return latent

        class Package:
            class DAC:
                load = staticmethod(lambda path: Model())

        monkeypatch.setattr(neural_peers, "_package", lambda *names: Package)
        (tmp_path / "weights_44khz_8kbps_0.0.1.pth").touch()
        clip = bursts(1.0)
        coded = peer("dac:1.7", tmp_path).code(clip)
        assert coded.samples.shape == clip.shape
        assert np.corrcoef(coded.samples, clip)[0, 1] > 0.99
        assert coded.payload_bytes == -(-2 * 10 * 87 // 8)

    def test_semanticodec_counts_both_token_streams(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        torch = pytest.importorskip("torch")

        class Package:
            class SemantiCodec:
                def __init__(self, token_rate, vocabulary, checkpoint_path):
                    assert (token_rate, vocabulary) == (25, 4096)

                def encode(self, path):
                    return torch.zeros(1, 125, 2)

                def decode(self, tokens):
                    return np.zeros((1, 1, 160_000), np.float32)

        monkeypatch.setattr(neural_peers, "_package", lambda *names: Package)
        (tmp_path / "semanticodec_tokenrate_25").mkdir()
        clip = np.zeros(10 * RATE, np.float32)
        coded = peer("semanticodec:0.3125", tmp_path).code(clip)
        assert coded.payload_bytes * 8 / 10 / 1000 == pytest.approx(0.3125, rel=0.01)

    def test_continuous_latents_have_no_bytes(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        class Package:
            class EncoderDecoder:
                def __init__(self, load_path_inference):
                    pass

                def encode(self, x):
                    return x[: -8 * 512]

                def decode(self, x):
                    return x[None]

        monkeypatch.setattr(neural_peers, "_package", lambda *names: Package)
        (tmp_path / "music2latent.pt").touch()
        clip = bursts(1.0)
        coded = peer("music2latent", tmp_path).code(clip)
        assert (coded.file_bytes, coded.payload_bytes) == (None, None)
        assert np.corrcoef(coded.samples, clip)[0, 1] > 0.99
