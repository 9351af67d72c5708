"""The option `--seed N|random`: what is a seed, and drawing one."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from spresso_cli.cli.terminal import Terminal

RANDOM = "random"
MAX_SEED = (1 << 64) - 1


def checked_seed(value: str | None) -> str | None:
    """Callback of the option; a BadParameter if the value is no seed."""
    if value in (None, RANDOM):
        return value
    if not (value.isascii() and value.isdigit() and len(value) < 21 and int(value) <= MAX_SEED):
        raise typer.BadParameter(f"{value!r} is neither random nor a number from 0 to 2^64 - 1")
    return value


def chosen_seed(terminal: Terminal, value: str) -> int:
    """The seed that was named, or one that is drawn and told."""
    if value != RANDOM:
        return int(value)
    seed = secrets.randbits(32)
    terminal.note(f"seed {seed}")
    return seed
