"""`report`: shards and reruns add up, and failures are neither lost nor counted twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def line(path: str, status: str = "done", **fields: object) -> str:
    record = {
        "path": path,
        "source": path,
        "output": f"{path}.spr",
        "status": status,
        "source_bytes": 1_000_000,
        "output_bytes": 1_000,
        "duration": 60.0,
        "seconds": 2.0,
    }
    return json.dumps(record | fields)


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    """Two shards; the first one's failure was mended by a second run."""
    first, second = tmp_path / "0.jsonl", tmp_path / "1.jsonl"
    first.write_text("\n".join([line("a"), line("b", "failed", error="empty"), line("b")]))
    second.write_text(line("c") + "\n")
    return [first, second]


def test_shards_add_up(spresso, logs: list[Path]) -> None:
    shown = spresso("report", *logs)
    assert shown.code == 0
    assert "3: 3 done, 0 skipped, 0 failed" in shown.stdout
    assert "3:00" in shown.stdout
    assert "3.0 MB -> 3,000 B (1,000x smaller)" in shown.stdout


def test_a_failure_is_named_and_is_exit_1(spresso, logs: list[Path]) -> None:
    logs[1].write_text(line("c", "failed", error="no samples"))
    shown = spresso("report", *logs)
    assert shown.code == 1
    assert "failed  c: no samples" in shown.stdout


def test_json_gives_the_sums_and_the_failures(spresso, logs: list[Path]) -> None:
    (record,) = spresso("report", "--json", *logs).records
    assert (record["outputs"], record["done"], record["failures"]) == (3, 3, [])
    assert record["damaged_lines"] == 0


def test_a_line_cut_off_by_a_kill_is_passed_over_and_told(spresso, logs: list[Path]) -> None:
    logs[1].write_text(line("c") + "\n" + line("d")[:40])
    assert "1 lines passed over" in spresso("report", *logs).stdout


def test_the_merged_report_has_one_line_an_output(
    spresso, logs: list[Path], tmp_path: Path
) -> None:
    merged = tmp_path / "all.jsonl"
    assert spresso("report", *logs, "-o", merged).code == 0
    assert [json.loads(text)["path"] for text in merged.read_text().splitlines()] == list("abc")
    assert spresso("report", *logs, "-o", merged).code == 1
    assert spresso("report", *logs, "-f", "-o", merged).code == 0


def test_a_missing_report_is_one_line(spresso) -> None:
    shown = spresso("report", "nowhere.jsonl")
    assert shown.code == 1
    assert shown.stderr.count("\n") == 1
