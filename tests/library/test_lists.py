"""Lists of names: whoever made them, and however long they are."""

from __future__ import annotations

import io
import os

import pytest

from spresso_cli.errors import UsageError
from spresso_cli.library.lists import read_list

from .conftest import Endless


def test_lists_end_names_with_newlines_or_with_nul() -> None:
    assert read_list(io.BytesIO(b"a b.wav\r\n\n-c.wav")) == ["a b.wav", "-c.wav"]
    assert read_list(io.BytesIO(b"a\nb.wav\0c.wav\0"), null=True) == ["a\nb.wav", "c.wav"]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_in_a_list_may_be_any_bytes() -> None:
    assert read_list(io.BytesIO(b"\xff.wav\n")) == ["\udcff.wav"]


def test_a_list_of_lines_that_holds_nul_was_made_for_the_other_option() -> None:
    with pytest.raises(UsageError, match="add -0"):
        read_list(io.BytesIO(b"a\0b\0"))


def test_a_list_may_begin_with_the_mark_of_utf8_and_not_with_that_of_utf16() -> None:
    assert read_list(io.BytesIO(b"\xef\xbb\xbfa.wav\r\nb.wav\r\n")) == ["a.wav", "b.wav"]
    for name in ("utf-16-le", "utf-16-be"):
        with pytest.raises(UsageError, match="the list is UTF-16: save it as UTF-8"):
            read_list(io.BytesIO("\ufeffa.wav\r\n".encode(name)))


def test_a_name_that_the_system_cannot_have_is_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsdecode", bytes.decode)  # as on Windows
    with pytest.raises(UsageError, match="not UTF-8: save it as UTF-8"):
        read_list(io.BytesIO(b"\xff.wav\n"))


@pytest.mark.parametrize(
    ("byte", "null", "told"),
    [
        (b"x", False, "a name of more than 64 KiB in the list: is it a list?"),
        (b"x", True, "a name of more than 64 KiB in the list: is it a list?"),
        (b"\0", False, "add -0"),
    ],
)
def test_a_name_without_end_is_misuse(byte: bytes, null: bool, told: str) -> None:
    pipe = Endless(byte)
    with pytest.raises(UsageError, match=told):
        read_list(io.BufferedReader(pipe), null=null)
    assert pipe.given <= 1 << 18


def test_a_list_may_be_longer_than_any_name() -> None:
    names = [f"{number:0>100}.wav" for number in range(3000)]
    assert read_list(io.BytesIO("\n".join(names).encode())) == names
    assert read_list(io.BytesIO("\0".join(names).encode()), null=True) == names
