"""Tables of RESULTS.md and README.md and scores in the pack are the committed results."""

import csv
import re
from pathlib import Path

import pytest

from spresso_cli.codec.packs import installed_packs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")


def table(heading: str, text: str = RESULTS) -> list[list[str]]:
    """Cells of the rows of the table of `text` whose first heading is `heading`."""
    rows = rf"^\| {re.escape(heading)} \|.*\n\|[ :|-]+\|\n((?:\|.*\n)+)"
    block = re.search(rows, text, re.MULTILINE)
    assert block is not None
    return [[cell.strip() for cell in row.strip("| ").split("|")] for row in block[1].splitlines()]


def results(name: str) -> list[dict[str, str]]:
    with open(ROOT / "benchmarks" / "results" / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shown(value: str, digits: int) -> str:
    return f"{float(value):.{digits}f}" if value else "-"


QUALITY = {row["codec"]: row for row in results("quality.csv")}
SIMILARITY = {row["codec"]: row for row in results("similarity.csv")}
COLUMNS = (
    ("file_kbps", 3),
    ("si_sdr", 2),
    ("ms_mel", 3),
    ("fine", 3),
    ("loudness", 2),
    ("high_band", 2),
    ("cosine_clap", 3),
    ("fad_clap", 3),
)


@pytest.mark.parametrize("cells", table("codec"), ids=lambda cells: cells[0])
def test_each_row_of_the_quality_table_is_in_the_csv(cells: list[str]) -> None:
    row = QUALITY[cells[0]]
    assert cells[1:] == [shown(row[name], digits) for name, digits in COLUMNS]


@pytest.mark.parametrize("cells", table("codec", README), ids=lambda cells: cells[0])
def test_each_row_of_the_readme_is_in_both_csvs(cells: list[str]) -> None:
    own, heard = QUALITY[cells[0]], SIMILARITY[cells[0]]
    assert cells[1:] == [
        shown(own["file_kbps"], 2),
        shown(own["ms_mel"], 2),
        shown(own["fine"], 2),
        shown(own["fad_clap"], 3),
        shown(heard["birdnet"], 2),
    ]


def test_the_resemblance_table_is_the_csv() -> None:
    expected = [
        [
            shown(row["kbps"], 3),
            row["embedding"],
            shown(row["share"], 3),
            f"{shown(row['low'], 3)} to {shown(row['high'], 3)}",
            shown(row["control"], 3),
            shown(row["chance"], 3),
        ]
        for row in results("resemblance.csv")
    ]
    assert table("kbps") == expected


def test_the_similarity_table_is_the_csv() -> None:
    expected = [
        [
            row["codec"],
            shown(row["kbps"], 3),
            shown(row["birdnet"], 3),
            f"{shown(row['birdnet_low'], 3)} to {shown(row['birdnet_high'], 3)}",
        ]
        for row in SIMILARITY.values()
    ]
    assert table("system") == expected


LIBRARY = results("library.csv")


def test_the_library_table_is_every_row_of_the_csv_with_an_aim() -> None:
    expected = []
    for row in LIBRARY:
        whole = float(row["value"]) == round(float(row["value"]))
        value = shown(row["value"], 0 if whole else 2)
        expected.append([row["part"], row["what"], value, row["unit"], row["aim"]])
    assert table("part") == [cells for cells in expected if cells[-1]]


def test_the_sizes_of_a_clip_by_way_of_keeping_it_are_in_the_csv() -> None:
    sizes = {row["what"]: shown(row["value"], 0) for row in LIBRARY if row["part"] == "bundle"}
    tar, loose = (f"{int(sizes[name]):,}".replace(",", " ") for name in
                  ("tar", "loose on 4 KiB blocks"))  # fmt: skip
    text = " ".join(RESULTS.split())
    assert f"costs {sizes['bundle']} bytes in a bundle, {tar} in a tar" in text
    assert f"{loose} as a loose file" in text


def test_the_speed_table_is_the_csv() -> None:
    rows = [row for row in results("speed.csv") if not row["what"].startswith("cold")]
    assert sorted(table("what")) == sorted(
        [
            row["what"],
            shown(row["kbps"], 3).rstrip("0"),
            row["batch"],
            shown(row["seconds"], 2),
            shown(row["speed"], 1),
            shown(row["ratio"], 1 if float(row["ratio"]) < 10 else 0),
        ]
        for row in rows
    )


def test_the_readme_tells_the_speed_of_the_csv() -> None:
    speed = {
        (row["what"], row["kbps"], row["batch"]): float(row["speed"])
        for row in results("speed.csv")
    }
    many = [speed[key] for key in (("compress", "0.096", "8"), ("compress", "1.32", "8"))]
    text = " ".join(README.split())
    assert "compressed at {:.0f} times real time at 0.096 kbps and at {:.0f}".format(*many) in text
    assert f"decompressed at {speed['decompress', '1.32', '8']:.0f} times" in text
    assert f"{speed['decompress', '0.096', '8']:.0f}" == f"{speed['decompress', '1.32', '8']:.0f}"


def test_the_scores_in_the_pack_are_the_csvs() -> None:
    scores = installed_packs()[0].scores
    for name, rows, column in (
        ("ms_mel", QUALITY, "ms_mel"),
        ("fad_clap", QUALITY, "fad_clap"),
        ("cosine_birdnet", SIMILARITY, "birdnet"),
    ):
        measured = {
            kbps: round(float(rows[f"spresso {kbps}"][column]), 3) for kbps in scores["ms_mel"]
        }
        assert scores[name] == measured
    ranked: dict[str, dict[str, float]] = {}
    for row in results("resemblance.csv"):
        kbps = ranked.setdefault(f"{float(row['kbps']):g}", {})
        kbps[row["embedding"]] = round(float(row["share"]), 3)
    assert scores["first_among_20"] == ranked
