"""Commands that start at once: without the value conversion that costs as much as all the rest.

typer converts values through pydantic, whose import takes longer than `info` takes in all, and it
converts even what nobody gave: `--help`, which every command has, is unset and becomes None.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class UnsetStaysUnset:
    """Mixin for commands and groups: an option that was not given is None without conversion."""

    def get_params(self, ctx: typer.Context) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if param.nargs == 1 and "process_value" not in vars(param):
                param.process_value = _converting_only_what_is_set(param.process_value)
        return params


class InstantCommand(UnsetStaysUnset, TyperCommand):
    """A command with options only; its other arguments are left as they are in `ctx.args`."""


def file_arguments(ctx: typer.Context, *, listed: bool = False) -> list[str]:
    """The file names on the command line of an InstantCommand made with `ON_FILES`.

    There has to be one, unless there are `listed` ones besides.
    """
    return ctx.args or ([] if listed else ctx.fail("Missing argument 'FILE...'"))


#: Keywords for `@app.command`: an InstantCommand that takes one or more file names.
ON_FILES: dict[str, Any] = {
    "cls": InstantCommand,
    "options_metavar": "[OPTIONS] FILE...",
    "context_settings": {"allow_extra_args": True},
}


def _converting_only_what_is_set(convert: Any) -> Any:
    def process_value(ctx: typer.Context, value: Any) -> Any:
        return None if value is None else convert(ctx, value)

    return process_value
