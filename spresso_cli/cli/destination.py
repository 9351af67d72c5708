"""Where the one output of a command goes: into a file that appears whole, or to stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from spresso_cli.cli.terminal import Terminal, binary_stdout
from spresso_cli.cli.text import shown
from spresso_cli.errors import UsageError
from spresso_cli.library import outputs, plan
from spresso_cli.library.writable import Folders


@dataclass(frozen=True)
class Destination:
    """A place that can be written to, as far as that can be known before."""

    path: Path | None  # None: stdout
    force: bool

    @classmethod
    def of(
        cls,
        terminal: Terminal,
        name: str,
        *,
        suffix: str,
        force: bool,
        inputs: Iterable[Path | None] = (),
    ) -> Destination:
        """The place of a name, `-` being stdout; before the work, since it may be refused.

        Args:
            suffix: of such files; a name that promises another kind is refused.
            inputs: none of them may be replaced, whatever `force` says.

        Raises:
            UsageError: the name cannot be meant; stdout is a screen, or wanted for JSON as well.
            OutputError: it exists, or cannot be written.
        """
        if name == plan.STDIN:
            if terminal.json:
                raise UsageError("--json and the output both want stdout: give it a name with -o")
            binary_stdout()
            return cls(None, force)
        path = outputs.named(name)
        plan.refuse_inputs([path], inputs)
        plan.refuse_another_kind(name, suffix)
        outputs.refuse_existing(path, force)
        Folders().refuse_unwritable(path)
        return cls(path, force)

    def __str__(self) -> str:
        return "stdout" if self.path is None else shown(self.path)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """A file to write to; on disk it gets its name when the block ends without an exception."""
        if self.path is None:
            yield outputs.Unseekable.stdout(binary_stdout())
        else:
            with outputs.replacing(self.path, force=self.force) as file:
                yield file
