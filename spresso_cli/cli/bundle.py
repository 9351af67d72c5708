"""`spresso bundle`, `unbundle` and `list`: many `.spr` files in a `.sprb` (format_spec.md, 13)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spresso_cli.cli.describe import clip_record
from spresso_cli.cli.destination import Destination
from spresso_cli.cli.inputs import (
    Name,
    blamed_on,
    combined,
    for_each,
    open_binary,
    read_names,
    told,
)
from spresso_cli.cli.options import (
    OUTPUT,
    FilesFrom,
    Force,
    Json,
    Null,
    OutputDir,
    Quiet,
    Recursive,
    Verbose,
)
from spresso_cli.cli.selection import selected
from spresso_cli.cli.text import clock, counted, kbps, printable, shown, size
from spresso_cli.container import spr
from spresso_cli.container.bundle import Bundle, write_bundle
from spresso_cli.container.bundle_index import name_fault
from spresso_cli.errors import OutputError, SpressoError, UsageError
from spresso_cli.library import outputs, plan

if TYPE_CHECKING:
    from spresso_cli.cli.terminal import Terminal
    from spresso_cli.container.stream import Stream

app = typer.Typer(add_completion=False)

BUNDLE_EXAMPLES = """
Examples:

  spresso bundle doors/*.spr -o doors.sprb
  spresso bundle small -r -o library.sprb

A clip is named after its path inside the folder that was given, without .spr: doors/oak.
"""

UNBUNDLE_EXAMPLES = """
Examples:

  spresso unbundle library.sprb --output-dir small
  spresso unbundle library.sprb doors/oak
  spresso unbundle library.sprb doors '*/rain*'
"""

LIST_EXAMPLES = """
Examples:

  spresso list library.sprb
  spresso list library.sprb --json | jq -r .name
"""

BundleFile = Annotated[str, typer.Argument(metavar="BUNDLE", help="A .sprb file; - is stdin.")]


@app.command(epilog=BUNDLE_EXAMPLES)
def bundle(
    ctx: typer.Context,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.sprb",
            help="The bundle; - is stdout.",
            rich_help_panel=OUTPUT,
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="IN", help=".spr files or folders (-r); - is stdin."),
    ] = None,
    force: Force = False,
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    null: Null = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put many .spr files into one .sprb bundle.

    A clip in a bundle takes its payload, its name and at most eight bytes; a loose file takes a
    whole block of the disk. Every clip comes out again as exactly the file that went in.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    found = plan.find(
        inputs or [],
        suffixes=plan.STREAM_SUFFIXES,
        recursive=recursive,
        listed=read_names(files_from, null),
    )
    sources = [*(item.source for item in found), plan.source_of(files_from)]
    target = Destination.of(terminal, output, suffix=".sprb", force=force, inputs=sources)
    codes: list[int] = []
    with target.opened() as file:
        total = write_bundle(_clips(terminal, found, codes), file)
    terminal.record({"file": output, "clips": codes.count(0), "bytes": total})
    terminal.note(f"{target}: {counted(codes.count(0), 'clip')}, {size(total)}")
    raise typer.Exit(combined(codes))


def _clips(
    terminal: Terminal, found: Iterable[plan.Found], codes: list[int]
) -> Iterator[tuple[str, Stream]]:
    """Names and streams of the files that can be bundled, with an exit code for every file.

    Raises:
        typer.Exit: there is none, so there is nothing to make a bundle of.
    """
    for item in found:
        source = item.source or plan.STDIN
        try:
            clip = _clip(item.relative, source)
        except (SpressoError, OSError) as error:
            codes.append(told(terminal, source, error, {"file": os.fspath(source)}))
        else:
            codes.append(0)
            yield clip
    if 0 not in codes:
        raise typer.Exit(combined(codes))


def _clip(relative: str, source: Name) -> tuple[str, Stream]:
    """The name and the stream of a file; UsageError for a name that no clip can have."""
    # Not as os.path.splitext has it: out of the bundle, the suffix is put behind any name.
    name = relative[: -len(".spr")] if relative.lower().endswith(".spr") else relative
    if fault := name_fault(os.fsencode(name)):
        raise UsageError(f"the name {fault}: rename it to bundle it")
    with open_binary(source) as file:
        return name, spr.load(file, max_seconds=None)


@app.command(epilog=UNBUNDLE_EXAMPLES)
def unbundle(
    ctx: typer.Context,
    source: BundleFile,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Clips to take, with or without .spr, folders of them, or patterns such as "
            "'doors/*'; default: all.",
        ),
    ] = None,
    output_dir: OutputDir = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take .spr files out of a .sprb bundle.

    Reads only the index and the clips asked for. In patterns, * matches slashes too.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    folder = Path(output_dir or "")
    with blamed_on(source):
        opened = open_binary(source)
    with opened as file:
        with blamed_on(source):
            clips = Bundle.open(file)
            chosen = selected(clips.names, names) if names else clips.names
            wanted = {name: folder / f"{name}.spr" for name in chosen}
            _refuse_collisions(wanted)
        # Even to look at others is too much: a name could be that of a file on another machine.
        paths = [path for name, path in wanted.items() if outputs.is_possible(f"{name}.spr")]
        plan.refuse_inputs(paths, [plan.source_of(source)], "add --output-dir")
        for path in paths:
            outputs.refuse_existing(path, force)

        home, made = folder.resolve(), 0

        def extract(name: str) -> int:
            _refuse_escape(wanted[name], name, home)
            data = spr.write(clips.read(name))
            with outputs.replacing(wanted[name], force=force) as out:
                return out.write(data)

        def identify(name: str) -> dict[str, object]:
            return {"name": name, "file": str(wanted[name])}

        def tell(name: str, count: int) -> None:
            nonlocal made
            made += 1
            terminal.record(identify(name) | {"bytes": count})
            terminal.detail(f"{shown(wanted[name])}: {size(count)}")

        code = for_each(terminal, list(wanted), extract, tell, identify)
    terminal.note(f"{shown(source)}: {counted(made, 'clip')} to {shown(folder)}")
    raise typer.Exit(code)


def _refuse_collisions(names: Iterable[str]) -> None:
    """Raises UsageError for two clips that would replace each other on some file systems."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(plan.folded(name), name)
        if other != name:
            raise UsageError(
                f"{shown(other)} and {shown(name)} are one file on some systems: "
                "unbundle them by name, one at a time"
            )


def _refuse_escape(path: Path, name: str, home: Path) -> None:
    """Raises OutputError where a clip's name leads out of the folder `home` on this system
    (format_spec.md, 11)."""
    if not outputs.is_possible(f"{name}.spr"):
        raise OutputError(f"{shown(name)} is not a possible name here")
    if not path.parent.resolve().is_relative_to(home):
        raise OutputError(f"{shown(path.parent)} is a link out of the folder: take it away")


@app.command("list", epilog=LIST_EXAMPLES)
def list_clips(
    ctx: typer.Context,
    source: BundleFile,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the clips in a .sprb bundle.

    The columns are: size as a loose .spr file, length, nominal rate of one channel, and name.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    with blamed_on(source), open_binary(source) as file:
        clips = Bundle.open(file)
    for name in clips.names:
        clip = clips.clip(name)
        terminal.record(clip_record(name, clip))
        terminal.result(
            f"{size(clip.file_bytes):>9}  {clock(clip.header.seconds):>8}  "
            f"{kbps(clip.header.profile.kbps):>10}  {printable(name)}"
        )
