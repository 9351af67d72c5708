"""Pictures of training logs: one panel for each logged number, against steps (extra `[plot]`)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from spresso_cli.training.run import LOG

Curve = tuple[list[int], list[float]]
"""Steps and values."""

_COLUMNS = 3
_POINTS = 400


def read_log(path: Path) -> dict[str, Curve]:
    """The curves of one run's log, by the name of the number."""
    curves: dict[str, Curve] = {}
    with open(path, newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            steps, values = curves.setdefault(row["name"], ([], []))
            steps.append(int(row["step"]))
            values.append(float(row["value"]))
    return curves


def logs_under(folder: Path) -> dict[str, dict[str, Curve]]:
    """The curves of every run under a folder that has logged any, by its path there."""
    logs = ((path, read_log(path)) for path in sorted(folder.rglob(LOG)))
    return {path.parent.relative_to(folder).as_posix(): curves for path, curves in logs if curves}


def draw_curves(out: BinaryIO, form: str, runs: Mapping[str, Mapping[str, Curve]]) -> None:
    """Write a picture (`form`: png, svg or pdf) of one run's curves or more into an open file.

    Runs share a number's panel. Raises ImportError without matplotlib.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for curves in runs.values() for name in curves))
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for axis, name in zip(axes, names, strict=False):
        for run, curves in runs.items():
            if name in curves:
                steps, values = _smoothed(curves[name])
                alone = "o" if len(steps) == 1 else None  # no line goes through one point
                axis.plot(steps, values, label=run, linewidth=1, marker=alone, markersize=4)
        axis.set_title(name, loc="left", fontsize=9, fontweight="bold")
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    if len(runs) > 1:
        axes[0].legend(fontsize=7)
    figure.savefig(out, format=form, dpi=130)


def _smoothed(curve: Curve) -> tuple[Sequence[int], Sequence[float]]:
    """Means over equal stretches where a curve has more than `_POINTS` values."""
    steps, values = curve
    width = -(-len(steps) // _POINTS)
    stretches = range(0, len(steps), width)
    means = [sum(values[i : i + width]) / len(values[i : i + width]) for i in stretches]
    return [steps[i] for i in stretches], means
