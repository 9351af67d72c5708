"""What will be read and what will be written: every name is known and checked before any work.

a.flac becomes a.spr becomes a.wav; a take of a certain seed becomes a.seed3.wav. Under an output
folder, files found in an input folder keep their place in its tree, and so do the relative names of
a list; files named one by one stand side by side.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.errors import UsageError

# What a folder is searched for, beside sounds. A file that is named may have any suffix, or none.
STREAM_SUFFIXES = frozenset({".spr"})

STDIN = "-"  # as a name; as an output name it is stdout


@dataclass(frozen=True)
class Job:
    """One output to be made."""

    source: Path | None  # None: stdin
    output: Path | None  # None: stdout
    relative: str  # POSIX path within the input folder, or the bare name: the same on any machine
    seed: int | None = None  # of a take that is named by its seed


@dataclass(frozen=True)
class Found:
    """One input and its place in the tree of outputs."""

    source: Path | None
    relative: str


def find(
    names: Iterable[str],
    *,
    suffixes: frozenset[str],
    recursive: bool = False,
    listed: Iterable[str] = (),
) -> list[Found]:
    """Returns the inputs in the order they are named, folders in sorted order.

    Args:
        names: files, folders, or `-` alone for stdin.
        suffixes: of the files that folders are searched for; upper and lower case are one.
        recursive: folders are entered, with all folders in them.
        listed: further names, from a list.

    Raises:
        UsageError: a folder without `recursive`, `-` beside other names, nothing to do.
    """
    found: list[Found] = []
    for name in names:
        found += [Found(None, STDIN)] if name == STDIN else _expand(name, suffixes, recursive, "")
    for name in listed:
        found += _expand(name, suffixes, recursive, _tree(name))
    if not found:
        raise UsageError("there is nothing to do: no file was named and none was found")
    if len(found) > 1 and any(item.source is None for item in found):
        raise UsageError("- (stdin) cannot stand beside other inputs")
    return found


def read_list(file: BinaryIO, *, null: bool = False) -> list[str]:
    """Returns the names in a list: one a line, or each ended by NUL; empty ones are left out.

    Raises:
        UsageError: there are NULs in a list of lines.
    """
    data = file.read()
    if b"\0" in data and not null:
        raise UsageError("the names in the list end with NUL: add -0")
    names = data.split(b"\0") if null else [line.rstrip(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(name) for name in names if name]


def plan(
    found: Sequence[Found],
    *,
    suffix: str,
    output: str | None = None,
    output_dir: str | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Job]:
    """Returns one job for every output, in the order of the inputs.

    Args:
        suffix: of the outputs, with its dot.
        output: name of the only output; `-` is stdout. stdin goes to stdout unless it is given.
        output_dir: folder of the outputs; None puts each beside its input.
        seeds: makes one take for each, named by it; None: one output with a plain name.

    Raises:
        UsageError: options that contradict each other, two outputs of one name (upper and lower
            case are one here, because some file systems make them one), an output that is an
            input.
    """
    takes = [None] if seeds is None else list(seeds)
    if len(takes) > 1 and any(item.source is None for item in found):
        raise UsageError("several takes of stdin would have no names: save it to a file first")
    if output is not None and output_dir is not None:
        raise UsageError("-o and --output-dir contradict each other: choose one")
    if output is not None:
        if len(found) * len(takes) > 1:
            raise UsageError("-o names one output and there are several: use --output-dir")
        target = None if output == STDIN else Path(output)
        if target is not None and (target.is_dir() or output.endswith((os.sep, "/"))):
            raise UsageError(f"{output} is a folder: use --output-dir")
        jobs = [Job(found[0].source, target, found[0].relative, takes[0])]
    elif found[0].source is None:
        if output_dir is not None:
            raise UsageError("the output of stdin has no name: give it one with -o")
        jobs = [Job(None, None, STDIN, takes[0])]
    else:
        jobs = [
            Job(item.source, _named(item, suffix, output_dir, seed), item.relative, seed)
            for item in found
            for seed in takes
        ]
    _refuse_collisions(jobs)
    return jobs


def refuse_input(output: Path, found: Iterable[Found]) -> None:
    """Raises UsageError for an output that is one of the inputs."""
    _refuse_one_of(_identities(item.source for item in found), output)


def _expand(name: str, suffixes: frozenset[str], recursive: bool, tree: str) -> list[Found]:
    """One name as inputs; `tree` is where it belongs under an output folder."""
    if not name:
        raise UsageError("an input has an empty name")
    path = Path(name)
    if not os.path.isdir(path):
        return [Found(path, tree or path.name)]
    if not recursive:
        raise UsageError(f"{name} is a folder: add -r to enter it")
    return [
        Found(path / inner, os.path.join(tree, inner).replace(os.sep, "/"))
        for inner in _walk(path, suffixes)
    ]


def _walk(folder: Path, suffixes: frozenset[str]) -> Iterator[str]:
    """Paths within a folder, sorted, links to folders not followed."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: the folder cannot be read: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        for file in sorted(files):
            if PurePath(file).suffix.lower() in suffixes:
                yield os.path.relpath(os.path.join(place, file), folder)


def _tree(name: str) -> str:
    """The place of a listed name: itself, unless it leads out of the current folder."""
    path = os.path.normpath(name)
    outside = os.path.isabs(path) or path.split(os.sep)[0] in (os.pardir, os.curdir)
    return "" if outside else path.replace(os.sep, "/")


def _named(item: Found, suffix: str, output_dir: str | None, seed: int | None) -> Path:
    place = item.source if output_dir is None else Path(output_dir, *item.relative.split("/"))
    known = place.suffix.lower() in SOUND_SUFFIXES | STREAM_SUFFIXES
    stem = place.stem if known else place.name
    take = "" if seed is None else f".seed{seed}"
    return place.parent / f"{stem}{take}{suffix}"


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    """Raises UsageError for two outputs of one name and for outputs that are inputs."""
    inputs = _identities(job.source for job in jobs)
    parents: dict[Path, str] = {}
    outputs: dict[str, Job] = {}
    for job in jobs:
        if job.output is None:
            continue
        parent = job.output.parent
        if parent not in parents:
            parents[parent] = os.path.realpath(parent)
        name = os.path.join(parents[parent], job.output.name)
        other = outputs.setdefault(unicodedata.normalize("NFC", name).casefold(), job)
        if other is not job:
            raise UsageError(
                f"{other.source} and {job.source} would both become {job.output}: "
                "rename one or run them apart"
            )
        _refuse_one_of(inputs, job.output)


def _refuse_one_of(inputs: Mapping[tuple[int, int], Path], output: Path) -> None:
    """Raises UsageError for an output that is one of the inputs."""
    identity = _identity(output)
    if identity in inputs:
        raise UsageError(
            f"the output {output} is the input {inputs[identity]}: choose another name"
        )


def _identities(paths: Iterable[Path | None]) -> dict[tuple[int, int], Path]:
    """The regular files among some, by identity."""
    found = ((_identity(path), path) for path in paths)
    return {identity: path for identity, path in found if identity is not None}


def _identity(path: Path | None) -> tuple[int, int] | None:
    """What two names of one file share (links included); None where there is no regular file."""
    if path is None:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
