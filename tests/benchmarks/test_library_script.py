"""The library script on the tiny pack: commands run in this process, slow ones in others."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--files", 5, "--decoded", 2, "--loop", 2, "--few", 5, "--steps", 1, "--cases", 500,
         "--minutes", 0.5, "--long-steps", 1)  # fmt: skip


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command the script runs, done in this process and said to take a second and 100 MB."""
    from spresso_cli.cli import app

    seen: list[list[str]] = []

    def run_process(command: list[str]) -> tuple[float, float]:
        assert command[:3] == [sys.executable, "-m", "spresso_cli"]
        seen.append(command[3:])
        assert app.run(command[3:]) == 0
        return 1.0, 100.0

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import support

    monkeypatch.setattr(support, "run_process", run_process)
    return seen


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["part"], row["what"]): row for row in csv.DictReader(path.open())}


def test_each_part_gives_its_figures_and_keeps_the_rows_of_the_others(
    run, clips: Path, tmp_path: Path, commands: list[list[str]]
) -> None:
    out = tmp_path / "out"
    text = run("library", "--clips", clips, "--output", out, *SMALL, "--parts", "bundle", "fuzz")
    assert "loose on 4 KiB blocks" in text
    text = run("library", "--clips", clips, "--output", out, *SMALL, "--markdown",
               "--parts", "batch", "loop", "long")  # fmt: skip
    assert "loose" not in text  # that part was not run, and has no aim to show in the last table
    assert re.search(r"\| besides name and payload +\| [\d.]+ +\| bytes a clip +\| <= 8", text)
    rows = rows_of(out / "library.csv")
    assert list(dict.fromkeys(part for part, _ in rows)) == [
        "batch",
        "loop",
        "long",
        "bundle",
        "fuzz",
    ]
    assert {row["pack"] for row in rows.values()} == {"tiny"}
    value = {key: float(row["value"]) for key, row in rows.items()}
    assert value["batch", "compressed in one call"] == 5
    assert value["batch", "decompressed in one call"] == 2
    assert value["loop", "compress: loop over one call"] == 2  # two calls of a second over one
    assert value["loop", "decompress: loop over one call"] == 2
    assert value["long", "compress: memory of 0.5 min over 0.25 min"] == 1
    assert 0.5 < value["long", "seams over elsewhere"] < 2
    # Magic, version, length, one group and CRC-32 are 17 bytes; a clip adds 8 or fewer.
    assert 17 / 5 < value["bundle", "besides name and payload"] <= 8 + 17 / 5
    assert value["bundle", "loose on 4 KiB blocks"] == 4096
    assert value["fuzz", "damaged files read or refused cleanly"] == 500
    single = [c for c in commands if c[0] == "compress" and "--output-dir" not in c]
    assert len(single) == 2 + 2  # the loop, and two lengths


@pytest.mark.slow
def test_killed_and_sharded_runs_write_what_an_unbroken_one_does(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    clips, out = tmp_path / "many", tmp_path / "out"
    clips.mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        soundfile.write(clips / f"{i}.wav", 0.1 * rng.standard_normal(48_000), 48_000)
    run("library", "--clips", clips, "--few", 24, "--parts", "resume", "shards", "--output", out)
    rows = rows_of(out / "library.csv")
    assert 8 <= float(rows["resume", "finished before kill -9"]["value"]) < 24
    assert float(rows["resume", "files with other bytes after --resume"]["value"]) == 0
    assert float(rows["shards", "files with other bytes from 4 shards"]["value"]) == 0


def test_a_report_that_misses_a_file_ends_the_run(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import library

    made, record = tmp_path / "made", tmp_path / "report.jsonl"
    made.mkdir()
    line = (
        '{"path": "sound0.wav", "output": "%s", "status": "done", "source_bytes": 1, '
        '"output_bytes": 1, "duration": 1, "seconds": 1}\n' % (made / "sound0.spr")
    )
    record.write_text(line)
    (made / "sound0.spr").write_bytes(b"x")
    with pytest.raises(SystemExit, match="disagree"):
        library.accounted(clips, made, ".spr", record, "compressed")


def test_seams_are_where_windows_of_the_codec_end(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import long_sound
    import support

    monkeypatch.setenv("SPRESSO_PACK", str(ROOT / "tests" / "data" / "tiny_pack"))
    sound, coded = tmp_path / "a.wav", tmp_path / "a.spr"
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(12 * 48_000), 48_000)
    support.run_process(
        [sys.executable, "-m", "spresso_cli", "compress", "-q", str(sound), "-o", str(coded)]
    )
    # Twelve codes at 1 Hz: the encoder keeps 0-4, 4-7, 7-10 and 10-12, the decoder runs 0-5, 4-9
    # and 7-12.
    assert long_sound.seams(coded) == ({400, 500, 700, 900, 1000}, set(range(100, 1200, 100)))


def test_the_jump_of_a_step_is_found_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import long_sound

    monkeypatch.setattr(long_sound, "CHUNK", 50)
    noise = 0.01 * np.random.default_rng(0).standard_normal(480 * 200)
    noise[480 * 120 :] *= 20
    soundfile.write(tmp_path / "step.wav", noise, 48_000, subtype="FLOAT")
    jumps = long_sound.log_mel_jumps(tmp_path / "step.wav")
    assert len(jumps) == 200
    assert set(np.argsort(jumps[:-2])[-2:]) == {119, 120}  # pairs (119, 120) and (120, 121)
    monkeypatch.setattr(long_sound, "CHUNK", 6000)
    np.testing.assert_allclose(
        long_sound.log_mel_jumps(tmp_path / "step.wav"), jumps, rtol=1e-3, atol=1e-4
    )
