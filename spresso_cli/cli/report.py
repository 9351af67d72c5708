"""`spresso report`: what the reports of many runs, shards and machines add up to."""

from __future__ import annotations

import dataclasses
import json as encoder
from pathlib import Path
from typing import Annotated

import typer

from spresso_cli.cli.describe import aligned
from spresso_cli.cli.options import OUTPUT, Force, Json, Quiet, Verbose
from spresso_cli.cli.terminal import binary_stdin
from spresso_cli.cli.text import clock, printable, shown, size
from spresso_cli.errors import UsageError
from spresso_cli.library import outputs
from spresso_cli.library.report import Record, Summary, merge, summarise

app = typer.Typer(add_completion=False)

EXAMPLES = """
Examples:

  spresso report logs/*.jsonl
  spresso report logs/*.jsonl -o all.jsonl
  spresso report log.jsonl --json | jq .failed
  ssh farm 'cat logs/*.jsonl' | spresso report -

Exit code 1 if the last try of any file failed, or a report has no record at all, so that a script
can start the run again.
"""


@app.command(epilog=EXAMPLES)
def report(
    ctx: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE.jsonl", help="What --report wrote; - is stdin."),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.jsonl",
            help="Write the merged report: one line per output; - is stdout.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Merge and summarise the reports of a batch.

    Of several lines about one output the last counts, because it is the latest try; where that
    left alone what an earlier one had made, the earlier one does. A line that a killed run left
    unfinished is passed over.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    if json and output == "-":
        raise UsageError("--json and the report both want stdout: give the report a name with -o")
    if files.count("-") > 1:
        raise UsageError("- means stdin and can be named only once")
    barren: list[Path | None] = []
    records, damaged = merge(
        (None if name == "-" else Path(name) for name in files), binary_stdin, barren.append
    )
    for path in barren:
        terminal.error(f"{shown(path)}: not one line is a record: no report, or of a run cut short")
    if not records:
        raise typer.Exit(1)
    summary = summarise(records)
    text = _text(summary, damaged)
    if output == "-":
        typer.echo(_lines(records), nl=False)
        terminal.note(text)
    else:
        if output is not None:
            with outputs.replacing(outputs.named(output), force=force) as file:
                file.write(_lines(records))
        terminal.record(dataclasses.asdict(summary) | {"damaged_lines": damaged})
        terminal.result(text)
    raise typer.Exit(1 if summary.failed or barren else 0)


def _lines(records: list[Record]) -> bytes:
    """Records as `--report` writes them."""
    return b"".join(
        encoder.dumps(fields, allow_nan=False).encode("ascii") + b"\n" for fields in records
    )


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
