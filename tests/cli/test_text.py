"""Names, sizes, times and rates as people read them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from spresso_cli.cli import terminal
from spresso_cli.cli.terminal import Terminal
from spresso_cli.cli.text import clock, common, counted, kbps, kind_of, printable, shown, size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (73, "73 B"), (9_213, "9,213 B"), (480_044, "480.0 kB"), (2**31, "2.1 GB")],
)
def test_sizes_are_exact_while_small_and_short_when_large(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.414, "0.41 s"), (12.5, "12.5 s"), (60, "1:00"), (200, "3:20"), (3723, "1:02:03")],
)
def test_durations_grow_from_seconds_to_hours(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.096, "0.096 kbps"),
        (0.1168, "0.1168 kbps"),
        (16, "16 kbps"),
        (1411.2, "1411 kbps"),
        (12_288, "12288 kbps"),
        (1e6, "1000000 kbps"),
    ],
)
def test_rates_tell_the_payload_from_the_file(rate: float, text: str) -> None:
    assert kbps(rate) == text


def test_one_is_not_called_many() -> None:
    assert [counted(n, "clip") for n in (0, 1, 2, 1234)] == [
        "0 clips", "1 clip", "2 clips", "1,234 clips",
    ]  # fmt: skip


def test_a_name_cannot_move_the_cursor_or_start_a_line() -> None:
    assert printable("a\nb\x1b[2J.wav") == "a\\nb\\x1b[2J.wav"


def test_a_name_in_a_broken_encoding_is_shown_with_escapes() -> None:
    assert shown("caf\udce9.wav") == "caf\\udce9.wav"


def test_a_name_in_any_script_is_shown_as_it_is() -> None:
    assert shown("дверь 戸.wav") == "дверь 戸.wav"


def test_a_dash_is_called_stdin_and_a_file_of_that_name_is_not() -> None:
    assert shown("-") == shown(None) == "stdin"
    assert shown(Path("-")) == "-"


@pytest.mark.parametrize(
    ("text", "names", "kind"),
    [
        ("ends after 0.21 of 0.50 s: cut off?", (), "ends after … of … s: cut off?"),
        ("peaks at +9.5 dBFS", (), "peaks at … dBFS"),
        ("x/a 1.spr exists", ("x/a 1.spr", None), "… exists"),
        ("a.spr.spr is a.spr", ("a.spr", "a.spr.spr"), "… is …"),
        ("a sample of data", ("a",), "… sample of data"),
        ("ogg PCM_16 has 2", (), "ogg PCM_16 has …"),
    ],
)
def test_texts_of_a_kind_differ_in_numbers_and_names_of_files(
    text: str, names: tuple, kind: str
) -> None:
    assert kind_of(text, *names) == kind


def test_what_is_the_same_for_all_of_a_kind_is_said_in_full() -> None:
    assert common("ends after … s", ["ends after 2 s", "ends after 2 s"]) == "ends after 2 s"
    assert common("ends after … s", ["ends after 2 s", "ends after 3 s"]) == "ends after … s"


# What another program reads of it.


@pytest.mark.parametrize(
    ("told", "name"), [(None, "Tür 💥 戸"), ("cp1252", r"Tür \U0001f4a5 \u6238")]
)
def test_what_another_program_reads_is_utf8_and_ends_lines_alike_also_on_windows(
    monkeypatch: pytest.MonkeyPatch, told: str | None, name: str
) -> None:
    """There, Python writes in the code page, which lists of names could not be read in."""
    monkeypatch.setattr(terminal, "_WINDOWS", True)
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if told:
        monkeypatch.setenv("PYTHONIOENCODING", told)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "cp1252", newline="\r\n"))
    Terminal().configure(quiet=False, verbose=False, json=False).result("Tür 💥 戸")
    assert written.getvalue() == f"{name}\n".encode(told or "utf-8")
    Terminal().configure(quiet=False, verbose=False, json=True).record({"file": "戸"})
    assert json.loads(written.getvalue().splitlines()[1]) == {"file": "戸"}
