"""What step 3 is worth: one pack with it and one without, clip by clip, with 95 % intervals.

    spresso train export ... (once with the finetuned weights, once without)
    python benchmarks/finetuning.py --with PACK --without PACK --clips DIR [--rates 0.096 1.32]
        [--steps N] [--limit N] --output benchmarks/results

Protocol: that of `quality.py`: clips cut or zero-padded to 5 s, mono at 48 kHz, the same noise for
both packs. A difference is with less without; its interval is a bootstrap over clips that takes
both packs' scores of a clip together, so the sounds' own differences cancel. The verdict is on
step 3, and only where the interval excludes 0: a rate where it is worse ships without it. FAD is
biased in the number of clips and has no interval. Any two packs of the same rates can be compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import support
import systems

from spresso_cli.codec.continuous import ContinuousCodec
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.comparison import compare
from spresso_cli.evaluation.embeddings import project_embedders
from spresso_cli.evaluation.scoring import ClipScore, Reference, metric_of
from spresso_cli.evaluation.tables import Column, Table

COLUMNS = (
    Column("kbps", "kbps", 3),
    Column("metric", "metric"),
    Column("better", "better"),
    Column("with", "with", 3),
    Column("without", "without", 3),
    Column("difference", "difference", 3),
    Column("low", "95 % from", 3),
    Column("high", "to", 3),
    Column("verdict", "step 3 is"),
    Column("clips", "clips"),
)


def main() -> None:
    options = _arguments()
    clips = support.load_clips(options.clips, options.seconds, options.limit)
    references = {name: Reference(clip) for name, clip in clips.items()}
    embedders = project_embedders(options.pack_with)
    infos = [find_pack(pack) for pack in (options.pack_with, options.pack_without)]
    codecs = [ContinuousCodec.load(info, options.device) for info in infos]
    decode = DecodeOptions(options.seed, options.steps, options.sampler, options.guidance)

    def scores(codec: ContinuousCodec, kbps: float) -> list[ClipScore]:
        coded = systems.by_us(codec, clips, support.point(codec.pack, kbps), decode)
        return systems.scored(coded, references, embedders)

    rows = []
    for kbps in support.rates(options, infos[0]):
        for found in compare(*(scores(codec, kbps) for codec in codecs)):
            metric = metric_of(found.key)
            rows.append(
                {
                    "kbps": support.point(infos[0], kbps).kbps,
                    "metric": metric.heading,
                    "better": metric.better,
                    "with": found.first,
                    "without": found.second,
                    "difference": found.difference.value,
                    "low": found.difference.low,
                    "high": found.difference.high,
                    "verdict": found.verdict,
                    "clips": found.difference.count,
                }
            )
        print(f"{kbps:g} kbps done", file=sys.stderr, flush=True)
    length = f"{options.seconds:g} s each" if options.seconds else "whole"
    head = (
        f"{len(clips)} clips of {options.clips.name}, {length}; "
        f"packs {infos[0].name} (with) and {infos[1].name} (without), seed {options.seed}"
    )
    support.publish("finetuning", head, Table(COLUMNS, tuple(rows)), options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--with", dest="pack_with", required=True, help="name or folder of a pack")
    parser.add_argument("--without", dest="pack_without", required=True, help="of the other")
    parser.add_argument("--clips", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--limit", type=int, help="at most this many clips, evenly spaced by name")
    parser.add_argument("--seconds", type=float, default=5.0, help="clip length; 0: whole sounds")
    parser.add_argument("--rates", type=float, nargs="*", help="kbps; default: the pack's points")
    parser.add_argument("--steps", type=int, help="solver steps; default: each pack's")
    parser.add_argument("--sampler", help="default: each pack's")
    parser.add_argument("--guidance", type=float, help="default: the pack's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for finetuning.csv")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"finetuning: {error}")
