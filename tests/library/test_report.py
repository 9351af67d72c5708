"""Reports: lines that survive killed writers and odd names, and the sums over many of them."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spresso_cli.errors import CorruptStream, OutputError, SpressoError
from spresso_cli.library.engine import FileResult
from spresso_cli.library.plan import Job
from spresso_cli.library.report import Origin, ReportWriter, merge, origins, record, summarise

from .conftest import Endless


def result(name: str = "x/a.wav", status: str = "done", **fields) -> FileResult:
    job = Job(Path(name), Path(name).with_suffix(".spr"), name, fields.pop("seed", None))
    fields = {"seconds": 0.5, "source_bytes": 1000, "output_bytes": 73, "duration": 5.0} | fields
    return FileResult(job, status, **fields)


def write(path: Path, *results: FileResult) -> None:
    with ReportWriter(path) as report:
        for each in results:
            report.add(each)


def test_a_result_is_one_json_line(tmp_path: Path) -> None:
    write(tmp_path / "log/r.jsonl", result())
    (line,) = (tmp_path / "log/r.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "path": "x/a.wav",
        "source": str(Path("x/a.wav")),
        "output": str(Path("x/a.spr")),
        "status": "done",
        "source_bytes": 1000,
        "output_bytes": 73,
        "duration": 5.0,
        "seconds": 0.5,
    }


def test_a_failure_says_why_and_a_take_says_its_seed() -> None:
    fields = record(result(status="failed", error=CorruptStream("broken"), seed=3))
    assert (fields["error"], fields["exit_code"], fields["seed"]) == ("broken", 3, 3)


def test_a_failure_says_if_it_only_kept_what_was_there() -> None:
    assert record(kept())["kept"] is True
    assert "kept" not in record(FAILED)


def test_stdin_and_stdout_have_no_names() -> None:
    fields = record(FileResult(Job(None, None, "-"), "done"))
    assert (fields["path"], fields["source"], fields["output"]) == ("-", None, None)


def test_half_a_line_is_an_error(tmp_path: Path) -> None:
    """What a disk does that fills up, and a limit on the size of files."""
    resource = pytest.importorskip("resource", reason="limits are POSIX")
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ReportWriter(tmp_path / "r.jsonl") as report:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, most))
        try:
            with pytest.raises(OutputError, match="no room for a line"):
                report.add(result())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_reports_are_appended_to(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write(tmp_path / "r.jsonl", result(name))
    records, damaged = merge([tmp_path / "r.jsonl"])
    assert [fields["path"] for fields in records] == ["a.wav", "b.wav"]
    assert damaged == 0


@pytest.mark.parametrize("name", ["\udcff.wav", "two\nlines.wav", "ü💥.wav"])
def test_odd_names_survive(tmp_path: Path, name: str) -> None:
    write(tmp_path / "r.jsonl", result(name))
    ((fields,), _) = merge([tmp_path / "r.jsonl"])
    assert fields["path"] == fields["source"] == name
    assert len((tmp_path / "r.jsonl").read_bytes().splitlines()) == 1


def test_the_last_record_of_an_output_wins(tmp_path: Path) -> None:
    write(tmp_path / "0.jsonl", result("a.wav", "failed", error=SpressoError("x")), result("b.wav"))
    write(tmp_path / "1.jsonl", result("a.wav"))
    records, _ = merge([tmp_path / "0.jsonl", tmp_path / "1.jsonl"])
    assert [(fields["path"], fields["status"]) for fields in records] == [
        ("a.wav", "done"),
        ("b.wav", "done"),
    ]


def kept(**fields) -> FileResult:
    """A try that failed because this very output was there."""
    return result(status="failed", kept=True, error=OutputError("exists already"), **fields)


FAILED = result(status="failed", error=SpressoError("disk full"))
SKIPPED = result(status="skipped", seconds=0.001)


@pytest.mark.parametrize(
    ("tries", "status", "seconds"),
    [
        ([result(), SKIPPED], "done", 0.5),
        ([result(), SKIPPED, SKIPPED], "done", 0.5),
        ([result(), kept()], "done", 0.5),
        ([result(), SKIPPED, kept()], "done", 0.5),
        ([result(), FAILED, SKIPPED], "done", 0.5),
        ([result(), result(seconds=0.7), SKIPPED], "done", 0.7),
        ([SKIPPED, kept()], "skipped", 0.001),
        ([FAILED, SKIPPED], "skipped", 0.001),
        ([FAILED, kept()], "failed", 0),
        ([kept()], "failed", 0),
        ([result(), FAILED], "failed", 0),
        ([result(), kept(), FAILED], "failed", 0),
    ],
)
def test_what_was_made_stays_made_until_a_try_fails_for_another_reason(
    tmp_path: Path, tries: list[FileResult], status: str, seconds: float
) -> None:
    write(tmp_path / "r.jsonl", *tries)
    ((fields,), _) = merge([tmp_path / "r.jsonl"])
    assert fields["status"] == status
    assert summarise([fields]).seconds == seconds


def test_takes_of_one_file_are_different_outputs(tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl", result(seed=1), result(seed=2))
    assert len(merge([tmp_path / "r.jsonl"])[0]) == 2


def test_a_line_cut_by_a_kill_is_counted_and_the_next_run_starts_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, result("a.wav"))
    path.write_bytes(path.read_bytes() + b'{"path": "b.w')
    write(path, result("c.wav"))
    records, damaged = merge([path])
    assert [fields["path"] for fields in records] == ["a.wav", "c.wav"]
    assert damaged == 1


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[1]",
        b"\xff",
        b'{"path": 1, "status": "done"}',
        b'{"path": "a", "status": "gone"}',
        b'{"path": "a", "status": ["done"]}',
        b'{"path": "a", "status": "done", "source_bytes": "x"}',
        json.dumps(record(result()) | {"duration": float("nan")}).encode(),
        b"[" * 100_000,
        *(
            json.dumps(record(result()))[:-1].encode() + b', "more": %s}' % value
            for value in (b"NaN", b"[-Infinity]", b"1e999", b"[" * 900 + b"]" * 900)
        ),
    ],
)
def test_lines_of_others_do_no_harm(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "r.jsonl").write_bytes(line + b"\n")
    assert merge([tmp_path / "r.jsonl"]) == ([], 1)


def test_a_report_without_a_record_is_told_from_others(tmp_path: Path) -> None:
    write(tmp_path / "0.jsonl")
    write(tmp_path / "1.jsonl", result())
    barren = []
    merge([tmp_path / "0.jsonl", tmp_path / "1.jsonl"], barren=barren.append)
    assert barren == [tmp_path / "0.jsonl"]


def test_a_report_is_read_from_stdin_and_does_not_close_it(tmp_path: Path) -> None:
    write(tmp_path / "r.jsonl", result())
    stdin = io.BytesIO((tmp_path / "r.jsonl").read_bytes())
    assert len(merge([None], lambda: stdin)[0]) == 1
    assert not stdin.closed


def test_a_summary_adds_up_what_exists(tmp_path: Path) -> None:
    results = [
        result("a.wav"),
        result("b.wav", "skipped"),
        result("c.wav", "failed", output_bytes=0, error=SpressoError("no sound")),
    ]
    write(tmp_path / "r.jsonl", *results)
    summary = summarise(merge([tmp_path / "r.jsonl"])[0])
    assert (summary.outputs, summary.done, summary.skipped, summary.failed) == (3, 1, 1, 1)
    assert (summary.source_bytes, summary.output_bytes) == (2000, 146)
    assert (summary.duration, summary.seconds) == (10.0, 1.0)
    assert [fields["error"] for fields in summary.failures] == ["no sound"]


def test_a_report_that_cannot_be_written_or_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        ReportWriter(tmp_path)
    with pytest.raises(SpressoError, match="No such file"):
        merge([tmp_path / "missing.jsonl"])


def test_somebody_elses_file_is_no_report(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    with pytest.raises(OutputError, match="a.wav is no report"):
        ReportWriter(path)
    assert path.read_bytes() == b"RIFF"


# Pipes, devices and lines without end.


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_is_only_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert origins(path)(result().job) is None  # where nobody writes, reading would never end
    with ThreadPoolExecutor(1) as reader:
        seen = reader.submit(path.read_bytes)
        write(path, result("a.wav"), result("b.wav"))
    assert [json.loads(line)["path"] for line in seen.result().splitlines()] == ["a.wav", "b.wav"]


@pytest.mark.skipif(
    os.name == "nt" or not os.path.exists("/dev/full"), reason="the devices of Linux"
)
def test_a_device_is_only_written_to() -> None:
    for device in ("/dev/zero", "/dev/null"):
        write(Path(device), result())
        assert origins(Path(device))(result().job) is None
    with pytest.raises(OutputError, match="the report /dev/full cannot be written: No space"):
        write(Path("/dev/full"), result())


def test_a_report_that_nobody_asks_is_not_read(tmp_path: Path) -> None:
    """It may be a long one; and what it says is asked for where an output is there already."""
    origin = origins(tmp_path / "r.jsonl")
    write(tmp_path / "r.jsonl", result(origin=Origin(1000, 7.0)))
    assert origin(result().job) == Origin(1000, 7.0)


@pytest.mark.parametrize(
    ("statuses", "made_of"),
    [
        (["done", "done"], 2),
        (["done", "skipped"], 1),  # of what it was made is known
        (["skipped", "skipped"], 1),  # of what it was when it was first looked at
        (["skipped", "done"], 2),
        (["done", "failed"], 1),  # nothing was made
        (["failed"], None),
    ],
)
def test_an_output_was_made_of_what_the_source_was_when_it_was_made(
    tmp_path: Path, statuses: list[str], made_of: int | None
) -> None:
    for age, status in enumerate(statuses, start=1):
        write(tmp_path / "r.jsonl", result(status=status, origin=Origin(1000, age)))
    origin = origins(tmp_path / "r.jsonl")(result().job)
    assert origin == (None if made_of is None else Origin(1000, made_of))


def test_a_line_too_long_for_memory_is_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, result("a.wav"))
    with open(path, "ab") as file:  # a sparse one, as a machine that crashed may leave it
        file.write(b"{")
        file.truncate(path.stat().st_size + (1 << 27))
    write(path, result("b.wav", origin=Origin(1000, 7.0)))
    tracemalloc.start()
    try:
        records, damaged = merge([path])
        assert origins(path)(result("b.wav").job) == Origin(1000, 7.0)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert ([fields["path"] for fields in records], damaged) == (["a.wav", "b.wav"], 1)


def test_a_pipe_that_begins_like_no_report_is_not_read_to_its_end() -> None:
    pipe, barren = Endless(b"x"), []
    assert merge([None], lambda: io.BufferedReader(pipe), barren.append) == ([], 1)
    assert barren == [None]
    assert pipe.given <= 1 << 21
