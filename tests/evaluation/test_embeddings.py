"""Embedders: shapes, what changes a vector and what does not, front ends to the sample."""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from spresso_cli.errors import UsageError
from spresso_cli.evaluation import onnx_embedders
from spresso_cli.evaluation.embeddings import ClapEmbedder, LogMelEmbedder, windows_of
from spresso_cli.evaluation.onnx_embedders import LaionClapEmbedder, VggishEmbedder


class TestLogMel:
    def test_gives_means_and_deviations_of_64_bands(self, noise) -> None:
        vectors = LogMelEmbedder().embed(np.stack([noise(48_000, 1), noise(48_000, 2)]))
        assert (vectors.shape, vectors.dtype) == ((2, 128), np.float32)
        assert np.all(vectors[:, 64:] >= 0)

    def test_agrees_with_the_definition(self) -> None:
        rng = np.random.default_rng(0)
        clip = (np.geomspace(0.5, 1e-6, 9600) * rng.standard_normal(9600)).astype(np.float32)
        window = [0.5 - 0.5 * math.cos(2 * math.pi * i / 1024) for i in range(1024)]
        padded = np.pad(clip.astype(np.float64), 512, mode="reflect")
        frames = np.stack([padded[i * 480 : i * 480 + 1024] * window for i in range(21)])
        low, high = (2595 * math.log10(1 + hz / 700) for hz in (50, 20_000))
        edges = [700 * (10 ** ((low + (high - low) * i / 65) / 2595) - 1) for i in range(66)]
        hz = np.arange(513) * 48_000 / 1024
        triangles = np.stack(
            [
                np.maximum(0, np.minimum((hz - a) / (b - a), (c - hz) / (c - b)))
                for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)
            ]
        )
        logs = np.log(np.maximum(np.abs(np.fft.rfft(frames)) @ triangles.T, 1e-4))
        expected = np.concatenate((logs.mean(0), logs.std(0)))
        np.testing.assert_allclose(LogMelEmbedder().embed(clip[None])[0], expected, atol=1e-5)

    def test_does_not_depend_on_the_batch(self, noise) -> None:
        clips = np.stack([noise(10_000, i) for i in range(3)])
        whole = LogMelEmbedder().embed(clips)
        for i in range(3):
            np.testing.assert_array_equal(LogMelEmbedder().embed(clips[i : i + 1])[0], whole[i])

    def test_a_louder_clip_has_higher_means_and_equal_deviations(self, noise) -> None:
        clip = noise(48_000)[None]
        quiet, loud = LogMelEmbedder().embed(clip)[0], LogMelEmbedder().embed(2 * clip)[0]
        np.testing.assert_allclose(loud[:64] - quiet[:64], math.log(2), atol=1e-3)
        np.testing.assert_allclose(loud[64:], quiet[64:], atol=1e-3)

    def test_reversal_in_time_changes_little_and_another_sound_much(self, noise) -> None:
        rng = np.random.default_rng(0)
        clip = noise(48_000) * np.repeat(rng.random(48), 1000)
        low = np.cumsum(noise(48_000, 5)) * 0.01
        embed = LogMelEmbedder().embed
        own, back, other = (embed(x[None].astype(np.float32))[0] for x in (clip, clip[::-1], low))
        assert np.linalg.norm(own - back) < 0.05 * np.linalg.norm(own - other)

    @pytest.mark.parametrize("samples", [1, 100])
    def test_takes_very_short_and_silent_clips(self, samples: int) -> None:
        assert np.all(np.isfinite(LogMelEmbedder().embed(np.zeros((1, samples), np.float32))))

    def test_refuses_what_is_no_batch(self) -> None:
        with pytest.raises(ValueError, match="clips"):
            LogMelEmbedder().embed(np.zeros(100, np.float32))


@pytest.fixture(scope="module")
def embedder() -> ClapEmbedder:
    torch = pytest.importorskip("torch")
    from spresso_cli.models.clap import AudioTower, CLAPConfig

    torch.manual_seed(0)
    return ClapEmbedder(AudioTower(CLAPConfig(audio_dim=32, audio_blocks=1, embedding=16)))


class TestClap:
    @pytest.mark.parametrize(("samples", "heard"), [(100, 9600), (9600, 9600), (9601, 9601)])
    def test_hears_clips_as_they_are_from_a_fifth_of_a_second_on(
        self, noise, samples: int, heard: int
    ) -> None:
        torch = pytest.importorskip("torch")
        seen = []

        class Tower(torch.nn.Module):
            def forward(self, x):
                seen.append(x.numpy())
                return x[:, :4]

        clip = noise(samples)[None]
        ClapEmbedder(Tower()).embed(clip)
        np.testing.assert_array_equal(seen[0], np.pad(clip, ((0, 0), (0, heard - samples))))

    @pytest.mark.parametrize("samples", [1, 960, 48_000])
    def test_gives_unit_vectors_for_any_length(self, embedder, noise, samples: int) -> None:
        vectors = embedder.embed(np.stack([noise(samples, 1), noise(samples, 2)]))
        assert vectors.shape == (2, 16)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)

    def test_does_not_depend_on_the_batch(self, embedder, noise) -> None:
        clips = np.stack([noise(20_000, i) for i in range(3)])
        whole = embedder.embed(clips)
        np.testing.assert_allclose(embedder.embed(clips[1:2])[0], whole[1], atol=1e-5)


class TestVggish:
    def test_cuts_five_seconds_into_five_examples(self) -> None:
        assert onnx_embedders.vggish_examples(np.zeros(80_000)).shape == (5, 96, 64)

    @pytest.mark.parametrize(("samples", "count"), [(1, 1), (15_600, 1), (30_959, 1), (30_960, 2)])
    def test_pads_one_example_and_drops_the_rest_of_the_last(
        self, samples: int, count: int
    ) -> None:
        assert len(onnx_embedders.vggish_examples(np.ones(samples))) == count

    def test_front_end_agrees_with_the_formula(self, noise) -> None:
        x = noise(16_000).astype(np.float64)
        frame = 37
        window = [0.5 - 0.5 * math.cos(2 * math.pi * i / 400) for i in range(400)]
        piece = np.zeros(512)
        piece[:400] = x[frame * 160 : frame * 160 + 400] * window
        k = np.arange(257)
        spectrum = np.abs(np.exp(-2j * np.pi * np.outer(k, np.arange(512)) / 512) @ piece)

        def mel(hz: float) -> float:
            return 1127 * math.log(1 + hz / 700)

        low, high = mel(125), mel(7500)
        for band in (0, 20, 63):
            a, b, c = (low + (high - low) * (band + i) / 65 for i in range(3))
            total = sum(
                max(0.0, min((mel(f) - a) / (b - a), (c - mel(f)) / (c - b))) * s
                for f, s in ((i * 16_000 / 512, spectrum[i]) for i in range(1, 257))
            )
            value = onnx_embedders.vggish_examples(x)[0, frame, band]
            assert value == pytest.approx(math.log(total + 0.01), abs=1e-5)

    def test_pools_examples_for_sets_and_averages_them_for_clips(self, noise) -> None:
        embedder = VggishEmbedder(lambda x: x.mean(axis=(1, 2))[:, :128] - 99.0, rank=4)
        clips = np.stack([noise(5 * 48_000, 1), noise(5 * 48_000, 2)])
        windows = windows_of(embedder, clips)
        assert windows.shape[:2] == (2, 5)
        np.testing.assert_allclose(embedder.embed(clips), windows.mean(axis=1), rtol=1e-5)

    def test_refuses_a_network_that_kept_its_last_relu(self, noise) -> None:
        embedder = VggishEmbedder(lambda x: np.ones((len(x), 128)), rank=3)
        with pytest.raises(UsageError, match="ReLU"):
            embedder.embed(noise(48_000)[None])


class TestLaionClap:
    def test_repeats_a_five_second_clip_exactly_twice(self, noise) -> None:
        clip = noise(240_000)
        wave = onnx_embedders.laion_clap_waveform(clip)
        assert wave.shape == (480_000,)
        np.testing.assert_array_equal(wave[:240_000], wave[240_000:])

    def test_pads_what_does_not_fit_again(self, noise) -> None:
        wave = onnx_embedders.laion_clap_waveform(noise(200_000))
        assert not wave[400_000:].any()
        assert wave[399_999] != 0

    def test_cuts_longer_clips_to_their_first_ten_seconds(self, noise) -> None:
        clip = noise(600_000)
        np.testing.assert_allclose(
            onnx_embedders.laion_clap_waveform(clip), clip[:480_000], atol=4e-5
        )

    def test_goes_through_truncated_16_bit_integers(self) -> None:
        clip = np.array([0.5, -0.5, 2.0, -2.0, 1.9 / 32767], np.float32)
        wave = onnx_embedders.laion_clap_waveform(clip)[:5] * 32767
        np.testing.assert_allclose(wave, [16383, -16383, 32767, -32767, 1], atol=1e-2)

    def test_log_mel_has_1001_frames_and_a_floor_of_minus_100_db(self) -> None:
        mel = onnx_embedders.laion_clap_mel(np.zeros(480_000))
        assert mel.shape == (1001, 64)
        np.testing.assert_allclose(mel, -100.0)

    def test_feeds_the_network_by_the_rank_of_its_input(self, noise) -> None:
        shapes = []

        def network(x: np.ndarray) -> np.ndarray:
            shapes.append(x.shape)
            return np.full((len(x), 512), 3.0)

        for rank in (2, 4):
            vectors = LaionClapEmbedder(network, rank).embed(noise(48_000)[None])
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0)
        assert shapes == [(1, 480_000), (1, 1, 1001, 64)]


class TestOnnxFiles:
    def test_run_through_onnxruntime(self, tmp_path: Path, noise) -> None:
        pytest.importorskip("onnxruntime")
        path = tmp_path / "negative.onnx"
        path.write_bytes(onnx_neg(["N", 96, 64]))
        vectors = windows_of(onnx_embedders.load_vggish(path), noise(96_000)[None])
        assert vectors.shape[:2] == (1, 2)

    def test_of_another_shape_are_refused(self, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime")
        path = tmp_path / "negative.onnx"
        path.write_bytes(onnx_neg(["N", 96, 64]))
        with pytest.raises(UsageError, match="rank 3"):
            onnx_embedders.load_laion_clap(path)

    def test_that_are_none_are_refused_in_one_line(self, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime")
        path = tmp_path / "not.onnx"
        path.write_bytes(b"not a model")
        with pytest.raises(UsageError, match=r"not\.onnx: not a usable"):
            onnx_embedders.load_vggish(path)

    def test_without_onnxruntime_the_extra_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(UsageError, match=r"spresso_cli\[eval\]"):
            onnx_embedders.load_vggish(tmp_path / "a.onnx")


def onnx_neg(shape: list[str | int]) -> bytes:
    """The smallest ONNX file: y = -x, written as protobuf by hand."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3]) + varint(value)
        return bytes([number << 3 | 2]) + varint(len(value)) + value

    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + struct.pack("B", value)

    dims = b"".join(
        field(1, field(2, d.encode()) if isinstance(d, str) else field(1, d)) for d in shape
    )
    tensor = field(2, field(1, field(1, 1) + field(2, dims)))  # type: float32 of this shape
    node = field(1, b"x") + field(2, b"y") + field(4, b"Neg")
    graph = field(1, node) + field(2, b"g")
    graph += field(11, field(1, b"x") + tensor) + field(12, field(1, b"y") + tensor)
    return field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13))
