"""The `spresso` command: a lazy table of subcommands and the one place where errors become exits.

`--help` and completion read the table alone; a command's module is imported when it is run. To add
a command, write its module (a Typer app whose commands carry these names) and add a row.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from spresso_cli import __version__
from spresso_cli.cli.instant import UnsetStaysUnset
from spresso_cli.cli.terminal import Terminal, abandon_stdout
from spresso_cli.errors import SpressoError, naming_stdout, reason

INTERRUPTED = 130  # exit code: 128 and SIGINT
SHELL_EXPANDS = os.name != "nt"  # *.wav to names, before a program sees it


@dataclass(frozen=True)
class Entry:
    """One row of the command table; `summary` repeats the first line of the command's help."""

    name: str
    module: str
    summary: str
    panel: str


COMMANDS = (
    Entry("compress", "compress", "Compress sounds to .spr files.", "Codec"),
    Entry("decompress", "decompress", "Decompress .spr files to sounds.", "Codec"),
    Entry("info", "inspect", "Show what a .spr, .sprb or sound file holds.", "Look"),
    Entry("verify", "inspect", "Check .spr and .sprb files for damage.", "Look"),
    Entry("models", "inspect", "List the installed packs and their operating points.", "Look"),
    Entry("bundle", "bundle", "Put many .spr files into one .sprb bundle.", "Libraries"),
    Entry("unbundle", "bundle", "Take .spr files out of a .sprb bundle.", "Libraries"),
    Entry("list", "bundle", "List the clips in a .sprb bundle.", "Libraries"),
    Entry("report", "report", "Merge and summarise the reports of a batch.", "Libraries"),
    Entry("evaluate", "evaluate", "Measure decoded sounds against their originals.", "Quality"),
    Entry(
        "listen", "listen", "Write one HTML page that plays sounds beside their decodes.", "Quality"
    ),
    Entry("mushra", "mushra", "Make a listening test and analyse its results.", "Quality"),
    Entry("train", "train", "Train a model, stage by stage.", "Research"),
    Entry("generate", "generate", "Generate a sound from words alone.", "Research"),
    Entry(
        "encode-latents",
        "latents",
        "Encode sounds to the continuous latents before the quantiser.",
        "Research",
    ),
    Entry(
        "decode-latents",
        "latents",
        "Decode continuous latents to sounds through the sampler.",
        "Research",
    ),
)

EXAMPLES = """
Examples:

  spresso compress door.wav -b 0.096        5 s in 73 bytes: door.spr
  spresso decompress door.spr --seed 3      another take: door.seed3.wav
  spresso compress sounds -r --output-dir small
  spresso info door.spr

Exit codes: 0 done, 1 a file failed, 2 usage, 3 corrupt file, 4 unsupported version \
or missing pack, 130 interrupted.
"""


class LazyGroup(UnsetStaysUnset, TyperGroup):
    """A group that lists its commands from `COMMANDS` and imports only the one that runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for entry in COMMANDS:
            self.commands[entry.name] = TyperCommand(
                entry.name, help=entry.summary, rich_help_panel=entry.panel
            )

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(name), rest

    def main(self, args: Any = None, *, standalone_mode: bool = True, **extra: Any) -> Any:
        terminal = Terminal()
        if args is None:  # typer's own expansion is for None alone
            args = sys.argv[1:] if SHELL_EXPANDS else list(expanded(sys.argv[1:]))
        extra["prog_name"] = "spresso"  # whichever way it was started: completion depends on it
        code = exit_code(
            terminal,
            lambda: super(LazyGroup, self).main(args, standalone_mode=False, obj=terminal, **extra),
        )
        if standalone_mode:
            sys.exit(code)
        return code


def expanded(args: Sequence[str]) -> Iterator[str]:
    """Arguments with `*` and `?` as the names that they fit, sorted, if there are any.

    No more than that, unlike typer: names of files may have brackets, `$` and `%` in them. What
    `unbundle` is given stays as it is, because its patterns are for the clips of the bundle.
    """
    from glob import glob

    for arg in args:
        wild = args[0] != "unbundle" and ("*" in arg or "?" in arg)
        yield from (wild and sorted(glob(arg.replace("[", "[[]"), recursive=True))) or [arg]


def load_command(name: str) -> TyperCommand:
    """Import the module behind one row of `COMMANDS` and build its command."""
    module = next(entry.module for entry in COMMANDS if entry.name == name)
    loaded = typer.main.get_command(importlib.import_module(f"spresso_cli.cli.{module}").app)
    return _reflowed(loaded.commands[name] if isinstance(loaded, TyperGroup) else loaded)


def _reflowed(command: TyperCommand) -> TyperCommand:
    """Undo the line breaks of docstrings, which typer keeps in all paragraphs but the first."""
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for inner in getattr(command, "commands", {}).values():
        _reflowed(inner)
    return command


def exit_code(terminal: Terminal, call: Callable[[], object]) -> int:
    """Run `call`; whatever it raises becomes one line on stderr and an exit code."""
    try:
        code = call()
        if sys.stdout is not None:  # closed by whoever started us
            with naming_stdout():
                sys.stdout.flush()
    except SpressoError as error:
        terminal.error(str(error))
        return error.exit_code
    except typer.TyperException as error:
        return _usage(terminal, error)
    except SystemExit as leaving:
        code = leaving.code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        abandon_stdout()
        return 1
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        terminal.error(f"{name}{reason(error)}")
        return 1
    except MemoryError:
        terminal.error("out of memory: try a shorter sound or fewer at once")
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence before a traceback
        if terminal.verbose:
            traceback.print_exc()
        terminal.error(
            f"internal error: {type(error).__name__}: {error}; "
            "please report it with what the same command prints under -v"
        )
        return 1
    if code == INTERRUPTED:
        terminal.error("interrupted")
    return code if isinstance(code, int) else 0


def _usage(terminal: Terminal, error: typer.TyperException) -> int:
    message = error.format_message()
    if message:  # empty when the complaint was answered with the whole help page
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        terminal.error(f"{message.rstrip('.')}{hint}")
    return error.exit_code


app = typer.Typer(
    name="spresso",
    cls=LazyGroup,
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        with naming_stdout():
            typer.echo(f"spresso {__version__}")
        raise typer.Exit


@app.callback()
def spresso(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Sound effects in about 70 bytes: a neural codec for 0.096 to 2.5 kbps."""


def run(args: list[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit code."""
    return typer.main.get_command(app).main(args, standalone_mode=False)
