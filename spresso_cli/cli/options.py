"""Options that several commands share, declared once so that they read the same everywhere."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

OUTPUT = "Output"
BATCH = "Many files"
TALK = "Messages"


class Sampler(StrEnum):
    """The solvers of spresso_cli/diffusion/samplers.py, which imports torch."""

    heun = "heun"
    ipndm3 = "ipndm3"
    dpmpp3m = "dpmpp3m"


def _checked_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise typer.BadParameter(f"{value!r} is not auto, cpu, cuda or cuda:N")
    return value


def _checked_name(value: str | None) -> str | None:
    if value == "":  # as an unset variable of the shell makes it
        raise typer.BadParameter("the name is empty")
    return value


def folder_name(value: str) -> Path:
    """Parser of a folder's name; an empty one is a BadParameter, not the current folder."""
    return Path(_checked_name(value))


def _checked_seconds(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of seconds; 0 is no limit")
    return int(value) if value.is_integer() else value


def finite_seconds(value: float | None) -> float | None:
    """Callback of an option that may be left out; a BadParameter for inf and nan."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of seconds")
    return value


def _complete_device(incomplete: str) -> list[str]:
    return [name for name in ("auto", "cpu", "cuda", "cuda:0") if name.startswith(incomplete)]


def _complete_pack(incomplete: str) -> list[str]:
    from spresso_cli.codec.packs import installed_packs

    return [pack.name for pack in installed_packs() if pack.name.startswith(incomplete)]


Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors.", rich_help_panel=TALK)]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="More detail.", rich_help_panel=TALK)
]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON object per file on stdout.", rich_help_panel=TALK),
]

Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Output file; - is stdout.",
        callback=_checked_name,
        rich_help_panel=OUTPUT,
    ),
]
OutputFile = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Output file.",
        callback=_checked_name,
        rich_help_panel=OUTPUT,
    ),
]
OutputDir = Annotated[
    str | None,
    typer.Option(
        "--output-dir",
        metavar="DIR",
        help="Output folder; subfolders are mirrored.",
        callback=_checked_name,
        rich_help_panel=OUTPUT,
    ),
]
Force = Annotated[
    bool,
    typer.Option("-f", "--force", help="Replace existing outputs.", rich_help_panel=OUTPUT),
]

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        help="Where the networks run.",
        callback=_checked_device,
        autocompletion=_complete_device,
    ),
]
Pack = Annotated[
    str | None,
    typer.Option(
        "--pack",
        metavar="NAME|DIR",
        help="Weights to use (spresso models lists them). Default: what SPRESSO_PACK names.",
        autocompletion=_complete_pack,
    ),
]

Envelope = Annotated[
    bool,
    typer.Option(
        "--envelope/--no-envelope",
        help="Hold the sound to the envelope that the codes describe, or leave it as decoded"
        " (which then gains more from --steps).",
    ),
]

Variety = Annotated[
    float,
    typer.Option(
        "--variety",
        metavar="V",
        min=0,
        max=1,
        help="How much takes differ: the share of what the codes leave open that the seed fills in."
        " No effect where the envelope is not held.",
    ),
]

Recursive = Annotated[
    bool, typer.Option("-r", "--recursive", help="Enter folders.", rich_help_panel=BATCH)
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from",
        metavar="LIST",
        help="Read input names from a file; - is stdin.",
        rich_help_panel=BATCH,
    ),
]
Null = Annotated[
    bool,
    typer.Option(
        "-0",
        "--null",
        help="Names in LIST end with NUL, as find -print0 writes them.",
        rich_help_panel=BATCH,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Skip outputs that are intact, made with the same options, and up to date.",
        rich_help_panel=BATCH,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show what would be written; write nothing.", rich_help_panel=BATCH
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N|auto",
        help="Process only share I of N, counted from 0; auto reads SLURM_ARRAY_TASK_ID or RANK.",
        rich_help_panel=BATCH,
    ),
]
Report = Annotated[
    str | None,
    typer.Option(
        "--report",
        metavar="FILE.jsonl",
        help="Append one JSON line per file; --resume uses it to see which sources changed.",
        callback=_checked_name,
        rich_help_panel=BATCH,
    ),
]
MaxDuration = Annotated[
    float,
    typer.Option(
        "--max-duration",
        metavar="SECONDS",
        min=0,
        help="Refuse longer sounds, before they take any memory; 0 is no limit.",
        callback=_checked_seconds,
    ),
]
