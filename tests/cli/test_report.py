"""`report`: shards and reruns add up, and failures are neither lost nor counted twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import write_sound


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


@pytest.fixture
def failing(logs: list[Path]) -> list[Path]:
    """Five files that failed for one reason, two for another, and one."""
    full = [(f"{n}.wav", f"{n}.wav.spr exists already: -f replaces it") for n in range(5)]
    nan = [(name, f"sample {7 * ord(name)} of channel 1 is nan") for name in "xy"]
    lines = [line(name, "failed", error=text) for name, text in [*nan, *full, ("z", "no sound")]]
    logs[1].write_text("\n".join(lines))
    return logs


def test_failures_are_grouped_by_what_went_wrong(spresso, failing: list[Path]) -> None:
    shown = spresso("report", *failing)
    assert shown.code == 1
    assert shown.stdout.splitlines()[-5:] == [
        "failed  5 outputs: … exists already: -f replaces it",
        "        0.wav, 1.wav, 2.wav and 2 more",
        "failed  2 outputs: sample … of channel … is nan",
        "        x, y",
        "failed  z: no sound",
    ]
    assert spresso("report", "-v", *failing).stdout.count("failed  ") == 8


def test_json_has_every_failure_and_every_reason(spresso, failing: list[Path]) -> None:
    (record,) = spresso("report", "--json", *failing).records
    assert len(record["failures"]) == 8
    assert [(reason["count"], reason["examples"]) for reason in record["reasons"]] == [
        (5, ["0.wav", "1.wav", "2.wav"]),
        (2, ["x", "y"]),
        (1, ["z"]),
    ]


def test_json_gives_the_sums_and_the_failures(spresso, logs: list[Path]) -> None:
    (record,) = spresso("report", "--json", *logs).records
    assert (record["outputs"], record["done"], record["failures"]) == (3, 3, [])
    assert record["damaged_lines"] == 0


def test_a_line_cut_off_by_a_kill_is_passed_over_and_told(spresso, logs: list[Path]) -> None:
    logs[1].write_text(line("c") + "\n" + line("d")[:40])
    assert "1 lines passed over" in spresso("report", *logs).stdout


@pytest.mark.parametrize("value", ["NaN", "1e999", '{"a": ' * 900 + "1" + "}" * 900])
def test_what_cannot_be_written_again_is_passed_over(
    spresso, logs: list[Path], tmp_path: Path, value: str
) -> None:
    logs[1].write_text(line("c", "failed")[:-1] + f', "more": {value}}}\n' + line("d"))
    assert "1 lines passed over" in spresso("report", *logs, "-o", tmp_path / "all").stdout
    (record,) = spresso("report", *logs, "--json").records
    assert (record["done"], record["damaged_lines"]) == (3, 1)


def test_what_others_added_to_a_record_is_carried_along(spresso, logs: list[Path]) -> None:
    logs[1].write_text(line("c", more={"host": ["farm", 7.5, None]}))
    records = spresso("report", *logs, "-o", "-").records
    assert records[-1]["more"] == {"host": ["farm", 7.5, None]}


def test_the_merged_report_has_one_line_an_output(
    spresso, logs: list[Path], tmp_path: Path
) -> None:
    merged = tmp_path / "all.jsonl"
    assert spresso("report", *logs, "-o", merged).code == 0
    assert [json.loads(text)["path"] for text in merged.read_text().splitlines()] == list("abc")
    assert spresso("report", *logs, "-o", merged).code == 1
    assert spresso("report", *logs, "-f", "-o", merged).code == 0


def test_the_merged_report_does_not_replace_what_it_is_made_of(
    spresso, logs: list[Path], tmp_path: Path
) -> None:
    before = logs[0].read_bytes()
    shown = spresso("report", *logs, "-f", "-o", logs[0])
    assert shown.code == 2 and "is the input" in shown.stderr
    shown = spresso("report", *logs, "-o", tmp_path / "all.wav")
    assert shown.code == 2 and "name it .jsonl" in shown.stderr
    assert logs[0].read_bytes() == before


def test_a_report_can_come_and_go_through_pipes(
    spresso, logs: list[Path], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stdin = b"".join(path.read_bytes() + b"\n" for path in logs)
    assert "3: 3 done" in spresso("report", "-", stdin=stdin).stdout
    shown = spresso("report", *logs, "-o", "-")
    assert [record["path"] for record in shown.records] == list("abc")
    assert "3: 3 done" in shown.stderr
    assert not Path("-").exists()


def test_one_stream_carries_one_thing(spresso, logs: list[Path]) -> None:
    assert spresso("report", *logs, "--json", "-o", "-").code == 2
    assert spresso("report", "-", "-", stdin=logs[0].read_bytes()).code == 2


@pytest.mark.parametrize("content", [b"", b"RIFF", b'{"path": "a"}\n', line("a")[:50].encode()])
def test_what_has_no_record_is_one_line_and_exit_1(spresso, tmp_path: Path, content: bytes) -> None:
    """So that `report log.jsonl && rm sources` keeps them."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    for shown in (spresso("report", "-q", path), spresso("report", path, "-o", tmp_path / "all")):
        assert (shown.code, shown.stdout) == (1, "")
        assert shown.stderr.startswith(f"spresso: {path}: not one line is a record")
        assert shown.stderr.count("\n") == 1
    assert not (tmp_path / "all").exists()


def test_beside_others_it_is_exit_1_too(spresso, logs: list[Path]) -> None:
    logs[1].write_bytes(b"")
    shown = spresso("report", *logs)
    assert shown.code == 1
    assert "2: 2 done" in shown.stdout
    assert str(logs[1]) in shown.stderr


def test_a_rerun_takes_nothing_away_from_what_was_done(
    spresso, bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [write_sound(Path(f"{n}.wav")) for n in range(2)]
    for flags in ((), ("--resume",), ()):
        spresso("compress", *names, *flags, "--report", "log.jsonl")
        assert "2: 2 done, 0 skipped, 0 failed" in spresso("report", "log.jsonl").stdout


def test_a_missing_report_is_one_line(spresso) -> None:
    shown = spresso("report", "nowhere.jsonl")
    assert shown.code == 1
    assert shown.stderr.count("\n") == 1
