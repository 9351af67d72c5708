"""What will be read and what will be written: every name is known and checked before any work.

a.flac becomes a.spr becomes a.wav, or a.flac.spr where suffixes are kept; a take of a certain seed
becomes a.seed3.wav. Under an output folder, files found in an input folder keep their place in its
tree, and so do the relative names of a list; files named one by one stand side by side.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from spresso_cli.audio.suffixes import SOUND_SUFFIXES, is_companion
from spresso_cli.errors import UsageError, reason
from spresso_cli.library import outputs

# What a folder is searched for, beside sounds. A file that is named may have any suffix, or none.
STREAM_SUFFIXES = frozenset({".spr"})
LATENT_SUFFIXES = frozenset({".safetensors"})

STDIN = "-"  # as a name; as an output name it is stdout

_SHOWN = 3  # pairs of inputs that a refusal names
_KINDS = {".spr": ".spr file", ".sprb": "bundle"}  # beside sounds
_REPLACED = SOUND_SUFFIXES | STREAM_SUFFIXES | LATENT_SUFFIXES  # by that of the output
_ALREADY = {".spr file": ("compressed", "decompress"), "sound": ("a sound", "compress")}


class Appended(str):
    """A suffix that is put behind the whole name of a source: door.wav becomes door.wav.spr."""


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
    names: Sequence[str],
    *,
    suffixes: frozenset[str],
    recursive: bool = False,
    listed: Sequence[str] = (),
    output_dir: str | None = None,
) -> list[Found]:
    """Returns the inputs in the order they are named, folders in sorted order.

    Args:
        names: files, folders, or `-` alone for stdin.
        suffixes: of the files that folders are searched for; upper and lower case are one.
        recursive: folders are entered, with all folders in them.
        listed: further names, from a list.
        output_dir: of the run; a folder that has it inside is searched without it, because what an
            earlier run left there is no input of the next.

    Raises:
        UsageError: a folder without `recursive`, `-` beside other names, nothing to do.
    """
    found: list[Found] = []
    expand = partial(_expand, suffixes=suffixes, recursive=recursive, output_dir=output_dir)
    for name in names:
        found += [Found(None, STDIN)] if name == STDIN else expand(name, "")
    for name in listed:
        found += expand(name, _tree(name))
    if not found:
        inside = any(_inside(Path(name), output_dir) for name in (*names, *listed))
        elsewhere = f" outside the output folder {output_dir}" if inside else ""
        raise UsageError(f"there is nothing to do: no file was named and none was found{elsewhere}")
    if len(found) > 1 and any(item.source is None for item in found):
        raise UsageError("- (stdin) cannot stand beside other inputs")
    return found


def source_of(name: str | None) -> Path | None:
    """The path that an input's name is; None for stdin, and where nothing was named."""
    return None if name in (None, STDIN) else Path(name)


def plan(
    found: Sequence[Found],
    *,
    suffix: str,
    output: str | None = None,
    output_dir: str | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Job]:
    """Returns one job for every output, in the order of the inputs.

    A file that is named twice, and twice for one output, is done once.

    Args:
        suffix: of the outputs, with its dot; unless it is `Appended`, it takes the place of the
            source's.
        output: name of the only output; `-` is stdout. stdin goes to stdout unless it is given.
        output_dir: folder of the outputs; None puts each beside its input.
        seeds: makes one take for each, named by it; None: one output with a plain name.

    Raises:
        UsageError: options that contradict each other, two outputs of one name (upper and lower
            case are one here, because some file systems make them one), an output that is an
            input or that is named like a file of another kind, several takes of a pipe.
    """
    takes = [None] if seeds is None else list(seeds)
    for item in found if len(takes) > 1 else ():
        if item.source is None:
            raise UsageError("several takes of stdin would have no names: save it to a file first")
        if is_special(item.source):  # each take reads its source anew
            raise UsageError(f"{item.source} can be read only once: save it to a file first")
    if output is not None and output_dir is not None:
        raise UsageError("-o and --output-dir contradict each other: choose one")
    if output_dir == "":
        raise UsageError("the output folder has an empty name")
    if output is not None:
        target = None if output == STDIN else outputs.named(output, instead="use --output-dir")
        first, *others = (
            Job(item.source, target, item.relative, seed) for item in found for seed in takes
        )
        if not all(_same(first, other) for other in others):
            raise UsageError("-o names one output and there are several: use --output-dir")
        jobs = [first]
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
    _refuse_inputs(jobs, suffix)
    if output is not None:
        refuse_another_kind(output, suffix)
    return _distinct(jobs, suffix)


def refuse_inputs(
    outputs: Iterable[Path | None],
    inputs: Iterable[Path | None],
    way_out: str = "choose another name",
) -> None:
    """Raises UsageError for an output that is one of the inputs, and says what helps; None stands
    for stdin and stdout."""
    for output, source in _replaced(outputs, inputs):
        raise UsageError(f"the output {output} is the input {source}: {way_out}")


def refuse_report(report: Path, jobs: Iterable[Job]) -> None:
    """Raises UsageError for a report that is an input or an output of the jobs: one of the two
    would be lost. Pipes and devices hold nothing that could be."""
    if is_special(report):
        return
    real = Path(os.path.realpath(report))  # a link may be to what is yet to be made
    identity, name, place = _identity(report), folded(real.name), str(real.parent)
    for job in jobs:
        if identity is not None and identity == _identity(job.source):
            raise UsageError(f"the report {report} is the input {job.source}: choose another name")
        if job.output is None:
            continue
        # By name, since most outputs are yet to be made; upper and lower case are one.
        same = name == folded(job.output.name) and place == os.path.realpath(job.output.parent)
        if same or (identity is not None and identity == _identity(job.output)):
            raise UsageError(f"the report {report} is the output {job.output}: choose another name")


def refuse_another_kind(output: str, suffix: str) -> None:
    """Raises UsageError for the name of an output whose suffix promises another kind of file."""
    promised = _kind(PurePath(output).suffix.lower())
    if promised not in (None, _kind(suffix)):
        raise UsageError(f"{output} is named like a {promised}: name it {suffix}")


def folded(name: str) -> str:
    """A name in a form that is the same for all names that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()


def is_special(path: str | Path) -> bool:
    """Whether a name is that of a pipe or a device, which may never end and is read only once."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _expand(
    name: str, tree: str, *, suffixes: frozenset[str], recursive: bool, output_dir: str | None
) -> list[Found]:
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
        for inner in _walk(path, suffixes, _inside(path, output_dir))
    ]


def _inside(folder: Path, output_dir: str | None) -> str | None:
    """The output folder as a search of `folder` comes across it; None where it does not."""
    if not output_dir:
        return None
    outer, inner = Path(os.path.realpath(folder)), Path(os.path.realpath(output_dir))
    inside = inner != outer and inner.is_relative_to(outer)
    return os.path.join(folder, inner.relative_to(outer)) if inside else None


def _walk(folder: Path, suffixes: frozenset[str], left_out: str | None) -> Iterator[str]:
    """Paths within a folder, sorted; one of the folders in it can be left out.

    Links to folders are not followed. Pipes and devices are left out, since they may never end; a
    link to nowhere fails later alone.
    """

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: the folder cannot be read: {reason(error)}")

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if os.path.join(place, f) != left_out)
        for file in sorted(files):
            path = os.path.join(place, file)
            wanted = PurePath(file).suffix.lower() in suffixes and not is_companion(file)
            if wanted and not is_special(path):
                yield os.path.relpath(path, folder)


def _tree(name: str) -> str:
    """The place of a listed name: itself, unless it leads out of the current folder."""
    path = os.path.normpath(name)
    drive, rest = os.path.splitdrive(path)  # C:oak.wav leads out too
    outside = drive or rest.split(os.sep)[0] in ("", os.pardir, os.curdir)
    return "" if outside else path.replace(os.sep, "/")


def _named(item: Found, suffix: str, output_dir: str | None, seed: int | None) -> Path:
    place = item.source if output_dir is None else Path(output_dir, *item.relative.split("/"))
    # Dots at the beginning begin no suffix, in any version of Python: nothing would be left of
    # `..wav` to name a clip of a bundle by.
    inner, own = os.path.splitext(place.name)
    replaced = own.lower() in _REPLACED and not isinstance(suffix, Appended)
    stem = inner if replaced else place.name
    take = "" if seed is None else f".seed{seed}"
    return place.parent / f"{stem}{take}{suffix}"


def _refuse_inputs(jobs: Sequence[Job], suffix: str) -> None:
    """Raises UsageError for an output that is one of the inputs."""
    for output, source in _replaced((j.output for j in jobs), (j.source for j in jobs)):
        kind = _kind(suffix)
        if kind in _ALREADY and kind == _kind(source.suffix.lower()):
            what, other = _ALREADY[kind]
            several = len(_identities(job.source for job in jobs)) > 1
            way_out = "leave it out, or " if several else ""
            raise UsageError(f"{source} is {what} already: {way_out}did you mean {other}?")
        raise UsageError(f"the output {output} is the input {source}: choose another name")


def _replaced(
    outputs: Iterable[Path | None], inputs: Iterable[Path | None]
) -> Iterator[tuple[Path, Path]]:
    """Outputs that are an input by one name or another, each with that input."""
    known = _identities(inputs)
    for output in outputs if known else ():
        source = known.get(_identity(output))
        if source is not None:
            yield output, source


def _kind(suffix: str) -> str | None:
    """What a file of a suffix is; None if that is nothing to us."""
    return "sound" if suffix in SOUND_SUFFIXES else _KINDS.get(suffix)


def _distinct(jobs: Sequence[Job], suffix: str) -> list[Job]:
    """Returns the jobs without those that only repeat another one.

    Raises:
        UsageError: different ones have outputs of one name.
    """
    parents: dict[Path, str] = {}
    known: dict[str, tuple[str, Job]] = {}
    distinct: list[Job] = []
    collisions: list[tuple[Job, Job]] = []
    for job in jobs:
        if job.output is not None:
            parent = job.output.parent
            if parent not in parents:
                parents[parent] = os.path.realpath(parent)
            name = os.path.join(parents[parent], job.output.name)
            other_name, other = known.setdefault(folded(name), (name, job))
            if other is not job:
                if name != other_name or not _same(other, job):
                    collisions.append((other, job))
                continue
        distinct.append(job)
    if collisions:
        raise UsageError(_told(collisions, suffix))
    return distinct


def _told(collisions: Sequence[tuple[Job, Job]], suffix: str) -> str:
    """The first few collisions, and what helps against them."""
    pairs = [
        f"{one.source} and {other.source} would both become {other.output}"
        for one, other in collisions[:_SHOWN]
    ]
    if len(collisions) > _SHOWN:
        pairs.append(f"and {len(collisions) - _SHOWN:,} more")
    way_out = "rename one or run them apart"
    if suffix in STREAM_SUFFIXES and not isinstance(suffix, Appended):
        names = [(one.source.name, other.source.name) for one, other in collisions]
        helped = [one for one, other in names if folded(one) != folded(other)]
        if len(helped) == len(names):
            way_out = f"add --keep-suffix, which makes {helped[0]}{suffix}"
        elif helped:
            way_out = f"--keep-suffix helps where suffixes differ; else {way_out}"
    return f"{'; '.join(pairs)}: {way_out}"


def _same(one: Job, other: Job) -> bool:
    """Whether two jobs of one output are one: the same take of a file that was named twice."""
    if one.source is None or other.source is None or one.seed != other.seed:
        return False
    identity = _identity(one.source)
    if identity is None:
        return os.path.realpath(one.source) == os.path.realpath(other.source)
    return identity == _identity(other.source)


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
