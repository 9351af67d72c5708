"""Lists of input names, as `find` writes them and as people do."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from typing import BinaryIO

from spresso_cli.errors import UsageError

_NAME_BYTES = 1 << 16  # more than any system allows; a pipe without an end may be one long name


def read_list(file: BinaryIO, *, null: bool = False) -> list[str]:
    """Returns the names in a list: one a line, or each ended by NUL; empty ones are left out.

    Raises:
        UsageError: there are NULs in a list of lines, or names that are impossible on this system
            or longer than on any.
    """
    try:
        return [os.fsdecode(name) for name in (_ended(file, b"\0") if null else _lines(file))]
    except UnicodeDecodeError as error:  # on Windows; elsewhere names may be any bytes
        raise UsageError(f"{error.object!r} in the list is not UTF-8: save it as UTF-8") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The names in a list of lines, which may begin with the mark of UTF-8 and end with CR."""
    utf16 = None
    for line in _ended(file, b"\n", unless=b"\0"):
        if utf16 is None:
            utf16 = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            line = line.removeprefix(codecs.BOM_UTF8)
        if b"\0" in line and utf16:
            raise UsageError("the list is UTF-16: save it as UTF-8")
        if b"\0" in line:
            raise UsageError("the names in the list end with NUL: add -0")
        if name := line.rstrip(b"\r"):
            yield name


def _ended(file: BinaryIO, end: bytes, unless: bytes | None = None) -> Iterator[bytes]:
    """What stands before each `end` and behind the last, read bit by bit; empty names left out.

    Raises UsageError for a name that is too long, `unless` it has these bytes: who asks knows what
    they mean.
    """
    rest = b""
    while piece := file.read(_NAME_BYTES):
        *whole, rest = (rest + piece).split(end)
        for name in (*whole, rest):
            if len(name) > _NAME_BYTES:
                if unless is not None and unless in name:
                    yield name
                raise UsageError(
                    f"a name of more than {_NAME_BYTES >> 10} KiB in the list: is it a list?"
                )
        yield from filter(None, whole)
    if rest:
        yield rest
