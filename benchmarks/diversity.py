"""How different are the takes of one sound? Distance between seeds over distance between clips.

    python benchmarks/diversity.py --clips DIR [--rates 0.096 1.32] [--takes 4] [--limit N]
        --output benchmarks/results

Protocol: clips cut to a common length, shorter ones left out, coded once at each rate, decoded with
several seeds and set to equal loudness. The ratio divides the mean distance between takes of one
clip by the mean distance between takes of different clips, both Euclidean in an embedding (the
pack's CLAP; mean and deviation of log-mel bands). 0: every seed sounds the same; 1: a take says
nothing of its clip. Aim: 0.02 to 0.5 everywhere, and more at 1 Hz than at 11 Hz: a lower rate
leaves more open. "from the source" divides the distance from the takes to their own source by the
distance between sources: takes may differ, but not more than the codec errs.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import support

from spresso_cli.codec.codec import Codec
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation.diversity import distances, diversity
from spresso_cli.evaluation.embeddings import project_embedders
from spresso_cli.evaluation.resemblance import at_equal_loudness
from spresso_cli.evaluation.tables import Column, Table

AIM = (0.02, 0.5)
COLUMNS = (
    Column("kbps", "kbps", 3),
    Column("frame_rate", "Hz"),
    Column("embedding", "embedding"),
    Column("ratio", "seeds / clips", 3),
    Column("low", "95 % from", 3),
    Column("high", "to", 3),
    Column("aim", "in the aim"),
    Column("source", "from the source", 3),
    Column("takes", "takes"),
    Column("clips", "clips"),
)


def main() -> None:
    options = _arguments()
    clips, head = support.common_clips(options.clips, options.seconds, options.limit)
    embedders = project_embedders(options.pack)
    sources = at_equal_loudness(np.stack(list(clips.values())))
    info = find_pack(options.pack)
    codec = Codec.load(options.pack, options.device)
    rows = []
    for kbps in support.rates(options, info):
        profile = support.point(info, kbps)
        streams = support.compress(codec, clips, profile)
        takes = []  # of each seed, [clips, n]
        for seed in range(options.takes):
            decode = DecodeOptions(seed, options.steps, options.sampler, options.guidance)
            takes.append(at_equal_loudness(support.decodes(codec, streams, decode)))
        for embedder in embedders:
            vectors = np.stack([embedder.embed(take) for take in takes], axis=1)
            origin = embedder.embed(sources)
            found = diversity(vectors)
            away = np.linalg.norm(vectors - origin[:, None], axis=2).mean()
            apart = distances(origin[:, None].repeat(2, axis=1))[1].sum()
            apart /= len(clips) * (len(clips) - 1)
            rows.append(
                {
                    "kbps": profile.kbps,
                    "frame_rate": profile.frame_rate,
                    "embedding": embedder.name,
                    "ratio": found.value,
                    "low": found.low,
                    "high": found.high,
                    "aim": "yes" if AIM[0] <= found.value <= AIM[1] else "no",
                    "source": float(away / apart),
                    "takes": options.takes,
                    "clips": found.count,
                }
            )
        print(f"{kbps:g} kbps done", file=sys.stderr, flush=True)
    head += f"; {options.takes} takes; aim {AIM[0]:g} to {AIM[1]:g}, larger at lower frame rates"
    support.publish("diversity", head, Table(COLUMNS, tuple(rows)), options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    support.common_arguments(parser, "diversity.csv")
    parser.add_argument("--seconds", type=float, default=2.0, help="common length")
    parser.add_argument("--takes", type=int, default=4, help="seeds 0, 1, ... of each clip")
    parser.add_argument("--steps", type=int, help="solver steps; default: the pack's")
    parser.add_argument("--sampler", help="default: the pack's")
    parser.add_argument("--guidance", type=float, help="default: the pack's")
    options = parser.parse_args()
    if options.takes < 2:
        raise UsageError("--takes: two seeds are the least that can differ")
    return options


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"diversity: {error}")
