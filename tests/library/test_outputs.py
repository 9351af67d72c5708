"""Outputs: whole or absent, never over another file unasked, and no litter."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spresso_cli.errors import OutputError, UsageError
from spresso_cli.library import outputs
from spresso_cli.library.outputs import (
    TEMPORARY,
    is_possible,
    refuse_existing,
    remove_stale,
    replacing,
)
from tests.conftest import symlink


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, data: bytes = b"new", force: bool = False) -> None:
    with replacing(path, force=force) as file:
        file.write(data)


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x/y/a.spr"
    with replacing(path, force=False) as file:
        file.write(b"half")
        assert not path.exists()
        (temporary,) = names(path.parent)
        assert temporary.startswith(".a.spr.") and temporary.endswith(TEMPORARY)
        assert f"-{os.getpid()}-" in temporary
    assert path.read_bytes() == b"half"
    assert names(path.parent) == ["a.spr"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    write(tmp_path / "a.spr")
    (tmp_path / "b").touch()
    assert (tmp_path / "a.spr").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left")])
def test_nothing_stays_behind_when_writing_fails(tmp_path: Path, failure) -> None:
    (tmp_path / "a.spr").write_bytes(b"old")
    output = replacing(tmp_path / "a.spr", force=True)
    with pytest.raises((KeyboardInterrupt, OutputError)), output as file:
        file.write(b"half")
        raise failure
    assert names(tmp_path) == ["a.spr"]
    assert (tmp_path / "a.spr").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "possible"),
    [
        ("doors/oak.spr", True),
        (".door.spr", True),
        ("console/aux1.com", True),
        ("com10.spr", True),
        ("tür.spr", True),
        ("C:oak.spr", False),
        ("oak.spr:hidden", False),
        ("\\\\server\\share\\oak.spr", False),
        ("doors/AUX.spr", False),
        ("nul .x.spr", False),
        ("com\u00b9", False),
        ("CONIN$", False),
        ("doors./oak.spr", False),
        ("doors /oak.spr", False),
        ("what?.spr", False),
        ("line\nbreak.spr", False),
    ],
)
def test_what_windows_understands_is_no_name_there(
    name: str, possible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "WINDOWS", False)
    assert is_possible(name)
    monkeypatch.setattr(outputs, "WINDOWS", True)
    assert is_possible(name) is possible


def test_a_stream_of_a_file_is_no_output_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be written to first is one as well, and leaves an empty file."""
    monkeypatch.setattr(outputs, "WINDOWS", True)
    with pytest.raises(OutputError, match="take:2.spr is not a possible name here"):
        write(tmp_path / "take:2.spr")
    assert names(tmp_path) == []


def test_an_existing_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "a.spr"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already: -f replaces it"):
        write(path)
    assert path.read_bytes() == b"old"
    write(path, force=True)
    assert path.read_bytes() == b"new"


def test_a_file_that_appears_while_ours_is_written_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.spr"
    with pytest.raises(OutputError, match="exists already"), replacing(path, force=False) as file:
        file.write(b"ours")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.spr"]


def test_a_file_system_without_links_is_renamed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.spr"
    with replacing(path, force=False) as file:
        file.write(b"ours")
    assert names(tmp_path) == ["a.spr"]
    path.unlink()
    with pytest.raises(OutputError, match="exists already"), replacing(path, force=False):
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.spr"]


def test_a_link_to_nowhere_is_an_existing_output(tmp_path: Path) -> None:
    symlink(tmp_path / "a.spr", tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"):
        refuse_existing(tmp_path / "a.spr", force=False)


def test_a_folder_is_never_an_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        refuse_existing(tmp_path, force=True)


@pytest.mark.parametrize("name", ["pages/", "x/pages/", ".", "x/..", "new/."])
def test_the_name_of_a_folder_is_refused_whether_it_exists_or_not(name: str) -> None:
    with pytest.raises(UsageError, match="is a folder: name a file"):
        outputs.named(name)


def test_a_name_is_a_files_or_empty_and_refused(tmp_path: Path) -> None:
    assert outputs.named("x/a.spr") == Path("x/a.spr")
    with pytest.raises(UsageError, match="empty name"):
        outputs.named("")
    with pytest.raises(UsageError, match="is a folder: use --output-dir"):
        outputs.named(str(tmp_path), instead="use --output-dir")


def test_a_device_is_written_to_and_stays_a_device() -> None:
    write(Path(os.devnull))
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_named_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with replacing(tmp_path / "pipe", force=False) as file:
        file.write(b"new")
        assert file.tell() == 3 and not file.seekable()
    reader.join()
    assert received == [b"new"]
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(os.name == "nt" or not os.path.exists("/dev/fd"), reason="needs /dev/fd")
def test_what_is_open_already_is_written_to_behind_what_it_holds(tmp_path: Path) -> None:
    """As /dev/stdout is, led into a file; opened anew, the file would be cut short."""
    with open(tmp_path / "a", "wb", buffering=0) as file:
        file.write(b"before, ")
        write(Path(f"/dev/fd/{file.fileno()}"))
        file.write(b", after")
    assert (tmp_path / "a").read_bytes() == b"before, new, after"
    with pytest.raises(OutputError, match="Bad file descriptor"):
        write(Path("/dev/fd/999999999"))


@pytest.mark.skipif(
    os.name == "nt" or not os.path.exists("/dev/stdout"), reason="needs /dev/stdout"
)
@pytest.mark.parametrize(("name", "descriptor"), [("/dev/stdout", 1), ("/dev/stderr", 2)])
def test_a_stream_that_is_led_into_a_file_is_known_by_its_own_name(
    tmp_path: Path, name: str, descriptor: int
) -> None:
    before = os.dup(descriptor)
    try:
        with open(tmp_path / "a", "wb", buffering=0) as file:
            file.write(b"before, ")
            os.dup2(file.fileno(), descriptor)
            write(Path(name))
    finally:
        os.dup2(before, descriptor)
        os.close(before)
    assert (tmp_path / "a").read_bytes() == b"before, new"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_read_only_folder_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"):
        write(tmp_path / "a.spr")
    tmp_path.chmod(0o700)


def test_a_file_where_a_folder_is_needed_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "x/a.spr")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="No space left"):
        write(Path("/dev/full"))


def test_an_impossible_name_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a possible name"):
        write(tmp_path / "zero\0byte.spr")
    with pytest.raises(OutputError, match="cannot be written" if os.name == "nt" else "too long"):
        write(tmp_path / ("x" * 300 + ".spr"))


def test_the_longest_possible_name_has_a_temporary_one(tmp_path: Path) -> None:
    write(tmp_path / ("x" * 251 + ".spr"))
    write(tmp_path / ("ü" * 125 + ".spr"))
    assert len(names(tmp_path)) == 2


def test_a_name_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "\udcff.spr"
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system wants UTF-8 names")
    write(path, force=True)
    assert path.read_bytes() == b"new"


# What killed processes leave behind.


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.skipif(not outputs._CAN_ASK, reason="processes cannot be asked whether they live")
def test_files_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    host = outputs._host()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = tmp_path / f".a.spr.{host}-{dead_pid()}-0a0b{TEMPORARY}"
    kept = [
        tmp_path / f".a.spr.{host}-{living.pid}-0a0b{TEMPORARY}",
        tmp_path / f".a.spr.{host}-{os.getpid()}-0a0b{TEMPORARY}",
        tmp_path / "a.spr",
        tmp_path / f"mine{TEMPORARY}",
    ]
    for path in [dead, *kept]:
        path.touch()
    assert remove_stale(tmp_path) == 1
    assert names(tmp_path) == sorted(path.name for path in kept)
    living.communicate(b"\n")


@pytest.mark.parametrize("answer", [PermissionError(), OverflowError()])
def test_files_of_another_users_process_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Exception
) -> None:
    def ask(*_: object) -> None:
        raise answer

    monkeypatch.setattr(os, "kill", ask)
    (tmp_path / f".a.spr.{outputs._host()}-{'9' * 20}-0a0b{TEMPORARY}").touch()
    assert remove_stale(tmp_path) == 0
    assert len(names(tmp_path)) == 1


def test_files_of_another_machine_stay_for_a_day(tmp_path: Path) -> None:
    path = tmp_path / f".a.spr.00000000-{dead_pid()}-0a0b{TEMPORARY}"
    path.touch()
    assert remove_stale(tmp_path) == 0
    os.utime(path, (time.time() - 90_000,) * 2)
    assert remove_stale(tmp_path) == 1


def test_where_nobody_can_be_asked_files_of_this_machine_stay_for_a_day_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(outputs, "_CAN_ASK", False)
    path = tmp_path / f".a.spr.{outputs._host()}-{dead_pid()}-0a0b{TEMPORARY}"
    path.touch()
    assert remove_stale(tmp_path) == 0
    os.utime(path, (time.time() - 90_000,) * 2)
    assert remove_stale(tmp_path) == 1


def test_who_writes_to_a_folder_tidies_it_once(tmp_path: Path) -> None:
    left = tmp_path / f".b.spr.{outputs._host()}-{dead_pid()}-0a0b{TEMPORARY}"

    def leave() -> None:
        left.touch()
        os.utime(left, (time.time() - 90_000,) * 2)

    leave()
    write(tmp_path / "a.spr")
    assert names(tmp_path) == ["a.spr"]
    leave()
    write(tmp_path / "b.spr")
    assert left.exists()


def test_a_folder_that_is_missing_has_nothing_stale(tmp_path: Path) -> None:
    assert remove_stale(tmp_path / "missing") == 0
