"""Systems under measurement as streams of coded clips, and the row that each of them gets.

A system yields (name of the clip, `Coded`); a row has its score, its bytes and its wall time. What
bounds a rate from above stands beside it: z without quantisation, and the AudioAE alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import support
import torch

from spresso_cli.audio.files import ArraySource
from spresso_cli.audio.level import NETWORK_PEAK
from spresso_cli.codec.continuous import ContinuousCodec
from spresso_cli.codec.decoder import LatentDecoder
from spresso_cli.codec.envelope import held_to_envelope
from spresso_cli.codec.performance import Performance, at_source_rate, sound_of
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.codec.weights import load_audio_ae
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile
from spresso_cli.container.stream import Stream
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.embeddings import Embedder
from spresso_cli.evaluation.mushra import anchor
from spresso_cli.evaluation.peers import Coded, Peer, PeerUnavailable, peer
from spresso_cli.evaluation.scoring import (
    ClipScore,
    Reference,
    SystemScore,
    score_clip,
    summarise,
)
from spresso_cli.models.audio_ae import AudioAE

Clips = Mapping[str, np.ndarray]  # float32 [n] at 48 kHz, by name
CodedClips = Iterator[tuple[str, Coded]]


@dataclass(frozen=True)
class Row:
    """A codec's score, its bytes over all clips and the seconds it took to code and decode them."""

    name: str
    series: str
    score: SystemScore
    seconds: float  # wall time
    audio_seconds: float
    file_bytes: int | None
    payload_bytes: int | None

    def kbps(self, size: int | None) -> float | None:
        """The average rate of a number of bytes."""
        return None if size is None else size * 8 / self.audio_seconds / 1000


def measure(
    series: str,
    name: str,
    coded: CodedClips,
    references: Mapping[str, Reference],
    embedders: Sequence[Embedder],
) -> Row:
    """Run a system over its clips and score what comes out."""
    start = time.perf_counter()
    results = list(coded)
    seconds = time.perf_counter() - start
    scores = scored(results, references, embedders)
    sizes = [(c.file_bytes, c.payload_bytes) for _, c in results]
    measured = sizes[0][0] is not None
    print(f"{name}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return Row(
        name,
        series,
        summarise(scores),
        seconds,
        sum(references[clip].samples.size for clip, _ in results) / CLIP_RATE,
        sum(size for size, _ in sizes) if measured else None,
        sum(size for _, size in sizes) if measured else None,
    )


def scored(
    coded: Iterable[tuple[str, Coded]],
    references: Mapping[str, Reference],
    embedders: Sequence[Embedder],
) -> list[ClipScore]:
    """The score of every clip of a system."""
    return [score_clip(clip, references[clip], c.samples, embedders) for clip, c in coded]


def columns(row: Row) -> dict[str, str | int | float | None]:
    """A row for a file: bytes, rates, values with their intervals, signed biases, counts."""
    line = {
        "codec": row.name,
        "clips": row.score.clips,
        "payload_bytes": row.payload_bytes,
        "file_bytes": row.file_bytes,
        "payload_kbps": row.kbps(row.payload_bytes),
        "file_kbps": row.kbps(row.file_bytes),
        "seconds": row.seconds,
        "audio_seconds": row.audio_seconds,
    }
    for key, value in row.score.values.items():
        line |= {key: value.value, f"{key}_low": value.low, f"{key}_high": value.high}
    line |= {f"{key}_bias": value for key, value in row.score.biases.items()}
    return line | {kind.replace("-", "_"): count for kind, count in row.score.defects.items()}


def by_low_pass(clips: Clips, cutoff: float) -> CodedClips:
    """The anchor of listening tests: nothing above `cutoff` Hz."""
    for name, clip in clips.items():
        yield name, Coded(anchor(clip[:, None], cutoff)[:, 0], None, None)


def peers(specs: str, weights: Path | None, clips: Clips) -> Iterator[tuple[Peer, CodedClips]]:
    """Other codecs `codec:kbps,...` on the clips; what cannot run here is skipped with a line."""
    for spec in filter(None, specs.split(",")):
        try:
            other = peer(spec, weights)
        except PeerUnavailable as error:
            print(f"{spec}: skipped, {error}", file=sys.stderr)
            continue
        yield other, _by_peer(other, clips)


def _by_peer(other: Peer, clips: Clips) -> CodedClips:
    for name, clip in clips.items():
        yield name, other.code(clip)


def by_us(
    codec: ContinuousCodec, clips: Clips, profile: Profile, decode: DecodeOptions
) -> CodedClips:
    """Our codec at one profile."""
    streams = support.compress(codec, clips, profile)
    for name, samples in support.decompress(codec, streams, decode):
        stream = streams[name]
        yield name, Coded(samples, len(spr.write(stream)), stream.payload_bytes)


def by_noise(
    codec: NoiseCodec, clips: Clips, profile: Profile, decode: DecodeOptions
) -> CodedClips:
    """White noise held to the envelope of the codes: what the rest of the decoder adds to."""
    for name, stream in support.compress(codec, clips, profile).items():
        yield name, Coded(codec.noise(stream, decode), None, None)


class NoiseCodec(ContinuousCodec):
    """A codec that can leave out its diffusion network and its AudioAE."""

    def noise(self, stream: Stream, options: DecodeOptions) -> np.ndarray:
        """White noise as the codes of a stream of one channel say that it goes, float32 `[n]`."""
        if stream.silent:
            return np.zeros(stream.samples, np.float32)
        family = self.pack.families[stream.profile.frame_rate]
        decoder = LatentDecoder(self._networks.decoder(self.pack, family))
        codes, envelope = stream.codes(), decoder.models.envelope
        z = decoder.performed(codes, options.variety, options.seed)
        generator = torch.Generator().manual_seed(options.seed)
        length = codes.shape[1] * envelope.config.pool * envelope.log_mel.hop
        sound = 0.05 * torch.randn(1, length, generator=generator).to(self.device)
        held = held_to_envelope([sound], z, envelope)
        return support.samples_of(Performance(stream, at_source_rate(held, stream)))


def by_z(
    codec: ContinuousCodec, clips: Clips, frame_rate: int, decode: DecodeOptions
) -> CodedClips:
    """Our codec without its quantiser: what better codes could still win."""
    for name, clip in clips.items():
        latents = codec.encode(ArraySource(clip, CLIP_RATE), frame_rate)
        samples = support.samples_of(codec.decode(latents, decode))
        yield name, Coded(samples, None, None)


def by_audio_ae(codec: ContinuousCodec, clips: Clips) -> CodedClips:
    """The AudioAE of a pack alone: what a perfect decoder of latents would reach."""
    model = load_audio_ae(codec.pack).to(codec.device)
    for name, clip in clips.items():
        peak = float(np.abs(clip).max())
        scale = NETWORK_PEAK / peak if peak > 0 else 1.0
        yield name, Coded(through_audio_ae(model, clip * scale) / scale, None, None)


@torch.inference_mode()
def through_audio_ae(model: AudioAE, clip: np.ndarray) -> np.ndarray:
    """A clip [n] to latents and back, as the codec decodes them with seed 0."""
    padded = np.pad(clip, (0, -clip.size % model.config.hop)).astype(np.float32)
    x = torch.from_numpy(padded)[None].to(model.latent_mean.device)
    sound = torch.cat(list(sound_of([model.encode(x)], model, seed=0)), 1)
    return sound[0, : clip.size].cpu().numpy()
