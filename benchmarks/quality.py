"""Our rates and other codecs on the same clips in one run: table, CSV, rate-quality plot.

    python benchmarks/quality.py --clips DIR [--steps 8] [--limit N] [--output DIR]

Every clip is cut or zero-padded to 5 s, mixed to mono at 48 kHz, coded, decoded, resampled back to
48 kHz and measured by the same code as `spresso evaluate`. Known codec delays are removed. Rates
are averages over all clips: payload counts codes alone, file counts every byte. Beside our rates
stand their bounds: sound not held to the envelope of its codes, white noise held to it, z of each
frame rate without quantisation, and the AudioAE alone. Peers that are not installed are skipped
with a line; neural ones need their weights in --weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import support
import systems

from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.embeddings import project_embedders
from spresso_cli.evaluation.peers import Coded
from spresso_cli.evaluation.scoring import Reference, metric_of
from spresso_cli.evaluation.tables import Column, Table

TOOLS = "opus:6,opus:12,codec2:1.3,mp3:16,vorbis:32"
NEURAL = "encodec:1.5,encodec:6,dac:1.7,semanticodec:0.3125,semanticodec:1.4"
CONTINUOUS = "music2latent,stable-audio-open"
OWN = "spresso"


def main() -> None:
    options = _arguments()
    clips = support.load_clips(options.clips, options.seconds, options.limit)
    embedders = project_embedders(options.pack)
    if options.laion_clap:
        from spresso_cli.evaluation.onnx_embedders import load_laion_clap

        embedders.append(load_laion_clap(options.laion_clap))
    if options.vggish:
        from spresso_cli.evaluation.onnx_embedders import load_vggish

        embedders.append(load_vggish(options.vggish))
    references = {name: Reference(clip) for name, clip in clips.items()}
    rows = []
    for series, name, coded in _systems(options, clips):
        rows.append(systems.measure(series, name, coded, references, embedders))
    length = f"{options.seconds:g} s each" if options.seconds else "whole"
    steps = f"{options.steps} steps" if options.steps else "the pack's steps"
    head = (
        f"{len(clips)} clips of {options.clips.name}, {length}; {OWN} at {steps}, seed 0\n"
        f"cosine, FAD and KAD on {embedders[0].name} embeddings, comparable in this table only"
    )
    wide = support.every_column([systems.columns(row) for row in rows])
    support.publish("quality", head, _table(rows), options, wide)
    if options.output is not None:
        _plot(options.output / "quality.png", rows)


def _systems(
    options: argparse.Namespace, clips: dict[str, np.ndarray]
) -> Iterator[tuple[str, str, Iterator[tuple[str, Coded]]]]:
    """(series, name, coded clips) of every system; coding happens while the last is consumed."""
    yield "anchors", "original", _unchanged(clips)
    yield "anchors", "low-pass 3.5 kHz", systems.by_low_pass(clips, 3500.0)
    for other, coded in systems.peers(options.peers, options.weights, clips):
        yield other.name.partition(" ")[0], other.name, coded
    info = find_pack(options.pack)
    rates = support.rates(options, info)
    codec = systems.NoiseCodec.load(options.pack, options.device)
    decode = DecodeOptions(steps=options.steps, sampler=options.sampler)
    unheld = dataclasses.replace(decode, envelope=False)
    profiles = [support.point(info, kbps) for kbps in rates]
    for profile in profiles:
        yield OWN, f"{OWN} {profile.kbps:g}", systems.by_us(codec, clips, profile, decode)
    if options.no_bounds:
        return
    for profile in profiles:
        if info.families[profile.frame_rate].envelope is not None:
            name = f"{OWN} {profile.kbps:g}, no envelope"
            yield "no envelope", name, systems.by_us(codec, clips, profile, unheld)
            name = f"{OWN} {profile.kbps:g}, white noise"
            yield "bounds", name, systems.by_noise(codec, clips, profile, decode)
    for rate in sorted({profile.frame_rate for profile in profiles}):
        name = f"{OWN} {rate} Hz, continuous z"
        yield "bounds", name, systems.by_z(codec, clips, rate, decode)
    yield "bounds", "AudioAE alone", systems.by_audio_ae(codec, clips)


def _unchanged(clips: dict[str, np.ndarray]) -> Iterator[tuple[str, Coded]]:
    """The ceiling; of KAD it shows how far below 0 the unbiased estimate of paired sets falls."""
    for name, clip in clips.items():
        yield name, Coded(clip, None, None)


def _table(rows: list[systems.Row]) -> Table:
    """One line a codec: rates and means, on the first embedding; the CSV has the others."""
    others = list(rows[0].score.embeddings)[1:]
    keys = [k for k in rows[0].score.values if k.partition("_")[2] not in others]
    columns = [
        Column("codec", "codec"),
        Column("payload", "payload kbps", 3),
        Column("file", "file kbps", 3),
        *(Column(key, metric_of(key).short, metric_of(key).decimals) for key in keys),
        Column("bad", "bad"),
        Column("speed", "x real time", 1),
    ]
    lines = [
        {
            "codec": row.name,
            "payload": row.kbps(row.payload_bytes),
            "file": row.kbps(row.file_bytes),
            **{key: row.score.values[key].value for key in keys},
            "bad": sum(row.score.defects.values()),
            "speed": row.audio_seconds / row.seconds if row.series != "anchors" else None,
        }
        for row in rows
    ]
    return Table(tuple(columns), tuple(lines))


def _plot(path: Path, rows: list[systems.Row]) -> None:
    from spresso_cli.evaluation.plots import Point, rate_quality_figure

    panels = []
    embedder = next(iter(rows[0].score.embeddings))
    for key in (f"cosine_{embedder}", f"kad_{embedder}", "ms_mel", "fine"):
        points = []
        for row in rows:
            if row.file_bytes is not None:
                value = row.score.values[key]
                own = row.name.startswith(OWN)
                rate = row.kbps(row.file_bytes)
                points.append(Point(row.series, rate, value.value, value.low, value.high, own))
        metric = metric_of(key)
        panels.append((f"{metric.heading} ({metric.better} is better)", points))
    rate_quality_figure(path, panels)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    support.common_arguments(parser, "quality.csv and quality.png")
    parser.add_argument("--seconds", type=float, default=5.0, help="clip length; 0: whole sounds")
    parser.add_argument("--steps", type=int, help="solver steps; default: the pack's")
    parser.add_argument("--sampler", help="default: the pack's")
    parser.add_argument(
        "--no-bounds", action="store_true", help="leave out what stands beside our rates"
    )
    parser.add_argument("--peers", default=f"{TOOLS},{NEURAL},{CONTINUOUS}", help="with commas")
    parser.add_argument("--weights", type=Path, help="folder of the neural peers' weights")
    parser.add_argument("--vggish", type=Path, help="ONNX file (extra eval)")
    parser.add_argument("--laion-clap", type=Path, help="ONNX file (extra eval)")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"quality: {error}")
