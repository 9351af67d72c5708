"""What `--best-fit` is worth to short sounds: the same bits, spent on shorter code frames.

    python benchmarks/best_fit.py --clips DIR [--rates 0.096 0.3] [--birdnet FILE] [--limit N]
        --output benchmarks/results

Protocol: sounds as they are, of these the ones that a better point than the rate's own holds in
one or two code frames for no more bits; the same seed for both. A difference is with `--best-fit`
less without; its interval is a bootstrap over sounds that takes both scores of one together. FAD
has none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import support
import systems

from spresso_cli.codec.continuous import ContinuousCodec
from spresso_cli.codec.packs import PackInfo, find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container.profile import Profile, best_fit
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.comparison import compare
from spresso_cli.evaluation.embeddings import project_embedders
from spresso_cli.evaluation.scoring import ClipScore, Reference, metric_of
from spresso_cli.evaluation.tables import Column, Table

COLUMNS = (
    Column("kbps", "kbps", 3),
    Column("clips", "sounds"),
    Column("seconds", "seconds, at most", 2),
    Column("metric", "metric"),
    Column("better", "better"),
    Column("fitted", "best fit", 3),
    Column("asked", "as asked", 3),
    Column("difference", "difference", 3),
    Column("low", "95 % from", 3),
    Column("high", "to", 3),
    Column("verdict", "best fit is"),
)


def main() -> None:
    options = _arguments()
    found = support.load_clips(options.clips, 0.0, options.limit)
    info = find_pack(options.pack)
    codec = ContinuousCodec.load(info, options.device)
    embedders = list(project_embedders(options.pack))
    if options.birdnet:
        from spresso_cli.evaluation.birdnet import load_birdnet

        embedders.append(load_birdnet(options.birdnet))
    decode = DecodeOptions(seed=options.seed)
    rows = []
    for kbps in support.rates(options, info):
        asked = support.point(info, kbps)
        fitted = {name: _fitted(info, asked, clip.size) for name, clip in found.items()}
        clips = {name: clip for name, clip in found.items() if fitted[name] != asked}
        if len(clips) < 2:
            print(f"{kbps:g} kbps: nothing fits better", file=sys.stderr)
            continue
        references = {name: Reference(clip) for name, clip in clips.items()}

        def scores(coded: systems.CodedClips, references=references) -> list[ClipScore]:
            return systems.scored(coded, references, embedders)

        def best(clips=clips, fitted=fitted) -> systems.CodedClips:
            for name, clip in clips.items():
                yield from systems.by_us(codec, {name: clip}, fitted[name], decode)

        longest = max(clip.size for clip in clips.values()) / CLIP_RATE
        sides = scores(best()), scores(systems.by_us(codec, clips, asked, decode))
        rows += [
            {"kbps": asked.kbps, "clips": len(clips), "seconds": longest, **line}
            for line in _compared(*sides)
        ]
    if not rows:
        sys.exit("best_fit: no sound is short enough")
    head = f"{len(found)} sounds of {options.clips.name}, pack {info.name}, seed {options.seed}"
    support.publish("best_fit", head, Table(COLUMNS, tuple(rows)), options)


def _fitted(info: PackInfo, asked: Profile, samples: int) -> Profile:
    return best_fit(asked, info.better_than(asked), samples, CLIP_RATE)


def _compared(fitted: list[ClipScore], asked: list[ClipScore]) -> Iterator[dict]:
    """A line for every metric."""
    for found in compare(fitted, asked):
        metric = metric_of(found.key)
        yield {
            "metric": metric.heading,
            "better": metric.better,
            "fitted": found.first,
            "asked": found.second,
            "difference": found.difference.value,
            "low": found.difference.low,
            "high": found.difference.high,
            "verdict": found.verdict,
        }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    support.common_arguments(parser, "best_fit.csv")
    parser.add_argument("--birdnet", type=Path, help="TFLite file of BirdNET 2.4 (extra eval)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"best_fit: {error}")
