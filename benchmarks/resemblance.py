"""Do decodes resemble their own sources? An identification test with two controls.

    python benchmarks/resemblance.py --clips DIR [--rates 0.096 1.32] [--steps N] [--seconds 2]

Clips are cut to a common length (shorter ones are left out), coded, decoded and set to equal
loudness. A decode counts as identified when its true source ranks first among 20 sources by the
cosine of embeddings with the sources' mean removed; the share is exact over all draws of the 19
others. Controls in the same table: payloads traded between clips, every header staying in place
(whatever level and length give away shows here), and chance.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

import numpy as np
import support

from spresso_cli.codec.codec import Codec
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container.stream import Stream
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.embeddings import project_embedders
from spresso_cli.evaluation.resemblance import at_equal_loudness, derangement, identify
from spresso_cli.evaluation.tables import Column, Table

COLUMNS = (
    Column("kbps", "kbps", 3),
    Column("embedding", "embedding"),
    Column("share", "first among 20", 3),
    Column("low", "95 % from", 3),
    Column("high", "to", 3),
    Column("control", "codes shuffled", 3),
    Column("chance", "chance", 3),
    Column("clips", "clips"),
)


def main() -> None:
    options = _arguments()
    clips, head = support.common_clips(options.clips, options.seconds, options.limit)
    embedders = project_embedders(options.pack)
    sources = at_equal_loudness(np.stack(list(clips.values())))
    info = find_pack(options.pack)
    codec = Codec.load(options.pack, options.device)
    decode = DecodeOptions(
        steps=options.steps,
        sampler=options.sampler,
        guidance=options.guidance,
        seed=options.seed,
        envelope=not options.no_envelope,
    )
    rows = []
    for kbps in support.rates(options, info):
        streams = support.compress(codec, clips, support.point(info, kbps))
        decodes = at_equal_loudness(support.decodes(codec, streams, decode))
        shuffled = at_equal_loudness(support.decodes(codec, _traded(streams), decode))
        for embedder in embedders:
            vectors = embedder.embed(sources)
            own = identify(vectors, embedder.embed(decodes), options.candidates)
            control = identify(vectors, embedder.embed(shuffled), options.candidates)
            rows.append(
                {
                    "kbps": next(iter(streams.values())).profile.kbps,
                    "embedding": embedder.name,
                    "share": own.share.value,
                    "low": own.share.low,
                    "high": own.share.high,
                    "control": control.share.value,
                    "chance": own.chance,
                    "clips": len(clips),
                }
            )
        print(f"{kbps:g} kbps done", file=sys.stderr, flush=True)
    support.publish("resemblance", head, Table(COLUMNS, tuple(rows)), options)


def _traded(streams: dict[str, Stream]) -> dict[str, Stream]:
    """Every stream with another one's payload and its own header."""
    names = list(streams)
    order = derangement(len(names))
    return {
        name: dataclasses.replace(streams[name], payload=streams[names[other]].payload)
        for name, other in zip(names, order, strict=True)
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    support.common_arguments(parser, "resemblance.csv")
    parser.add_argument("--seconds", type=float, default=2.0, help="common length")
    parser.add_argument("--no-envelope", action="store_true", help="sound as it is decoded")
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--steps", type=int, help="solver steps; default: the pack's")
    parser.add_argument("--sampler", help="default: the pack's")
    parser.add_argument("--guidance", type=float, help="default: the pack's")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"resemblance: {error}")
