"""Planning: names, trees and takes; every collision is refused before any work."""

from __future__ import annotations

import errno
import ntpath
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.errors import UsageError
from spresso_cli.library import plan as library_plan
from spresso_cli.library.plan import (
    STREAM_SUFFIXES,
    Appended,
    Found,
    Job,
    find,
    plan,
    refuse_report,
)
from tests.conftest import symlink


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
        ("z.safetensors", "z.spr"),
    ],
)
def test_a_known_suffix_is_replaced_and_any_other_is_kept(source: str, output: str) -> None:
    assert outputs(plan(named(source), suffix=".spr")) == [output]


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("a.wav", "a.wav.spr"),
        ("x/a.FLAC", "x/a.FLAC.spr"),
        ("take.1", "take.1.spr"),
        ("noise", "noise.spr"),
        (".wav", ".wav.spr"),
    ],
)
def test_an_appended_suffix_follows_the_whole_name(source: str, output: str) -> None:
    assert outputs(plan(named(source), suffix=Appended(".spr"))) == [output]


def test_two_formats_of_one_stem_live_side_by_side_and_come_back_under_new_names() -> None:
    made = outputs(plan(named("a.wav", "a.flac"), suffix=Appended(".spr"), output_dir="out"))
    assert made == ["out/a.wav.spr", "out/a.flac.spr"]
    back = plan(find(made, suffixes=STREAM_SUFFIXES), suffix=".wav", seeds=[3])
    assert outputs(back) == ["out/a.wav.seed3.wav", "out/a.flac.seed3.wav"]
    assert outputs(plan(named("a.wav"), suffix=Appended(".spr"), seeds=[3])) == ["a.wav.seed3.spr"]


def test_an_output_that_is_named_needs_no_suffix_of_its_source() -> None:
    assert outputs(plan(named("a.wav"), suffix=Appended(".spr"), output="b.spr")) == ["b.spr"]
    assert plan(named("-"), suffix=Appended(".spr")) == [Job(None, None, "-")]


def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    (job,) = plan(named("\udcff.wav"), suffix=".spr")
    assert str(job.output) == "\udcff.spr"


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


def test_a_list_keeps_to_the_output_folder_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """C:oak.wav is in the current folder of a drive, and whatever stands before it is dropped."""
    windows = SimpleNamespace(path=ntpath, sep="\\", pardir="..", curdir=".")
    with monkeypatch.context() as patch:
        patch.setattr(library_plan, "os", windows)
        listed = [
            r"doors\oak.wav",
            r".\oak.wav",
            "C:oak.wav",
            r"C:\a.wav",
            r"\a.wav",
            r"\\b\c\a.wav",
        ]
        trees = [library_plan._tree(name) for name in listed]
    assert trees == ["doors/oak.wav", "oak.wav", "", "", "", ""]


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
    symlink(tmp_path / "in/loop", tmp_path / "in")
    assert len(find([str(tmp_path / "in")], suffixes=SOUND_SUFFIXES, recursive=True)) == 1


def test_a_folder_that_cannot_be_read_is_refused_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.wav", tmp_path / "locked/b.wav")
    scandir = os.scandir

    def scan(place: str):
        if os.path.basename(place) == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(UsageError, match="locked: the folder cannot be read: Permission denied"):
        find([str(tmp_path)], suffixes=SOUND_SUFFIXES, recursive=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_several_takes_of_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    found = find([str(tmp_path / "p")], suffixes=STREAM_SUFFIXES)
    assert len(plan(found, suffix=".wav", seeds=[3])) == 1
    with pytest.raises(UsageError, match="can be read only once: save it to a file first"):
        plan(found, suffix=".wav", seeds=[3, 4], output_dir="x")


@pytest.mark.parametrize("named", [{}, {"output": "x.wav"}, {"output_dir": "x"}])
def test_several_takes_of_stdin_have_no_names(named: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="save it to a file first"):
        plan(find(["-"], suffixes=STREAM_SUFFIXES), suffix=".wav", seeds=[0, 1],
                  **named)  # fmt: skip


def test_a_missing_file_is_planned_and_fails_later_alone() -> None:
    assert outputs(plan(named("missing.wav", "b.wav"), suffix=".spr")) == ["missing.spr", "b.spr"]


# A file that is named twice.


def test_a_name_given_twice_is_done_once() -> None:
    assert outputs(plan(named("a.wav", "./a.wav", "b.wav"), suffix=".spr")) == ["a.spr", "b.spr"]


def test_a_file_and_its_folder_are_done_once(tmp_path: Path) -> None:
    touch(tmp_path / "x/a.wav", tmp_path / "x/b.wav")
    names = [str(tmp_path / "x"), str(tmp_path / "x/b.wav")]
    found = find(names, suffixes=SOUND_SUFFIXES, recursive=True)
    assert [job.relative for job in plan(found, suffix=".spr")] == ["a.wav", "b.wav"]


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_links_to_one_file_are_one_where_they_have_one_output(tmp_path: Path, link: str) -> None:
    touch(tmp_path / "x/a.wav")
    (tmp_path / "y").mkdir()
    if link == "symbolic":
        symlink(tmp_path / "y/a.wav", tmp_path / "x/a.wav")
    else:
        (tmp_path / "y/a.wav").hardlink_to(tmp_path / "x/a.wav")
    both = named(str(tmp_path / "x/a.wav"), str(tmp_path / "y/a.wav"))
    assert outputs(plan(both, suffix=".spr", output_dir="out")) == ["out/a.spr"]
    assert outputs(plan(both, suffix=".spr", output="one.spr")) == ["one.spr"]
    assert len(plan(both, suffix=".spr")) == 2


def test_links_to_one_file_whose_outputs_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "A.wav")
    if (tmp_path / "a.wav").exists():
        pytest.skip("this file system takes both names for one")
    (tmp_path / "a.wav").hardlink_to(tmp_path / "A.wav")
    with pytest.raises(UsageError, match="would both become"):
        plan(named(str(tmp_path / "A.wav"), str(tmp_path / "a.wav")), suffix=".spr")


def test_takes_of_a_file_that_is_named_twice_are_made_once_each() -> None:
    takes = plan(named("a.spr", "a.spr"), suffix=".wav", seeds=[1, 2])
    assert outputs(takes) == ["a.seed1.wav", "a.seed2.wav"]


# Refusals.


def test_one_stem_in_two_formats_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        plan(named("a.wav", "a.flac"), suffix=".spr")
    assert str(refused.value) == (
        "a.wav and a.flac would both become a.spr: add --keep-suffix, which makes a.wav.spr"
    )


def test_the_refusal_names_three_pairs_and_how_many_more() -> None:
    names = [f"{stem}.{suffix}" for stem in "abcde" for suffix in ("wav", "flac")]
    with pytest.raises(UsageError) as refused:
        plan(named(*names), suffix=".spr")
    *pairs, more = str(refused.value).split("; ")
    assert pairs == [f"{s}.wav and {s}.flac would both become {s}.spr" for s in "abc"]
    assert more == "and 2 more: add --keep-suffix, which makes a.wav.spr"


def test_the_refusal_names_a_way_out_that_is_one() -> None:
    with pytest.raises(UsageError, match=r"a\.spr: rename one or run them apart$"):
        plan(named("A.wav", "a.wav"), suffix=".spr")
    with pytest.raises(UsageError, match="helps where suffixes differ; else rename one"):
        plan(named("A.wav", "a.wav", "b.wav", "b.aif"), suffix=".spr")
    with pytest.raises(UsageError, match="rename one or run them apart$"):
        plan(named("x/a.spr", "y/a.spr"), suffix=".wav", output_dir="out")


@pytest.mark.parametrize(
    "pair", [("A.wav", "a.wav"), ("x/Straße.wav", "x/STRASSE.wav"), ("é.wav", "e\u0301.wav")]
)
def test_names_that_some_file_systems_take_for_one_are_refused(pair: tuple[str, str]) -> None:
    for suffix in (".spr", Appended(".spr")):
        with pytest.raises(UsageError, match="would both become .*: rename one or run them apart$"):
            plan(named(*pair), suffix=suffix)


def test_two_ways_to_one_folder_are_seen_through(tmp_path: Path) -> None:
    touch(tmp_path / "x/a.wav", tmp_path / "x/a.flac")
    symlink(tmp_path / "y", tmp_path / "x")
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


@pytest.mark.parametrize("link", ["none", "symbolic", "hard"])
def test_an_output_that_is_an_input_is_refused_also_through_links(
    tmp_path: Path, link: str
) -> None:
    source = tmp_path / "a.wav"
    touch(source)
    output = source if link == "none" else tmp_path / "b.spr"
    if link == "symbolic":
        symlink(output, source)
    elif link == "hard":
        output.hardlink_to(source)
    with pytest.raises(UsageError, match="is the input"):
        plan(named(str(source)), suffix=".spr", output=str(output))


def test_an_output_that_is_another_input_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.spr", tmp_path / "a.wav")
    with pytest.raises(UsageError, match=r"a\.wav is a sound already: leave it out, or did you"):
        plan(named(str(tmp_path / "a.spr"), str(tmp_path / "a.wav")), suffix=".wav")
    touch(tmp_path / "b.bin")
    with pytest.raises(UsageError, match=r"output .*b\.bin is the input"):
        plan(named(str(tmp_path / "b.bin")), suffix=".spr", output=str(tmp_path / "b.bin"))


@pytest.mark.parametrize(
    ("source", "suffix", "told"),
    [
        ("a.wav", ".wav", "a.wav is a sound already: did you mean compress?"),
        ("a.FLAC", ".flac", "a.FLAC is a sound already: did you mean compress?"),
        ("a.spr", ".spr", "a.spr is compressed already: did you mean decompress?"),
    ],
)
def test_what_is_an_output_already_is_sent_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, suffix: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path(source))
    with pytest.raises(UsageError) as refused:
        plan(named(source), suffix=suffix, output=source)
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("source", "suffix", "output", "told"),
    [
        ("a.wav", ".spr", "q.wav", "q.wav is named like a sound: name it .spr"),
        ("a.wav", ".spr", "q.FLAC", "q.FLAC is named like a sound: name it .spr"),
        ("a.wav", Appended(".spr"), "q.sprb", "q.sprb is named like a bundle: name it .spr"),
        ("a.spr", ".wav", "x.spr", "x.spr is named like a .spr file: name it .wav"),
        ("a.spr", ".ogg", "x.SPR", "x.SPR is named like a .spr file: name it .ogg"),
        ("a.wav", ".safetensors", "z.wav", "z.wav is named like a sound: name it .safetensors"),
    ],
)
def test_an_output_that_is_named_like_another_kind_of_file_is_refused(
    source: str, suffix: str, output: str, told: str
) -> None:
    with pytest.raises(UsageError) as refused:
        plan(named(source), suffix=suffix, output=output)
    assert str(refused.value) == told


def test_sounds_may_be_named_like_any_sound_and_anything_like_nothing() -> None:
    for output in ("x.wav", "x.flac", "x.take", "x"):
        assert outputs(plan(named("a.spr"), suffix=".wav", output=output)) == [output]


def test_what_macos_writes_beside_files_is_not_taken_for_a_sound(tmp_path: Path) -> None:
    for name in ("door.wav", "._door.wav"):
        (tmp_path / name).touch()
    found = find([str(tmp_path)], suffixes=SOUND_SUFFIXES, recursive=True)
    assert [item.relative for item in found] == ["door.wav"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_in_a_folder_is_not_taken_and_a_link_to_nowhere_is(tmp_path: Path) -> None:
    """Nobody may ever write to the one; the other is a sound that is missed."""
    touch(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    symlink(tmp_path / "c.wav", tmp_path / "a.wav")
    symlink(tmp_path / "d.wav", "nowhere")
    found = find([str(tmp_path)], suffixes=SOUND_SUFFIXES, recursive=True)
    assert [item.relative for item in found] == ["a.wav", "c.wav", "d.wav"]
    assert len(named(str(tmp_path / "b.wav"))) == 1


@pytest.mark.parametrize("out", ["in/out", "in/x/out", "in/./x/../out/"])
def test_an_output_folder_inside_a_folder_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    """What a run wrote there is no input of the next."""
    monkeypatch.chdir(tmp_path)
    touch(Path("in/a.wav"), Path("in/x/b.wav"), Path("in/x/output.wav"), Path(out, "a.wav"))

    def found(*names: str, **how) -> list[str]:
        inputs = find(names, suffixes=SOUND_SUFFIXES, recursive=True, **how)
        return [item.relative for item in inputs]

    rest = ["a.wav", "x/b.wav", "x/output.wav"]
    assert found("in", output_dir=out) == found(str(tmp_path / "in"), output_dir=out) == rest
    assert found(".", output_dir=str(tmp_path / out)) == [f"in/{name}" for name in rest]
    assert len(found("in")) == len(found("in", output_dir="in")) == 4
    assert len(found("in", output_dir=".")) == 4
    assert found(out, output_dir=out) == found(f"{out}/a.wav", output_dir=out) == ["a.wav"]


def test_a_folder_needs_recursive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add -r"):
        named(str(tmp_path))


def test_nothing_to_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to do"):
        find([str(tmp_path)], suffixes=SOUND_SUFFIXES, recursive=True)
    touch(tmp_path / "out/a.wav")
    how = {"suffixes": SOUND_SUFFIXES, "recursive": True, "output_dir": str(tmp_path / "out")}
    with pytest.raises(UsageError, match="none was found outside the output folder .*out$"):
        find([str(tmp_path)], **how)


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contradict"):
        plan(named("a.wav"), suffix=".spr", output="x", output_dir="y")
    with pytest.raises(UsageError, match="use --output-dir"):
        plan(named("a.wav", "b.wav"), suffix=".spr", output="x.spr")
    with pytest.raises(UsageError, match="use --output-dir"):
        plan(named("a.spr"), suffix=".wav", output="x.wav", seeds=[1, 2])
    with pytest.raises(UsageError, match="is a folder: use --output-dir"):
        plan(named("a.wav"), suffix=".spr", output=str(tmp_path))
    with pytest.raises(UsageError, match="give it one with -o"):
        plan(named("-"), suffix=".spr", output_dir="out")
    with pytest.raises(UsageError, match="beside other inputs"):
        named("-", "a.wav")


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        named("")
    with pytest.raises(UsageError, match="empty"):
        plan(named("a.wav"), suffix=".spr", output="")
    with pytest.raises(UsageError, match="empty"):
        plan(named("a.wav"), suffix=".spr", output_dir="")


# The report of a run.


def test_a_report_is_none_of_the_outputs_and_none_of_the_inputs(tmp_path: Path) -> None:
    jobs = [Job(tmp_path / "in/a.wav", tmp_path / "out/a.spr", "a.wav"), Job(None, None, "-")]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.wav").touch()
    symlink(tmp_path / "in/link", "a.wav")
    symlink(tmp_path / "other", "out")
    for name in ("out/a.spr", "out/A.SPR", "other/a.spr", "in/../out/a.spr"):
        with pytest.raises(UsageError, match=r"is the output .*a\.spr: choose another name"):
            refuse_report(tmp_path / name, jobs)
    for name in ("in/a.wav", "in/link"):
        with pytest.raises(UsageError, match=r"is the input .*a\.wav: choose another name"):
            refuse_report(tmp_path / name, jobs)
    for name in ("in/a.spr", "a.spr", "out/a.jsonl"):
        refuse_report(tmp_path / name, jobs)


def test_a_link_to_an_output_that_is_yet_to_come_is_no_report(tmp_path: Path) -> None:
    symlink(tmp_path / "log.jsonl", "out/a.spr")
    with pytest.raises(UsageError, match=r"is the output .*a\.spr"):
        refuse_report(
            tmp_path / "log.jsonl", [Job(Path("a.wav"), tmp_path / "out" / "a.spr", "a.wav")]
        )


def test_a_report_that_keeps_nothing_may_be_where_outputs_go() -> None:
    refuse_report(Path(os.devnull), [Job(Path("a.wav"), Path(os.devnull), "a.wav")])
