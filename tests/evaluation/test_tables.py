"""Tables: aligned text, markdown that renders, CSV that reads back."""

from __future__ import annotations

import csv
import io
import math

from spresso_cli.evaluation.tables import Column, Table

TABLE = Table(
    (Column("codec", "codec"), Column("kbps", "kbps", 3), Column("clips", "clips")),
    (
        {"codec": "spresso", "kbps": 0.096, "clips": 30},
        {"codec": "Opus, 6", "kbps": 6.25, "clips": 30},
        {"codec": "latents", "kbps": math.nan},
    ),
)


def test_text_aligns_numbers_right_and_names_left() -> None:
    assert TABLE.render() == (
        "codec     kbps  clips\n"
        "-------  -----  -----\n"
        "spresso  0.096     30\n"
        "Opus, 6  6.250     30\n"
        "latents      -      -\n"
    )


def test_markdown_marks_the_columns_of_numbers() -> None:
    lines = TABLE.render("markdown").splitlines()
    assert lines[1] == "| ------- | ----: | ----: |"
    assert lines[3] == "| Opus, 6 | 6.250 |    30 |"


def test_csv_reads_back_with_absent_cells_empty() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLE.render("csv"))))
    assert rows[1] == {"codec": "Opus, 6", "kbps": "6.25", "clips": "30"}
    assert rows[2] == {"codec": "latents", "kbps": "", "clips": ""}


def test_csv_keeps_line_ends_inside_names_apart_from_its_own() -> None:
    names = ["a\rb", "a\nb", "a\r\nb", "a\r"]
    text = Table(TABLE.columns[:1], tuple({"codec": name} for name in names)).render("csv")
    assert [row["codec"] for row in csv.DictReader(io.StringIO(text, newline=""))] == names
    assert text.startswith("codec\n")


def test_a_table_without_rows_is_its_heading() -> None:
    assert Table(TABLE.columns, ()).render().startswith("codec  kbps  clips\n")
