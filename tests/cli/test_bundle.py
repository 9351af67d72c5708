"""`bundle`, `unbundle` and `list`: what goes in comes out, byte for byte, under its own name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from spresso_cli.container import spr
from spresso_cli.container.bundle import write_bundle
from spresso_cli.library import outputs
from tests.conftest import named_in_bytes, symlink

from .conftest import Bench, make_stream, write_sound


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, with three clips in a tree."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("doors/oak", "doors/steel", "rain"), 1):
        path = Path("small", f"{name}.spr")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(spr.write(make_stream(48_000 * number)))
    return Path("small")


@pytest.fixture
def library(spresso, small: Path) -> Path:
    assert spresso("bundle", small, "-r", "-o", "library.sprb").code == 0
    return Path("library.sprb")


def test_a_bundle_gives_back_every_file(spresso, library: Path, small: Path) -> None:
    shown = spresso("unbundle", library, "--output-dir", "back")
    assert shown.code == 0
    for original in small.rglob("*.spr"):
        assert Path("back", original.relative_to(small)).read_bytes() == original.read_bytes()


def test_list_shows_every_clip(spresso, library: Path) -> None:
    lines = spresso("list", library).stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["doors/oak", "doors/steel", "rain"]
    assert "0.096 kbps" in lines[0]


def test_list_json_is_one_record_a_clip(spresso, library: Path) -> None:
    records = spresso("list", "--json", library).records
    assert [record["name"] for record in records] == ["doors/oak", "doors/steel", "rain"]
    assert [record["seconds"] for record in records] == [1, 2, 3]


def test_one_clip_can_be_taken_by_name(spresso, library: Path) -> None:
    spresso("unbundle", library, "doors/steel", "--output-dir", "back")
    assert list(Path("back").rglob("*.spr")) == [Path("back/doors/steel.spr")]


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (["doors/oak.spr"], ["doors/oak"]),
        (["doors"], ["doors/oak", "doors/steel"]),
        (["doors/"], ["doors/oak", "doors/steel"]),
        (["doors/*"], ["doors/oak", "doors/steel"]),
        (["*a*"], ["doors/oak", "rain"]),
        (["*.spr"], ["doors/oak", "doors/steel", "rain"]),
        (["rain", "r*", "rain.spr"], ["rain"]),
        (["[dr]*/[!o]*", "rai?"], ["doors/steel", "rain"]),
    ],
)
def test_clips_are_chosen_as_with_unzip_and_tar(
    spresso, library: Path, wanted: list[str], taken: list[str]
) -> None:
    records = spresso("unbundle", library, *wanted, "--output-dir", "back", "--json").records
    assert [record["name"] for record in records] == taken


def test_the_name_of_a_clip_is_no_pattern_and_no_folder(spresso) -> None:
    with open("x.sprb", "wb") as file:
        names = ("[ab]", "a", "a/b", "a.spr")
        write_bundle(((name, make_stream()) for name in names), file)
    for want, taken in {"[ab]": "[ab]", "a": "a", "a/": "a/b", "a.spr": "a.spr"}.items():
        records = spresso("unbundle", "x.sprb", want, "--output-dir", "b", "-f", "--json").records
        assert [record["name"] for record in records] == [taken]


@pytest.mark.parametrize("wanted", ["door", "doors/o", "*.wav", "/", "", "Rain"])
def test_what_chooses_no_clip_is_misuse(spresso, library: Path, wanted: str) -> None:
    shown = spresso("unbundle", library, "rain", wanted, "--output-dir", "back")
    assert shown.code == 2
    assert f"the bundle has no sound called {wanted!r}" in shown.stderr
    assert not Path("back").exists()


def test_an_output_folder_without_a_name_is_misuse(spresso, library: Path) -> None:
    shown = spresso("unbundle", library, "--output-dir", "")
    assert shown.code == 2
    assert "the name is empty" in shown.stderr
    assert not Path("rain.spr").exists()


def test_an_unknown_name_is_refused_before_any_work(spresso, library: Path) -> None:
    shown = spresso("unbundle", library, "rain", "doors/glass", "--output-dir", "back")
    assert shown.code == 2
    assert "doors/glass" in shown.stderr
    assert not Path("back").exists()


def test_an_existing_file_is_kept_without_force(spresso, library: Path) -> None:
    Path("rain.spr").write_text("precious")
    shown = spresso("unbundle", library)
    assert shown.code == 1
    assert Path("rain.spr").read_text() == "precious"
    assert not Path("doors").exists()
    assert spresso("unbundle", "-f", library).code == 0


def test_an_existing_bundle_is_kept_without_force(spresso, library: Path, small: Path) -> None:
    before = library.read_bytes()
    assert spresso("bundle", small / "rain.spr", "-o", library).code == 1
    assert library.read_bytes() == before
    assert spresso("bundle", "-f", small / "rain.spr", "-o", library).code == 0


def test_a_file_that_cannot_be_bundled_does_not_keep_the_others(spresso, small: Path) -> None:
    """Neither a damaged one nor one whose name no clip can have, which is UTF-8."""
    (small / "rain.spr").write_bytes(b"damaged")
    named_in_bytes(small / "doors" / "oak.spr")
    shown = spresso("bundle", small, "-r", "-o", "library.sprb")
    assert shown.code == 1
    misnamed = f"{small / 'doors'}{os.sep}\\udcff.spr"
    assert shown.stderr.splitlines() == [
        f"spresso: {small / 'rain.spr'}: this is not a .spr file: it starts with other bytes",
        f"spresso: {misnamed}: the name is not UTF-8: rename it to bundle it",
        "library.sprb: 1 clip, 58 B",
    ]
    assert [record["name"] for record in spresso("list", "library.sprb", "--json").records] == [
        "doors/steel"
    ]


def test_every_file_that_cannot_be_bundled_has_a_record(spresso, small: Path) -> None:
    (small / "rain.spr").write_bytes(b"damaged")
    broken, made = spresso("bundle", small, "-r", "-o", "library.sprb", "--json").records
    assert (Path(broken["file"]), broken["exit_code"]) == (Path("small/rain.spr"), 3)
    assert (made["file"], made["clips"]) == ("library.sprb", 2)


def test_without_a_file_that_can_be_bundled_there_is_no_bundle(spresso, small: Path) -> None:
    (small / "rain.spr").write_bytes(b"damaged")
    shown = spresso("bundle", small / "rain.spr", "-o", "library.sprb")
    assert shown.code == 3
    assert "rain.spr" in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert os.listdir() == ["small"]


def test_two_clips_of_one_name_make_no_bundle(spresso, small: Path) -> None:
    os.rename(small / "rain.spr", "oak.spr")
    shown = spresso("bundle", "oak.spr", small / "doors" / "oak.spr", "-o", "library.sprb")
    assert shown.code == 2
    assert "oak" in shown.stderr


def test_one_damaged_clip_does_not_keep_the_others(spresso, library: Path) -> None:
    data = bytearray(library.read_bytes())
    data[-5] ^= 1
    library.write_bytes(data)
    shown = spresso("unbundle", library, "--output-dir", "back")
    assert shown.code == 1
    assert len(list(Path("back").rglob("*.spr"))) == 2


def test_a_bundle_goes_through_pipes(spresso, library: Path, small: Path) -> None:
    piped = spresso("bundle", small, "-r", "-o", "-")
    assert piped.data == library.read_bytes()
    assert spresso("list", "-", stdin=piped.data).stdout.count("\n") == 3


@pytest.mark.parametrize("command", ["list", "unbundle"])
def test_what_is_no_bundle_is_exit_3(spresso, small: Path, command: str) -> None:
    shown = spresso(command, small / "rain.spr")
    assert shown.code == 3
    assert shown.stderr.startswith(f"spresso: {Path('small/rain.spr')}: ")


def test_a_link_out_of_the_folder_is_not_followed(spresso, library: Path) -> None:
    """format_spec.md, section 11."""
    Path("elsewhere").mkdir()
    Path("back").mkdir()
    symlink(Path("back", "doors"), "../elsewhere")
    shown = spresso("unbundle", library, "--output-dir", "back")
    assert shown.code == 1
    assert "a link out of the folder" in shown.stderr
    assert list(Path("elsewhere").iterdir()) == []
    assert Path("back", "rain.spr").exists()
    assert "1 clip to" in shown.stderr


def test_what_windows_understands_is_not_even_looked_for(
    spresso, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look for a file on another machine tells that one who looks (format_spec.md, 11)."""
    hostile = (r"\\server\share\x", "C:x", "aux")
    library, looked = tmp_path / "hostile.sprb", []
    with open(library, "wb") as file:
        write_bundle(((name, make_stream()) for name in ("rain", *hostile)), file)
    stat = os.stat

    def looking(path: object, *arguments: object, **options: object) -> os.stat_result:
        looked.append(str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(outputs, "WINDOWS", True)
    monkeypatch.setattr(os, "stat", looking)
    monkeypatch.chdir(tmp_path)
    shown = spresso("unbundle", library)
    assert shown.code == 1
    assert shown.stderr.count("is not a possible name here") == 3
    assert not [path for path in looked if "server" in path or "C:x" in path]
    assert [path.name for path in tmp_path.glob("*.spr")] == ["rain.spr"]


def test_json_and_a_bundle_cannot_share_stdout(spresso, small: Path) -> None:
    shown = spresso("bundle", small, "-r", "-o", "-", "--json")
    assert shown.code == 2
    assert shown.data == b""


def test_a_file_that_is_called_like_stdin_is_a_file(spresso, small: Path) -> None:
    shutil.copy(next(small.rglob("*.spr")), "-")
    assert spresso("bundle", "./-", "-o", "x.sprb").code == 0
    assert spresso("list", "x.sprb", "--json").records[0]["name"] == "-"


def test_a_bundle_does_not_replace_what_it_is_made_of(spresso, small: Path) -> None:
    path = next(small.rglob("*.spr"))
    before = path.read_bytes()
    outcome = spresso("bundle", path, "-o", path, "-f")
    assert outcome.code == 2 and "is the input" in outcome.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_a_bundle_is_not_replaced_by_its_own_clip(spresso, library: Path, flags: tuple) -> None:
    os.rename(library, "rain.spr")
    before = Path("rain.spr").read_bytes()
    shown = spresso("unbundle", "rain.spr", *flags)
    assert shown.code == 2
    words = "the output rain.spr is the input rain.spr: add --output-dir"
    assert shown.stderr == f"spresso: {words}\n"
    assert Path("rain.spr").read_bytes() == before and not Path("doors").exists()
    assert spresso("unbundle", "rain.spr", "--output-dir", "back").code == 0


@pytest.mark.parametrize("name", ["..wav", ".wav", "...wav", "a..wav"])
def test_dots_before_a_name_go_there_and_back(spresso, bench: Bench, name: str) -> None:
    write_sound(Path("in.wav")).rename(name)
    assert spresso("compress", name).code == 0
    (made,) = Path().glob("*.spr")
    assert spresso("bundle", made, "-o", "x.sprb").code == 0
    assert spresso("unbundle", "x.sprb", "--output-dir", "back").code == 0
    (back,) = Path("back").iterdir()
    assert (back.name, back.read_bytes()) == (made.name, made.read_bytes())


@pytest.mark.parametrize("name", [".spr", "..spr", "...spr", "doors/.SPR"])
def test_a_file_of_which_only_the_suffix_is_a_name_is_not_bundled(
    spresso, small: Path, name: str
) -> None:
    """It would come out as another file."""
    shutil.copy(small / "rain.spr", small / name)
    shown = spresso("bundle", small / name, small / "rain.spr", "-o", "x.sprb")
    assert shown.code == 1
    assert "rename it to bundle it" in shown.stderr
    assert [record["name"] for record in spresso("list", "x.sprb", "--json").records] == ["rain"]


def test_a_suffix_in_capitals_is_one(spresso, small: Path) -> None:
    shutil.copy(next(small.rglob("*.spr")), "UP.SPR")
    spresso("bundle", "UP.SPR", "-o", "x.sprb")
    assert spresso("list", "x.sprb", "--json").records[0]["name"] == "UP"


def test_a_bundle_goes_to_a_device(spresso, small: Path) -> None:
    assert spresso("bundle", small, "-r", "-o", os.devnull).code == 0


@pytest.mark.parametrize("name", ["x.spr", "x.wav"])
def test_a_bundle_is_not_named_like_another_kind_of_file(spresso, small: Path, name: str) -> None:
    outcome = spresso("bundle", small, "-r", "-o", name)
    assert outcome.code == 2 and "name it .sprb" in outcome.stderr
    assert not Path(name).exists()


@pytest.mark.parametrize(("one", "other"), [("A", "a"), ("é", "e\u0301")])
def test_clips_that_some_file_systems_take_for_one_go_out_one_at_a_time(
    spresso, one: str, other: str
) -> None:
    with open("x.sprb", "wb") as file:
        write_bundle(((name, make_stream()) for name in (one, other)), file)
    outcome = spresso("unbundle", "x.sprb", "--output-dir", "back", "-f")
    assert outcome.code == 2 and "are one file on some systems" in outcome.stderr
    assert not Path("back").exists()
    assert spresso("unbundle", "x.sprb", one, "--output-dir", "back").code == 0


def test_every_record_of_unbundle_has_the_name_of_the_clip_and_its_file(
    spresso, library: Path
) -> None:
    data = bytearray(library.read_bytes())
    data[-5] ^= 1
    library.write_bytes(data)
    *whole, broken = spresso("unbundle", library, "--output-dir", "back", "--json").records
    assert [list(record) for record in whole] == [["name", "file", "bytes"]] * 2
    assert list(broken) == ["name", "file", "error", "exit_code"]
    assert (broken["name"], Path(broken["file"])) == ("rain", Path("back/rain.spr"))
