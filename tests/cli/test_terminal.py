"""What reaches a person's screen: a live bar, no binary data; and what reaches a log: plain lines.

A pseudo-terminal stands for the person. The command line is the real one over the fake codec.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from rich.console import Console

from spresso_cli.cli.progress import BatchProgress, Tally
from spresso_cli.cli.terminal import Terminal
from spresso_cli.cli.training_progress import TrainingProgress
from spresso_cli.container import spr
from spresso_cli.errors import AudioError
from spresso_cli.library.engine import FileResult
from spresso_cli.library.plan import Job
from spresso_cli.library.report import ReportWriter

from .conftest import ROOT, in_shell, make_stream, write_sound

pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX")

FAKE = ROOT / "tests" / "library" / "fake_spresso.py"
QUOTED = shlex.quote(str(FAKE))  # for a shell


def on_screen(*arguments: object, stream: str, stdin: bytes = b"") -> tuple[int, str, bytes]:
    """Run with `stream` (stdout or stderr) on a terminal: exit code, text, the other's bytes."""
    screen, terminal = pty.openpty()
    other = "stderr" if stream == "stdout" else "stdout"
    process = subprocess.Popen(
        [sys.executable, str(FAKE), *map(str, arguments)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        **{stream: terminal, other: subprocess.PIPE},
    )
    os.close(terminal)
    with ThreadPoolExecutor(1) as reader:  # a terminal that nobody reads blocks who writes to it
        seen = reader.submit(read_all, screen)
        rest, errors = process.communicate(stdin)
    os.close(screen)
    return process.returncode, seen.result().decode(), rest or errors


def read_all(screen: int) -> bytes:
    seen = b""
    try:
        while chunk := os.read(screen, 65536):
            seen += chunk
    except OSError:  # how Linux says that the far end was closed
        pass
    return seen


def result(name: str = "a", status: str = "done", **fields) -> FileResult:
    job = Job(Path(f"{name}.wav"), Path(f"{name}.spr"), f"{name}.wav")
    return FileResult(job, status, 2.0, 1_000_000, 1_000, 60.0, **fields)


def test_binary_data_never_lands_on_a_screen(tmp_path: Path) -> None:
    data = write_sound(tmp_path / "a.wav").read_bytes()
    code, screen, errors = on_screen("compress", "-", stream="stdout", stdin=data)
    assert code == 2
    assert screen == ""
    assert b"refusing to write binary data to a terminal" in errors


def test_a_person_is_not_asked_to_type_a_sound() -> None:
    _, terminal = pty.openpty()
    process = subprocess.run(
        [sys.executable, "-m", "spresso_cli", "info", "-"],
        stdin=terminal,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    os.close(terminal)
    assert process.returncode == 2
    assert "stdin is a terminal" in process.stderr


@pytest.mark.parametrize("command", ["verify a.spr >&-", "verify - <&-", "info a.spr >&- 2>&-"])
def test_what_was_closed_before_is_not_written_to(command: str, tmp_path: Path) -> None:
    (tmp_path / "a.spr").write_bytes(spr.write(make_stream()))
    process = in_shell(f"PYTHON -m spresso_cli {command}", tmp_path)
    assert "internal error" not in process.stderr
    assert process.returncode == (2 if "<&-" in command else 0)


def test_a_name_cannot_command_the_terminal_through_a_remark(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stages of training tell of the sounds that they cannot read."""
    terminal = Terminal().configure(quiet=False, verbose=True, json=False)
    with TrainingProgress(terminal, "dit") as progress:
        progress.note("left out: a\x1b]0;b\x07.wav")
        progress._bar = SimpleNamespace(console=Console(file=sys.stderr), stop=lambda: None)
        progress.note("left out: c\x1b]0;d\x07.wav")
    terminal.detail("e\x1b]0;f\x07.wav")
    assert "\x1b" not in (shown := capsys.readouterr().err)
    assert [name in shown for name in ("a\\x1b]0;b", "c\\x1b]0;d", "e\\x1b]0;f")] == [True] * 3


def test_what_libraries_say_on_a_closed_stderr_does_not_get_into_files(tmp_path: Path) -> None:
    """libmpg123 complains there of damaged frames; the next file opened would have its number."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.mp3", rng.standard_normal(96_000) * 0.1, 48_000)
    data = bytearray((tmp_path / "a.mp3").read_bytes())
    for place in range(3000, len(data) - 3000, 700):
        data[place : place + 40] = rng.bytes(40)
    (tmp_path / "a.mp3").write_bytes(data)
    process = in_shell(f"PYTHON {QUOTED} compress a.mp3 --report a.jsonl 2>&-", tmp_path)
    assert process.returncode == 0
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(line)["status"] == "done"


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
def test_a_closed_stdout_is_an_error_by_its_name_too(tmp_path: Path) -> None:
    (tmp_path / "a.spr").write_bytes(spr.write(make_stream()))
    process = in_shell(f"PYTHON {QUOTED} decompress a.spr -o /dev/stdout >&-", tmp_path)
    assert process.returncode == 1
    assert "Bad file descriptor" in process.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        "decompress a.spr -o -",
        "decompress a.spr --json",
        "info a.spr",
        "models",
        "bundle a.spr -o -",
        "report r.jsonl -o -",
        "--version",
    ],
)
def test_a_stdout_that_is_full_is_named(command: str, tmp_path: Path) -> None:
    (tmp_path / "a.spr").write_bytes(spr.write(make_stream(48_000 * 10)))
    with ReportWriter(tmp_path / "r.jsonl") as report:
        report.add(result())
    process = in_shell(f"PYTHON {QUOTED} {command} >/dev/full", tmp_path)
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == "spresso: stdout: No space left on device"


def test_a_name_that_stdout_cannot_encode_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "日本.spr").write_bytes(spr.write(make_stream()))
    process = subprocess.run(
        [sys.executable, "-m", "spresso_cli", "info", "日本.spr"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"},
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, b"")
    assert rb"\u65e5\u672c.spr" in process.stdout


def test_a_person_sees_a_bar_and_then_the_sum(tmp_path: Path) -> None:
    names = [write_sound(tmp_path / f"{n}.wav") for n in range(4)]
    code, screen, _ = on_screen("compress", *names, stream="stderr")
    assert code == 0
    assert "4/4" in screen
    assert "real time" in screen
    assert "4 files: 4 done" in screen.splitlines()[-1]
    assert "0.spr" not in screen


def test_a_failure_is_seen_above_the_bar(tmp_path: Path) -> None:
    names = [write_sound(tmp_path / f"{n}.wav") for n in range(3)]
    names[1].write_bytes(b"")
    code, screen, _ = on_screen("compress", *names, stream="stderr")
    assert code == 1
    assert "1.wav: " in screen
    assert "2 done, 1 failed" in screen


def test_quiet_shows_no_bar(tmp_path: Path) -> None:
    names = [write_sound(tmp_path / f"{n}.wav") for n in range(3)]
    assert on_screen("compress", "-q", *names, stream="stderr")[1] == ""


def test_json_on_a_pipe_stays_clean_beside_the_bar(tmp_path: Path) -> None:
    names = [write_sound(tmp_path / f"{n}.wav") for n in range(3)]
    _, screen, piped = on_screen("compress", "--json", *names, stream="stderr")
    assert "3/3" in screen
    assert piped.count(b"\n") == 3
    assert b"\x1b" not in piped


def test_a_reader_that_leaves_early_ends_a_batch_quietly(tmp_path: Path) -> None:
    path = tmp_path / "a.spr"
    path.write_bytes(spr.write(make_stream(samples=48_000 * 2)))
    process = subprocess.Popen(
        [sys.executable, str(FAKE), "decompress", path, "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.read(4) == b"RIFF"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


def test_a_log_gets_a_line_for_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    with BatchProgress(Terminal(), 2, "compress") as progress:
        progress.add(result("a"), "a.wav -> a.spr")
        progress.add(result("b", "failed", error=AudioError("empty")), "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/2] a.wav -> a.spr"
    assert lines[1] == "spresso: b.wav: empty"
    assert lines[2].startswith("2 files: 1 done, 1 failed; 1:00 of sound in ")


def test_one_file_needs_no_sum(capsys: pytest.CaptureFixture[str]) -> None:
    with BatchProgress(Terminal(), 1, "compress") as progress:
        progress.add(result(), "a.wav -> a.spr")
    assert capsys.readouterr().err == "a.wav -> a.spr\n"


def test_an_empty_batch_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with BatchProgress(Terminal(), 0, "compress"):
        pass
    assert capsys.readouterr().err == "0 files: nothing to do\n"


def test_a_batch_that_never_began_has_no_sum(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AudioError), BatchProgress(Terminal(), 5, "compress"):
        raise AudioError("no codec")
    assert capsys.readouterr().err == ""


def test_an_interrupted_batch_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    for results, words in (
        ([], "0 of 35 done\n"),
        ([result(), result(), result(status="skipped")], "2 of 35 done, 1 skipped; 2:00 of sound"),
    ):
        progress = BatchProgress(Terminal(), 35, "compress")
        with pytest.raises(KeyboardInterrupt), progress:
            for each in results:
                progress.add(each, "")
            raise KeyboardInterrupt
        assert words in capsys.readouterr().err


def test_sums_count_only_what_was_made() -> None:
    tally = Tally()
    for status in ("done", "done", "skipped"):
        tally.add(result(status=status))
    assert tally.summary(elapsed=60.0) == (
        "3 files: 2 done, 1 skipped; 2:00 of sound in 1:00, 2.0x real time, 2.0 MB -> 2,000 B"
    )
