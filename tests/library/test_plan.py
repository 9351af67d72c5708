"""Planning: names, trees and takes; every collision is refused before any work."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.errors import UsageError
from spresso_cli.library.plan import (
    STREAM_SUFFIXES,
    Found,
    Job,
    find,
    plan,
    read_list,
)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def outputs(jobs: list[Job]) -> list[str]:
    return [job.output.as_posix() for job in jobs]


def named(*names: str) -> list[Found]:
    return find(names, suffixes=SOUND_SUFFIXES)


# Names.


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("a.wav", "a.spr"),
        ("x/a.FLAC", "x/a.spr"),
        ("take.1.wav", "take.1.spr"),
        ("take.1", "take.1.spr"),
        ("noise", "noise.spr"),
        (".wav", ".wav.spr"),
        ("-rf.wav", "-rf.spr"),
        ("two\nlines.wav", "two\nlines.spr"),
        ("a.spr.wav", "a.spr.spr"),
    ],
)
def test_a_known_suffix_is_replaced_and_any_other_is_kept(source: str, output: str) -> None:
    assert outputs(plan(named(source), suffix=".spr")) == [output]


def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    (job,) = plan(named(os.fsdecode(b"\xff.wav")), suffix=".spr")
    assert os.fsencode(job.output) == b"\xff.spr"


def test_a_take_is_named_by_its_seed_and_a_single_output_is_not() -> None:
    found = named("a.spr")
    assert outputs(plan(found, suffix=".wav")) == ["a.wav"]
    takes = plan(found, suffix=".wav", seeds=range(3, 6))
    assert outputs(takes) == ["a.seed3.wav", "a.seed4.wav", "a.seed5.wav"]
    assert [job.seed for job in takes] == [3, 4, 5]


def test_an_output_can_be_named() -> None:
    assert outputs(plan(named("a.wav"), suffix=".spr", output="b.bin")) == ["b.bin"]
    (job,) = plan(named("a.wav"), suffix=".spr", output="-")
    assert job.output is None


def test_stdin_goes_to_stdout_unless_the_output_is_named() -> None:
    assert plan(named("-"), suffix=".spr") == [Job(None, None, "-")]
    assert outputs(plan(named("-"), suffix=".spr", output="a.spr")) == ["a.spr"]


# Trees.


def test_a_folder_is_mirrored_under_the_output_folder(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("in/b.wav", "in/x/a.WAV", "in/x/y/c.flac", "in/n.txt")))
    found = find([str(tmp_path / "in")], suffixes=SOUND_SUFFIXES, recursive=True)
    assert [item.relative for item in found] == ["b.wav", "x/a.WAV", "x/y/c.flac"]
    assert outputs(plan(found, suffix=".spr", output_dir="out")) == [
        "out/b.spr",
        "out/x/a.spr",
        "out/x/y/c.spr",
    ]


def test_without_an_output_folder_outputs_stand_beside_their_inputs(tmp_path: Path) -> None:
    touch(tmp_path / "in/x/a.spr")
    found = find([str(tmp_path / "in")], suffixes=STREAM_SUFFIXES, recursive=True)
    assert outputs(plan(found, suffix=".wav")) == [(tmp_path / "in/x/a.wav").as_posix()]


def test_named_files_stand_side_by_side_and_listed_ones_keep_their_tree() -> None:
    assert outputs(plan(named("x/a.wav"), suffix=".spr", output_dir="out")) == ["out/a.spr"]
    found = find([], suffixes=SOUND_SUFFIXES, listed=["./x/a.wav", "/abs/b.wav", "../c.wav"])
    assert outputs(plan(found, suffix=".spr", output_dir="out")) == [
        "out/x/a.spr",
        "out/b.spr",
        "out/c.spr",
    ]


def test_a_list_may_name_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "x/y/a.wav", tmp_path / "b.wav")
    monkeypatch.chdir(tmp_path)
    for listed in (["x"], ["./x/"]):
        found = find([], suffixes=SOUND_SUFFIXES, recursive=True, listed=listed)
        assert [item.relative for item in found] == ["x/y/a.wav"]
    found = find([], suffixes=SOUND_SUFFIXES, recursive=True, listed=["."])
    assert [item.relative for item in found] == ["b.wav", "x/y/a.wav"]


def test_folder_order_does_not_depend_on_the_disk(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{name}.wav" for name in "dbca"))
    found = find([str(tmp_path)], suffixes=SOUND_SUFFIXES, recursive=True)
    assert [item.relative for item in found] == ["a.wav", "b.wav", "c.wav", "d.wav"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.wav")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    assert len(find([str(tmp_path / "in")], suffixes=SOUND_SUFFIXES, recursive=True)) == 1


def test_lists_end_names_with_newlines_or_with_nul() -> None:
    assert read_list(io.BytesIO(b"a b.wav\r\n\n-c.wav")) == ["a b.wav", "-c.wav"]
    assert read_list(io.BytesIO(b"a\nb.wav\0\xff.wav\0"), null=True) == ["a\nb.wav", "\udcff.wav"]


def test_a_list_of_lines_that_holds_nul_was_made_for_the_other_option() -> None:
    with pytest.raises(UsageError, match="add -0"):
        read_list(io.BytesIO(b"a\0b\0"))


@pytest.mark.parametrize("named", [{}, {"output": "x.wav"}, {"output_dir": "x"}])
def test_several_takes_of_stdin_have_no_names(named: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="save it to a file first"):
        plan(find(["-"], suffixes=STREAM_SUFFIXES), suffix=".wav", seeds=[0, 1],
                  **named)  # fmt: skip


def test_a_missing_file_is_planned_and_fails_later_alone() -> None:
    assert outputs(plan(named("missing.wav", "b.wav"), suffix=".spr")) == ["missing.spr", "b.spr"]


# Refusals.


def test_one_stem_in_two_formats_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a\.wav and a\.flac would both become a\.spr"):
        plan(named("a.wav", "a.flac"), suffix=".spr")


@pytest.mark.parametrize(
    "pair", [("A.wav", "a.wav"), ("x/Straße.wav", "x/STRASSE.wav"), ("é.wav", "e\u0301.wav")]
)
def test_names_that_some_file_systems_take_for_one_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="would both become"):
        plan(named(*pair), suffix=".spr")


def test_two_ways_to_one_folder_are_seen_through(tmp_path: Path) -> None:
    touch(tmp_path / "x/a.wav", tmp_path / "x/a.flac")
    (tmp_path / "y").symlink_to(tmp_path / "x")
    with pytest.raises(UsageError, match="would both become"):
        plan(named(str(tmp_path / "x/a.wav"), str(tmp_path / "y/a.flac")), suffix=".spr")


def test_two_folders_with_equal_names_inside_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "x/a.wav", tmp_path / "y/a.wav")
    found = find(
        [str(tmp_path / "x"), str(tmp_path / "y")], suffixes=SOUND_SUFFIXES, recursive=True
    )
    with pytest.raises(UsageError, match="would both become"):
        plan(found, suffix=".spr", output_dir="out")
    assert len(plan(found, suffix=".spr")) == 2


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="would both become"):
        plan(named("a.wav", "./a.wav"), suffix=".spr")


@pytest.mark.parametrize("link", ["none", "symbolic", "hard"])
def test_an_output_that_is_an_input_is_refused_also_through_links(
    tmp_path: Path, link: str
) -> None:
    source = tmp_path / "a.wav"
    touch(source)
    output = source if link == "none" else tmp_path / "b.spr"
    if link == "symbolic":
        output.symlink_to(source)
    elif link == "hard":
        output.hardlink_to(source)
    with pytest.raises(UsageError, match="is the input"):
        plan(named(str(source)), suffix=".spr", output=str(output))


def test_an_output_that_is_another_input_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.spr", tmp_path / "a.wav")
    with pytest.raises(UsageError, match=r"output .*a\.wav is the input"):
        plan(named(str(tmp_path / "a.spr"), str(tmp_path / "a.wav")), suffix=".wav")


def test_a_folder_needs_recursive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add -r"):
        named(str(tmp_path))


def test_nothing_to_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to do"):
        find([str(tmp_path)], suffixes=SOUND_SUFFIXES, recursive=True)


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contradict"):
        plan(named("a.wav"), suffix=".spr", output="x", output_dir="y")
    with pytest.raises(UsageError, match="use --output-dir"):
        plan(named("a.wav", "b.wav"), suffix=".spr", output="x.spr")
    with pytest.raises(UsageError, match="use --output-dir"):
        plan(named("a.spr"), suffix=".wav", output="x.wav", seeds=[1, 2])
    with pytest.raises(UsageError, match="is a folder"):
        plan(named("a.wav"), suffix=".spr", output=str(tmp_path))
    with pytest.raises(UsageError, match="give it one with -o"):
        plan(named("-"), suffix=".spr", output_dir="out")
    with pytest.raises(UsageError, match="beside other inputs"):
        named("-", "a.wav")


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        named("")
