"""The front door: the table of commands, and how every kind of failure leaves the program."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from spresso_cli import __version__, errors
from spresso_cli.cli import app as front
from spresso_cli.cli.app import COMMANDS, app, exit_code, expanded, load_command, run
from spresso_cli.cli.terminal import Terminal


def failing(error: BaseException):
    def call() -> None:
        raise error

    return call


def command_paths() -> list[tuple[str, ...]]:
    """Every command that does something: the rows of the table, and the commands of a group."""
    return [
        (entry.name, *inner)
        for entry in COMMANDS
        for inner in ([(sub,) for sub in getattr(load_command(entry.name), "commands", ())] or [()])
    ]


@pytest.mark.parametrize("name", [entry.name for entry in COMMANDS])
def test_the_table_repeats_the_first_line_of_each_commands_help(name: str) -> None:
    summary = next(entry.summary for entry in COMMANDS if entry.name == name)
    assert load_command(name).help.splitlines()[0] == summary


@pytest.mark.parametrize("path", command_paths(), ids=" ".join)
def test_every_command_teaches_by_example(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    assert f"spresso {' '.join(path)}" in shown.stdout.partition("Examples")[2]


@pytest.mark.parametrize("path", command_paths(), ids=" ".join)
def test_an_example_is_one_line_of_a_terminal_of_80_columns(path: tuple[str, ...]) -> None:
    command = load_command(path[0])
    for name in path[1:]:
        command = command.commands[name]
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"}).stdout
    lines = [line.strip() for line in shown.splitlines()]
    examples = [line for line in command.epilog.splitlines() if line.startswith("  ")]
    assert examples
    assert {line.strip() for line in examples} <= set(lines)


@pytest.mark.parametrize("path", command_paths(), ids=" ".join)
def test_every_command_can_be_quiet_or_talkative(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"]).stdout
    assert "--quiet" in shown
    assert "--verbose" in shown


def test_version_prints_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"spresso {__version__}\n"


def test_no_command_shows_the_help_and_counts_as_misuse() -> None:
    shown = CliRunner().invoke(app, [])
    assert shown.exit_code == 2
    assert "compress" in shown.stdout
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["squeeze"], "No such command 'squeeze'"),
        (["inof"], "Did you mean 'info'?"),
        (["info", "--loud"], "see spresso info --help"),
        (["info"], "see spresso info --help"),
        (["info", "-q", "-v", "x.spr"], "-q and -v contradict each other"),
    ],
)
def test_misuse_is_one_line_that_says_where_to_look(arguments: list[str], message: str) -> None:
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 2
    assert message in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert shown.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.AudioError("a.wav: empty"), 1),
        (errors.OutputError("a.spr: exists"), 1),
        (errors.UsageError("no such rate"), 2),
        (errors.CorruptStream("a.spr: damaged"), 3),
        (errors.UnsupportedStream("a.spr: version 2"), 4),
        (errors.MissingPack("no pack abcd"), 4),
        (errors.BadPack("pack.json: broken"), 4),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (OSError(28, "No space left on device", "out.wav"), 1),
        (MemoryError(), 1),
        (RuntimeError("shapes differ"), 1),
    ],
)
def test_every_failure_is_one_line_and_its_own_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(Terminal(), failing(error)) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("spresso: ")
    assert shown.err.count("\n") == 1


def test_a_defect_asks_for_a_report_and_hides_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exit_code(Terminal(), failing(RuntimeError("shapes differ")))
    shown = capsys.readouterr().err
    assert "RuntimeError: shapes differ" in shown
    assert "report it" in shown
    assert "Traceback" not in shown


def test_verbose_shows_the_traceback_of_a_defect(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal().configure(quiet=False, verbose=True, json=False)
    exit_code(terminal, failing(RuntimeError("shapes differ")))
    assert "Traceback" in capsys.readouterr().err


def test_an_error_with_line_breaks_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code(Terminal(), failing(errors.AudioError("odd\nname.wav: empty")))
    assert capsys.readouterr().err == "spresso: odd\\nname.wav: empty\n"


def test_run_returns_the_exit_code_to_its_caller() -> None:
    assert run(["--version"]) == 0
    assert run(["squeeze"]) == 2


def test_a_reader_that_leaves_early_ends_the_program_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "spresso_cli", "--version"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert process.returncode == 1
    assert process.stderr == b""


def test_a_reader_that_leaves_is_an_invalid_argument_on_windows(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def flush() -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    terminal, other = Terminal(), os.dup(1)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(flush=flush, fileno=lambda: other))
    monkeypatch.setattr(errors, "READER_LEFT", (errno.EPIPE, errno.EINVAL))
    assert exit_code(terminal, lambda: None) == 1
    os.close(other)
    assert capfd.readouterr().err == ""


class TestWithoutAShellThatExpands:
    """On Windows `*.wav` comes as it was typed."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("take[1].wav", "take1.wav", "$HOME.wav", "doors/oak.wav", "doors/old/a.wav"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    @pytest.mark.parametrize(
        ("given", "names"),
        [
            ("*.wav", ["$HOME.wav", "take1.wav", "take[1].wav"]),
            ("take?.wav", ["take1.wav"]),
            ("take[1]*", ["take[1].wav"]),
            ("doors/**/*.wav", ["doors/oak.wav", "doors/old/a.wav"]),
            ("take[1].wav", ["take[1].wav"]),  # a name, and no pattern for take1.wav
            ("$HOME.wav", ["$HOME.wav"]),
            ("*.flac", ["*.flac"]),
        ],
    )
    def test_patterns_are_names_and_names_no_patterns(self, given: str, names: list[str]) -> None:
        command, *given = expanded(["compress", given])
        assert (command, [Path(name).as_posix() for name in given]) == ("compress", names)

    def test_patterns_of_clips_are_not_for_files(self) -> None:
        given = ["unbundle", "library.sprb", "doors/*"]
        assert list(expanded(given)) == given

    def test_a_command_line_is_expanded(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(front, "SHELL_EXPANDS", False)
        monkeypatch.setattr(sys, "argv", ["spresso", "verify", "take*"])
        assert run() == 1
        assert "take[1].wav: " in capsys.readouterr().err
