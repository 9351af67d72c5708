"""The picture of `spresso train --plot`: refused before training, redrawn whole or not at all."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spresso_cli.training import curves, stages
from spresso_cli.training.curves import logs_under
from spresso_cli.training.preparation import Call

pytest.importorskip("matplotlib", reason="extra plot")

FORMER = b"\x89PNG, drawn before"


@pytest.fixture
def train(
    spresso: Callable, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable:
    """Runs a stage that only writes this log, with a plot of this name."""

    def call(plot: Path, log: str | None = "step,time,name,value\n25,0,mel,1.5\n50,0,mel,1.2\n"):
        def stage(asked: Call) -> None:
            folder = asked.workspace.folder / "audio-ae"
            folder.mkdir(parents=True)
            if log is not None:
                (folder / "log.csv").write_text(log)

        monkeypatch.setitem(stages.STAGES, "audio-ae", stage)
        return spresso(
            "train", "audio-ae", sounds, "--run", tmp_path / "m", "--config", "tiny",
            "--device", "cpu", "--plot", plot,
        )  # fmt: skip

    return call


@pytest.mark.parametrize("suffix", ["png", "SVG", "pdf"])
def test_every_continuation_draws_its_picture_anew(
    train: Callable, tmp_path: Path, suffix: str
) -> None:
    picture = tmp_path / f"curves.{suffix}"
    assert train(picture).code == 0
    first = picture.read_bytes()
    (tmp_path / "m" / "audio-ae" / "log.csv").unlink()
    (tmp_path / "m" / "audio-ae").rmdir()
    assert train(picture, "step,time,name,value\n25,0,other,1\n").code == 0
    assert picture.read_bytes() != first


def test_a_name_that_is_no_picture_is_refused_before_the_training(
    train: Callable, tmp_path: Path
) -> None:
    result = train(tmp_path / "curves.txt")
    assert result.code == 2
    assert "curves.txt: a plot is written as .png" in result.stderr
    assert not (tmp_path / "m").exists()


def test_a_missing_matplotlib_is_told_before_the_training(
    train: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = train(tmp_path / "curves.png")
    assert result.code == 2
    assert "plots need matplotlib" in result.stderr
    assert not (tmp_path / "m").exists()


def test_what_is_no_picture_is_not_replaced(train: Callable, tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_text("notes")
    result = train(tmp_path / "curves.png")
    assert result.code == 1
    assert "curves.png" in result.stderr
    assert (tmp_path / "curves.png").read_text() == "notes"
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("log", [None, "step,time,name,value\n"])
def test_a_training_too_short_to_log_is_no_failure(
    train: Callable, tmp_path: Path, log: str | None
) -> None:
    (tmp_path / "curves.png").write_bytes(FORMER)
    result = train(tmp_path / "curves.png", log)
    assert result.code == 0
    assert "curves.png: not drawn, nothing has been logged yet\n" in result.stderr
    assert (tmp_path / "curves.png").read_bytes() == FORMER


def test_a_picture_that_fails_keeps_the_former_one(
    train: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(out, *_: object) -> None:
        out.write(b"\x89PNG, half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curves, "draw_curves", fail)
    (tmp_path / "curves.png").write_bytes(FORMER)
    assert train(tmp_path / "curves.png").code == 1
    assert (tmp_path / "curves.png").read_bytes() == FORMER
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "m"}


def test_runs_that_logged_nothing_are_left_out(tmp_path: Path) -> None:
    for name, rows in (("a", ""), ("b", "25,0,mel,1.5\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text(f"step,time,name,value\n{rows}")
    assert logs_under(tmp_path) == {"b": {"mel": ([25], [1.5])}}


def test_a_single_value_is_a_dot_that_can_be_seen() -> None:
    import numpy as np
    from matplotlib.image import imread

    out = io.BytesIO()
    curves.draw_curves(out, "png", {"run": {"mel": ([25], [1.5])}})
    out.seek(0)
    red, _, blue = np.moveaxis(imread(out)[..., :3], -1, 0)
    assert (blue - red > 0.4).any()  # the first line's colour; all else is grey
