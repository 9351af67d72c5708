"""Runs as processes: killed, interrupted, side by side; final names only ever hold whole files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile
from spresso_cli.library.outputs import TEMPORARY
from spresso_cli.library.plan import find, plan
from spresso_cli.library.resume import StreamParameters
from spresso_cli.library.run import compress_library
from tests.library.conftest import TAG

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, str(Path(__file__).with_name("fake_spresso.py")), "compress"]


def start(*arguments: object, delay: float = 0.0) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FAKE_DELAY": str(delay)}
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def streams(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.spr")}


def wait_for(folder: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 600
    while len(streams(folder)) < count:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A suite that itself runs in the background ignores SIGINT, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def library(tmp_path: Path, make_sound) -> Path:
    for number in range(12):
        make_sound(tmp_path / f"in/{number % 2}/{number}.wav", samples=500, seed=number)
    return tmp_path / "in"


@pytest.fixture
def unbroken(tmp_path: Path, library: Path, codec, options) -> dict[str, bytes]:
    """What one run in this process makes of the library."""
    found = find([str(library)], suffixes=SOUND_SUFFIXES, recursive=True)
    jobs = plan(found, suffix=".spr", output_dir=str(tmp_path / "unbroken"))
    parameters = StreamParameters(Profile.of(1, 8), TAG)
    for result in compress_library(jobs, lambda: codec, parameters, options()):
        assert result.status == "done"
    return streams(tmp_path / "unbroken")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("how", "code"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_a_run_that_was_cut_off_is_resumed_to_the_same_bytes(
    tmp_path: Path, library: Path, unbroken: dict[str, bytes], how: str, code: int
) -> None:
    out = tmp_path / "out"
    process = start("-q", library, "-r", "--output-dir", out, delay=0.1)
    wait_for(out, 3, process)
    process.send_signal(signal.Signals[how])
    process.communicate(timeout=600)
    assert process.returncode == code
    partial = streams(out)
    assert 3 <= len(partial) < 12
    for data in partial.values():
        spr.read(data)
    process = start("-q", library, "-r", "--output-dir", out, "--resume")
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert streams(out) == unbroken
    assert not list(out.rglob(f"*{TEMPORARY}"))


def test_shards_at_once_write_what_one_run_writes(
    tmp_path: Path, library: Path, unbroken: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    shards = [
        start("-q", library, "-r", "--output-dir", out, "--shard", f"{index}/3")
        for index in range(3)
    ]
    for process in shards:
        process.communicate(timeout=600)
    assert [process.returncode for process in shards] == [0] * 3
    assert streams(out) == unbroken


def test_two_runs_in_one_folder_never_damage_each_other(
    tmp_path: Path, library: Path, unbroken: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    runs = [start("-q", library, "-r", "--output-dir", out, delay=0.02) for _ in range(2)]
    errors = [process.communicate(timeout=600)[1] for process in runs]
    assert streams(out) == unbroken
    complaints = "".join(errors).splitlines()
    assert all("exists already" in line for line in complaints)
    assert not list(out.rglob(f"*{TEMPORARY}"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_one_interruption_is_enough_while_a_pipe_says_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "f.wav"
    os.mkfifo(pipe)
    process = start(pipe, "-o", tmp_path / "f.spr")
    with open(pipe, "wb"):  # which comes back when the other end is being read
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert "interrupted" in process.stderr.read()
