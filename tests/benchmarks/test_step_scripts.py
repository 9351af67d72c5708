"""The scripts that choose a pack's defaults run as documented, on the tiny pack."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from spresso_cli.errors import UsageError


def test_steps_compares_samplers_at_equal_noise(run, clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    text = run("steps", "--clips", clips, "--seconds", 0.5, "--limit", 3, "--rates", 0.096,
               "--heun", 2, 3, "--multistep", 4, "--guidance", 1, 2, "--ranges", "0.01:20",
               "--timed", 1, "--plot", "--output", out)  # fmt: skip
    assert "3 of 3 clips of clips, cut to 0.5 s" in text and "x Heun 16" in text
    rows = list(csv.DictReader((out / "steps.csv").open()))
    found = [(r["sampler"], int(r["steps"]), float(r["guidance"]), int(r["evaluations"]))
             for r in rows]  # fmt: skip
    assert found == [
        ("heun", 3, 1, 5), ("heun", 2, 1, 3), ("ipndm3", 4, 1, 4), ("dpmpp3m", 4, 1, 4),
        ("heun", 3, 2, 10), ("heun", 2, 2, 6), ("ipndm3", 4, 2, 8), ("dpmpp3m", 4, 2, 8),
    ]  # fmt: skip
    # The finest Heun is what the solver's error is counted from, at each guidance.
    assert [float(row["to_heun"]) == 0 for row in rows] == [True, False, False, False] * 2
    assert {row["sigma_max"] for row in rows} == {"160", "20"}
    assert all(float(row["ratio"]) > 0 and -1 <= float(row["cosine"]) <= 1 for row in rows)
    assert (out / "steps.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", [("--samplers", "euler"), ("--plot",)])
def test_steps_refuses_what_cannot_be(run, clips: Path, wrong: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run("steps", "--clips", clips, *wrong)
