"""`spresso report`: what the reports of many runs, shards and machines add up to."""

from __future__ import annotations

import dataclasses
import json as encoder
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from spresso_cli.cli.describe import aligned
from spresso_cli.cli.destination import Destination
from spresso_cli.cli.options import OUTPUT, Force, Json, Quiet, Verbose
from spresso_cli.cli.terminal import binary_stdin
from spresso_cli.cli.text import clock, common, kind_of, printable, shown, size
from spresso_cli.errors import UsageError, naming_stdout
from spresso_cli.library.plan import STDIN, source_of
from spresso_cli.library.report import Record, Summary, merge, summarise

app = typer.Typer(add_completion=False)

_NAMED = 3  # files that failed for one reason

EXAMPLES = """
Examples:

  spresso report logs/*.jsonl
  spresso report logs/*.jsonl -o all.jsonl
  spresso report log.jsonl --json | jq .failed
  ssh farm 'cat logs/*.jsonl' | spresso report -

Exit code 1 if the last try of any file failed, or if a report has no records
at all, so that a script can start the run again.
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

    Of several lines about one output the last one counts, as the latest try; but if that try only
    kept what an earlier one had made, the earlier line counts. Lines that a killed run left
    unfinished are ignored.
    """
    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    if json and output == STDIN:
        raise UsageError("--json and the report both want stdout: give the report a name with -o")
    if files.count(STDIN) > 1:
        raise UsageError("- means stdin and can be named only once")
    target = None
    if output not in (None, STDIN):
        sources = map(source_of, files)
        target = Destination.of(terminal, output, suffix=".jsonl", force=force, inputs=sources)
    barren: list[Path | None] = []
    records, damaged = merge(map(source_of, files), binary_stdin, barren.append)
    for path in barren:
        terminal.error(
            f"{shown(path)}: not one line is a record: not a report, or its run was cut short"
        )
    if not records:
        raise typer.Exit(1)
    summary = summarise(records)
    text = _text(summary, damaged, in_full=verbose)
    if output == STDIN:
        with naming_stdout():
            typer.echo(_lines(records), nl=False)
        for line in text.splitlines():
            terminal.note(line)
    else:
        if target is not None:
            with target.opened() as file:
                file.write(_lines(records))
        reasons = [
            {"error": reason, "count": len(alike), "examples": _examples(alike)}
            for reason, alike in _reasons(summary.failures)
        ]
        terminal.record(
            dataclasses.asdict(summary) | {"reasons": reasons, "damaged_lines": damaged}
        )
        terminal.result(text)
    raise typer.Exit(1 if summary.failed or barren else 0)


def _lines(records: list[Record]) -> bytes:
    """Records as `--report` writes them."""
    return b"".join(
        encoder.dumps(fields, allow_nan=False).encode("ascii") + b"\n" for fields in records
    )


def _reasons(failures: list[Record]) -> list[tuple[str, list[Record]]]:
    """Failures by what went wrong, whatever their files are called; the most frequent first."""
    kinds: dict[str, list[Record]] = {}
    for fields in failures:
        kind = kind_of(str(fields.get("error")), fields.get("output"), fields["path"])
        kinds.setdefault(kind, []).append(fields)
    reasons = [
        (common(kind, (str(fields.get("error")) for fields in alike)), alike)
        for kind, alike in kinds.items()
    ]
    return sorted(reasons, key=lambda reason: -len(reason[1]))


def _examples(alike: list[Record]) -> list[str]:
    return [fields["path"] for fields in alike[:_NAMED]]


def _failures(summary: Summary, *, in_full: bool) -> Iterator[str]:
    """A line for every file that failed, or for all that failed for one reason."""
    for reason, alike in _reasons(summary.failures):
        if in_full or len(alike) == 1:
            yield from (f"failed  {fields['path']}: {fields.get('error')}" for fields in alike)
        else:
            names = _examples(alike)
            more = f" and {len(alike) - _NAMED:,} more" if len(alike) > _NAMED else ""
            yield f"failed  {len(alike):,} outputs: {reason}"
            yield f"        {', '.join(names)}{more}"


def _text(summary: Summary, damaged: int, *, in_full: bool) -> str:
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
    return "\n".join([aligned(lines), *map(printable, _failures(summary, in_full=in_full))])
