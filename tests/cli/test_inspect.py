"""`info` and `verify`: every header field, both bitrates, an exit code for every kind of harm."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from spresso_cli.cli import describe
from spresso_cli.cli.terminal import Terminal
from spresso_cli.container import bundle, spr
from spresso_cli.container.profile import Profile

from .conftest import TAG, make_stream, write_sound

SPR_KEYS = [
    "file",
    "kind",
    "bytes",
    "format_version",
    "profile",
    "frame_rate",
    "codebooks",
    "bits_per_code",
    "nominal_kbps",
    "source_rate",
    "samples",
    "seconds",
    "channels",
    "dual_mono",
    "coded_channels",
    "frames",
    "payload_bytes",
    "payload_kbps",
    "payload_kbps_per_channel",
    "file_kbps",
    "level_dbfs",
    "channel_levels_dbfs",
    "metadata",
    "weights_tag",
    "pack",
]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        describe, "pack_name", lambda tag, frame_rate: "tiny" if tag == TAG else None
    )


@pytest.fixture
def bundle_file(tmp_path: Path) -> Path:
    path = tmp_path / "library.sprb"
    with path.open("wb") as file:
        bundle.write_bundle(((f"doors/{n}", make_stream(48_000 * n)) for n in (1, 2, 3)), file)
    return path


def test_info_shows_payload_and_file_bitrate(spresso, spr_file: Path) -> None:
    shown = spresso("info", spr_file)
    assert shown.code == 0
    assert "0.096 kbps" in shown.stdout
    assert "0.1168 kbps" in shown.stdout
    assert "240,000 samples at 48,000 Hz" in shown.stdout
    assert "73 B, of which payload 60 B" in shown.stdout
    assert "abcd" in shown.stdout
    assert "tiny" in shown.stdout


def test_info_json_has_the_same_keys_in_the_same_order_for_every_file(
    spresso, spr_file: Path
) -> None:
    (record,) = spresso("info", "--json", spr_file).records
    assert list(record) == SPR_KEYS
    assert record["bytes"] == 73
    assert record["profile"] == 103
    assert record["nominal_kbps"] == record["payload_kbps"] == 0.096
    assert record["file_kbps"] == pytest.approx(0.1168)
    assert record["level_dbfs"] == -20.0
    assert record["weights_tag"] == "abcd"
    assert record["pack"] == "tiny"


def test_info_gives_stereo_per_channel_and_in_total(spresso, tmp_path: Path) -> None:
    path = tmp_path / "wide.spr"
    path.write_bytes(spr.write(make_stream(channels=2)))
    assert "0.192 kbps (0.096 kbps per channel)" in spresso("info", path).stdout
    (record,) = spresso("info", "--json", path).records
    assert record["payload_kbps"] == 0.192
    assert record["payload_kbps_per_channel"] == 0.096
    assert record["channel_levels_dbfs"] == [-20.0, -23.0]


def test_info_says_that_identical_channels_were_coded_once(spresso, tmp_path: Path) -> None:
    path = tmp_path / "twin.spr"
    path.write_bytes(spr.write(make_stream(channels=2, dual_mono=True)))
    assert "coded once" in spresso("info", path).stdout


def test_info_on_silence_speaks_of_silence(spresso, tmp_path: Path) -> None:
    stream = spr.Stream(
        gain=0,
        payload=b"",
        profile=Profile.from_id(103),
        weights_tag=TAG,
        source_rate=44_100,
        samples=1,
        channels=1,
    )
    path = tmp_path / "silence.spr"
    path.write_bytes(spr.write(stream))
    shown = spresso("info", path).stdout
    assert "digital silence" in shown and "none needed" in shown
    assert spresso("verify", path).stdout == f"{path}: ok (none needed)\n"
    assert spresso("info", "--json", path).records[0]["level_dbfs"] is None


def test_info_lists_kept_metadata_by_name(spresso, tmp_path: Path) -> None:
    path = tmp_path / "tagged.spr"
    path.write_bytes(spr.write(make_stream(metadata=((1, b"x" * 602), (0x2A, b"?")))))
    assert spresso("info", "--json", path).records[0]["metadata"] == {"bext": 602, "0x2a": 1}
    assert "bext (602 B), 0x2a (1 B)" in spresso("info", path).stdout


def test_info_without_the_pack_still_works_and_says_so(spresso, tmp_path: Path) -> None:
    path = tmp_path / "foreign.spr"
    path.write_bytes(spr.write(make_stream(weights_tag=b"\x00\x01")))
    shown = spresso("info", path)
    assert shown.code == 0
    assert "not installed" in shown.stdout
    assert spresso("info", "--json", path).records[0]["pack"] is None


def test_info_on_a_sound_shows_its_shape(spresso, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "door.wav", seconds=0.5, rate=44_100, channels=2)
    shown = spresso("info", path)
    assert "22,050 samples at 44,100 Hz" in shown.stdout
    (record,) = spresso("info", "--json", path).records
    assert (record["kind"], record["channels"], record["seconds"]) == ("sound", 2, 0.5)


def test_info_on_a_bundle_sums_its_clips(spresso, bundle_file: Path) -> None:
    (record,) = spresso("info", "--json", bundle_file).records
    assert (record["kind"], record["clips"], record["seconds"]) == ("sprb", 3, 6.0)
    assert record["packs"] == {"abcd": "tiny"}
    assert "3, 6.00 s of sound" in spresso("info", bundle_file).stdout


def test_info_reads_stdin(spresso, spr_file: Path) -> None:
    assert spresso("info", "--json", "-", stdin=spr_file.read_bytes()).records[0]["bytes"] == 73


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_info_reads_a_pipe_with_a_name(spresso, spr_file: Path, tmp_path: Path) -> None:
    """As `info <(command)` gives it one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(spr_file.read_bytes(),))
    writer.start()
    shown = spresso("info", pipe)
    writer.join()
    assert shown.code == 0
    assert "0.096 kbps" in shown.stdout


@pytest.mark.parametrize("suffix", ["mp3", "flac"])
def test_an_interruption_while_a_sound_is_read_ends_info(
    spresso, tmp_path: Path, suffix: str, interrupted_in, nothing_ignored
) -> None:
    path = write_sound(tmp_path / f"long.{suffix}", seconds=5.0)
    interrupted_in("vio_read")
    outcome = spresso("info", path)
    assert (outcome.code, outcome.stdout) == (130, "")
    assert outcome.stderr == "spresso: interrupted\n"


def test_info_draws_a_sound(spresso, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="extra plot")
    path, picture = write_sound(tmp_path / "door.wav"), tmp_path / "door.png"
    assert spresso("info", path, "--plot", picture).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert spresso("info", path, "--plot", picture).code == 1
    assert spresso("info", path, "--plot", picture, "-f").code == 0


def test_info_draws_one_named_file(spresso, spr_file: Path) -> None:
    assert spresso("info", spr_file, spr_file, "--plot", "out.png").code == 2
    assert spresso("info", "-", "--plot", "out.png", stdin=spr_file.read_bytes()).code == 2


def test_quiet_info_prints_nothing(spresso, spr_file: Path) -> None:
    shown = spresso("info", "-q", spr_file)
    assert (shown.code, shown.stdout, shown.stderr) == (0, "", "")


def test_quiet_json_info_still_prints_its_record(spresso, spr_file: Path) -> None:
    assert len(spresso("info", "-q", "--json", spr_file).records) == 1


def test_verify_says_ok_and_which_pack_decodes(spresso, spr_file: Path) -> None:
    shown = spresso("verify", spr_file)
    assert shown.code == 0
    assert shown.stdout == f"{spr_file}: ok (abcd: tiny)\n"


def test_verify_accepts_a_whole_file_whose_pack_is_missing(spresso, tmp_path: Path) -> None:
    path = tmp_path / "foreign.spr"
    path.write_bytes(spr.write(make_stream(weights_tag=b"\x00\x01")))
    shown = spresso("verify", path)
    assert shown.code == 0
    assert "0001: not installed" in shown.stdout


def test_verify_reads_every_clip_of_a_bundle(spresso, bundle_file: Path) -> None:
    assert spresso("verify", bundle_file).code == 0
    data = bytearray(bundle_file.read_bytes())
    data[-10] ^= 1
    bundle_file.write_bytes(data)
    shown = spresso("verify", bundle_file)
    assert shown.code == 3
    assert "doors/3" in shown.stderr


def damaged_files(folder: Path, contents: Iterable[bytes]) -> list[Path]:
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number}.spr")
        paths[-1].write_bytes(content)
    return paths


def test_every_flipped_bit_is_refused_with_one_line(
    spresso, spr_file: Path, tmp_path: Path
) -> None:
    whole = int.from_bytes(spr_file.read_bytes(), "big")
    flips = ((whole ^ 1 << bit).to_bytes(73, "big") for bit in range(8 * 73))
    paths = damaged_files(tmp_path, flips)
    shown = spresso("verify", "--json", *paths)
    assert len(shown.records) == shown.stderr.count("\n") == 8 * 73
    assert {record["exit_code"] for record in shown.records} <= {3, 4}


def test_every_truncation_is_refused(spresso, spr_file: Path, tmp_path: Path) -> None:
    whole = spr_file.read_bytes()
    paths = damaged_files(tmp_path, (whole[:length] for length in range(len(whole))))
    assert {record["exit_code"] for record in spresso("verify", "--json", *paths).records} == {3}


def test_a_trailing_byte_is_refused(spresso, spr_file: Path) -> None:
    spr_file.write_bytes(spr_file.read_bytes() + b"\0")
    assert spresso("verify", spr_file).code == 3


def test_a_newer_version_is_exit_4(spresso, spr_file: Path) -> None:
    data = bytearray(spr_file.read_bytes())
    data[3] = 0x20 | data[3] & 0x0F
    spr_file.write_bytes(data)
    assert spresso("verify", spr_file).code == 4


def test_one_bad_file_does_not_stop_the_rest(spresso, spr_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.spr"
    broken.write_bytes(b"hello")
    shown = spresso("verify", broken, spr_file)
    assert shown.code == 1
    assert "door.spr: ok" in shown.stdout
    assert shown.stderr.startswith(f"spresso: {broken}: ")


def test_a_failure_is_a_json_record_too(spresso, tmp_path: Path) -> None:
    broken = tmp_path / "broken.spr"
    broken.write_bytes(b"hello")
    (record,) = spresso("verify", "--json", broken).records
    assert record["file"] == str(broken)
    assert record["exit_code"] == 3
    assert "not a .spr file" in record["error"]


@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_full_stdout_is_no_fault_of_an_input_and_ends_the_run(
    spresso, spr_file: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Terminal, "result", fail)
    shown = spresso(command, spr_file, spr_file)
    assert (shown.code, shown.stderr) == (1, "spresso: No space left on device\n")


@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_missing_file_is_one_line(spresso, command: str) -> None:
    shown = spresso(command, "nowhere.spr")
    assert shown.code == 1
    assert shown.stderr == "spresso: nowhere.spr: No such file or directory\n"


@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_folder_is_one_line_that_names_the_option(
    spresso, spr_file: Path, tmp_path: Path, command: str
) -> None:
    shown = spresso(command, spr_file, tmp_path)
    assert shown.code == 2
    assert shown.stderr == f"spresso: {tmp_path} is a folder: add -r to enter it\n"


@pytest.fixture
def tree(tmp_path: Path, spr_file: Path, bundle_file: Path) -> Path:
    """A folder with a file, a bundle, a sound and a note in folders of their own."""
    for name, source in (("x/a.spr", spr_file), ("x/y/B.SPR", spr_file), ("b.sprb", bundle_file)):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
    write_sound(tmp_path / "tree/x/door.wav")
    (tmp_path / "tree/notes.txt").write_text("no sound")
    return tmp_path / "tree"


def test_verify_searches_folders_for_streams_and_bundles(
    spresso, tree: Path, spr_file: Path
) -> None:
    shown = spresso("verify", "-r", "--json", tree, spr_file)
    names = [str(tree / name) for name in ("b.sprb", "x/a.spr", "x/y/B.SPR")]
    assert [record["file"] for record in shown.records] == [*names, str(spr_file)]
    assert shown.code == 0
    (tree / "x/y/B.SPR").write_bytes(b"")
    shown = spresso("verify", "-q", "-r", tree)
    assert (shown.code, shown.stderr.count("\n")) == (1, 1)


def test_info_searches_folders_for_sounds_too(spresso, tree: Path) -> None:
    records = spresso("info", "-r", "--json", tree).records
    assert [record["kind"] for record in records] == ["sprb", "spr", "sound", "spr"]


def test_a_folder_with_nothing_in_it_is_misuse(spresso, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert spresso("verify", "-r", tmp_path / "empty").code == 2


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize(("flags", "end"), [((), b"\n"), (("-0",), b"\0")], ids=["lines", "NUL"])
def test_names_come_from_a_list(
    spresso, spr_file: Path, bundle_file: Path, command: str, flags: tuple[str, ...], end: bytes
) -> None:
    names = [str(spr_file), str(bundle_file)]
    stdin = b"".join(os.fsencode(name) + end for name in names)
    shown = spresso(command, "--json", "--files-from", "-", *flags, stdin=stdin)
    assert [record["file"] for record in shown.records] == names
    assert shown.code == 0


def test_a_list_that_misses_files_or_is_missed_is_exit_1(
    spresso, spr_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text(f"{spr_file}\nnowhere.spr\n")
    shown = spresso("verify", "--files-from", tmp_path / "list")
    assert (shown.code, "door.spr: ok" in shown.stdout) == (1, True)
    assert shown.stderr == "spresso: nowhere.spr: No such file or directory\n"
    assert spresso("verify", "--files-from", tmp_path / "nolist").code == 1
    (tmp_path / "list").write_text("")
    assert spresso("verify", "--files-from", tmp_path / "list").code == 2


def test_a_listed_dash_is_a_file(
    spresso, spr_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spr_file.rename("-")
    (tmp_path / "list").write_text("-\n")
    shown = spresso("verify", "--files-from", "list")
    assert (shown.code, shown.stdout) == (0, "-: ok (abcd: tiny)\n")


def test_names_of_files_are_shown_as_they_were_given(
    spresso, spr_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert spresso("verify", "--json", "./door.spr").records[0]["file"] == "./door.spr"


def test_nothing_named_is_misuse(spresso) -> None:
    assert spresso("verify").code == spresso("info", "--json").code == 2


def test_stdin_can_be_named_once(spresso, spr_file: Path) -> None:
    assert spresso("verify", "-", "-", stdin=spr_file.read_bytes()).code == 2


def test_a_text_file_is_no_sound(spresso, tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("not a sound")
    shown = spresso("info", path)
    assert shown.code == 1
    assert str(path) in shown.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX file names")
@pytest.mark.parametrize("name", [b"-rf.spr", b"a b.spr", b"line\nbreak.spr", b"caf\xe9.spr"])
def test_odd_names_work_and_cannot_forge_lines(
    spresso, spr_file: Path, tmp_path: Path, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(name)
    spr_file.rename(odd)
    shown = spresso("verify", "--", odd)
    assert shown.code == 0
    assert shown.stdout.count("\n") == 1
    assert spresso("info", "--json", "--", odd).records[0]["file"] == odd
