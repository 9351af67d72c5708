"""A run's folder belongs to one command at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spresso_cli.errors import UsageError
from spresso_cli.training import distributed

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NAME = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder, which is created, against other processes; of several that train
    together the first one does. Where a file system knows no locks, nothing is held.

    What was created here and holds nothing in the end, because the stage was refused, goes again.

    Raises:
        UsageError: another process holds it.
    """
    if distributed.rank() != 0:
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _held(folder):
            yield
    finally:
        with suppress(OSError):  # a folder above may hold other stages
            if made and not [path for path in folder.iterdir() if path.name != _NAME]:
                (folder / _NAME).unlink(missing_ok=True)
                for path in made:
                    path.rmdir()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    with open(folder / _NAME, "a") as handle:  # closing it lets go
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is training in {folder}") from None
        except OSError:
            pass
        yield
