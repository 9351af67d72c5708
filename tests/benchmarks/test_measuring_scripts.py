"""The benchmark scripts run as documented, on the tiny pack and synthetic clips."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.container.profile import Profile

NOISE = np.random.default_rng(0).normal(0, 0.1, 9000) * np.linspace(1, 0, 9000)


def test_quality_prints_rates_and_metrics_and_writes_csv_and_plot(
    run, clips: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    text = run("quality", "--clips", clips, "--seconds", 1, "--steps", 2, "--rates", 0.096,
               "--peers", "opus:6,codec2:1.3", "--output", out)  # fmt: skip
    for words in ("5 clips of clips, 1 s each", "original", "low-pass 3.5 kHz", "spresso 0.096"):
        assert words in text
    rows = {row["codec"]: row for row in csv.DictReader((out / "quality.csv").open())}
    ours = rows["spresso 0.096"]
    assert int(ours["payload_bytes"]) == 5 * 12  # one frame of 8 codes of 12 bits each
    assert float(ours["payload_kbps"]) == pytest.approx(0.096)
    assert float(rows["original"]["si_sdr"]) == 60.0
    # Without codes there is no rate.
    assert rows["spresso 1 Hz, continuous z"]["file_kbps"] == ""
    assert rows["AudioAE alone"]["payload_bytes"] == ""
    assert (out / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_resemblance_prints_share_control_and_chance(run, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = run("resemblance", "--clips", clips, "--seconds", 1, "--steps", 1, "--rates", 0.096,
               "--output", out)  # fmt: skip
    assert "5 of 5 clips of clips, cut to 1 s" in text
    rows = list(csv.DictReader((out / "resemblance.csv").open()))
    assert {row["embedding"] for row in rows} == {"clap", "logmel-stats"}
    assert {float(row["chance"]) for row in rows} == {0.2}


def test_similarity_has_a_row_for_every_system(run, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = run("similarity", "--clips", clips, "--rates", 0.1, "--peers", "", "--unheld",
               "--output", out)  # fmt: skip
    assert "cosine, mean removed" in text
    rows = {row["codec"]: row for row in csv.DictReader((out / "similarity.csv").open())}
    assert list(rows) == ["low-pass 3.5 kHz", "spresso 0.096", "spresso 0.096, no envelope",
                          "AudioAE alone"]  # fmt: skip
    for row in rows.values():
        assert -1 <= float(row["clap_low"]) <= float(row["clap"]) <= float(row["clap_high"]) <= 1
    assert float(rows["spresso 0.096"]["kbps"]) > 0.096
    assert rows["AudioAE alone"]["kbps"] == ""


def test_best_fit_compares_short_sounds_with_what_was_asked_for(
    run, clips: Path, tmp_path: Path
) -> None:
    for name, samples in (("click", 4000), ("tick", 9000)):
        soundfile.write(clips / f"{name}.wav", NOISE[:samples], 48_000)
    out = tmp_path / "out"

    def fitted(info, asked: Profile, samples: int) -> Profile:
        return Profile.of(11, 8) if samples < 48_000 else asked

    text = run("best_fit", "--clips", clips, "--rates", 0.096, "--output", out, _fitted=fitted)
    assert "7 sounds of clips" in text
    rows = {row["metric"]: row for row in csv.DictReader((out / "best_fit.csv").open())}
    assert {row["clips"] for row in rows.values()} == {"2"}
    assert float(rows["MS-mel"]["seconds"]) == 9000 / 48_000
    assert rows["MS-mel"]["fitted"] != rows["MS-mel"]["asked"]


def test_speed_prints_ratios_to_the_peer(run) -> None:
    text = run("speed", "--seconds", 0.5, "--runs", 1, "--steps", 1, "--batches", 1,
               "--rates", 0.096, _cold=lambda options, kbps: [])  # fmt: skip
    assert "x peer" in text
    assert text.count("press") == 2


@pytest.mark.slow
def test_speed_times_cold_commands_too(run) -> None:
    text = run("speed", "--seconds", 0.5, "--runs", 1, "--steps", 1, "--rates", 0.096)
    assert "cold compress" in text
    assert "cold decompress" in text
