"""Progress of a training stage: a live bar for a person, a line now and then for a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from spresso_cli.cli.text import clock, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from spresso_cli.cli.terminal import Terminal

_QUIET_SECONDS = 30.0  # between lines of a log


class TrainingProgress:
    """Context manager whose `report` takes the numbers of every logged step."""

    def __init__(self, terminal: Terminal, stage: str) -> None:
        self._terminal = terminal
        self._stage = stage
        self._start = time.monotonic()
        self._said = -_QUIET_SECONDS
        self._last = ""
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._terminal.interactive:
            self._bar = _live_bar()
            self._bar.add_task(self._stage, total=None, numbers="")
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
        if kind is None:
            elapsed = clock(time.monotonic() - self._start)
            last = self._last or "nothing logged: the schedule or the time was over"
            self._terminal.note(f"{self._stage}: {last}, after {elapsed}")

    def note(self, text: str) -> None:
        """A remark of the stage."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False)
        else:
            self._terminal.note(text)

    def report(self, numbers: Mapping[str, float]) -> None:
        """One logged step: `step`, `steps` and whatever was measured."""
        step, steps = int(numbers["step"]), int(numbers["steps"])
        measured = ", ".join(
            f"{name} {value:.4g}"
            for name, value in numbers.items()
            if name not in ("step", "steps")
        )
        self._last = f"step {step:,} of {steps:,}, {measured}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, total=steps, numbers=measured)
        elif time.monotonic() - self._said >= _QUIET_SECONDS:
            self._said = time.monotonic()
            self._terminal.note(f"{self._stage}: {self._last}")


def _live_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
        console=Console(stderr=True),
        redirect_stdout=False,
    )
