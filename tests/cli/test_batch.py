"""What compress and decompress have in common: reports that are begun, times that are told."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.container import spr, tlv

from .conftest import Bench, make_stream, write_sound


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_report_goes_through_a_pipe(spresso, bench: Bench) -> None:
    """As one that a shell makes: --report >(jq .status)."""
    os.mkfifo("pipe")
    write_sound(Path("door.wav"))
    with ThreadPoolExecutor(1) as reader:
        seen = reader.submit(Path("pipe").read_text)
        assert spresso("compress", "door.wav", "-f", "--report", "pipe").code == 0
    assert json.loads(seen.result())["status"] == "done"


@pytest.mark.parametrize("flags", [(), ("-f",), ("--dry-run",), ("--shard", "0/2")])
def test_a_report_that_is_an_output_or_an_input_is_misuse(
    spresso, bench: Bench, flags: tuple[str, ...]
) -> None:
    names = [write_sound(Path(f"{letter}.wav")) for letter in "ab"]
    before = names[0].read_bytes()
    for report, words in (("b.spr", "is the output b.spr"), ("a.wav", "is the input a.wav")):
        shown = spresso("compress", *names, "--report", report, *flags)
        assert shown.code == 2
        assert shown.stderr == f"spresso: the report {report} {words}: choose another name\n"
    assert sorted(os.listdir()) == ["a.wav", "b.wav"]
    assert names[0].read_bytes() == before


@pytest.mark.parametrize(
    "command", [("compress", "-o", "list"), ("bundle", "-o", "list"), ("decompress", "-o", "list")]
)
def test_a_list_of_inputs_is_no_output(spresso, bench: Bench, command: tuple[str, ...]) -> None:
    Path("list").write_text("door.wav\n")
    shown = spresso(*command, "--files-from", "list", "-f")
    assert shown.code == 2 and "the output list is the input list" in shown.stderr
    assert Path("list").read_text() == "door.wav\n"


def test_a_folder_that_cannot_be_written_into_is_one_line_a_file_before_any_work(
    spresso, bench: Bench
) -> None:
    names = [write_sound(Path(f"{n}.wav")) for n in range(2)]
    Path("file").touch()
    shown = spresso("compress", *names, "--output-dir", "file/inside")
    assert shown.code == 1
    lines = shown.stderr.splitlines()
    assert lines[0].startswith(f"spresso: 0.wav: {Path('file/inside/0.spr')} cannot be written: ")
    assert lines[2] == "2 files: 2 failed"
    assert bench.loads == []


def test_what_went_into_the_output_folder_is_no_input_of_the_next_run(
    spresso, bench: Bench
) -> None:
    """There and back into one folder inside the library, and there again."""
    write_sound(Path("lib/door.wav"))
    into = ("-r", "lib", "--output-dir", "lib/out")
    assert spresso("compress", *into).code == 0
    assert spresso("decompress", "-r", "lib/out").code == 0
    (again,) = spresso("compress", *into, "--resume", "--json").records
    assert (again["path"], again["status"]) == ("door.wav", "skipped")
    shown = spresso("decompress", *into)
    assert shown.code == 2
    assert "none was found outside the output folder lib/out" in shown.stderr


def test_resume_learns_from_the_report_that_two_sources_swapped_places(
    spresso, bench: Bench
) -> None:
    run = ("compress", "a.wav", "b.wav", "--resume", "--report", "log.jsonl")
    for age, name in enumerate(("a.wav", "b.wav")):
        soundfile.write(name, np.full(100, (-1) ** age / 2), 48_000)  # of one level
        os.utime(name, (age, age))
    assert spresso(*run).code == spresso(*run).code == 0
    os.rename("a.wav", "c.wav")
    os.rename("b.wav", "a.wav")
    os.rename("c.wav", "b.wav")
    shown = spresso(*run)
    assert shown.code == 1
    assert "a.spr exists and was made of another source: -f replaces it" in shown.stderr
    assert spresso(*run, "-f").code == spresso(*run).code == 0


# Notes.


def write_cut_off(count: int) -> list[Path]:
    """So many sounds, of which less and less is there."""
    paths = [write_sound(Path(f"{number}.wav")) for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(path.read_bytes()[: 4000 - 500 * number])
    return paths


def test_a_note_of_a_kind_is_said_once_and_then_counted(spresso, bench: Bench) -> None:
    paths = write_cut_off(4)
    *_, count, total = lines = spresso("compress", *paths).stderr.splitlines()
    assert [line for line in lines if "cut off?" in line] == [
        "0.wav: ends after 0.04 of 0.10 s: cut off?",
        "4 files: ends after … of … s: cut off? (-v names them)",
    ]
    assert count.startswith("4 files: ends") and total.startswith("4 files: 4 done")


def test_every_note_is_told_in_full_to_those_who_ask(spresso, bench: Bench) -> None:
    paths = write_cut_off(3)
    verbose = spresso("compress", "-v", *paths, "--report", "log.jsonl").stderr
    assert verbose.count("cut off?") == 3 and "files: ends" not in verbose
    assert spresso("compress", "-q", "-f", *paths).stderr == ""
    told = [record["notes"] for record in spresso("compress", "-f", *paths, "--json").records]
    assert told == [[f"ends after {s} of 0.10 s: cut off?"] for s in ("0.04", "0.04", "0.03")]
    logged = [json.loads(line)["notes"] for line in Path("log.jsonl").read_text().splitlines()]
    assert logged == told


def test_a_note_about_one_file_is_not_counted(spresso, bench: Bench) -> None:
    """However many takes of it there are."""
    stream = make_stream(100, metadata=((tlv.CUE, b"1234"),))
    Path("door.spr").write_bytes(spr.write(stream))
    shown = spresso("decompress", "door.spr", "--variations", 3, "--format", "flac")
    assert shown.stderr.count("door.spr: flac cannot hold cue: wav can\n") == 1
    assert "files: flac" not in shown.stderr


# Sounds beyond full scale.

LOUD = "peaks at +9.5 dBFS, which no decoded sound does: turn it down to keep them\n"


def write_float(name: str, *samples: tuple[float, ...]) -> str:
    soundfile.write(name, np.array(samples, np.float32), 48_000, subtype="FLOAT")
    return name


@pytest.mark.parametrize("held", [1 << 23, 1], ids=["short", "long"])
def test_peaks_that_will_be_lost_are_told(
    spresso, bench: Bench, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr("spresso_cli.library.ahead.HELD_BYTES", held)
    loud = write_float("loud.wav", (0.1, 0), (-3, 0), (0.2, 0))
    assert f"loud.wav: {LOUD}" in spresso("compress", loud).stderr
    mixed = write_float("mixed.wav", (6, 0), (0, 0))
    assert f"mixed.wav: {LOUD}" in spresso("compress", "--downmix", mixed).stderr


@pytest.mark.parametrize("arguments", [("full.wav",), ("--downmix", "wide.wav")])
def test_where_no_peak_is_lost_nothing_is_said(spresso, bench: Bench, arguments: tuple) -> None:
    """Less than a step of the gain is nothing; and channels may exceed what their mean does not."""
    write_float("full.wav", (-1.0,), (1.05,))
    write_float("wide.wav", (1.9, -1.9), (2.0, 0.0))
    assert "dBFS" not in spresso("compress", *arguments).stderr


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"gain": 241}, None),
        ({"gain": 247}, "+3 dBFS"),
        ({"channels": 2, "gain": 242, "levels": (200, 248)}, "+3.5 dBFS"),
        ({"channels": 2, "dual_mono": True, "gain": 242}, "+0.5 dBFS"),
    ],
)
def test_a_level_that_no_sound_can_have_is_told(
    spresso, bench: Bench, fields: dict, told: str | None, subtype: str
) -> None:
    Path("door.spr").write_bytes(spr.write(make_stream(100, **fields)))
    shown = spresso("decompress", "door.spr", "--subtype", subtype).stderr
    assert (f"its level of {told} is above full scale" in shown) if told else ("dBFS" not in shown)
