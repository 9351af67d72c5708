"""What compress and decompress have in common: from options to jobs, from results to exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from spresso_cli.cli.inputs import combined, read_names
from spresso_cli.cli.progress import BatchProgress
from spresso_cli.cli.remarks import Remarks
from spresso_cli.cli.terminal import Terminal, binary_stdin, binary_stdout
from spresso_cli.cli.text import clock, shown, size
from spresso_cli.errors import UsageError
from spresso_cli.library import plan, report
from spresso_cli.library.engine import FileResult, RunOptions
from spresso_cli.library.plan import Job
from spresso_cli.library.shards import Shard

#: What one direction adds about a finished file: to its line for people and to its JSON.
Describe = Callable[[FileResult], tuple[str, dict[str, object]]]


def plan_jobs(
    inputs: Sequence[str] | None,
    *,
    suffixes: frozenset[str],
    output_suffix: str,
    recursive: bool,
    files_from: str | None,
    null: bool,
    output: str | None,
    output_dir: str | None,
    shard: str | None,
    report_path: str | None,
    seeds: Sequence[int] | None = None,
) -> list[Job]:
    """Every output of the command line, checked for collisions; with a shard, its share of them.

    Raises:
        UsageError: options or names contradict each other, or nothing was named.
    """
    if report_path == plan.STDIN:
        raise UsageError("--report appends to a file: --json writes the same to stdout")
    found = plan.find(
        inputs or [],
        suffixes=suffixes,
        recursive=recursive,
        listed=read_names(files_from, null),
        output_dir=output_dir,
    )
    jobs = plan.plan(found, suffix=output_suffix, output=output, output_dir=output_dir, seeds=seeds)
    plan.refuse_inputs((job.output for job in jobs), [plan.source_of(files_from)])
    if report_path:
        plan.refuse_report(Path(report_path), jobs)
    return jobs if shard is None else Shard.parse(shard).select(jobs)


def run_options(
    *, force: bool, resume: bool, dry_run: bool, report_path: str | None, max_duration: float
) -> RunOptions:
    """How the library treats files; a `max_duration` of 0 seconds is no limit."""
    return RunOptions(
        stdin=binary_stdin,
        stdout=binary_stdout,
        force=force,
        resume=resume,
        dry_run=dry_run,
        origin=report.origins(Path(report_path) if report_path else None),
        max_seconds=max_duration or None,
    )


def follow(
    terminal: Terminal,
    verb: str,
    jobs: Sequence[Job],
    results: Iterator[FileResult],
    describe: Describe = lambda result: ("", {}),
    *,
    report_path: str | None,
) -> int:
    """Run the jobs, tell about each as it is finished, and return the exit code of the whole.

    Args:
        results: lazy; taking the next one does the work.
        report_path: JSONL file to append one line per job to; without jobs, none is begun.
    """
    if terminal.json and any(job.output is None for job in jobs):
        raise UsageError("--json and the output both want stdout: give the output a name with -o")
    codes: dict[Path | None, int] = {job.source: 0 for job in jobs}
    with ExitStack() as stack:
        writer = (
            stack.enter_context(report.ReportWriter(Path(report_path)))
            if report_path and jobs
            else None
        )
        progress = stack.enter_context(BatchProgress(terminal, len(jobs), verb))
        remarks = Remarks(terminal)
        stack.callback(remarks.count)
        for result in stack.enter_context(closing(results)):
            detail, extra = describe(result) if result.status == "done" else ("", {})
            line = _line(result, detail)
            progress.add(result, line)
            for note in result.notes:
                remarks.add(result.job.source, note)
            terminal.record(report.record(result) | extra)
            if result.status == "planned":
                terminal.result(line)
            elif writer is not None:
                writer.add(result)
            if result.error is not None:
                codes[result.job.source] = codes[result.job.source] or result.error.exit_code
    return combined(codes.values())


def _line(result: FileResult, detail: str) -> str:
    """`door.wav -> door.spr: 5.00 s, 480.0 kB -> 73 B, 1.20 s (4.2x real time)`."""
    job = result.job
    names = f"{shown(job.source)} -> {'stdout' if job.output is None else shown(job.output)}"
    if result.status == "skipped":
        return f"{names}: up to date"
    if result.status == "planned":
        return names
    parts = [
        clock(result.duration),
        f"{size(result.source_bytes)} -> {size(result.output_bytes)}",
        detail,
        f"{clock(result.seconds)} ({result.duration / max(result.seconds, 1e-3):.1f}x real time)",
    ]
    return f"{names}: {', '.join(part for part in parts if part)}"
