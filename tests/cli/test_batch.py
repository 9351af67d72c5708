"""What compress and decompress have in common: reports that are begun, times that are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Bench, write_sound


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_shard_without_work_begins_no_report(spresso, bench: Bench) -> None:
    """An empty one would look like that of a run that was cut short."""
    write_sound(Path("door.wav"))
    for index in range(2):
        shard = ("--shard", f"{index}/2")
        assert spresso("compress", "door.wav", *shard, "--report", f"{index}.jsonl").code == 0
    reports = sorted(Path().glob("*.jsonl"))
    assert len(reports) == 1
    assert spresso("report", *reports).code == 0


def test_the_report_of_a_rerun_tells_what_was_only_kept(spresso, bench: Bench) -> None:
    write_sound(Path("door.wav"))
    for _ in range(2):
        spresso("compress", "door.wav", "--report", "log.jsonl")
    first, second = map(json.loads, Path("log.jsonl").read_text().splitlines())
    assert (first["status"], "kept" in first) == ("done", False)
    assert (second["status"], second["kept"], second["exit_code"]) == ("failed", True, 1)


def test_a_folder_that_cannot_be_written_into_is_one_line_a_file_before_any_work(
    spresso, bench: Bench
) -> None:
    names = [write_sound(Path(f"{n}.wav")) for n in range(2)]
    Path("file").touch()
    shown = spresso("compress", *names, "--output-dir", "file/inside")
    assert shown.code == 1
    lines = shown.stderr.splitlines()
    assert lines[0].startswith("spresso: 0.wav: file/inside/0.spr cannot be written: ")
    assert lines[2] == "2 files: 2 failed"
    assert bench.loads == []
