"""Folders that cannot be written into are found by trying, and the trial leaves nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from spresso_cli.errors import OutputError
from spresso_cli.library.outputs import TEMPORARY
from spresso_cli.library.writable import Folders


def test_a_folder_that_can_be_written_into_is_left_as_it_was(tmp_path: Path) -> None:
    Folders().refuse_unwritable(tmp_path / "a.spr")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    Folders().refuse_unwritable(tmp_path / "x/y/z/a.spr")
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reason = "No such file" if os.name == "nt" else "Not a directory"
    for path in (tmp_path / "file" / "a.spr", tmp_path / "file" / "x" / "y" / "a.spr"):
        with pytest.raises(OutputError, match=re.escape(f"{path} cannot be written: {reason}")):
            Folders().refuse_unwritable(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="a.spr cannot be written: Permission denied"):
        Folders().refuse_unwritable(tmp_path / "x/a.spr")
    tmp_path.chmod(0o700)


def test_every_folder_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fail(path: Path, mode: str):
        tried.append(path.parent)
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("builtins.open", fail)
    folders = Folders()
    for name in ("a.spr", "b.spr", "c.spr"):
        with pytest.raises(OutputError, match=f"{name} cannot be written: Read-only file system"):
            folders.refuse_unwritable(tmp_path / name)
    assert tried == [tmp_path]


def test_what_windows_refuses_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, `os.access` says yes to every folder, and `tempfile` then tries name after name."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    output = tmp_path / "a.spr"
    with monkeypatch.context() as windows:
        windows.setattr("builtins.open", refuse)
        windows.setattr(os, "open", refuse)
        windows.setattr(os, "access", lambda path, mode: True)
        windows.setattr(os, "name", "nt")
        with pytest.raises(OutputError, match="a.spr cannot be written: Permission denied"):
            Folders().refuse_unwritable(output)


def test_a_trial_that_cannot_be_removed_refuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virus scanner may hold a new file; what is left goes like all that is left behind."""

    def held(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as windows:
        windows.setattr(os, "unlink", held)
        Folders().refuse_unwritable(tmp_path / "a.spr")
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(TEMPORARY) and not left.stat().st_size


def test_devices_and_pipes_need_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.open", None)
    Folders().refuse_unwritable(Path("/dev/null"))
    Folders().refuse_unwritable(Path("/proc/self/fd/1"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        Folders().refuse_unwritable(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800"])
def test_impossible_names_are_left_to_whoever_writes(tmp_path: Path, name: str) -> None:
    Folders().refuse_unwritable(tmp_path / name / "a.spr")
