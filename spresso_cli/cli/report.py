"""`spresso report`: what the reports of many runs, shards and machines add up to."""

from __future__ import annotations

import dataclasses
import json as encoder
from pathlib import Path
from typing import Annotated

import typer

from spresso_cli.cli.describe import aligned
from spresso_cli.cli.options import OUTPUT, Force, Json, Quiet, Verbose
from spresso_cli.cli.text import clock, printable, size
from spresso_cli.library import outputs
from spresso_cli.library.report import Record, Summary, merge, summarise

app = typer.Typer(add_completion=False)

EXAMPLES = """
Examples:

  spresso report logs/*.jsonl
  spresso report logs/*.jsonl -o all.jsonl
  spresso report log.jsonl --json | jq .failed

Exit code 1 if the last try of any file failed, so that a script can start the run again.
"""


@app.command(epilog=EXAMPLES)
def report(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE.jsonl", help="What --report wrote.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.jsonl",
            help="Write the merged report: one line per output.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Merge and summarise the reports of a batch.

    Of several lines about one output the last counts, because it is the latest try. A line that a
    killed run left unfinished is passed over.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    records, damaged = merge(files)
    if output is not None:
        _write(records, output, force)
    summary = summarise(records)
    terminal.record(dataclasses.asdict(summary) | {"damaged_lines": damaged})
    terminal.result(_text(summary, damaged))
    raise typer.Exit(1 if summary.failed else 0)


def _write(records: list[Record], output: Path, force: bool) -> None:
    lines = (encoder.dumps(fields, allow_nan=False).encode("ascii") + b"\n" for fields in records)
    with outputs.replacing(output, force=force) as file:
        file.writelines(lines)


def _text(summary: Summary, damaged: int) -> str:
    sizes = f"{size(summary.source_bytes)} -> {size(summary.output_bytes)}"
    if summary.source_bytes > summary.output_bytes > 0:
        sizes += f" ({summary.source_bytes / summary.output_bytes:,.0f}x smaller)"
    lines = {
        "outputs": f"{summary.outputs:,}: {summary.done:,} done, {summary.skipped:,} skipped, "
        f"{summary.failed:,} failed",
        "sound": clock(summary.duration),
        "size": sizes,
        "work": clock(summary.seconds),
    }
    if damaged:
        lines["damaged"] = f"{damaged:,} lines passed over"
    failures = (f"failed  {fields['path']}: {fields.get('error')}" for fields in summary.failures)
    return "\n".join([aligned(lines), *map(printable, failures)])
