"""Clips as evaluation sees them: mono float32 at 48 kHz, found and paired by name.

Channels are averaged, as the FAD and KAD toolkits do, so differences between channels do not show.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from spresso_cli.audio.files import open_audio, whole
from spresso_cli.audio.resample import resample
from spresso_cli.audio.suffixes import SOUND_SUFFIXES, is_companion
from spresso_cli.errors import AudioError, UsageError

CLIP_RATE = 48_000

_TAKE = re.compile(r"\.seed(\d+)$")


@dataclass(frozen=True)
class Pair:
    """A reference and one output made from it; `name` is that of the output, without suffix."""

    name: str
    reference: Path
    output: Path


def load_clip(path: Path) -> np.ndarray:
    """A sound file as float32 [n] at 48 kHz, channels averaged; raises AudioError."""
    with open_audio(path) as source:
        mono = whole(source).mean(axis=1, keepdims=True)
        return resample(mono, source.rate, CLIP_RATE)[:, 0]


def sounds_in(folder: Path, also: frozenset[str] = frozenset()) -> list[Path]:
    """The sound files under a folder, and those of the suffixes in `also`, sorted by name.

    What macOS writes beside them, such as `._door.wav`, is none.
    Raises AudioError when there is no such folder, UsageError when it holds none.
    """
    suffixes = SOUND_SUFFIXES | also
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not is_companion(path.name) and path.is_file()
    )
    if not found:
        if not folder.exists():
            raise AudioError(f"{folder}: {os.strerror(errno.ENOENT)}")
        kinds = " or ".join(["sound", *sorted(also)])
        raise UsageError(f"{folder}: no {kinds} files in this folder")
    return found


def pair_by_name(references: Path, outputs: Path) -> tuple[list[Pair], list[str], list[str]]:
    """Pairs of files whose paths agree up to suffix, and the names of those that are alone.

    First come references without output, then outputs without reference.

    `a.wav` pairs with `a.flac`, and with its takes `a.seed0.wav`, `a.seed1.wav` too; where suffixes
    were kept, with `a.wav.flac`. Raises UsageError when nothing pairs or a name could stand for two
    references.
    """
    names = {path: _name(path, references) for path in sounds_in(references)}
    whole = {name + path.suffix: path for path, name in names.items()}
    known: dict[str, list[Path]] = {}
    for path, name in names.items():
        known.setdefault(name, []).append(path)
    pairs, extra = [], []
    for path in sounds_in(outputs):
        name = _name(path, outputs)
        for candidate in (name, _TAKE.sub("", name)):
            meant = [whole[candidate]] if candidate in whole else known.get(candidate, [])
            if len(meant) > 1:
                first, other = (one.name for one in meant[:2])
                raise UsageError(f"{path} could stand for {first} and {other}: pairs go by name")
            if meant:
                pairs.append(Pair(name, meant[0], path))
                break
        else:
            extra.append(name)
    if not pairs:
        raise UsageError(f"{outputs}: no file is named like one in {references}")
    used = {pair.reference for pair in pairs}
    return pairs, [name for path, name in names.items() if path not in used], extra


def counterparts(names: Mapping[Path, str], folder: Path) -> dict[Path, list[Path]]:
    """The files under a folder that are named like each sound: one of its name, else its takes.

    Whole names count first, those with the suffix of the sound before those without, then as many
    folders of a name as possible: of `er/p/x`, `p/x.flac` goes before `x.flac`. A sound without
    such a file has an empty list. Raises UsageError when the folder holds no sounds, or when one of
    its files could stand for two of ours.
    """
    files: dict[str, list[Path]] = {}
    takes: dict[str, list[Path]] = {}
    for path in sounds_in(folder):
        name = _name(path, folder)
        files.setdefault(name, [path])
        if _TAKE.search(name):
            takes.setdefault(_TAKE.sub("", name), []).append(path)
    files = takes | files
    found = {
        sound: files.get(name + sound.suffix) or files.get(name, [])
        for sound, name in names.items()
    }
    whole = {path for paths in found.values() for path in paths}
    owners: dict[Path, Path] = {}
    for sound, name in names.items():
        parts = PurePath(name).parts
        starts = range(1, len(parts))
        ends = ("/".join(parts[n:]) + kept for n in starts for kept in (sound.suffix, ""))
        if not found[sound]:
            near = next((files[end] for end in ends if end in files), [])
            found[sound] = [path for path in near if path not in whole]
        for path in found[sound]:
            if owners.setdefault(path, sound) != sound:
                both = f"{owners[path]} and {sound}"
                raise UsageError(f"{path} could stand for {both}: pairs go by name")
    return found


def seed_of(path: Path) -> int | None:
    """The seed in the name of a take such as `a.seed3.wav`, or None."""
    match = _TAKE.search(path.stem)
    return int(match[1]) if match else None


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
