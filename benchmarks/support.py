"""What the scripts share: clips of one length, codes and decodes in batches, the report."""

from __future__ import annotations

import argparse
import math
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from spresso_cli.audio.files import ArraySource
from spresso_cli.codec.packs import PackInfo
from spresso_cli.codec.protocol import CodecProtocol, Decoded, DecodeOptions
from spresso_cli.container.profile import Profile
from spresso_cli.container.stream import Stream
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation.clips import CLIP_RATE, load_clip, sounds_in
from spresso_cli.evaluation.tables import Column, Table


def load_clips(folder: Path, seconds: float, limit: int | None) -> dict[str, np.ndarray]:
    """Mono clips float32 [n] at 48 kHz by name, cut or zero-padded to `seconds` (0: as they are).

    Of more than `limit` files, evenly spaced ones by name are taken. Names have no suffix, except
    those of files that differ in nothing else.
    """
    paths = sounds_in(folder)
    if limit is not None and len(paths) > limit:
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    whole = {path: path.relative_to(folder) for path in paths}
    bare = {path: name.with_suffix("").as_posix() for path, name in whole.items()}
    used = Counter([*bare.values(), *(name.as_posix() for name in whole.values())])
    clips = {}
    for path in paths:
        clip = load_clip(path)
        if seconds > 0:
            length = round(seconds * CLIP_RATE)
            clip = np.pad(clip[:length], (0, max(0, length - clip.size)))
        name = bare[path] if used[bare[path]] == 1 else whole[path].as_posix()
        clips[name] = clip
    return clips


def common_clips(
    folder: Path, seconds: float, limit: int | None
) -> tuple[dict[str, np.ndarray], str]:
    """Clips float32 [n] of one length, cut, never padded, and a line that says how many were kept.

    Silent clips are left out too: they have no codes and no loudness to equal. Raises UsageError
    where fewer than two remain.
    """
    length = round(seconds * CLIP_RATE)
    found = load_clips(folder, 0.0, limit)
    kept = {
        name: clip[:length]
        for name, clip in found.items()
        if clip.size >= length and np.abs(clip[:length]).max() > 1e-4
    }
    if len(kept) < 2:
        raise UsageError(f"fewer than two clips of {seconds:g} s or more in {folder}")
    return kept, f"{len(kept)} of {len(found)} clips of {folder.name}, cut to {seconds:g} s"


def compress(
    codec: CodecProtocol, clips: Mapping[str, np.ndarray], profile: Profile
) -> dict[str, Stream]:
    """Streams of clips [n] at 48 kHz by name; the first failure is raised."""
    items = ((name, ArraySource(clip, CLIP_RATE)) for name, clip in clips.items())
    return {name: _checked(stream) for name, stream in codec.compress_many(items, profile)}


def decompress(
    codec: CodecProtocol, streams: Mapping[str, Stream], options: DecodeOptions
) -> Iterator[tuple[str, np.ndarray]]:
    """Decoded clips float32 [n] by name; the first failure is raised."""
    items = ((name, stream, options) for name, stream in streams.items())
    for name, result in codec.decompress_many(items):
        yield name, samples_of(_checked(result))


def samples_of(decoded: Decoded) -> np.ndarray:
    """The first channel of a decoded sound, float32 [n]; closes it."""
    try:
        return np.concatenate(list(decoded.blocks()))[:, 0]
    finally:
        decoded.close()


# Linux counts to a process what its parent has ever had in use at once. So the parent of one that
# is measured is small.
_LAUNCHER = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with os.fdopen(int(sys.argv[1]), "w") as tell:
    print(time.perf_counter() - start, usage.ru_maxrss, file=tell)
sys.exit(status != 0)
"""


def run_process(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MB of a process that must succeed."""
    reader, writer = os.pipe()
    with open(reader) as told:
        try:
            launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(writer), *command]
            failed = subprocess.run(launcher, pass_fds=(writer,), check=False).returncode
        finally:
            os.close(writer)
        if failed:
            sys.exit(f"{Path(sys.argv[0]).stem}: failed: {' '.join(command)}")
        seconds, peak = map(float, told.read().split())
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, peak * unit / 1e6


def decodes(
    codec: CodecProtocol, streams: Mapping[str, Stream], options: DecodeOptions
) -> np.ndarray:
    """Decoded clips float32 [clips, n] of streams of one length, in their order."""
    decoded = dict(decompress(codec, streams, options))
    return np.stack([decoded[name] for name in streams])


def publish(
    name: str, head: str, table: Table, options: argparse.Namespace, wide: Table | None = None
) -> None:
    """Print what was measured, on what, and the table; write NAME.csv into the folder `--output`.

    The file holds `wide` where that is given: what is too much for a screen.
    """
    print(head)
    print(machine())
    print()
    print(table.render("markdown" if options.markdown else "text"), end="")
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        text = (wide or table).render("csv")
        (options.output / f"{name}.csv").write_text(text, encoding="utf-8")


def every_column(rows: Sequence[dict]) -> Table:
    """All that the first row has a key for, in its order, as a table for a file."""
    return Table(tuple(Column(key, key) for key in rows[0]), tuple(rows))


def rates(options: argparse.Namespace, info: PackInfo) -> list[float]:
    """kbps that `--rates` names, or all of the pack's points."""
    return options.rates or sorted(point.kbps for point in info.points)


def point(info: PackInfo, kbps: float) -> Profile:
    """The pack's operating point of this very rate, whatever its rank; else what `-b` chooses."""
    for one in info.points:
        if math.isclose(one.kbps, kbps):
            return one.profile
    return info.choose(kbps)


def common_arguments(parser: argparse.ArgumentParser, files: str) -> None:
    """The options that every script over clips and a pack has; `files` names what it writes."""
    parser.add_argument("--clips", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--limit", type=int, help="at most this many clips, evenly spaced by name")
    parser.add_argument("--rates", type=float, nargs="*", help="kbps; default: the pack's points")
    parser.add_argument("--pack", help="name or folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help=f"folder for {files}")


def machine() -> str:
    """Processor, cores in use and versions: a figure without them cannot be repeated."""
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    text = f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        text += f", {torch.cuda.get_device_name()}"
    return f"{text}; Python {platform.python_version()}, torch {torch.__version__}"


def _checked(result):
    if isinstance(result, SpressoError):
        raise result
    return result


def centred(rows: np.ndarray) -> np.ndarray:
    """Vectors [n, D] without what they have in common, of unit length."""
    rows = rows - rows.mean(0)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
