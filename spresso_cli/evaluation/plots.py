"""Figures with matplotlib (extra `[plot]`): a sound, quality curves, listening-test scores."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from spresso_cli.errors import UsageError
from spresso_cli.evaluation.pictures import RANGE_DB, height_of, level_map, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spresso_cli.evaluation.mushra_results import Result

INK, ACCENT, PEER = "#1d1c22", "#b3262b", "#7a7784"
SERIES = (ACCENT, "#1f5f8b", "#c98a1b", "#3c7d4e", "#6b4a8c", "#2a9d96")
RATE_TICKS = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
FORMATS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}  # and how such files begin
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PEER,
    "axes.titleweight": "bold",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "spresso",
    "text.parse_math": False,  # names of files may hold $
}


@dataclass(frozen=True)
class Point:
    """One system in a plot of quality; points of one `series` are joined by a line."""

    series: str
    kbps: float  # or what else the axis shows
    value: float
    low: float
    high: float
    own: bool = False


def check_picture(path: Path) -> None:
    """Raises UsageError without matplotlib or for a suffix that it cannot write."""
    try:
        import matplotlib  # noqa: F401 - only whether it is there
    except ImportError:
        raise UsageError("plots need matplotlib: pip install 'spresso_cli[plot]'") from None
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a plot is written as {', '.join(FORMATS)}")


def sound_figure(path: Path, samples: np.ndarray, rate: int, title: str) -> bytes:
    """Waveform and spectrogram of a sound [n, C], as the bytes of a picture that is to be `path`.

    PNG, SVG or PDF by suffix. Raises what `check_picture` does.
    """
    seconds = len(samples) / rate
    levels = level_map(samples, rate, 1200, 400)
    top = max(-60.0, float(levels.max()))
    picture = io.BytesIO()
    with _figure(picture, path, (9, 5)) as figure:
        from matplotlib.colors import ListedColormap

        wave, spectrum = figure.subplots(2, 1, height_ratios=(1, 3), sharex=True)
        for channel in samples.T:
            edges = np.linspace(0, len(channel), min(len(channel), 1800) + 1).astype(int)
            at = np.linspace(0.0, seconds, len(edges) - 1)
            low = np.minimum.reduceat(channel, edges[:-1])
            high = np.maximum.reduceat(channel, edges[:-1])
            wave.fill_between(at, low, high, color=ACCENT, alpha=0.8, linewidth=0.5)
        limit = max(float(np.max(np.abs(samples))), 1e-4) * 1.05
        # Bytes of a name that are no UTF-8 have no glyphs, and matplotlib takes no surrogates.
        printable = title.encode("utf-8", "backslashreplace").decode("utf-8")
        wave.set(ylim=(-limit, limit), title=printable)
        image = spectrum.imshow(
            levels,
            extent=(0.0, seconds, 0.0, 1.0),
            aspect="auto",
            cmap=ListedColormap(palette() / 255),
            vmin=top - RANGE_DB,
            vmax=top,
        )
        ticks = [hz for hz in (0, 500, 1000, 2000, 4000, 8000, 16_000) if hz < rate / 2]
        spectrum.set_yticks(
            [height_of(hz, rate) for hz in ticks], [f"{hz / 1000:g}" for hz in ticks]
        )
        spectrum.set(xlabel="seconds", ylabel="kHz")
        figure.colorbar(image, ax=spectrum, label="dB of full scale", pad=0.01)
    return picture.getvalue()


def rate_quality_figure(path: Path, panels: Sequence[tuple[str, Sequence[Point]]]) -> None:
    """Quality against bitrate on a logarithmic axis, one panel for each (metric, points)."""
    with _file(path, (4.2 * len(panels), 3.8)) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)
        for axis, (metric, points) in zip(axes[0], panels, strict=True):
            for series in dict.fromkeys(p.series for p in points):
                _line(axis, sorted((p for p in points if p.series == series), key=lambda p: p.kbps))
            axis.set(xscale="log", xlabel="kbps of file", title=metric)
            axis.set_xticks(RATE_TICKS, [f"{kbps:g}" for kbps in RATE_TICKS])
            axis.minorticks_off()
            rates = [p.kbps for p in points]
            axis.set_xlim(0.7 * min(rates), 2.2 * max(rates))  # room for the last label
            axis.grid(alpha=0.25)


def curves_figure(
    path: Path,
    panels: Sequence[tuple[str, Sequence[Point]]],
    axis_label: str,
    ticks: Sequence[float],
    bounds: Sequence[Sequence[tuple[str, float]]] = (),
) -> None:
    """Several series of ours on a logarithmic axis, a colour each, one panel for each title.

    `bounds` holds, for each panel, named values without a place on the axis: dashed lines, in the
    colour of the series of that name where there is one.
    """
    names = list(dict.fromkeys(p.series for _, points in panels for p in points))
    with _file(path, (4.2 * len(panels), 4.2)) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for number, (axis, (title, points)) in enumerate(zip(axes, panels, strict=True)):
            for at, series in enumerate(names):
                own = sorted((p for p in points if p.series == series), key=lambda p: p.kbps)
                if own:
                    _errors(axis, own, SERIES[at % len(SERIES)], series)
            for name, value in bounds[number] if bounds else ():
                known = name in names
                colour = SERIES[names.index(name) % len(SERIES)] if known else PEER
                axis.axhline(value, color=colour, linestyle="--", linewidth=1)
                if known:
                    continue
                axis.annotate(name, (1.0, value), xycoords=("axes fraction", "data"),
                              ha="right", va="bottom", fontsize=7, color=PEER)  # fmt: skip
            axis.set(xscale="log", xlabel=axis_label, title=title)
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
            places = [p.kbps for p in points]
            axis.set_xlim(0.8 * min(places), 1.25 * max(places))
            axis.grid(alpha=0.25)
        axes[0].legend(fontsize=7, frameon=False)


def mushra_figure(path: Path, results: Sequence[Result]) -> bytes:
    """Mean scores with 95 % intervals, one panel a question; bytes as of `sound_figure`."""
    questions = list(dict.fromkeys(r.question for r in results))
    picture = io.BytesIO()
    with _figure(picture, path, (5 * len(questions), 3.8)) as figure:
        axes = figure.subplots(1, len(questions), squeeze=False)
        for axis, question in zip(axes[0], questions, strict=True):
            shown = [r for r in results if r.question == question][::-1]
            values = np.array([r.score.value for r in shown])
            reach = [
                values - [r.score.low for r in shown],
                [r.score.high for r in shown] - values,
            ]
            axis.errorbar(values, range(len(shown)), xerr=reach, fmt="o", color=ACCENT, capsize=3)
            axis.set_yticks(range(len(shown)), [r.condition for r in shown])
            axis.set(xlim=(0, 100), xlabel="MUSHRA score", title=question or "score")
            axis.grid(axis="x", alpha=0.25)
    return picture.getvalue()


def _line(axis: Axes, points: Sequence[Point]) -> None:
    colour = ACCENT if points[0].own else PEER
    _errors(axis, points, colour)
    axis.annotate(
        points[0].series,
        (points[-1].kbps, points[-1].value),
        xytext=(5, 4),
        textcoords="offset points",
        fontsize=8,
        color=colour,
    )


def _errors(axis: Axes, points: Sequence[Point], colour: str, label: str | None = None) -> None:
    """A line through points with their intervals."""
    values = np.array([p.value for p in points])
    reach = np.nan_to_num(
        [values - [p.low for p in points], np.array([p.high for p in points]) - values]
    )
    axis.errorbar(
        [p.kbps for p in points],
        values,
        yerr=np.maximum(reach, 0.0),
        fmt="o-",
        color=colour,
        capsize=2,
        markersize=4,
        label=label,
    )


@contextmanager
def _file(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure that is written to `path` afterwards."""
    picture = io.BytesIO()  # first: a picture that fails leaves no file
    with _figure(picture, path, size) as figure:
        yield figure
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture.getvalue())


@contextmanager
def _figure(picture: BinaryIO, path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure that is drawn into `picture` afterwards; no window, no global state."""
    check_picture(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        figure.savefig(picture, format=path.suffix.lower().removeprefix("."), dpi=150)
