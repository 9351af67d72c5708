"""`python -m spresso_cli`, and the entry point of the `spresso` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from spresso_cli.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
