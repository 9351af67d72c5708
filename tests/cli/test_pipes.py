"""What comes through a pipe: read as far as it calls for, and garbage hardly at all."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spresso_cli.cli.pipes import held
from spresso_cli.container import spr
from spresso_cli.container.bundle import Bundle, write_bundle
from spresso_cli.container.profile import Profile
from spresso_cli.errors import AudioError, CorruptStream
from tests.library.conftest import Endless

from .conftest import in_shell, make_stream, write_sound


def bundle_bytes() -> bytes:
    file = io.BytesIO()
    write_bundle(((name, make_stream()) for name in "ab"), file)
    return file.getvalue()


LONG = spr.write(make_stream(48_000 * 3600, profile=Profile.of(25, 32)))  # 3.6 MB


@pytest.mark.parametrize("data", [spr.write(make_stream()), LONG, bundle_bytes()])
def test_what_is_whole_is_held_whole(data: bytes) -> None:
    with held(io.BytesIO(data), sounds=True, own=False) as file:
        assert file.read() == data
        assert file.seek(0) == 0


@pytest.mark.parametrize("data", [LONG, bundle_bytes()])
def test_no_more_is_held_than_a_header_calls_for(data: bytes) -> None:
    """And one byte, by which it is told that there is more."""
    pipe = Endless(b"x", data)
    with held(pipe, sounds=True, own=False) as file:
        assert file.read() == data + b"x"
    assert pipe.given < len(data) + (1 << 16)


def test_a_bundle_that_is_too_long_or_too_short_is_told(tmp_path: Path) -> None:
    data = bundle_bytes()
    longer, shorter = Endless(b"x", data), io.BytesIO(data[:-1])
    for pipe, told in ((longer, "extended"), (shorter, "truncated")):
        with held(pipe, sounds=False, own=False) as file, pytest.raises(CorruptStream, match=told):
            Bundle.open(file)


def test_of_garbage_only_the_beginning_is_read() -> None:
    pipe = Endless(b"x")
    held(pipe, sounds=False, own=False).close()
    assert pipe.given <= 1 << 16


def test_of_what_may_be_a_sound_no_more_is_held_than_is_sane() -> None:
    pipe = Endless(b"x")
    with pytest.raises(AudioError, match="name the file instead of a pipe"):
        held(pipe, sounds=True, own=False)
    assert pipe.given <= 1 << 27


def test_a_sound_is_left_in_its_pipe_to_be_read_on(tmp_path: Path) -> None:
    data = write_sound(tmp_path / "door.wav", 1.0).read_bytes()
    pipe = io.BytesIO(data)
    with held(pipe, sounds=True, own=False) as file:
        assert not file.seekable()
        assert file.read() == data
    assert not pipe.closed
    with held(pipe, sounds=True, own=True):
        pass
    assert pipe.closed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
@pytest.mark.parametrize("command", [("info", "-q"), ("verify", "-q")])
def test_a_pipe_with_a_name_is_read_once(spresso, tmp_path: Path, command: tuple) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for data in (spr.write(make_stream()), bundle_bytes()):
        with ThreadPoolExecutor(1) as writer:
            written = writer.submit(pipe.write_bytes, data)
            assert spresso(*command, pipe).code == 0
            written.result()


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("info -", 1),
        ("verify -", 3),
        ("list -", 3),
        ("unbundle -", 3),
        ("bundle - -o x.sprb", 3),
        ("report -", 1),
        ("compress --files-from -", 2),
        ("compress --files-from /dev/zero", 2),
    ],
)
def test_garbage_without_end_is_refused_at_once(tmp_path: Path, command: str, code: int) -> None:
    process = in_shell(f"cat /dev/zero | PYTHON -m spresso_cli {command}", tmp_path)
    assert process.returncode == code
    assert [line for line in process.stderr.splitlines() if line.startswith("spresso: ")]
    assert list(tmp_path.iterdir()) == []
