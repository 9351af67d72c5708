"""A training corpus in memory: any folder of sound files, or a folder with a manifest.csv.

Everything is decoded once by threads into one flat int16 tensor at 48 kHz mono (1.2 GB for four
hours), which lives on the training device when it fits; crops are then slices. What does not fit
goes through in windows (streaming.py).
"""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from spresso_cli.audio.files import ArraySource
from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.errors import AudioError, UsageError
from spresso_cli.models.audio_ae import SAMPLE_RATE

NAMES_ARE_BYTES = os.name != "nt"


@dataclass(frozen=True)
class Clip:
    """One sound: its file, caption (may be empty) and category (may be empty)."""

    path: Path
    caption: str = ""
    category: str = ""


def find_clips(root: Path, split: str | None = None) -> list[Clip]:
    """The clips under `root`, sorted: rows of its manifest.csv if it has one, else its files.

    Args:
        root: a folder; a manifest has the columns file, caption, category and may have split.
        split: keep only this split of a manifest (None: all).

    Raises:
        UsageError: no sound files; a manifest that is no table, or without rows of this split.
    """
    manifest = root / "manifest.csv"
    if manifest.exists():
        clips = [
            Clip(root / row["file"], row.get("caption", ""), row.get("category", ""))
            for row in _rows(manifest)
            if split is None or row.get("split", split) == split
        ]
        if not clips:
            what = "has no rows"
            if split is not None:
                what = (
                    f"no row has {split} in the column split: write train or dev (validation) into "
                    "every row, or leave the column out"
                )
            raise UsageError(f"{manifest}: {what}")
    else:
        files = (p for p in root.rglob("*") if p.suffix.lower() in SOUND_SUFFIXES)
        # A pipe may never end.
        clips = [Clip(p, caption=p.stem.replace("_", " ")) for p in files if p.is_file()]
    if not clips:
        raise UsageError(f"{root}: no sound files; give a folder of sounds or one with a manifest")
    return sorted(clips, key=lambda clip: str(clip.path))


def held_out(root: Path) -> tuple[list[Clip], list[Clip]]:
    """Clips for training and clips for validation.

    A manifest with a split column decides by `train` and `dev`. Otherwise every fiftieth clip by
    a hash of its name is held out; a corpus too small for that validates on what it trains on.
    """
    if _has_splits(root):
        return find_clips(root, "train"), find_clips(root, "dev")
    return _dealt(root)


def for_training(root: Path) -> list[Clip]:
    """The first of `held_out`, for stages that validate nothing: there need be no `dev`."""
    return find_clips(root, "train") if _has_splits(root) else _dealt(root)[0]


def _has_splits(root: Path) -> bool:
    manifest = root / "manifest.csv"
    return manifest.exists() and any("split" in row for row in _rows(manifest))


def _dealt(root: Path) -> tuple[list[Clip], list[Clip]]:
    clips = find_clips(root)
    spared = [clip for clip in clips if is_spared(clip, root)]
    held = set(spared)
    kept = [clip for clip in clips if clip not in held]
    return (kept, spared) if spared and kept else (clips, clips)


def is_spared(clip: Clip, root: Path) -> bool:
    """Whether a corpus without splits spares a clip, by what it is called there: with the same
    slashes on every system. A manifest may list what lies elsewhere."""
    inside = clip.path.is_relative_to(root)
    name = (clip.path.relative_to(root) if inside else clip.path).as_posix()
    return zlib.crc32(os.fsencode(name)) % 50 == 0


def _rows(manifest: Path) -> list[dict[str, str]]:
    """A manifest's rows; UsageError for a file that is no table in UTF-8 with the column file."""
    try:
        with open(manifest, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, restval="")
            rows = list(reader)
            columns = reader.fieldnames or ()  # of an empty file looked for once more
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{manifest}: {error}: save it as CSV in UTF-8") from None
    if "file" not in columns:
        raise UsageError(f"{manifest}: no column file: give every sound's path there")
    return rows


def native(path: Path) -> str | bytes:
    """A name for soundfile: as bytes it may be of any encoding, except on Windows, where those
    would be of the code page and of no file whose name goes beyond ASCII."""
    return os.fsencode(path) if NAMES_ARE_BYTES else os.fspath(path)


def read_mono(path: Path) -> np.ndarray:
    """A file as 48 kHz mono int16 `[n]`; AudioError if it is unreadable, empty or not finite."""
    try:
        pcm, rate = soundfile.read(native(path), dtype="float32", always_2d=True)
        mono = np.concatenate([block.mean(1) for block in ArraySource(pcm, rate).blocks()])
    except (soundfile.LibsndfileError, OSError, AudioError) as error:
        raise AudioError(f"{path}: {error}: take it out of the corpus") from None
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return np.rint(np.clip(mono, -1, 1) * 32767).astype(np.int16)


def read_all(
    clips: Sequence[Clip], failed: Callable[[AudioError], None] | None = None
) -> list[np.ndarray]:
    """`read_mono` of all clips, by threads.

    Args:
        failed: takes the error of every sound that cannot be read, which is then empty. None: the
            first such error is raised.

    Raises:
        AudioError: nothing can be read.
    """

    def read(clip: Clip) -> np.ndarray | AudioError:
        try:
            return read_mono(clip.path)
        except AudioError as error:
            if failed is None:
                raise
            return error

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(read, clips))
    errors = [result for result in results if isinstance(result, AudioError)]
    if errors and len(errors) == len(clips):
        raise errors[0]
    for error in errors:
        failed(error)
    nothing = np.zeros(0, np.int16)
    return [nothing if isinstance(result, AudioError) else result for result in results]


class Corpus:
    """All clips as one flat int16 tensor with offsets; crops and whole clips come out as float32.

    Attributes:
        clips: the clips in order.
        pcm: int16 `[samples]`; offsets int64 `[clips + 1]`; peaks float32 `[clips]`, of 1.0.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        device: torch.device | str = "cpu",
        sounds: Sequence[np.ndarray] | None = None,
    ):
        """`sounds`, int16 `[n]` each at 48 kHz, spare reading the files; an empty one is never
        drawn."""
        if sounds is None:
            sounds = read_all(clips)
        self.clips = list(clips)
        lengths = torch.tensor([len(s) for s in sounds])
        self.offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
        self.pcm = torch.from_numpy(np.concatenate(sounds)).to(device)
        peaks = [int(np.abs(s.astype(np.int32)).max(initial=1)) for s in sounds]
        self.peaks = torch.tensor(peaks) / 32767
        # sqrt: long ambiences are heard more often than clicks, but do not drown them.
        self._weights = lengths.double().sqrt()

    def __len__(self) -> int:
        return len(self.clips)

    def at(self, step: int) -> Corpus:
        """What training step `step` draws from: always this (streaming.py has windows)."""
        return self

    def clip(self, index: int) -> Tensor:
        """A whole clip at its peak-normalised level (peak 1.0), float32 `[n]`; of an empty one a
        sample of silence."""
        start, end = self.offsets[index : index + 2]
        if start == end:
            return self.pcm.new_zeros(1, dtype=torch.float32)
        return self.pcm[start:end].float() / 32767 / self.peaks[index]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random clip indices, with weight sqrt(duration), int64 `[count]`."""
        return torch.multinomial(self._weights, count, replacement=True, generator=generator)

    def crops(self, indices: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Random crops (or whole short clips, zero-padded behind), peak of the clip 1.0.

        Returns:
            float32 `[B, samples]` on the corpus's device.
        """
        start, end = self.offsets[indices], self.offsets[indices + 1]
        slack = (end - start - samples).clamp(min=0)
        begin = start + (torch.rand(len(indices), generator=generator) * (slack + 1)).long()
        # The large tables of positions are made where they are used, and nobody waits for them.
        device = self.pcm.device
        begin, end, peaks = (
            x[:, None].to(device, non_blocking=True) for x in (begin, end, self.peaks[indices])
        )
        position = begin + torch.arange(samples, device=device)
        flat = self.pcm[position.clamp(max=len(self.pcm) - 1)].float() / 32767
        return flat * (position < end) / peaks
