"""Sixteen captions through `spresso generate`: their spectrograms, and whether the words mattered.

    python benchmarks/prompts.py [--pack NAME|DIR] [--seconds 4] [--guidance 3]
        --output benchmarks/results

Protocol: one sound for each caption with the same seed, hence the same noise: what differs between
them is the caption's doing. The pack's own CLAP ranks the sixteen captions for each sound by
cosine, after the mean of the sounds and that of the captions were taken away; 1 is the caption it
was made from, chance is on average 8.5. Writes prompts.csv and prompts.png (extra: plot), one panel
for each caption, down to 80 dB below its loudest point.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import support
import torch

from spresso_cli.audio.level import NETWORK_PEAK
from spresso_cli.codec.decoder import Solver
from spresso_cli.codec.generator import GUIDANCE, Generator
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.weights import load_clap
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation.embeddings import ClapEmbedder
from spresso_cli.evaluation.pictures import RANGE_DB, level_map
from spresso_cli.evaluation.tables import Column, Table
from spresso_cli.models.clap import CLAP

CAPTIONS = (
    "footsteps on gravel", "door slamming", "glass breaking", "heavy rain on a roof",
    "strong wind", "thunder", "fire crackling", "water dripping",
    "dog barking", "bird singing", "car engine idling", "explosion",
    "sword hit metal", "button click", "bell ringing", "magic spell whoosh",
)  # fmt: skip
COLUMNS = (
    Column("caption", "caption"),
    Column("rank", "rank of 16"),
    Column("cosine", "cosine", 3),
    Column("level", "RMS dBFS", 1),
)
SECONDS_MOST = 20.0
HEIGHT, WIDTH = 96, 240  # of a panel, in pixels


def ranks(sounds: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank of each sound's own caption among all (1 is best) and the cosine to it, `[N]` each."""
    sounds, texts = (support.centred(rows) for rows in (sounds, texts))
    cosines = sounds @ texts.T
    own = cosines.diagonal()
    return 1 + (cosines > own[:, None]).sum(1), own


def picture(sounds: dict[str, np.ndarray], path: Path) -> None:
    """The spectrograms of all captions, four in a row, as one PNG."""
    try:
        import matplotlib
        from PIL import Image  # comes with matplotlib
    except ImportError:
        raise UsageError("the picture needs matplotlib: pip install 'spresso-cli[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 4, figsize=(14, 9.5), layout="constrained")
    for axis, (caption, sound) in zip(axes.flat, sounds.items(), strict=True):
        levels = level_map(sound, 48_000, WIDTH, HEIGHT)
        axis.imshow(levels, aspect="auto", vmin=levels.max() - RANGE_DB, cmap="inferno")
        axis.set_title(caption, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(path, dpi=50)
    pyplot.close(figure)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(64)  # a third of the bytes
    small.save(path, optimize=True)


def main() -> None:
    options = _arguments()
    if not 0.5 <= options.seconds <= SECONDS_MOST:
        raise UsageError(f"--seconds {options.seconds:g}: use 0.5 to {SECONDS_MOST:g}")
    info = find_pack(options.pack)
    generator = Generator.load(info, options.device)
    solver = Solver(options.sampler, options.steps, options.guidance)
    sounds = {
        caption: generator.generate(caption, options.seconds, options.seed, solver)[:, 0]
        for caption in CAPTIONS
    }
    clap = load_clap(info)
    level = [20 * np.log10(max(1e-9, np.sqrt(np.mean(x**2)))) for x in sounds.values()]
    heard = np.stack([x * (NETWORK_PEAK / max(1e-6, np.abs(x).max())) for x in sounds.values()])
    rank, cosine = ranks(ClapEmbedder(clap.audio).embed(heard), embedded(clap, CAPTIONS))
    rows = [
        {"caption": caption, "rank": int(r), "cosine": float(c), "level": float(db)}
        for caption, r, c, db in zip(CAPTIONS, rank, cosine, level, strict=True)
    ]
    head = (
        f"pack {info.name}: {len(rows)} captions, {options.seconds:g} s, {solver.sampler} with "
        f"{solver.steps} steps, guidance {solver.guidance:g}, seed {options.seed}; "
        f"mean rank {rank.mean():.1f} (chance 8.5), "
        f"own caption first {(rank == 1).mean():.2f} (0.06)"
    )
    support.publish("prompts", head, Table(COLUMNS, tuple(rows)), options)
    if options.output is not None:
        picture(sounds, options.output / "prompts.png")


@torch.inference_mode()
def embedded(clap: CLAP, captions: Sequence[str]) -> np.ndarray:
    """Captions as unit vectors `[N, D]`."""
    return clap.text.embed(list(captions)).cpu().numpy()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", help="name or folder")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each sound")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="of the caption")
    parser.add_argument("--sampler", default="dpmpp3m")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for prompts.csv and prompts.png")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"prompts: {error}")
