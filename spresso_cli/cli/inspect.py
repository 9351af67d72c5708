"""`spresso info`, `verify` and `models`: looking without decoding; no torch, seldom numpy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.cli import describe, describe_packs
from spresso_cli.cli.inputs import Name, for_each, named_files, open_binary
from spresso_cli.cli.instant import ON_FILES, InstantCommand, file_arguments
from spresso_cli.cli.options import (
    OUTPUT,
    FilesFrom,
    Force,
    Json,
    Null,
    Quiet,
    Recursive,
    Verbose,
)
from spresso_cli.cli.text import shown
from spresso_cli.container import spr
from spresso_cli.errors import MissingPack, UsageError

app = typer.Typer(add_completion=False)

Description = tuple[dict[str, object], str]  # of a file: its record, and the text for people

CODED_SUFFIXES = frozenset({".spr", ".sprb"})  # of what `verify` searches folders for

INFO_EXAMPLES = """
Examples:

  spresso info door.spr
  spresso info --json *.spr | jq .file_kbps
  spresso info door.wav library.sprb
  spresso info --json -r small | jq -s 'map(.bytes) | add'
  spresso info door.spr --plot door.png
"""

VERIFY_EXAMPLES = """
Examples:

  spresso verify small/*.spr
  spresso verify -q -r small && echo whole
  find . -name '*.spr' -print0 | spresso verify --files-from - -0

Exit codes: 3 damaged, truncated or extended; 4 made for a newer version.
"""

MODELS_EXAMPLES = """
Examples:

  spresso models
  spresso models --json | jq .points
"""


@app.command(epilog=INFO_EXAMPLES, **ON_FILES)
def info(
    ctx: typer.Context,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            help="Draw the sound, or one take of a .spr file (extra plot).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    null: Null = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what a .spr, .sprb or sound file holds.

    The payload rate counts codes alone, as the literature does; the file rate counts every byte.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    files = named_files(
        file_arguments(ctx, listed=files_from is not None),
        suffixes=CODED_SUFFIXES | SOUND_SUFFIXES,
        recursive=recursive,
        files_from=files_from,
        null=null,
    )
    if plot is not None and (len(files) > 1 or files == ["-"]):
        raise UsageError("--plot draws one named file: name one")

    def look(name: Name) -> Description:
        description = _described(name)
        if plot is not None:
            from spresso_cli.cli.plot import plot_file

            plot_file(Path(name), Path(plot), force=force)
        return description

    def show(name: Name, description: Description) -> None:
        record, text = description
        terminal.record(record)
        terminal.result(text if name == files[0] else f"\n{text}")
        if plot is not None:
            terminal.note(f"{shown(plot)}: written")

    raise typer.Exit(for_each(terminal, files, look, show))


def _described(name: Name) -> Description:
    with open_binary(name, sounds=True) as file:
        kind = _kind(name, file)
        name = os.fspath(name)
        if kind == "sound":
            from spresso_cli.audio.files import open_audio

            with open_audio(file) as sound:
                record = describe.sound_record(name, sound, sound.file_bytes)
                return record, describe.sound_text(record)
        file_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        if kind == "sprb":
            from spresso_cli.container.bundle import Bundle

            record = describe.bundle_record(name, Bundle.open(file), file_bytes)
            return record, describe.bundle_text(record)
        record = describe.stream_record(name, spr.load(file, max_seconds=None), file_bytes)
        return record, describe.spr_text(record)


@app.command(epilog=VERIFY_EXAMPLES, **ON_FILES)
def verify(
    ctx: typer.Context,
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    null: Null = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check .spr and .sprb files for damage.

    Checks the checksum and every rule of the format, and says which pack decodes the file; a file
    whose pack is not installed is still ok. The exit code is 3 or 4 for a single bad file, and 1
    if any of several is bad.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    files = named_files(
        file_arguments(ctx, listed=files_from is not None),
        suffixes=CODED_SUFFIXES,
        recursive=recursive,
        files_from=files_from,
        null=null,
    )

    def show(name: Name, packs: dict[str, str | None]) -> None:
        terminal.record({"file": os.fspath(name), "ok": True, "packs": packs})
        terminal.result(f"{shown(name)}: ok ({describe.packs_text(packs)})")

    raise typer.Exit(for_each(terminal, files, _verified, show))


def _verified(name: Name) -> dict[str, str | None]:
    """Read all of a file; returns the weights tags it needs with the packs that have them."""
    with open_binary(name) as file:
        if _kind(name, file) != "sprb":
            return describe.packs([spr.load(file, max_seconds=None)])

        from spresso_cli.container.bundle import Bundle

        clips = Bundle.open(file)
        if faults := clips.verify():
            clip, fault = next(iter(faults.items()))
            raise type(fault)(f"{len(faults)} of {len(clips)} clips; {clip}: {fault}")
        return describe.packs(clips.clip(clip).header for clip in clips.names)


def _kind(name: Name, file: BinaryIO) -> str:
    """`spr`, `sprb` or `sound`: what the file starts like, or else what its name promises.

    What is not seekable is a sound that is left in its pipe.
    """
    if not file.seekable():
        return "sound"
    head = file.read(len(spr.MAGIC))
    file.seek(0)
    suffix = os.path.splitext(name)[1].lower()
    if head == spr.MAGIC:
        return "spr"
    if head[:2] == spr.MAGIC[:2]:  # the two formats of this program share a beginning
        return "sprb"
    return {".spr": "spr", ".sprb": "sprb"}.get(suffix, "sound")


@app.command(epilog=MODELS_EXAMPLES, cls=InstantCommand)
def models(
    ctx: typer.Context,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the installed packs and their operating points.

    A preview pack may change before version 1.0: keep the pack with the files it made.
    """
    from spresso_cli.codec.packs import installed_packs

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    packs = installed_packs()
    if not packs:
        raise MissingPack("no pack of weights is installed: reinstall spresso or set SPRESSO_PACK")
    for pack in packs:
        terminal.record(describe_packs.pack_record(pack))
        terminal.table(describe_packs.pack_table(pack))
