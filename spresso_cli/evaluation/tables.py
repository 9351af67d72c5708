"""Tables that can be rendered as aligned text, markdown or CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Cell = str | int | float | None
Format = Literal["text", "markdown", "csv"]


@dataclass(frozen=True)
class Column:
    """A column: its key in the rows, its heading, and the decimals its floats are shown with."""

    key: str
    heading: str
    decimals: int = 2


@dataclass(frozen=True)
class Table:
    """Columns and rows; a row is a mapping from column keys to cells, absent ones shown as '-'."""

    columns: tuple[Column, ...]
    rows: tuple[dict[str, Cell], ...]

    def render(self, form: Format = "text") -> str:
        """The whole table as one string ending in a newline.

        Text and markdown round floats to the column's decimals; CSV keeps six significant digits
        and leaves absent cells empty, so that it can be read back.
        """
        if form == "csv":
            return self._csv()
        cells = [[_shown(row.get(c.key), c.decimals) for c in self.columns] for row in self.rows]
        headings = [c.heading for c in self.columns]
        numeric = [
            any(isinstance(row.get(c.key), int | float) for row in self.rows) for c in self.columns
        ]
        widths = [
            max(len(text) for text in (heading, *(line[i] for line in cells)))
            for i, heading in enumerate(headings)
        ]

        def line(texts: list[str], between: str) -> str:
            return between.join(
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(texts, widths, numeric, strict=True)
            )

        if form == "text":
            rule = "  ".join("-" * width for width in widths)
            lines = [line(headings, "  "), rule, *(line(row, "  ") for row in cells)]
            return "\n".join(text.rstrip() for text in lines) + "\n"
        rule = " | ".join(
            "-" * (width - 1) + ":" if right else "-" * width
            for width, right in zip(widths, numeric, strict=True)
        )
        lines = [line(headings, " | "), rule, *(line(row, " | ") for row in cells)]
        return "\n".join(f"| {text} |" for text in lines) + "\n"

    def _csv(self) -> str:
        lines = [_csv_line(c.key for c in self.columns)]
        lines += [_csv_line(_exact(row.get(c.key)) for c in self.columns) for row in self.rows]
        return "".join(lines)


def _csv_line(cells: Iterable[str]) -> str:
    # Python 3.11 quotes only the line ends that it writes itself: told to write "\n", it leaves a
    # "\r" in a cell as it is, and the row breaks there.
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().removesuffix("\r\n") + "\n"


def _absent(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _shown(cell: Cell, decimals: int) -> str:
    if _absent(cell):
        return "-"
    return f"{cell:.{decimals}f}" if isinstance(cell, float) else str(cell)


def _exact(cell: Cell) -> str:
    if _absent(cell):
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)
