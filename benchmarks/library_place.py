"""Where library.py works: a folder with copies of the clips, and spresso as a process."""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import cached_property
from pathlib import Path

import support

from spresso_cli.evaluation.clips import sounds_in

Row = dict[str, str | int | float | None]


class Place:
    """A folder with copies of the clips, and the commands that are run in it."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options

    def clips(self, count: int) -> Path:
        """A folder of `count` clips, evenly spaced by name, with their tree."""
        target = self.folder / f"in{count}"
        if not target.exists():
            source = self.options.clips
            stems = {path.with_suffix(""): path for path in sounds_in(source)}
            paths = list(stems.values())
            if len(paths) > count:
                paths = [paths[i * len(paths) // count] for i in range(count)]
            for path in paths:
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
        return target

    def command(self, *arguments: object) -> list[str]:
        return [
            sys.executable,
            "-m",
            "spresso_cli",
            str(arguments[0]),
            "-q",
            *map(str, arguments[1:]),
        ]

    def run(self, *arguments: object) -> tuple[float, float]:
        """Wall seconds and peak MB of a spresso command that must succeed."""
        return support.run_process(self.command(*arguments))

    def compress(self, source: Path, target: Path, *more: object) -> float:
        return self.run("compress", source, "-r", "--output-dir", target, *more)[0]

    def decompress(self, source: Path, target: Path, *more: object) -> float:
        steps = ("--steps", self.options.steps)
        return self.run("decompress", source, "-r", "--output-dir", target, *steps, *more)[0]

    @cached_property
    def coded(self) -> Path:
        """The clips of the batch, compressed in one call, with `coded.jsonl` beside them."""
        target = self.folder / "coded"
        record = self.folder / "coded.jsonl"
        self.compress(self.clips(self.options.files), target, "--resume", "--report", record)
        return target

    @cached_property
    def unbroken(self) -> dict[str, bytes]:
        """What one run makes of a few clips, by name."""
        target = self.folder / "unbroken"
        self.compress(self.clips(self.options.few), target)
        return contents(target)


def row(what: str, value: float | None, unit: str, aim: str | None = None) -> Row:
    return {"what": what, "value": value, "unit": unit, "aim": aim}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, left-over temporary ones too, by its relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files(folder)}
