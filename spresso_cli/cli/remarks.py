"""Remarks about the files of a batch: each kind is said once, and counted at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spresso_cli.cli.text import common, kind_of, shown

if TYPE_CHECKING:
    from spresso_cli.cli.terminal import Terminal


class Remarks:
    """What is said of files; under `-v` everything is said in full, and nothing counted."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._said: dict[str, dict[Path | None, str]] = {}  # kind -> file -> the text about it

    def add(self, source: Path | None, text: str) -> None:
        """Take a remark about a file; of several takes of one file, each has the same."""
        said = self._said.setdefault(kind_of(text), {})
        if not said or self._terminal.verbose:
            self._terminal.note(f"{shown(source)}: {text}")
        said.setdefault(source, text)

    def count(self) -> None:
        """For every kind of remark that several files share, say how many there are."""
        for alike, said in self._said.items():
            if len(said) > 1 and not self._terminal.verbose:
                text = common(alike, said.values())
                self._terminal.note(f"{len(said):,} files: {text} (-v names them)")
