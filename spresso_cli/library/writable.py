"""Folders that cannot be written into: found by trying, before a codec has worked for them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from spresso_cli.errors import OutputError, reason
from spresso_cli.library.outputs import temporary_name, written_directly


class Folders:
    """What is known of the folders of a run's outputs; each is tried once."""

    def __init__(self) -> None:
        self._faults: dict[Path, str | None] = {}

    def refuse_unwritable(self, output: Path) -> None:
        """Raises OutputError if no file can be made in the folder of `output`.

        Of a folder that is missing, the nearest one above it is tried: nothing is left behind.
        Devices and pipes need no new file.
        """
        try:
            if written_directly(output):
                return
        except OSError:  # the name is not possible here: whoever writes says so
            return
        folder = output.parent
        if folder not in self._faults:
            self._faults[folder] = _fault(folder)
        if self._faults[folder] is not None:
            raise OutputError(f"{output} cannot be written: {self._faults[folder]}")


def _fault(folder: Path) -> str | None:
    """Why no file can be made in a folder, by the system's words; None: it can.

    Not tried by `tempfile`: before Python 3.14 it takes a refusal of Windows for a name that is
    taken, and goes on to try two thousand million others.
    """
    try:
        while not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        trial = folder / temporary_name("trial")
        with open(trial, "xb"):
            pass
    except OSError as error:
        return reason(error)
    with contextlib.suppress(OSError):  # a virus scanner has it; it goes when it is stale
        os.unlink(trial)
    return None
