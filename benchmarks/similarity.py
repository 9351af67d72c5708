"""How near do decodes come to their sources, for networks that listen to sounds?

    python benchmarks/similarity.py --clips DIR [--birdnet FILE] [--rates 0.096 0.3] [--limit N]

Every sound is coded and decoded as it is, up to 5 s of it; none is padded, and those below half a
second are left out. The figure is the cosine of a decode's embedding with that of its source,
after the mean of all sources has been taken away from both: 0 is any other sound, 1 the source
itself. BirdNET's file is the user's own (evaluation/birdnet.py); without one, only the pack's CLAP
and log-mel statistics are asked. Peers that are not installed are skipped with a line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import support
import systems

from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.embeddings import Embedder, project_embedders
from spresso_cli.evaluation.peers import Coded
from spresso_cli.evaluation.resemblance import identify
from spresso_cli.evaluation.tables import Column, Table

SHORTEST, LONGEST = 0.5, 5.0  # s of a clip
LOW_PASS = 3500.0  # Hz


def main() -> None:
    options = _arguments()
    clips = _clips(options.clips, options.limit)
    embedders: list[Embedder] = list(project_embedders(options.pack))
    if options.birdnet:
        from spresso_cli.evaluation.birdnet import load_birdnet

        embedders.insert(0, load_birdnet(options.birdnet))
    sources = {e.name: _embedded(e, clips) for e in embedders}
    seconds = sum(clip.size for clip in clips.values()) / CLIP_RATE
    rows = []
    for name, coded in _systems(options, clips):
        found = dict(coded)
        decodes = {clip: found[clip].samples for clip in clips}
        sizes = [one.file_bytes for one in found.values()]
        known = sizes[0] is not None
        row = {"codec": name, "kbps": sum(sizes) * 8 / seconds / 1000 if known else None}
        for e in embedders:
            cosine = identify(sources[e.name], _embedded(e, decodes)).cosine
            row |= {e.name: cosine.value}
            row |= {f"{e.name}_low": cosine.low, f"{e.name}_high": cosine.high}
        rows.append(row)
        print(f"{name} done", file=sys.stderr, flush=True)
    shown = (Column(e.name, e.name, 3) for e in embedders)
    table = Table((Column("codec", "codec"), Column("kbps", "file kbps", 3), *shown), tuple(rows))
    head = f"{len(clips)} clips of {options.clips.name}, up to {LONGEST:g} s; cosine, mean removed"
    support.publish("similarity", head, table, options, support.every_column(rows))


def _clips(folder: Path, limit: int | None) -> dict[str, np.ndarray]:
    """Sounds that are long enough and not silent, cut."""
    found = support.load_clips(folder, 0.0, limit)
    cut = {name: clip[: round(LONGEST * CLIP_RATE)] for name, clip in found.items()}
    return {
        name: clip
        for name, clip in cut.items()
        if clip.size >= SHORTEST * CLIP_RATE and np.abs(clip).max() > 1e-4
    }


def _embedded(embedder: Embedder, clips: dict[str, np.ndarray]) -> np.ndarray:
    """One vector for each clip, whatever its length, [clips, D]."""
    return np.concatenate([embedder.embed(clip[None]) for clip in clips.values()])


def _systems(
    options: argparse.Namespace, clips: dict[str, np.ndarray]
) -> Iterator[tuple[str, Iterator[tuple[str, Coded]]]]:
    """(name, coded clips) of every system."""
    yield f"low-pass {LOW_PASS / 1000:g} kHz", systems.by_low_pass(clips, LOW_PASS)
    for other, coded in systems.peers(options.peers, None, clips):
        yield other.name, coded
    info = find_pack(options.pack)
    codec = systems.NoiseCodec.load(options.pack, options.device)
    for kbps in support.rates(options, info):
        profile = support.point(info, kbps)
        for name, decode in (
            (f"spresso {profile.kbps:g}", DecodeOptions()),
            (f"spresso {profile.kbps:g}, no envelope", DecodeOptions(envelope=False)),
        )[: 2 if options.unheld else 1]:
            yield name, systems.by_us(codec, clips, profile, decode)
    yield "AudioAE alone", systems.by_audio_ae(codec, clips)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    support.common_arguments(parser, "similarity.csv")
    parser.add_argument("--birdnet", type=Path, help="TFLite file of BirdNET 2.4 (extra eval)")
    parser.add_argument("--peers", default="opus:6,opus:12,codec2:1.3", help="with commas")
    parser.add_argument(
        "--unheld", action="store_true", help="also without the envelope, at every rate"
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"similarity: {error}")
