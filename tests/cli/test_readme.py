"""README and `--help` say the same: every example would be accepted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from spresso_cli.cli.app import load_command

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def examples() -> list[list[str]]:
    """The words after `spresso` of every command line in the README's code blocks."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    blocks = [text for language, text in fenced if not language]
    lines = [part for block in blocks for line in block.splitlines() for part in line.split("|")]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == ["spresso"]]


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_every_example_uses_options_that_exist(words: list[str]) -> None:
    command = load_command(words[0])
    known = {option for param in command.params for option in param.opts}
    used = {word for word in words[1:] if re.match(r"--?[a-z]", word)}
    assert used <= known
