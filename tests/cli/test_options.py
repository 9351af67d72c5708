"""Shared options: names that cannot be meant and numbers that are none are misuse everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from spresso_cli.codec.decoder import Solver
from spresso_cli.codec.protocol import MAX_GUIDANCE, MAX_STEPS
from spresso_cli.errors import UsageError

from .conftest import Bench, write_sound


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, with one sound in it."""
    monkeypatch.chdir(tmp_path)
    write_sound(Path("door.wav"))
    return tmp_path


@pytest.mark.parametrize("option", ["-o", "--output-dir", "--report"])
def test_an_empty_name_is_misuse(spresso, bench: Bench, folder: Path, option: str) -> None:
    """As an unset variable of the shell makes it: never the current folder, never a default."""
    shown = spresso("compress", "door.wav", option, "")
    assert shown.code == 2
    assert "the name is empty" in shown.stderr and option in shown.stderr
    assert [path.name for path in folder.iterdir()] == ["door.wav"]


def test_a_listening_test_is_not_written_into_the_current_folder(spresso) -> None:
    shown = spresso("mushra", "export", "door.wav", "--output-dir", "")
    assert shown.code == 2
    assert "the name is empty" in shown.stderr


def test_a_sound_from_words_is_not_named_by_default_where_a_name_was_meant(spresso) -> None:
    shown = spresso("generate", "rain", "-o", "")
    assert shown.code == 2
    assert "the name is empty" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (("compress", "door.wav"), "use --output-dir"),
        (("decompress", "door.spr"), "use --output-dir"),
        (("encode-latents", "door.wav", "--frame-rate", 1), "use --output-dir"),
        (("generate", "rain"), "name a file"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("name", ["pages/", "."])
def test_a_folder_is_no_output(spresso, name: str, arguments: tuple, way_out: str) -> None:
    shown = spresso(*arguments, "-o", name)
    assert shown.code == 2
    assert shown.stderr == f"spresso: {name} is a folder: {way_out}\n"
    assert not Path("pages").exists()


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_a_limit_that_is_no_number_of_seconds_is_misuse(
    spresso, bench: Bench, seconds: str
) -> None:
    shown = spresso("compress", "door.wav", "--max-duration", seconds)
    assert shown.code == 2
    assert "--max-duration" in shown.stderr and shown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "0"),
        ("--steps", "1001"),
        ("--guidance", "101"),
        ("--guidance", "-inf"),
        ("--guidance", "nan"),
        ("--variety", "nan"),
        ("--variations", "100001"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_numbers_that_no_decode_takes_are_one_line_before_any_work(
    spresso, bench: Bench, spr_file: Path, option: str, value: str, flags: tuple
) -> None:
    shown = spresso("decompress", spr_file, spr_file.parent / "b.spr", option, value, *flags)
    assert shown.code == 2
    assert shown.stdout == "" and shown.stderr.count("\n") == 1
    assert f"Invalid value for '{option}'" in shown.stderr
    assert bench.loads == []


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        (("decode-latents", "z.safetensors"), "--steps", "1001"),
        (("decode-latents", "z.safetensors"), "--guidance", "nan"),
        (("generate", "rain"), "--steps", "1001"),
        (("generate", "rain"), "--guidance", "-101"),
        (("listen", "door.wav", "-o", "page.html"), "--steps", "1001"),
        (("mushra", "export", "door.wav", "--output-dir", "t"), "--steps", "1001"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_every_command_that_decodes_has_these_bounds(
    spresso, command: tuple, option: str, value: str
) -> None:
    shown = spresso(*command, option, value)
    assert shown.code == 2
    assert f"Invalid value for '{option}'" in shown.stderr


def test_the_bounds_are_those_of_the_decoder() -> None:
    Solver("heun", MAX_STEPS, -MAX_GUIDANCE).check()
    for solver in (Solver("heun", MAX_STEPS + 1), Solver("heun", 1, MAX_GUIDANCE + 1)):
        with pytest.raises(UsageError):
            solver.check()
