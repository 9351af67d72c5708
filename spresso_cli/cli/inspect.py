"""`spresso info`, `verify` and `models`: looking without decoding; no torch, seldom numpy."""

from __future__ import annotations

import os
from typing import Annotated, BinaryIO

import typer

from spresso_cli.cli import describe, describe_packs
from spresso_cli.cli.isolate import for_each, open_binary
from spresso_cli.cli.options import Json, Quiet, Verbose
from spresso_cli.cli.text import shown
from spresso_cli.container import bundle, spr

app = typer.Typer()

INFO_EXAMPLES = """\
Examples:

  spresso info door.spr
  spresso info --json *.spr | jq .file_kbps
  spresso info door.wav library.sprb
"""

VERIFY_EXAMPLES = """\
Examples:

  spresso verify small/*.spr
  spresso verify -q door.spr && echo whole

Exit codes: 3 damaged, truncated or extended; 4 made for a newer version.
"""

MODELS_EXAMPLES = """\
Examples:

  spresso models
  spresso models --json | jq .points
"""

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Files; - is stdin.")]


@app.command(epilog=INFO_EXAMPLES)
def info(
    ctx: typer.Context,
    files: Files,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what a .spr, .sprb or sound file holds.

    The payload rate counts codes alone, as the literature does; the file rate counts every byte.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)

    def show(name: str) -> None:
        record, text = _described(name)
        terminal.record(record)
        terminal.result(text if name == files[0] else f"\n{text}")

    raise typer.Exit(for_each(terminal, files, show))


def _described(name: str) -> tuple[dict[str, object], str]:
    with open_binary(name) as file:
        file_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        if _is_bundle(name, file):
            record = describe.bundle_record(name, bundle.Bundle.open(file), file_bytes)
            return record, describe.bundle_text(record)
        if _is_stream(name, file):
            record = describe.stream_record(name, spr.load(file, max_seconds=None), file_bytes)
            return record, describe.spr_text(record)

        from spresso_cli.audio.files import open_audio

        with open_audio(file) as sound:
            record = describe.sound_record(name, sound, file_bytes)
            return record, describe.sound_text(record)


def _is_stream(name: str, file: BinaryIO) -> bool:
    head = file.read(len(spr.MAGIC))
    file.seek(0)
    return head == spr.MAGIC or name.lower().endswith(".spr")


@app.command(epilog=VERIFY_EXAMPLES)
def verify(
    ctx: typer.Context,
    files: Files,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check .spr and .sprb files for damage.

    Looks at the checksum and at every rule of the format, and says which pack would decode the
    file. A pack that is not installed is no fault of the file.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)

    def check(name: str) -> None:
        packs = _verified(name)
        terminal.record({"file": name, "ok": True, "packs": packs})
        terminal.result(f"{shown(name)}: ok ({describe.packs_text(packs)})")

    raise typer.Exit(for_each(terminal, files, check))


def _verified(name: str) -> dict[str, str | None]:
    with open_binary(name) as file:
        if not _is_bundle(name, file):
            return describe.packs([spr.load(file, max_seconds=None)])
        clips = bundle.Bundle.open(file)
        if faults := clips.verify():
            clip, fault = next(iter(faults.items()))
            raise type(fault)(f"{len(faults)} of {len(clips)} clips; {clip}: {fault}")
        return describe.packs(clips.clip(clip).header for clip in clips.names)


def _is_bundle(name: str, file: BinaryIO) -> bool:
    """Whether to read `file` as a bundle: it starts like one, or its name promises one."""
    head = file.read(len(bundle.MAGIC))
    file.seek(0)
    return head == bundle.MAGIC or name.lower().endswith(".sprb")


@app.command(epilog=MODELS_EXAMPLES)
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
    for pack in installed_packs():
        terminal.record(describe_packs.pack_record(pack))
        terminal.table(describe_packs.pack_table(pack))
