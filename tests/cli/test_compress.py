"""`compress` from the outside: names, pipes, bitrates, refusals, and what each failure costs.

The codec is the library's fake one: these are the mechanics of the command line.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from spresso_cli.container import spr
from spresso_cli.library import outputs
from tests.conftest import symlink

from .conftest import Bench, write_sound


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def door() -> Path:
    """Five seconds of mono at 48 kHz."""
    return write_sound(Path("door.wav"), seconds=5)


def write_sounds(count: int) -> list[str]:
    """So many sounds in the current folder; returns their names."""
    return [str(write_sound(Path(f"{n}.wav"))) for n in range(count)]


def test_a_sound_becomes_a_file_of_73_bytes_beside_it(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", door, "-b", 0.096)
    assert shown.code == 0
    assert Path("door.spr").stat().st_size == 73
    assert spr.read(Path("door.spr").read_bytes()).samples == 240_000


def test_at_44100_hz_it_is_73_bytes_too(spresso, bench: Bench) -> None:
    write_sound(Path("door.wav"), seconds=5, rate=44_100)
    spresso("compress", "door.wav")
    assert Path("door.spr").stat().st_size == 73


def test_both_bitrates_are_told(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", door)
    assert "payload 0.096 kbps, file 0.1168 kbps" in shown.stderr
    assert "480.0 kB -> 73 B" in shown.stderr
    assert shown.stdout == ""


def test_stereo_is_told_per_channel_and_in_total(spresso, bench: Bench) -> None:
    write_sound(Path("wide.wav"), seconds=5, channels=2)
    assert "payload 0.192 kbps (0.096 kbps per channel)" in spresso("compress", "wide.wav").stderr


def test_json_has_one_record_a_file_and_nothing_else_on_stdout(
    spresso, bench: Bench, door: Path
) -> None:
    (record,) = spresso("compress", "--json", door).records
    assert list(record) == [
        "path",
        "source",
        "output",
        "status",
        "source_bytes",
        "output_bytes",
        "duration",
        "seconds",
        "source_mtime",
        "payload_kbps",
        "payload_kbps_per_channel",
        "file_kbps",
    ]
    assert record["status"] == "done"
    assert record["output"] == "door.spr"
    assert (record["output_bytes"], record["payload_kbps"]) == (73, 0.096)


def test_quiet_says_nothing(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", "-q", door)
    assert (shown.code, shown.stdout, shown.stderr) == (0, "", "")


def test_verbose_tells_what_was_chosen(spresso, bench: Bench, door: Path) -> None:
    assert "8 codes of 12 bits at 1 Hz" in spresso("compress", "-v", door).stderr


def test_an_output_can_be_named(spresso, bench: Bench, door: Path) -> None:
    assert spresso("compress", door, "-o", "small.spr").code == 0
    assert Path("small.spr").exists()


def test_an_existing_output_is_kept_without_force(spresso, bench: Bench, door: Path) -> None:
    Path("door.spr").write_text("precious")
    shown = spresso("compress", door)
    assert shown.code == 1
    assert shown.stderr == "spresso: door.wav: door.spr exists already: -f replaces it\n"
    assert Path("door.spr").read_text() == "precious"
    assert bench.loads == []


def test_force_replaces_it(spresso, bench: Bench, door: Path) -> None:
    Path("door.spr").write_text("precious")
    assert spresso("compress", "-f", door).code == 0
    assert Path("door.spr").stat().st_size == 73


def test_the_output_is_never_the_input(spresso, bench: Bench, door: Path) -> None:
    before = door.read_bytes()
    shown = spresso("compress", "-f", door, "-o", "door.wav")
    assert shown.code == 2
    assert door.read_bytes() == before


def test_two_inputs_with_one_output_are_refused_before_any_work(
    spresso, bench: Bench, door: Path
) -> None:
    write_sound(Path("door.flac"))
    shown = spresso("compress", "door.wav", "door.flac")
    assert shown.code == 2
    assert shown.stderr == (
        "spresso: door.wav and door.flac would both become door.spr: "
        "add --keep-suffix, which makes door.wav.spr\n"
    )
    assert bench.loads == []
    assert not Path("door.spr").exists()


def test_with_its_suffix_kept_a_sound_lives_beside_another_format_of_it(
    spresso, bench: Bench, door: Path
) -> None:
    write_sound(Path("door.flac"))
    arguments = ("compress", "--keep-suffix", "door.wav", "door.flac")
    assert spresso(*arguments, "--dry-run").stdout.splitlines() == [
        "door.wav -> door.wav.spr",
        "door.flac -> door.flac.spr",
    ]
    assert spresso(*arguments).code == 0
    assert spresso(*arguments, "--resume").stderr.count("up to date") == 2
    before = door.read_bytes()
    assert spresso("decompress", "door.wav.spr", "door.flac.spr").code == 0
    assert sorted(os.listdir()) == [
        *("door.flac", "door.flac.spr", "door.flac.wav"),
        *("door.wav", "door.wav.spr", "door.wav.wav"),
    ]
    assert door.read_bytes() == before


def test_kept_suffixes_go_with_trees_and_shards(spresso, bench: Bench) -> None:
    for name in ("oak.wav", "oak.flac", "deep/rain.wav", "deep/rain.flac"):
        write_sound(Path("sounds", name))
    for index in range(2):
        share = ("--output-dir", "small", "--shard", f"{index}/2")
        assert spresso("compress", "sounds", "-r", "--keep-suffix", *share).code == 0
    made = sorted(path.relative_to("small").as_posix() for path in Path("small").rglob("*.spr"))
    assert made == ["deep/rain.flac.spr", "deep/rain.wav.spr", "oak.flac.spr", "oak.wav.spr"]


def test_a_name_that_is_given_wins_over_the_suffix(spresso, bench: Bench, door: Path) -> None:
    """As with zstd, where -o decides alone; stdin has no suffix to keep."""
    assert spresso("compress", "--keep-suffix", door, "-o", "q.spr").code == 0
    assert spresso("compress", "--keep-suffix", "-", stdin=door.read_bytes()).data[:3] == spr.MAGIC
    assert sorted(os.listdir()) == ["door.wav", "q.spr"]


def test_a_sound_that_is_named_twice_is_compressed_once(spresso, bench: Bench, door: Path) -> None:
    symlink(Path("same.wav"), door)
    shown = spresso("compress", "--json", "door.wav", "./door.wav", "same.wav")
    assert [record["output"] for record in shown.records] == ["door.spr", "same.spr"]


def test_a_compressed_sound_is_sent_to_decompress(spresso, bench: Bench) -> None:
    Path("door.spr").touch()
    shown = spresso("compress", "door.spr")
    assert shown.code == 2
    assert shown.stderr == "spresso: door.spr is compressed already: did you mean decompress?\n"


def test_what_is_no_sound_is_not_named_like_one(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", "-f", door, "-o", "q.wav")
    assert shown.code == 2
    assert shown.stderr == "spresso: q.wav is named like a sound: name it .spr\n"
    assert bench.loads == [] and not Path("q.wav").exists()


def test_stdin_goes_to_stdout(spresso, bench: Bench, door: Path) -> None:
    piped = spresso("compress", "-", stdin=door.read_bytes())
    spresso("compress", door)
    assert piped.code == 0
    assert piped.data == Path("door.spr").read_bytes()


def test_stdin_goes_to_a_file_that_is_named(spresso, bench: Bench, door: Path) -> None:
    assert spresso("compress", "-", "-o", "out.spr", stdin=door.read_bytes()).data == b""
    assert Path("out.spr").stat().st_size == 73


def test_both_bitrates_are_told_of_a_pipe_too(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", "-", stdin=door.read_bytes())
    assert "payload 0.096 kbps" in shown.stderr


def test_a_device_swallows_its_output(spresso, bench: Bench, door: Path) -> None:
    """As /dev/null does, and a pipe with a name: what was written cannot be read again."""
    shown = spresso("compress", door, "-o", os.devnull)
    assert shown.code == 0
    assert "payload 0.096 kbps" in shown.stderr


def test_who_takes_outputs_away_at_once_does_not_stop_the_batch(
    spresso, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = write_sounds(3)
    monkeypatch.setattr(outputs, "_publish", lambda temporary, path, force: temporary.unlink())
    shown = spresso("compress", *names, "--report", "log.jsonl")
    assert shown.code == 0
    assert len(Path("log.jsonl").read_text().splitlines()) == 3


def test_json_and_data_cannot_share_stdout(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", "--json", "-", stdin=door.read_bytes())
    assert shown.code == 2
    assert shown.data == b""


def test_a_rate_below_the_lowest_names_the_lowest(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", door, "-b", 0.01)
    assert shown.code == 2
    assert "0.096" in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_frame_rate_and_codebooks_override_the_choice(spresso, bench: Bench, door: Path) -> None:
    spresso("compress", door, "--frame-rate", 11, "--codebooks", 12)
    assert spr.read(Path("door.spr").read_bytes()).profile.kbps == 1.32


def test_pack_and_device_reach_the_codec(spresso, bench: Bench, door: Path) -> None:
    spresso("compress", door, "--pack", "mine", "--device", "cuda:1")
    assert bench.loads == [("mine", "cuda:1")]


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", ""])
def test_an_unknown_device_is_refused(spresso, bench: Bench, door: Path, device: str) -> None:
    shown = spresso("compress", door, "--device", device)
    assert shown.code == 2
    assert "auto, cpu, cuda or cuda:N" in shown.stderr


def test_nothing_named_is_misuse(spresso, bench: Bench) -> None:
    shown = spresso("compress")
    assert shown.code == 2
    assert shown.stderr.count("\n") == 1


def test_too_many_channels_name_the_way_out(spresso, bench: Bench) -> None:
    write_sound(Path("surround.wav"), channels=6)
    for options in ((), ("--dry-run",)):
        shown = spresso("compress", "surround.wav", *options)
        assert shown.code == 1
        assert "--downmix" in shown.stderr
    assert spresso("compress", "--downmix", "surround.wav").code == 0


@pytest.mark.parametrize("content", [b"", b"not a sound"], ids=["empty", "text"])
def test_what_is_no_sound_is_one_line_and_exit_1(spresso, bench: Bench, content: bytes) -> None:
    Path("door.wav").write_bytes(content)
    shown = spresso("compress", "door.wav")
    assert shown.code == 1
    assert shown.stderr.startswith("spresso: door.wav: ")
    assert shown.stderr.count("\n") == 1
    assert not Path("door.spr").exists()


def test_too_long_a_sound_is_refused(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", door, "--max-duration", 4)
    assert shown.code == 1
    assert "--max-duration" in shown.stderr
    assert spresso("compress", door, "--max-duration", 0).code == 0


def test_the_limit_may_be_a_part_of_a_second(spresso, bench: Bench, door: Path) -> None:
    assert spresso("compress", door, "--max-duration", 4.9).code == 1
    assert spresso("compress", door, "--max-duration", 5.1).code == 0


def test_one_bad_file_does_not_stop_the_rest(spresso, bench: Bench, door: Path) -> None:
    Path("bad.wav").write_bytes(b"")
    shown = spresso("compress", "bad.wav", door)
    assert shown.code == 1
    assert Path("door.spr").exists()
    assert "spresso: bad.wav: " in shown.stderr
    assert "2 files: 1 done, 1 failed" in shown.stderr


def test_a_batch_counts_its_files_in_plain_lines(spresso, bench: Bench) -> None:
    for name in ("a", "b", "c"):
        write_sound(Path(f"{name}.wav"))
    lines = spresso("compress", "a.wav", "b.wav", "c.wav").stderr.splitlines()
    assert [line[:5] for line in lines[:3]] == ["[1/3]", "[2/3]", "[3/3]"]
    assert lines[3].startswith("3 files: 3 done; 0.30 s of sound in ")
    assert len(bench.loads) == 1


def test_a_folder_needs_r_and_keeps_its_tree(spresso, bench: Bench) -> None:
    write_sound(Path("sounds/doors/oak.wav"))
    write_sound(Path("sounds/rain.flac"))
    Path("sounds/notes.txt").write_text("no sound")
    assert spresso("compress", "sounds", "--output-dir", "small").code == 2
    assert spresso("compress", "sounds", "-r", "--output-dir", "small").code == 0
    made = sorted(path.as_posix() for path in Path("small").rglob("*.spr"))
    assert made == ["small/doors/oak.spr", "small/rain.spr"]


@pytest.mark.parametrize(("flags", "end"), [((), b"\n"), (("-0",), b"\0")], ids=["lines", "NUL"])
def test_names_come_from_a_list_on_stdin(spresso, bench: Bench, flags, end: bytes) -> None:
    write_sound(Path("a b.wav"))
    write_sound(Path("c.wav"))
    names = b"a b.wav" + end + b"c.wav" + end
    assert spresso("compress", "--files-from", "-", *flags, stdin=names).code == 0
    assert Path("a b.spr").exists()
    assert Path("c.spr").exists()


def test_a_list_of_lines_with_nul_in_it_names_the_option(spresso, bench: Bench) -> None:
    shown = spresso("compress", "--files-from", "-", stdin=b"a.wav\0b.wav\0")
    assert shown.code == 2
    assert "add -0" in shown.stderr


def test_a_missing_list_is_one_line(spresso, bench: Bench) -> None:
    shown = spresso("compress", "--files-from", "nowhere.txt")
    assert shown.code == 1
    assert shown.stderr == "spresso: nowhere.txt: No such file or directory\n"


def test_a_dry_run_shows_the_plan_and_writes_nothing(spresso, bench: Bench, door: Path) -> None:
    shown = spresso("compress", "--dry-run", door)
    assert shown.code == 0
    assert shown.stdout == "door.wav -> door.spr\n"
    assert not Path("door.spr").exists()
    assert bench.loads == []
    assert spresso("compress", "--dry-run", "--json", door).records[0]["status"] == "planned"


def test_a_dry_run_leaves_no_report(spresso, bench: Bench, door: Path) -> None:
    assert spresso("compress", "--dry-run", door, "--report", "logs/log.jsonl").code == 0
    assert not Path("logs").exists()


def test_resume_skips_what_is_done(spresso, bench: Bench, door: Path) -> None:
    spresso("compress", door)
    bench.loads.clear()
    shown = spresso("compress", "--resume", door)
    assert shown.code == 0
    assert "up to date" in shown.stderr
    assert bench.loads == []


def test_shards_share_the_work_and_leave_nothing_out(spresso, bench: Bench) -> None:
    names = write_sounds(8)
    counts = []
    for index in range(3):
        shown = spresso("compress", *names, "--shard", f"{index}/3", "--json")
        assert shown.code == 0
        counts.append(len(shown.records))
    assert sum(counts) == 8
    assert max(counts) < 8
    assert len(list(Path().glob("*.spr"))) == 8


def test_an_empty_shard_is_no_failure(spresso, bench: Bench, door: Path) -> None:
    codes = [spresso("compress", door, "--shard", f"{index}/2").code for index in range(2)]
    assert codes == [0, 0]


def test_the_report_has_a_line_for_every_file(spresso, bench: Bench, door: Path) -> None:
    Path("bad.wav").write_bytes(b"")
    spresso("compress", "bad.wav", door, "--report", "log.jsonl")
    records = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [(r["path"], r["status"]) for r in records] == [
        ("bad.wav", "failed"),
        ("door.wav", "done"),
    ]


def test_a_read_only_folder_is_one_line(spresso, bench: Bench, door: Path) -> None:
    Path("file").write_text("")
    shown = spresso("compress", door, "--output-dir", "file/inside")
    assert shown.code == 1
    assert shown.stderr.count("\n") == 1


def test_an_interrupted_batch_leaves_whole_files_only(
    spresso, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = write_sounds(6)
    real = bench.codec.compress_many

    def interrupted(items, profile, **options):
        for number, pair in enumerate(real(items, profile, **options)):
            if number == 3:
                raise KeyboardInterrupt
            yield pair

    monkeypatch.setattr(bench.codec, "compress_many", interrupted)
    shown = spresso("compress", *names)
    assert shown.code == 130
    assert shown.stderr.endswith("spresso: interrupted\n")
    assert sorted(os.listdir()) == sorted([*names, "0.spr", "1.spr", "2.spr"])


def test_best_fit_gives_a_short_sound_more_for_the_same_bytes(spresso, bench: Bench) -> None:
    sounds = [write_sound(Path("click.wav"), seconds=0.2), write_sound(Path("hit.wav"), seconds=1)]
    assert spresso("compress", *sounds, "--best-fit").code == 0
    click, hit = (spr.read(Path(name).read_bytes()) for name in ("click.spr", "hit.spr"))
    assert (click.profile.kbps, hit.profile.kbps) == (0.48, 0.096)
    assert click.payload_bytes == hit.payload_bytes == 12


@pytest.mark.parametrize("option", ["--frame-rate", "--codebooks"])
def test_best_fit_and_a_choice_of_the_users_own_exclude_each_other(
    spresso, bench: Bench, door: Path, option: str
) -> None:
    shown = spresso("compress", door, "--best-fit", option, 5)
    assert shown.code == 2 and "--best-fit chooses" in shown.stderr
    assert not Path("door.spr").exists()
