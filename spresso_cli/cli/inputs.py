"""Input files one by one: a bad one does not stop the rest, and every error names its file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import BinaryIO, TypeVar

from spresso_cli.cli.pipes import held
from spresso_cli.cli.terminal import Terminal, binary_stdin
from spresso_cli.cli.text import shown
from spresso_cli.errors import AudioError, SpressoError, UsageError, reason

Name = str | PathLike[str]  # the string - is stdin, the path - a file
Result = TypeVar("Result")


def for_each(
    terminal: Terminal,
    names: Sequence[Name],
    work: Callable[[Name], Result],
    tell: Callable[[Name, Result], None],
    identify: Callable[[Name], Mapping[str, object]] = lambda name: {"file": os.fspath(name)},
) -> int:
    """Call `work` on every name, then `tell` with what it returned; returns the exit code of all.

    A failure of `work` is one line on stderr, and under `--json` a record with `error` and
    `exit_code`. What `tell` raises, because stdout is full or its reader left, is no input's fault
    and ends the run.

    Args:
        identify: the fields that every record about a name begins with.
    """
    if names.count("-") > 1:
        raise UsageError("- means stdin and can be named only once")
    codes = []
    for name in names:
        try:
            result = work(name)
        except (SpressoError, OSError) as error:
            codes.append(told(terminal, name, error, identify(name)))
        else:
            tell(name, result)
            codes.append(0)
    return combined(codes)


def told(
    terminal: Terminal, name: Name, error: SpressoError | OSError, fields: Mapping[str, object]
) -> int:
    """Tell of a failure in a line and a record, which begins with `fields`; returns its code."""
    failure = error if isinstance(error, SpressoError) else unreadable(error)
    terminal.error(f"{shown(name)}: {failure}")
    terminal.record({**fields, "error": str(failure), "exit_code": failure.exit_code})
    return failure.exit_code


def combined(codes: Iterable[int]) -> int:
    """The exit code of a run: that of a single file, or for several 1 if any failed, else 0."""
    codes = list(codes)
    return codes[0] if len(codes) == 1 else int(any(codes))


def open_binary(name: Name, *, sounds: bool = False) -> BinaryIO:
    """An input file as a seekable stream of bytes; of stdin or a pipe, see `pipes.held`.

    Raises:
        SpressoError: a pipe holds what cannot be read to its end.
    """
    if name == "-":
        return held(binary_stdin(), sounds=sounds, own=False)
    file = open(name, "rb")  # noqa: SIM115 - the caller closes it
    return file if file.seekable() else held(file, sounds=sounds, own=True)


def read_names(files_from: str | None, null: bool) -> list[str]:
    """The names in the list that `--files-from` gives (`-`: on stdin), if it is given at all."""
    if files_from is None:
        return []
    from spresso_cli.library.lists import read_list

    with blamed_on(files_from):
        if files_from == "-":
            return read_list(binary_stdin(), null=null)
        with open(files_from, "rb") as file:
            return read_list(file, null=null)


def named_files(
    names: Sequence[str],
    *,
    suffixes: frozenset[str],
    recursive: bool,
    files_from: str | None,
    null: bool,
) -> list[Name]:
    """The files that are named or listed, and those in folders; names of files stay as they are.

    Raises:
        UsageError: a folder without `recursive`, `-` beside a folder or a list, nothing to do.
    """
    if files_from is None and not any(map(os.path.isdir, names)):
        return list(names)
    from spresso_cli.library.plan import find

    listed = read_names(files_from, null)
    found = find(names, suffixes=suffixes, recursive=recursive, listed=listed)
    return [item.source or "-" for item in found]


def unreadable(error: OSError) -> SpressoError:
    """What the system said about an input, as an error of ours (exit code 1)."""
    return AudioError(reason(error))


@contextmanager
def blamed_on(name: Name) -> Iterator[None]:
    """Put the file's name in front of whatever goes wrong inside the block."""
    try:
        yield
    except SpressoError as error:
        raise type(error)(f"{shown(name)}: {error}") from error
    except OSError as error:
        raise AudioError(f"{shown(name)}: {unreadable(error)}") from error
