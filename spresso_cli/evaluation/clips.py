"""Clips as evaluation sees them: mono float32 at 48 kHz, found and paired by name.

Several channels are averaged, as the FAD and KAD toolkits do; errors between channels do not show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spresso_cli.audio.files import open_audio
from spresso_cli.audio.resample import resample
from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.errors import UsageError

CLIP_RATE = 48_000


@dataclass(frozen=True)
class Pair:
    """A reference and one output made from it; `name` is that of the output, without suffix."""

    name: str
    reference: Path
    output: Path


def load_clip(path: Path) -> np.ndarray:
    """A sound file as float32 [n] at 48 kHz, channels averaged; raises AudioError."""
    with open_audio(path) as source:
        blocks = list(source.blocks(1 << 16))
        mono = np.concatenate(blocks).mean(axis=1, keepdims=True)
        return resample(mono, source.rate, CLIP_RATE)[:, 0]


def sounds_in(folder: Path) -> list[Path]:
    """The sound files under a folder, sorted by name; raises UsageError when there are none."""
    found = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in SOUND_SUFFIXES and p.is_file()
    )
    if not found:
        raise UsageError(f"{folder}: no sound files in this folder")
    return found


def pair_by_name(references: Path, outputs: Path) -> tuple[list[Pair], list[str], list[str]]:
    """Pairs of files whose paths agree up to suffix, and the names of those that are alone.

    First come references without output, then outputs without reference.

    `a.wav` pairs with `a.flac`, and with its takes `a.seed0.wav`, `a.seed1.wav` too. Raises
    UsageError when nothing pairs or one name stands for two references.
    """
    known: dict[str, Path] = {}
    for path in sounds_in(references):
        name = _name(path, references)
        if name in known:
            raise UsageError(f"{path}: {known[name].name} has the same name; pairs go by name")
        known[name] = path
    pairs, extra = [], []
    for path in sounds_in(outputs):
        name = _name(path, outputs)
        for candidate in (name, re.sub(r"\.seed\d+$", "", name)):
            if candidate in known:
                pairs.append(Pair(name, known[candidate], path))
                break
        else:
            extra.append(name)
    if not pairs:
        raise UsageError(f"{outputs}: no file is named like one in {references}")
    used = {pair.reference for pair in pairs}
    return pairs, [name for name, path in known.items() if path not in used], extra


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
