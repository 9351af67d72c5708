"""What the commands say and where: data and JSON to stdout, everything else to stderr.

No typer, no rich at import: most commands never need a table, and start-up time is a feature.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO, TextIO

from spresso_cli.cli.text import printable
from spresso_cli.errors import UsageError, naming_stdout

_WINDOWS = os.name == "nt"

if TYPE_CHECKING:
    from rich.console import RenderableType


class Terminal:
    """The two output channels of one invocation and how talkative they may be.

    `--json` keeps human text off stdout; `-q` leaves only errors (and JSON, where it was asked
    for); `-v` adds detail, and the traceback if the program itself fails.
    """

    def __init__(self) -> None:
        self.quiet = False
        self.verbose = False
        self.json = False
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                _prepare(stream)

    def configure(self, *, quiet: bool, verbose: bool, json: bool) -> Terminal:
        """Apply one command's `-q`, `-v` and `--json`; -q and -v together are a UsageError."""
        if quiet and verbose:
            raise UsageError("-q and -v contradict each other: choose one")
        self.quiet, self.verbose, self.json = quiet, verbose, json
        return self

    @property
    def interactive(self) -> bool:
        """Whether a person watches stderr, and nothing else scrolls the same screen."""
        clean = not (self.json and _watched(sys.stdout))
        return clean and not self.quiet and _watched(sys.stderr)

    def note(self, text: str) -> None:
        """One line of remark on stderr; silent under `-q`."""
        if not self.quiet:
            _write(sys.stderr, printable(text))

    def detail(self, text: str) -> None:
        """One line on stderr that only `-v` asks for."""
        if self.verbose:
            _write(sys.stderr, printable(text))

    def error(self, text: str) -> None:
        """One line of failure on stderr, never silenced."""
        _write(sys.stderr, f"spresso: {printable(text)}")

    def result(self, text: str) -> None:
        """Human-readable results on stdout, unless `-q` or `--json` took their place."""
        if not self.quiet and not self.json:
            _write(sys.stdout, text)

    def table(self, renderable: RenderableType) -> None:
        """A rich renderable as the human-readable result on stdout."""
        if not self.quiet and not self.json and sys.stdout is not None:
            from rich.console import Console

            # Piped tables keep their full width: a cell cut at 80 columns is lost data.
            width = None if sys.stdout.isatty() else 200
            with naming_stdout():
                Console(file=sys.stdout, width=width, highlight=False).print(renderable)

    def record(self, fields: Mapping[str, object]) -> None:
        """One JSON object on one line of stdout, if `--json` was given."""
        if self.json:
            _write(sys.stdout, json.dumps(fields, allow_nan=False))


def binary_stdin() -> BinaryIO:
    """Standard input as bytes; a UsageError if a person would have to type them."""
    if sys.stdin is None:
        raise UsageError("stdin is closed: pipe a file in, or name one instead of -")
    if sys.stdin.isatty():
        raise UsageError("stdin is a terminal: pipe a file in, or name one instead of -")
    return sys.stdin.buffer


def binary_stdout() -> BinaryIO:
    """Standard output as bytes; a UsageError if they would land on a screen."""
    if sys.stdout is None:
        raise UsageError("stdout is closed: use -o FILE")
    if sys.stdout.isatty():
        raise UsageError("refusing to write binary data to a terminal: redirect it or use -o FILE")
    return sys.stdout.buffer


def _prepare(stream: TextIO) -> None:
    """A name that a stream cannot encode is no reason to fail.

    What another program reads is the same on every system: Windows would write it in a code page
    without most names, which our own lists of names could not be read in, and end lines with CR LF.
    """
    stream.reconfigure(errors="backslashreplace")
    if _WINDOWS and not stream.isatty():
        encoding = None if "PYTHONIOENCODING" in os.environ else "utf-8"
        stream.reconfigure(encoding=encoding, newline="\n")


def _watched(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def abandon_stdout() -> None:
    """Point stdout at nothing after its reader left, so that the final flush stays silent."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed by whoever started us
        return
    with naming_stdout() if stream is sys.stdout else nullcontext():
        stream.write(f"{text}\n")
        stream.flush()
