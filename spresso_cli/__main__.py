"""`python -m spresso_cli`, and the entry point of the `spresso` command."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    _fill_standard_descriptors()
    # Before torch is imported: its threads spin while they wait for each other, which beside
    # other busy processes takes several times as long as giving the core away.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    try:
        from spresso_cli.cli.app import INTERRUPTED, run
    except KeyboardInterrupt:
        sys.exit(130)  # as later: this early there is nothing to tidy up
    code = run()
    if code == INTERRUPTED:
        # A thread that waits for a silent pipe would hold up the usual end, and break it.
        try:
            if sys.stdout is not None:  # closed by whoever started us
                with contextlib.suppress(OSError):
                    sys.stdout.flush()
        finally:
            os._exit(code)
    sys.exit(code)


def _fill_standard_descriptors() -> None:
    """Occupy those of stdin, stdout and stderr that were closed by whoever started us.

    The next file to be opened would get such a number, and what a native library says on stderr,
    as that for MP3 does of damaged files, would go into a report or a page. Each is opened the
    wrong way round, so that whoever asks for it by name still hears that it is closed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is the one that open() takes.
            os.open(os.devnull, os.O_RDONLY if descriptor else os.O_WRONLY)


if __name__ == "__main__":
    main()
