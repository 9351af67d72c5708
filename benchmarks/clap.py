"""Does the project's CLAP know which sound a caption means, and which sounds are alike?

    python benchmarks/clap.py --corpus DIR [--split dev] [--pack NAME|DIR] [--run DIR --config NAME]
                              [--birdnet FILE]

Protocol: the clips of one split of a corpus with a manifest (file, caption, category, split), from
their beginning, cut or zero-padded to 5 s, peak 0.5. Recall@10: for every different caption the
ten clips nearest by cosine are looked at; it counts as found if one of them has that caption.
Category agreement: the share of clips whose nearest other clip has the same category, where pieces
cut from one recording (a_p0, a_p1) do not count as others. Chance is exact for both: ten clips, or
one, drawn at random. Beside it: means and deviations of log-mels, and BirdNET from the user's own
file (both without padding, centred), which say how far these categories can be heard at all.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from math import comb
from pathlib import Path

import numpy as np
import support
import torch

from spresso_cli.audio.level import NETWORK_PEAK
from spresso_cli.codec.device import resolve_device
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.weights import load_clap
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation.birdnet import load_birdnet
from spresso_cli.evaluation.clips import CLIP_RATE, load_clip
from spresso_cli.evaluation.embeddings import Embedder, LogMelEmbedder
from spresso_cli.evaluation.tables import Column, Table
from spresso_cli.models.clap import CLAP
from spresso_cli.training.config import load
from spresso_cli.training.corpus import Clip, find_clips
from spresso_cli.training.workspace import Workspace

COLUMNS = (
    Column("name", "heard by"),
    Column("measure", "measure"),
    Column("value", "value", 3),
    Column("chance", "chance", 3),
    Column("ratio", "x chance", 1),
    Column("count", "of"),
)
RECALL = "text to audio, recall@10"
AGREEMENT = "nearest neighbour's category"
NEAREST = 10
LONGEST = 5 * CLIP_RATE  # samples of a clip


def candidates(options: argparse.Namespace) -> Iterator[tuple[str, CLAP]]:
    """Name and towers of every row."""
    info = find_pack(options.pack)
    yield f"pack {info.name}", load_clap(info)
    if options.run is not None:
        workspace = Workspace(options.run, load(options.config), resolve_device("cpu"))
        yield f"{options.run.name} ({options.config})", workspace.clap()


def load_sounds(clips: Sequence[Clip]) -> Iterator[np.ndarray]:
    """Every clip, float32 [n] of at most LONGEST samples, peak 0.5."""
    for clip in clips:
        sound = load_clip(clip.path)[:LONGEST]
        yield (sound * (NETWORK_PEAK / max(float(np.abs(sound).max()), 1e-6))).astype(np.float32)


@torch.inference_mode()
def embedded(clap: CLAP, clips: Sequence[Clip], device: torch.device) -> np.ndarray:
    """Audio embeddings [clips, D], unit length."""
    rows = []
    for sound in load_sounds(clips):
        x = torch.from_numpy(np.pad(sound, (0, LONGEST - sound.size)))[None].to(device)
        rows.append(clap.audio(x)[0].cpu().numpy())
    return np.stack(rows)


def by_others(clips: Sequence[Clip], birdnet: Path | None) -> Iterator[tuple[str, np.ndarray]]:
    """Name and embeddings [clips, D], centred and of unit length, of what others hear with."""
    embedders: list[Embedder] = [LogMelEmbedder()]
    if birdnet is not None:
        embedders.append(load_birdnet(birdnet))
    for embedder in embedders:
        vectors = [embedder.embed(sound[None]) for sound in load_sounds(clips)]
        yield embedder.name, support.centred(np.concatenate(vectors))


def recall(audio: np.ndarray, text: np.ndarray, owner: np.ndarray) -> tuple[float, float]:
    """Recall@10 and its chance; `owner` [clips] is the number of each clip's caption."""
    found, chance, clips = [], [], len(audio)
    for caption, vector in enumerate(text):
        nearest = np.argsort(-(audio @ vector), kind="stable")[:NEAREST]
        found.append(bool((owner[nearest] == caption).any()))
        wrong = int((owner != caption).sum())
        chance.append(1 - comb(wrong, NEAREST) / comb(clips, NEAREST))
    return float(np.mean(found)), float(np.mean(chance))


def agreement(audio: np.ndarray, clips: Sequence[Clip]) -> tuple[float, float]:
    """Share of clips whose nearest clip of another recording has their category, and its chance."""
    recording = np.array([re.sub(r"_p\d+$", "", clip.path.stem) for clip in clips])
    category = np.array([clip.category for clip in clips])
    same, chance = [], []
    for i, similarity in enumerate(audio @ audio.T):
        others = recording != recording[i]
        if others.any():
            nearest = np.flatnonzero(others)[np.argmax(similarity[others])]
            same.append(bool(category[nearest] == category[i]))
            chance.append(float((category[others] == category[i]).mean()))
    return float(np.mean(same)), float(np.mean(chance))


def main() -> None:
    options = _arguments()
    clips = find_clips(options.corpus, options.split)
    if len(clips) <= NEAREST:
        raise UsageError(f"{len(clips)} clips in split {options.split}: too few for recall@10")
    captions = list(dict.fromkeys(clip.caption for clip in clips))
    owner = np.array([captions.index(clip.caption) for clip in clips])
    device = resolve_device(options.device)
    rows = []
    for name, clap in candidates(options):
        audio = embedded(clap.to(device), clips, device)
        with torch.inference_mode():
            text = clap.text.embed(captions).cpu().numpy()
        rows.append(_row(name, RECALL, recall(audio, text, owner), len(captions)))
        rows.append(_row(name, AGREEMENT, agreement(audio, clips), len(clips)))
    for name, audio in by_others(clips, options.birdnet):
        rows.append(_row(name, AGREEMENT, agreement(audio, clips), len(clips)))
    table = Table(COLUMNS, tuple(rows))
    head = f"{len(clips)} clips of {options.corpus.name}, split {options.split}"
    support.publish("clap", head, table, options)


def _row(name: str, measure: str, found: tuple[float, float], count: int) -> dict:
    value, chance = found
    ratio = value / chance if chance else None
    return {
        "name": name,
        "measure": measure,
        "value": value,
        "chance": chance,
        "ratio": ratio,
        "count": count,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--split", default="dev", help="of the manifest")
    parser.add_argument("--pack", help="name or folder")
    parser.add_argument("--run", type=Path, help="a model's folder: its clap is one more row")
    parser.add_argument("--config", default="base", help="configuration of --run")
    parser.add_argument("--birdnet", type=Path, help="TFLite file of BirdNET 2.4 (extra eval)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for clap.csv")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"clap: {error}")
