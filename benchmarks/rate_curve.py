"""Quality against bitrate for each frame rate: every number of codebooks (S-PRESSO, figure 4).

    python benchmarks/rate_curve.py --clips DIR [--frame-rates 1 11] [--codebooks 1 2 4 8 12 25]
        [--steps N] [--limit N] --output benchmarks/results

Protocol: that of `quality.py`: clips cut or zero-padded to 5 s, mono at 48 kHz, measured by the
code of `spresso evaluate`. A code of M codebooks is the best one of its length, searched with M
steps; the decoder is the same for all. Rates are nominal payload rates of a channel; the CSV has
what the files of these clips weigh too. Bounds, dashed in the picture: z of each frame rate without
quantisation in the colour of its curve, and the AudioAE alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import support
import systems

from spresso_cli.codec.continuous import ContinuousCodec
from spresso_cli.codec.packs import PackInfo, find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container.profile import Profile
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation.embeddings import project_embedders
from spresso_cli.evaluation.scoring import Reference, metric_of
from spresso_cli.evaluation.tables import Column, Table

TICKS = (0.01, 0.03, 0.1, 0.3, 1, 3)


def main() -> None:
    options = _arguments()
    info = find_pack(options.pack)
    profiles = chosen(info, options)
    clips = support.load_clips(options.clips, options.seconds, options.limit)
    references = {name: Reference(clip) for name, clip in clips.items()}
    embedders = project_embedders(options.pack)
    codec = ContinuousCodec.load(options.pack, options.device)
    decode = DecodeOptions(options.seed, options.steps, options.sampler)

    def measured(name: str, coded: systems.CodedClips) -> systems.Row:
        return systems.measure("", name, coded, references, embedders)

    lines: list[dict] = []
    bounds: list[tuple[str, systems.Row]] = []
    for rate in dict.fromkeys(profile.frame_rate for profile in profiles):
        for profile in (p for p in profiles if p.frame_rate == rate):
            name = f"{rate} Hz, M = {profile.codebooks}"
            row = measured(name, systems.by_us(codec, clips, profile, decode))
            place = {"frame_rate": rate, "codebooks": profile.codebooks, "kbps": profile.kbps}
            lines.append(place | systems.columns(row))
        row = measured(f"{rate} Hz, z", systems.by_z(codec, clips, rate, decode))
        bounds.append((f"z, {rate} Hz", row))
    bounds.append(("AudioAE", measured("AudioAE", systems.by_audio_ae(codec, clips))))
    first = lines[0]
    for name, row in bounds:
        rate = int(name.split()[1]) if name.startswith("z") else None
        empty = {"frame_rate": rate, "codebooks": None, "kbps": None}
        lines.append(empty | systems.columns(row) | {"codec": name})

    keys = [key for key in bounds[-1][1].score.values if not key.endswith(embedders[-1].name)]
    keys = keys or list(bounds[-1][1].score.values)  # there is but one embedder
    columns = (
        Column("codec", "code"),
        Column("kbps", "kbps", 3),
        Column("file_kbps", "file kbps", 3),
        *(Column(key, metric_of(key).short, metric_of(key).decimals) for key in keys),
    )
    length = f"{options.seconds:g} s each" if options.seconds else "whole"
    head = f"{len(clips)} clips of {options.clips.name}, {length}; seed {options.seed}"
    wide = Table(tuple(Column(key, key) for key in first), tuple(lines))
    support.publish("rate_curve", head, Table(columns, tuple(lines)), options, wide)
    if options.output is not None:
        _plot(options.output / "rate_curve.png", lines, bounds, embedders[0].name)


def chosen(info: PackInfo, options: argparse.Namespace) -> list[Profile]:
    """The profiles asked for: frame rates ascending, then codebooks.

    Raises:
        UsageError: the pack has no such frame rate, or none of the numbers of codebooks.
    """
    profiles = []
    for rate in sorted(options.frame_rates or info.families):
        if rate not in info.families:
            raise UsageError(f"pack {info.name} has no frame rate of {rate} Hz")
        most = info.families[rate].max_codebooks
        wanted = options.codebooks or range(1, most + 1)
        profiles += [Profile.of(rate, m) for m in sorted(set(wanted)) if 1 <= m <= most]
    if not profiles:
        raise UsageError(f"pack {info.name} has none of these numbers of codebooks")
    return profiles


def _plot(
    path: Path, lines: list[dict], bounds: list[tuple[str, systems.Row]], embedder: str
) -> None:
    from spresso_cli.evaluation.plots import Point, curves_figure

    panels, dashed = [], []
    for key in (f"cosine_{embedder}", f"fad_{embedder}", f"kad_{embedder}", "ms_mel"):
        points = [
            Point(
                f"{line['frame_rate']} Hz",
                line["kbps"],
                line[key],
                line[f"{key}_low"],
                line[f"{key}_high"],
            )
            for line in lines
            if line["kbps"] is not None
        ]
        metric = metric_of(key)
        panels.append((f"{metric.heading} ({metric.better} is better)", points))
        # z of a frame rate takes the colour of its curve.
        dashed.append(
            [(name.removeprefix("z, "), row.score.values[key].value) for name, row in bounds]
        )
    curves_figure(path, panels, "kbps of payload", TICKS, dashed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--limit", type=int, help="at most this many clips, evenly spaced by name")
    parser.add_argument("--seconds", type=float, default=5.0, help="clip length; 0: whole sounds")
    parser.add_argument("--frame-rates", type=int, nargs="*", help="Hz; default: the pack's")
    parser.add_argument("--codebooks", type=int, nargs="*", help="M; default: every one")
    parser.add_argument("--steps", type=int, help="solver steps; default: the pack's")
    parser.add_argument("--sampler", help="default: the pack's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", help="name or folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for rate_curve.csv and rate_curve.png")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"rate_curve: {error}")
