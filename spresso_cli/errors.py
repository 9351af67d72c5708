"""The one exception hierarchy of spresso; each class has its exit code (format_spec.md, section 9).

Messages are one line of text that names what is wrong and what to do about it; whoever knows the
file's name puts it in front. Anything that is not a `SpressoError` is a defect of the program.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

# What writing into a pipe says when its reader has left; on Windows mostly EINVAL (cpython 79935).
READER_LEFT = (errno.EPIPE,) if os.name != "nt" else (errno.EPIPE, errno.EINVAL)
_MISSING = (2, 3)  # Windows' own numbers: a file, a folder on the way to it


class SpressoError(Exception):
    """Base of every error a user can cause or meet; exit code 1."""

    exit_code = 1


class AudioError(SpressoError):
    """An input sound cannot be used: unreadable, empty, not finite, too many channels."""


class OutputError(SpressoError):
    """An output cannot be written: it exists, its folder is read-only, the disk is full."""


class OutputExists(OutputError):
    """An output is there already, and nobody said that it may be replaced."""


class OutOfMemory(SpressoError):
    """The networks do not fit the device's memory, even with one window at a time."""


class UsageError(SpressoError):
    """The request itself cannot be met, whatever the file holds: exit code 2."""

    exit_code = 2


class CorruptStream(SpressoError):
    """A `.spr` or `.sprb` file is damaged, truncated or extended: exit code 3."""

    exit_code = 3


class UnsupportedStream(SpressoError):
    """A well-formed file needs a newer reader: exit code 4."""

    exit_code = 4


class MissingPack(SpressoError):
    """No installed pack has the weights that a file or a request needs: exit code 4."""

    exit_code = 4


class BadPack(SpressoError):
    """A pack is incomplete, damaged or not of a kind this version knows: exit code 4."""

    exit_code = 4


def reason(error: Exception) -> str:
    """What the system said, without the path that the caller puts in front.

    What is missing is so in the same words everywhere: Windows has its own, in its user's language.
    """
    if getattr(error, "winerror", None) in _MISSING:
        return os.strerror(errno.ENOENT)
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def naming_stdout() -> Iterator[None]:
    """Put a name to the errors of the system about stdout, to which it gives none.

    If its reader has left, that is a BrokenPipeError on every system.
    """
    try:
        yield
    except OSError as error:
        number = errno.EPIPE if error.errno in READER_LEFT else error.errno
        raise OSError(number, error.strerror, "stdout") from error
