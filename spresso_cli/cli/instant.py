"""Commands that start at once: without the value conversion that costs as much as all the rest.

typer converts values through pydantic, whose import takes longer than `info` takes in all. A flag
that is unset and therefore None is converted too, `--help` of every command among them; a flag
that is False is not.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class PlainFlags:
    """Mixin for commands and groups: unset flags are False and need no conversion."""

    def get_params(self, ctx: typer.Context) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.default is None:
                param.default = False
        return params


class InstantCommand(PlainFlags, TyperCommand):
    """A command with flags only; its other arguments are left as they are in `ctx.args`."""


def file_arguments(ctx: typer.Context) -> list[str]:
    """The file names on the command line of an InstantCommand made with `ON_FILES`."""
    return ctx.args or ctx.fail("Missing argument 'FILE...'")


#: Keywords for `@app.command`: an InstantCommand that takes one or more file names.
ON_FILES: dict[str, Any] = {
    "cls": InstantCommand,
    "options_metavar": "[OPTIONS] FILE...",
    "context_settings": {"allow_extra_args": True},
}
