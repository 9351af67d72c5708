"""The scripts that measure single stages run as documented, on the tiny pack."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from spresso_cli.errors import SpressoError

ROOT = Path(__file__).resolve().parents[2]
TINY_PACK = ROOT / "tests" / "data" / "tiny_pack"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a script of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"{name}_script", ROOT / f"benchmarks/{name}.py"
        )
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_audio_ae_compares_the_pack_with_the_untrained_linear_path(
    script, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["audio_ae", "--clips", str(corpus), "--limit", "2", "--pack",
                                     str(TINY_PACK), "--output", str(tmp_path)])  # fmt: skip
    script("audio_ae").main()
    assert "2 clips of corpus, up to 5 s each, peak 0.5" in capsys.readouterr().out
    linear, tiny = csv.DictReader((tmp_path / "audio_ae.csv").open())
    # A low-pass keeps most of a dull sound; the untrained pack keeps nothing.
    assert float(linear["si_sdr_mean"]) > 3 > float(tiny["si_sdr_mean"])
    assert abs(float(linear["loudness_bias"])) < 3


def test_audio_ae_names_a_missing_run_and_silence_before_it_measures(
    script, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio_ae = script("audio_ae")
    monkeypatch.setattr(audio_ae, "scores", lambda *_: pytest.fail("measured"))
    (tmp_path / "quiet").mkdir()
    soundfile.write(tmp_path / "quiet" / "silence.wav", np.zeros(4800), 48_000)
    for clips, more, named in (
        (corpus, ["--run", str(tmp_path / "none"), "--config", "tiny"], "none"),
        (tmp_path / "quiet", [], "all clips are silent"),
    ):
        line = ["audio_ae", "--clips", str(clips), "--pack", str(TINY_PACK), *more]
        monkeypatch.setattr("sys.argv", line)
        with pytest.raises(SpressoError, match=named):
            audio_ae.main()


def test_clap_prints_recall_and_agreement_beside_chance(
    script, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["clap", "--corpus", str(corpus), "--pack", str(TINY_PACK),
                                     "--output", str(tmp_path)])  # fmt: skip
    script("clap").main()
    assert "12 clips of corpus, split dev" in capsys.readouterr().out
    found, alike, heard = csv.DictReader((tmp_path / "clap.csv").open())
    assert float(found["chance"]) == pytest.approx(10 / 12, abs=1e-3)
    assert float(alike["chance"]) == pytest.approx(5 / 11, abs=1e-3)
    assert (heard["name"], heard["measure"]) == ("logmel-stats", alike["measure"])
    assert heard["chance"] == alike["chance"]


def test_recall_and_its_chance_are_exact(script) -> None:
    clap = script("clap")
    audio = np.eye(20)
    owner = np.arange(20)
    assert clap.recall(audio, audio, owner) == (1.0, pytest.approx(0.5))
    # Two clips of one caption: one of them among ten is enough.
    owner = np.array([0, 0, *range(1, 19)])
    assert clap.recall(audio, np.eye(20)[:1], owner)[1] == pytest.approx(1 - 90 / 380)


def test_pieces_of_one_recording_are_not_neighbours(script) -> None:
    from spresso_cli.training.corpus import Clip

    clap = script("clap")
    clips = [Clip(Path(f"{name}.wav"), "", category) for name, category in
             (("rain_p0", "a"), ("rain_p1", "a"), ("dog", "b"), ("wind", "a"))]  # fmt: skip
    audio = np.array([[1.0, 0.0], [1.0, 0.01], [0.8, 0.6], [0.0, 1.0]])
    # Nearest of another recording: dog, dog, rain, dog.
    assert clap.agreement(audio, clips)[0] == 0.0


def test_prompts_ranks_every_sounds_own_caption(
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = script("prompts")
    # Sounds that lie where their captions lie, but for two that changed places.
    texts = np.random.default_rng(0).standard_normal((16, 8))
    rank, cosine = prompts.ranks(texts[[1, 0, *range(2, 16)]], texts)
    assert (rank[2:] == 1).all() and (rank[:2] > 1).all()
    assert cosine[2:] == pytest.approx(np.ones(14))
    monkeypatch.setattr("sys.argv", ["prompts", "--pack", str(TINY_PACK), "--seconds", "0.5",
                                     "--steps", "1", "--output", str(tmp_path)])  # fmt: skip
    prompts.main()
    assert "16 captions, 0.5 s" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "prompts.csv").open()))
    assert [row["caption"] for row in rows] == list(prompts.CAPTIONS)
    assert all(1 <= int(row["rank"]) <= 16 for row in rows)
    assert (tmp_path / "prompts.png").read_bytes().startswith(b"\x89PNG")


def test_sequences_tells_what_choosing_codes_together_is_worth(
    script, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = ["--corpus", str(corpus), "--vectors", "64", "--pack", str(TINY_PACK)]
    monkeypatch.setattr("sys.argv", ["sequences", *arguments, "--output", str(tmp_path)])
    script("sequences").main()
    assert "64 z of" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "sequences.csv").open()))
    assert [(row["frame_rate"], row["codebooks"]) for row in rows] == [
        ("1", "4"), ("1", "8"), ("11", "12"),
    ]  # fmt: skip
    for row in rows[:2]:  # no filters, no difference
        assert float(row["together"]) == pytest.approx(float(row["apart"]), rel=1e-3)
    assert float(rows[2]["together"]) < float(rows[2]["apart"])


def test_denoiser_tells_what_conditions_are_worth_at_every_noise_level(
    script, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["denoiser", "--corpus", str(corpus), "--crops", "3", "--pack",
                                     str(TINY_PACK), "--output", str(tmp_path)])  # fmt: skip
    script("denoiser").main()
    rows = list(csv.DictReader((tmp_path / "denoiser.csv").open()))
    assert [(row["frame_rate"], row["told"]) for row in rows] == [
        ("", "nothing"), ("", "caption"),
        *((rate, told) for rate in ("1", "11") for told in ("nothing", "caption", "codes", "z")),
    ]  # fmt: skip
    for row in rows:
        levels = [float(value) for name, value in row.items() if name[0].isdecimal()]
        assert len(levels) == 7
        assert float(row["mean"]) == pytest.approx(sum(levels) / 7, rel=1e-3)
    # Every condition reaches the network; codes of an untrained quantiser may say what z says.
    means = [row["mean"] for row in rows if row["told"] != "codes"]
    assert len(set(means)) == len(means)


def test_a_denoiser_that_says_nothing_errs_by_the_power_of_the_latents(script) -> None:
    import torch

    from spresso_cli.models.dit import DiT, DiTConfig, TextCondition

    denoiser = script("denoiser")
    dit = DiT(DiTConfig(width=16, heads=2, joint_blocks=1, audio_blocks=1, text_width=8)).eval()
    torch.nn.init.zeros_(dit.out.weight)
    torch.nn.init.zeros_(dit.out.bias)
    latents, noise = torch.randn(2, 4, 200, 128, generator=torch.Generator().manual_seed(0))
    no_text = TextCondition(
        torch.zeros(4, 1, 8), torch.ones(4, 1) > 0, torch.zeros(4, 8), torch.ones(4) > 0
    )
    found = denoiser.errors(
        dit, denoiser.Crops(latents, latents, noise, no_text), None, None, False
    )
    assert found["mean"] == pytest.approx(1, abs=0.02)
    half = denoiser.Crops(0.5 * latents, latents, noise, no_text)
    assert denoiser.errors(dit, half, None, None, False)["40"] == pytest.approx(0.25, abs=0.02)
