"""`listen`: what is refused before any work, and where the page goes; more in test_measure.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from spresso_cli.audio import wav
from spresso_cli.container import spr
from spresso_cli.container.stream import Header, Stream

from .conftest import LOWEST, Bench, write_sound


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_length_without_end_is_misuse(spresso) -> None:
    shown = spresso("listen", "door.wav", "-o", "page.html", "--seconds", "inf")
    assert shown.code == 2
    assert "inf is no number of seconds" in shown.stderr


def test_any_number_of_seconds_is_a_length(spresso, bench: Bench, spr_file: Path) -> None:
    assert spresso("listen", spr_file, "-o", "page.html", "--seconds", "1e308").code == 0


def test_a_page_does_not_replace_what_it_is_made_of(spresso, bench: Bench) -> None:
    before = write_sound(Path("door.wav")).read_bytes()
    shown = spresso("listen", "door.wav", "-o", "door.wav", "-f")
    assert shown.code == 2 and "is the input" in shown.stderr
    shown = spresso("listen", "door.wav", "-o", "other.wav")
    assert shown.code == 2 and "name it .html" in shown.stderr
    assert Path("door.wav").read_bytes() == before and not Path("other.wav").exists()


def test_a_page_that_is_called_like_stdout_is_a_file(spresso, bench: Bench, spr_file: Path) -> None:
    shown = spresso("listen", spr_file, "-o", "./-")
    assert (shown.code, shown.data) == (0, b"")
    assert Path("-").read_text(encoding="utf-8").startswith("<!")
    assert spresso("listen", spr_file, "-o", "-").stdout.startswith("<!")


@pytest.mark.parametrize("command", ["listen hour.spr -o a.html", "listen a.wav -o a.html"])
def test_a_few_bytes_do_not_fill_the_memory(spresso, bench: Bench, command: str) -> None:
    """Before anything is decoded: on disk, an hour of 768 kHz takes as much."""
    header = Header(
        profile=LOWEST,
        weights_tag=b"ab",
        gain=0,
        source_rate=768_000,
        samples=3600 * 768_000,
        channels=2,
    )
    Path("hour.spr").write_bytes(spr.write(Stream.of(header, b"")))
    with open("a.wav", "wb") as file:
        file.write(wav.header(rate=48_000, channels=1, samples=1 << 30, sample_bytes=1, floating=0))
        file.truncate((1 << 30) + file.tell())
    shown = spresso(*command.split())
    assert (shown.code, shown.stderr.count("\n")) == (1, 2)
    assert "samples are more than are held in memory here: cut it first" in shown.stderr
    assert not Path("a.html").exists()
