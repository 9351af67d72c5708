"""Files appear under their final name whole or not at all, and replace others only when allowed.

Data goes to a temporary file in the same folder, `.door.spr.<host>-<pid>-<random>.spresso-tmp`,
which is renamed when it is complete. One that a killed process left is removed by the next process
that writes to its folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import stat
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from spresso_cli.errors import OutputError, OutputExists, UsageError, naming_stdout, reason

TEMPORARY = ".spresso-tmp"

_PATTERN = re.compile(rf"\.(?P<host>[0-9a-f]{{8}})-(?P<pid>\d+)-[0-9a-f]+{re.escape(TEMPORARY)}$")
_NAME_CHARACTERS = 32  # of the final name: file systems end names at 255 bytes
_FOREIGN_AGE = 24 * 3600  # seconds after which another machine's temporary file is given up
WINDOWS = os.name == "nt"
_CAN_ASK = not WINDOWS  # whether a process lives: there, signal 0 would end it
# What Windows understands in a name: drives and streams of a file, devices; dots and spaces at the
# end it takes away. pathlib knows but the devices, and from Python 3.15 on not even these.
_NO_NAME = re.compile(
    r'.*[<>:"/\\|?*\x00-\x1f].*|.*[. ]'
    r"|(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}  # descriptors by name

_tidied: set[str] = set()  # folders, by this process


def named(name: str, *, instead: str = "name a file") -> Path:
    """Returns an output by the name that it was given, before `Path` forgets a slash at its end.

    Args:
        instead: what to do where the name is a folder's.

    Raises:
        UsageError: the name is empty, or that of a folder, whether it exists or not.
    """
    if not name:
        raise UsageError("the output has an empty name")
    if os.path.basename(name) in ("", os.curdir, os.pardir) or os.path.isdir(name):
        raise UsageError(f"{name} is a folder: {instead}")
    return Path(name)


def is_possible(name: str) -> bool:
    """Whether the parts of a relative POSIX path can be names here, and mean nothing else."""
    return not WINDOWS or not any(map(_NO_NAME.fullmatch, name.split("/")))


def refuse_existing(path: Path, force: bool) -> None:
    """Raises OutputExists if `path` exists and may not be replaced.

    Devices and pipes are there to be written to and are never refused; folders always are, with
    OutputError.
    """
    if _descriptor(path) is not None:
        return
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        if os.path.islink(path) and not force:  # to nowhere
            raise OutputExists(f"{path} exists already: -f replaces it") from None
        return
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder")
    if stat.S_ISREG(mode) and not force:
        raise OutputExists(f"{path} exists already: -f replaces it")


@contextmanager
def replacing(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Yields a file that gets the name `path` when the block ends without an exception.

    A device or a pipe is written to directly, and so is what is open already (/dev/stdout): behind
    all that was written there before.

    The folder is made if it is missing. Where `force` is not set, a file that has come to exist in
    the meantime is kept.

    Raises:
        OutputExists: it is there, or has come to be.
        OutputError: the folder cannot be written, the disk is full, the name is impossible.
    """
    try:
        refuse_existing(path, force)
        target = _prepared(path)
        if target is None:
            with _opened(path) as file:
                yield Unseekable(file)
            return
        try:
            with open(target, "xb") as file:
                yield file
            _publish(target, path, force)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(target)
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {reason(error)}") from error


class Unseekable:
    """A file that is only ever written on: stdout, a device, a pipe; `tell` counts the bytes.

    stdout is one even where it is a file, since whatever else is written there comes before.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0

    @classmethod
    def stdout(cls, file: BinaryIO) -> Self:
        """Standard output, of which errors say that it is."""
        return cls(_Stdout(file))

    def write(self, data: bytes) -> int:
        self._size += len(data)
        return self._file.write(data)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.write(piece)

    def flush(self) -> None:
        self._file.flush()

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self._size


class _Stdout:
    """Standard output; raises OSError with its name, which the system does not give."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        with naming_stdout():
            return self._file.write(data)

    def flush(self) -> None:
        with naming_stdout():
            self._file.flush()


def tidy(folder: Path) -> None:
    """Calls `remove_stale` for a folder, the first time that this process asks for it."""
    place = os.path.abspath(folder)
    if place not in _tidied:
        _tidied.add(place)
        remove_stale(folder)


def remove_stale(folder: Path) -> int:
    """Removes the temporary files of dead processes from a folder; returns how many.

    Those of a living process of this machine stay, and for a day those of other machines and of
    any on Windows, where nobody can be asked.
    """
    removed = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _PATTERN.search(entry.name)
            if match and _is_stale(entry, match["host"], int(match["pid"])):
                with contextlib.suppress(OSError):  # another run was faster
                    os.unlink(entry.path)
                    removed += 1
    return removed


def _prepared(path: Path) -> Path | None:
    """Makes the folder and returns a temporary name in it; None for a device or a pipe."""
    try:
        os.makedirs(path.parent, exist_ok=True)
        if written_directly(path):
            return None
        if not is_possible(path.name):
            raise OutputError(f"{path} is not a possible name here")
        tidy(path.parent)
        temporary = path.parent / temporary_name(path.name)
        os.access(temporary, os.F_OK)  # asks the system, and only for the name's sake
        return temporary
    except ValueError as error:  # a zero byte, or characters that the system cannot encode
        raise OutputError(f"{path} is not a possible name here: {error}") from None


def written_directly(path: Path) -> bool:
    """Whether an output is a device or a pipe, which needs no temporary file beside it.

    Raises OSError for a name that is not possible, such as one that is too long.
    """
    return _descriptor(path) is not None or (path.exists() and not path.is_file())


def _descriptor(path: Path) -> int | None:
    """The number of a file that is open already, by its name, such as stdout led into a file."""
    name = os.path.abspath(path)
    if name in _STANDARD:
        return _STANDARD[name]
    match = re.fullmatch(r"(?:/dev|/proc/self)/fd/(\d{1,9})", name, re.ASCII)
    return int(match[1]) if match else None


def _opened(path: Path) -> BinaryIO:
    """Opens what is written directly.

    Not anew where it is open already: that would cut a file short and start again at its beginning.
    """
    descriptor = _descriptor(path)
    return open(path, "wb") if descriptor is None else os.fdopen(os.dup(descriptor), "wb")


def temporary_name(name: str) -> str:
    """What a file is called before it gets its name; `remove_stale` knows it by that."""
    token = secrets.token_hex(4)
    return f".{name[:_NAME_CHARACTERS]}.{_host()}-{os.getpid()}-{token}{TEMPORARY}"


def _host() -> str:
    """Eight hex digits for the realm in which a process id means something."""
    realm = socket.gethostname()
    with contextlib.suppress(OSError):  # containers can share a name and a folder
        realm += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(realm.encode('utf-8', 'replace')):08x}"


def _publish(temporary: Path, path: Path, force: bool) -> None:
    """Gives the file its name: atomically, and without `force` only if the name is free."""
    if not force:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise OutputExists(f"{path} exists already: -f replaces it") from None
        except OSError:  # a file system without links: look, then rename
            refuse_existing(path, force)
        else:
            os.unlink(temporary)
            return
    os.replace(temporary, path)


def _is_stale(entry: os.DirEntry[str], host: str, pid: int) -> bool:
    if _CAN_ASK and host == _host():
        return not _alive(pid)
    with contextlib.suppress(OSError):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _FOREIGN_AGE
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True
