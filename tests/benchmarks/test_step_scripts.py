"""The scripts that choose a pack's defaults run as documented, on the tiny pack."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spresso_cli.cli import app as front
from spresso_cli.errors import UsageError
from spresso_cli.training import config
from tests.benchmarks.conftest import TINY_PACK


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


def test_quantizers_measures_all_of_them_on_the_same_vectors(
    run, corpus: Path, tmp_path: Path
) -> None:
    manifest, out = corpus / "manifest.csv", tmp_path / "out"
    manifest.write_text(manifest.read_text().replace("dev,a", "train,a"))
    text = run("quantizers", "--corpus", corpus, "--config", "tiny", "--frame-rates", 11,
               "--limit", 3, "--passes", 1, "--curve", 300, 600, "--held-out", 64, "--timed", 16,
               "--iterations", 1, "--fresh-steps", 2, "--output", out)  # fmt: skip
    assert "z of tiny on corpus: 64 held-out vectors of 3 clips, trained on 3" in text
    rows = list(csv.DictReader((out / "quantizers.csv").open()))
    names = ["RVQ greedy", "RVQ beam 2", "iRVQ", "QINCo2 fresh beam 2", "QINCo2 of tiny beam 2"]
    expected = [(name, "300") for name in names[:4]] + [(name, "600") for name in names[:4]]
    expected.append((names[4], ""))
    assert list(dict.fromkeys((r["name"], r["vectors"]) for r in rows)) == expected
    assert len(rows) == 12 * len(expected)
    beam = [r for r in rows if r["name"] == "RVQ beam 2"]
    assert {float(r["versus"]) for r in beam} == {1.0}
    assert all(1 <= float(r["perplexity"]) <= 64 for r in rows)
    first, last = (r for r in rows if r["name"] == "iRVQ" and r["vectors"] == "600"
                   and r["codebooks"] in ("1", "12"))  # fmt: skip
    assert float(last["relative"]) <= float(first["relative"])


def test_quantizers_takes_latents_and_quantiser_of_a_run(run, corpus: Path, tmp_path: Path) -> None:
    manifest, model, own = corpus / "manifest.csv", tmp_path / "model", tmp_path / "own.toml"
    manifest.write_text(manifest.read_text().replace("dev,a", "train,a"))
    text = (config.FOLDER / "tiny.toml").read_text()
    for old, new in (("\nsteps = 50", "\nsteps = 2"), ("\nsteps = 25", "\nsteps = 2"),
                     ("width = 32", "width = 16"), ("text_width = 16", "text_width = 8"),
                     ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    own.write_text(text)
    common = ("--run", model, "--config", own, "--from", TINY_PACK)
    for stage in ("autoencoder", "quantizer"):
        line = map(str, ("train", stage, corpus, *common, "--frame-rate", 11, "--device", "cpu"))
        assert CliRunner().invoke(front.app, [*line]).exit_code == 0
    kept = sorted((model / "latents").iterdir())
    run("quantizers", "--corpus", corpus, *common, "--frame-rates", 11, "--passes", 1,
        "--curve", 300, "--held-out", 64, "--timed", 16, "--iterations", 1,
        "--output", tmp_path / "out")  # fmt: skip
    assert sorted((model / "latents").iterdir()) == kept  # nothing was encoded again
    names = [r["name"] for r in csv.DictReader((tmp_path / "out" / "quantizers.csv").open())]
    assert list(dict.fromkeys(names)) == [
        "RVQ greedy",
        "RVQ beam 2",
        "iRVQ",
        "QINCo2 of model beam 2",
    ]


def test_diversity_has_a_row_for_every_rate_and_embedding(run, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = run("diversity", "--clips", clips, "--seconds", 0.5, "--limit", 3, "--steps", 1,
               "--rates", 0.096, 1.32, "--takes", 2, "--output", out)  # fmt: skip
    assert "3 of 3 clips of clips, cut to 0.5 s; 2 takes; aim 0.02 to 0.5" in text
    rows = list(csv.DictReader((out / "diversity.csv").open()))
    assert [(row["frame_rate"], row["embedding"]) for row in rows] == [
        ("1", "clap"), ("1", "logmel-stats"), ("11", "clap"), ("11", "logmel-stats"),
    ]  # fmt: skip
    # An untrained decoder hardly hears its codes: takes differ as much as clips do.
    assert all(float(row["ratio"]) > 0.1 for row in rows)
    assert all((row["aim"] == "yes") == (float(row["ratio"]) <= 0.5) for row in rows)


def test_rate_curve_runs_over_prefixes_and_adds_the_bounds(
    run, clips: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    run("rate_curve", "--clips", clips, "--seconds", 0.5, "--limit", 3, "--steps", 1,
        "--codebooks", 1, 8, 12, "--output", out)  # fmt: skip
    rows = list(csv.DictReader((out / "rate_curve.csv").open()))
    assert [(row["frame_rate"], row["codebooks"], row["kbps"]) for row in rows] == [
        ("1", "1", "0.012"), ("1", "8", "0.096"),  # the pack has no more at this rate
        ("11", "1", "0.11"), ("11", "8", "0.88"), ("11", "12", "1.32"),
        ("1", "", ""), ("11", "", ""), ("", "", ""),
    ]  # fmt: skip
    assert [row["codec"] for row in rows[-3:]] == ["z, 1 Hz", "z, 11 Hz", "AudioAE"]
    assert all(row["kad_clap"] and row["fad_clap"] for row in rows)
    assert (out / "rate_curve.png").read_bytes().startswith(b"\x89PNG")


def test_rate_curve_names_a_frame_rate_that_is_not_there(run, clips: Path) -> None:
    with pytest.raises(UsageError, match="25 Hz"):
        run("rate_curve", "--clips", clips, "--frame-rates", 25)


def test_finetuning_finds_no_difference_between_a_pack_and_itself(
    run, clips: Path, tmp_path: Path
) -> None:
    out, pack = tmp_path / "out", Path(__file__).parents[1] / "data" / "tiny_pack"
    text = run("finetuning", "--with", pack, "--without", pack, "--clips", clips, "--limit", 3,
               "--seconds", 0.5, "--steps", 1, "--rates", 0.096, "--output", out)  # fmt: skip
    assert "packs tiny (with) and tiny (without), seed 0" in text
    rows = {row["metric"]: row for row in csv.DictReader((out / "finetuning.csv").open())}
    assert {"MS-mel", "KAD clap", "cosine logmel-stats", "FAD clap"} <= rows.keys()
    for row in rows.values():
        assert row["verdict"] == "undecided"
        assert float(row["difference"] or 0) == pytest.approx(0.0, abs=1e-9)
