"""What quantisers make of whole sounds: z before and behind, with the filters around QINCo2.

    python benchmarks/sequences.py --corpus DIR --pack NAME [--pack OTHER]
        --output benchmarks/results

Protocol: z of random crops of five seconds of the clips of one split of the corpus, by each pack's
encoders. Relative MSE: squared error of z over its variance, both summed over channels. "Apart":
the code of every window is the best for that window alone; "together": as files are written, where
filters lie around the quantiser and codes are chosen again to make up for their neighbours' errors.
The time is that of choosing them together over apart, measured back to back on the same sequences.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import support
import torch
from torch import Tensor

from spresso_cli.codec.packs import PackInfo, find_pack
from spresso_cli.codec.weights import fine_bands, load_audio_ae, load_encoder, load_quantizer
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.tables import Column, Table
from spresso_cli.training.corpus import Corpus, find_clips
from spresso_cli.training.latents import LatentPool, build_pool
from spresso_cli.training.quantizer import draw_sequences

COLUMNS = (
    Column("pack", "pack"),
    Column("frame_rate", "Hz"),
    Column("codebooks", "M"),
    Column("apart", "relative MSE, apart", 5),
    Column("together", "together", 5),
    Column("time", "time x", 1),
)
FRAMES = 500  # latent frames of a crop


def rows_of(info: PackInfo, pool: LatentPool, vectors: int, seed: int) -> Iterator[dict]:
    """The pack's operating points by frame rate."""
    for rate, family in sorted(info.families.items()):
        quantizer, encoder = load_quantizer(info, family), load_encoder(info, family)
        z = draw_sequences(pool, encoder, vectors, FRAMES, seed)
        for codebooks in sorted(p.codebooks for p in info.points if p.frame_rate == rate):
            began = time.perf_counter()
            codes = quantizer.qinco2.encode(quantizer.whitened(z).flatten(0, 1), codebooks)
            apart = quantizer.decode(codes.unflatten(0, z.shape[:2]))
            between = time.perf_counter()
            together = quantizer.decode(quantizer.encode(z, codebooks))
            ended = time.perf_counter()
            yield {
                "pack": info.path.name,
                "frame_rate": rate,
                "codebooks": codebooks,
                "apart": relative(apart, z),
                "together": relative(together, z),
                "time": (ended - between) / (between - began),
            }
        print(f"{info.path.name}, {rate} Hz: done", file=sys.stderr, flush=True)


def relative(zhat: Tensor, z: Tensor) -> float:
    """Mean square of the error over the variance of z."""
    vectors = z.flatten(0, 1)
    return float((zhat - z).square().mean() / (vectors - vectors.mean(0)).square().mean())


@torch.inference_mode()
def main() -> None:
    options = _arguments()
    packs = [find_pack(name) for name in options.pack or [None]]
    clips = find_clips(options.corpus, options.split)
    corpus = Corpus(clips, torch.device("cpu"))
    rows = []
    for info in packs:
        pool = build_pool(corpus, load_audio_ae(info), augment=False, fine=fine_bands(info))
        rows += rows_of(info, pool, options.vectors, options.seed)
    head = (
        f"{options.vectors} z of {len(clips)} clips of {options.corpus.name}, split {options.split}"
    )
    support.publish("sequences", head, Table(COLUMNS, tuple(rows)), options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder, best with a manifest")
    parser.add_argument("--split", default="dev", help="of the manifest")
    parser.add_argument("--pack", action="append", help="name or folder; may be given again")
    parser.add_argument("--vectors", type=int, default=1024, help="z that are quantised, about")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for sequences.csv")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"sequences: {error}")
