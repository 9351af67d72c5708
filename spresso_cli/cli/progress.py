"""Progress of a batch: a live bar for a person, plain lines for a log, nothing under `-q`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from spresso_cli.cli.text import clock, shown, size

if TYPE_CHECKING:
    from rich.progress import Progress

    from spresso_cli.cli.terminal import Terminal
    from spresso_cli.library.engine import FileResult


@dataclass
class Tally:
    """Running totals of a batch; bytes and seconds count finished files only."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    planned: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    audio_seconds: float = 0.0

    @property
    def total(self) -> int:
        return self.done + self.skipped + self.planned + self.failed

    def add(self, result: FileResult) -> None:
        setattr(self, result.status, getattr(self, result.status) + 1)
        if result.status == "done":
            self.source_bytes += result.source_bytes
            self.output_bytes += result.output_bytes
            self.audio_seconds += result.duration

    def rates(self, elapsed: float) -> str:
        """Speed and sizes so far: `15.6x real time, 320 MB -> 71 kB`."""
        speed = self.audio_seconds / elapsed if elapsed > 0 else 0.0
        return f"{speed:.1f}x real time, {size(self.source_bytes)} -> {size(self.output_bytes)}"

    def summary(self, elapsed: float, planned: int | None = None) -> str:
        """The last line of a batch; `planned` is how many files an interrupted one had."""
        words = ("done", "skipped", "planned", "failed")
        counts = [f"{count} {word}" for word in words if (count := getattr(self, word))]
        if planned is None:
            text = f"{self.total} files: {', '.join(counts) or 'nothing to do'}"
        else:
            others = [count for count in counts if not count.endswith(" done")]
            text = ", ".join([f"{self.done} of {planned} done", *others])
        if self.done:
            text += f"; {clock(self.audio_seconds)} of sound in {clock(elapsed)}"
            text += f", {self.rates(elapsed)}"
        return text


class BatchProgress:
    """Context manager that follows `total` files and leaves a summary; one file needs none."""

    def __init__(self, terminal: Terminal, total: int, verb: str) -> None:
        self.tally = Tally()
        self._terminal = terminal
        self._total = total
        self._verb = verb
        self._start = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._terminal.interactive and self._total > 1:
            self._bar = _live_bar()
            self._bar.add_task(self._verb, total=self._total, rates="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._total != 1 and kind in (None, KeyboardInterrupt):
            planned = self._total if kind is KeyboardInterrupt else None
            self._terminal.note(self.tally.summary(time.monotonic() - self._start, planned))

    def add(self, result: FileResult, line: str) -> None:
        """Count one finished file; `line` describes it to whoever reads a log."""
        self.tally.add(result)
        count = self.tally.total
        if result.error is not None:
            self._terminal.error(f"{shown(result.job.source)}: {result.error}")
        elif result.status == "planned":
            pass  # the plan is the result, and goes to stdout
        elif self._bar is None:
            place = f"[{count}/{self._total}] " if self._total > 1 else ""
            self._terminal.note(f"{place}{line}")
        else:
            self._terminal.detail(line)
        if self._bar is not None:
            rates = self.tally.rates(time.monotonic() - self._start)
            self._bar.update(self._bar.task_ids[0], completed=count, rates=rates)


def _live_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # stdout is data
    )
