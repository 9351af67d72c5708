"""`spresso evaluate`, `listen`, `mushra` and the picture of `info --plot`, without networks."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from spresso_cli.cli import evaluate, listen, loading, mushra, plot
from spresso_cli.cli.terminal import Terminal
from spresso_cli.codec import packs
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile, code_frames
from spresso_cli.container.stream import Stream
from spresso_cli.errors import OutputError, SpressoError, UsageError
from spresso_cli.evaluation import embeddings, peers

RATE = 48_000


class StandIn:
    """A codec whose decodes are noise of the right shape."""

    def compress_many(self, items, profile, **_):
        for key, source in items:
            frames = code_frames(source.samples, source.rate, profile.pool)
            yield (
                key,
                Stream.from_codes(
                    np.zeros((source.channels, frames, profile.codebooks), np.uint16),
                    profile=profile,
                    weights_tag=b"ab",
                    gain=200,
                    source_rate=source.rate,
                    samples=source.samples,
                    channels=source.channels,
                    levels=(200, 200) if source.channels == 2 else None,
                ),
            )

    def decompress_many(self, items):
        for key, stream, options in items:
            rng = np.random.default_rng(options.seed)
            x = 0.1 * rng.standard_normal((stream.samples, stream.channels))
            yield (
                key,
                SimpleNamespace(
                    rate=stream.source_rate,
                    blocks=lambda x=x: iter([x.astype(np.float32)]),
                    close=lambda: None,
                ),
            )


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    points = tuple(Profile.of(1, m) for m in (8, 25))
    info = SimpleNamespace(
        points=points, choose=lambda kbps: max(p for p in points if p.kbps <= kbps), clap={}
    )
    monkeypatch.setattr(loading, "codec_factory", lambda pack, device: StandIn)
    monkeypatch.setattr(packs, "find_pack", lambda pack=None: info)


@pytest.fixture
def run() -> Callable[..., SimpleNamespace]:
    """Runs one of the commands with words; errors of ours are raised, not printed."""

    def call(app: typer.Typer, *words: object) -> SimpleNamespace:
        result = CliRunner().invoke(app, [str(w) for w in words], obj=Terminal())
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return SimpleNamespace(code=result.exit_code, out=result.stdout, err=result.stderr)

    return call


def sound(path: Path, seconds: float = 0.5, channels: int = 1, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * rng.standard_normal((round(seconds * RATE), channels)), RATE)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Originals and outputs: `a` is perfect, `b` is another noise, `c` has no output."""
    for i, name in enumerate("abc"):
        sound(tmp_path / "ref" / f"{name}.wav", seed=i)
    sound(tmp_path / "out" / "a.wav", seed=0)
    sound(tmp_path / "out" / "b.flac", seed=9)
    return tmp_path / "ref", tmp_path / "out"


class TestEvaluate:
    def test_prints_every_metric_with_its_interval(self, run, folders) -> None:
        text = run(evaluate.app, *folders).out
        for name in ("SI-SDR dB", "MS-mel", "cosine logmel-stats", "FAD logmel", "KAD logmel"):
            assert name in text
        assert "95 % interval" in text
        assert "1 originals have no output, the first is c" in text
        assert "too few" in text

    def test_gives_one_json_object_that_holds_everything(self, run, folders) -> None:
        record = json.loads(run(evaluate.app, *folders, "--json").out)
        assert record["clips"] == 2
        assert record["metrics"]["si_sdr"]["clips"] == 2
        assert record["metrics"]["fad_logmel-stats"]["low"] is None
        assert record["missing"] == ["c"]
        assert record["extra"] == []
        assert record["kad_bandwidth"] == "reference"
        assert record["embeddings"] == {"logmel-stats": {"vectors": 2, "dimensions": 128}}

    def test_writes_a_line_per_clip_and_never_over_a_file(self, run, folders, tmp_path) -> None:
        path = tmp_path / "scores.csv"
        run(evaluate.app, *folders, "--csv", path)
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        assert [row["name"] for row in rows] == ["a", "b"]
        assert float(rows[0]["si_sdr"]) == 60.0
        with pytest.raises(UsageError, match="--csv writes a file"):
            run(evaluate.app, *folders, "--csv", "-")
        with pytest.raises(OutputError, match="-f replaces"):
            run(evaluate.app, *folders, "--csv", path)
        run(evaluate.app, *folders, "--csv", path, "-f")

    def test_goes_on_after_an_unreadable_file_and_exits_1(self, run, folders) -> None:
        (folders[1] / "c.wav").write_bytes(b"no sound")
        result = run(evaluate.app, *folders, "--json")
        assert result.code == 1
        assert "c.wav" in result.err
        assert json.loads(result.out)["failed"] == ["c"]

    def test_tells_of_outputs_without_original(self, run, folders) -> None:
        sound(folders[1] / "zz.wav")
        assert "1 outputs have no original, the first is zz\n" in run(evaluate.app, *folders).out
        assert json.loads(run(evaluate.app, *folders, "--json").out)["extra"] == ["zz"]

    def test_takes_names_that_are_no_utf_8(self, run, folders, tmp_path: Path) -> None:
        originals, outputs = folders
        for folder in folders:
            (folder / "a.wav").rename(folder / os.fsdecode(b"a\xff.wav"))
        (originals / "c.wav").rename(originals / os.fsdecode(b"c\xff.wav"))
        path = tmp_path / "scores.csv"
        text = run(evaluate.app, originals, outputs, "--csv", path).out
        assert r"1 originals have no output, the first is c\udcff" in text
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
        assert [row["name"] for row in rows] == [r"a\udcff", "b"]

    def test_of_folders_without_pairs_is_a_usage_error(self, run, tmp_path: Path) -> None:
        sound(tmp_path / "ref" / "a.wav")
        sound(tmp_path / "out" / "b.wav")
        with pytest.raises(UsageError):
            run(evaluate.app, tmp_path / "ref", tmp_path / "out")

    def test_uses_the_packs_clap_where_there_is_one(self, run, folders, monkeypatch) -> None:
        class Clap(embeddings.LogMelEmbedder):
            name = "clap"

        wanted = [Clap(), embeddings.LogMelEmbedder()]
        monkeypatch.setattr(embeddings, "project_embedders", lambda pack: wanted)
        assert "cosine clap" in run(evaluate.app, *folders).out


class TestListen:
    def test_writes_source_and_decodes_at_every_rate_and_seed(self, run, tmp_path: Path) -> None:
        source = sound(tmp_path / "door.wav", channels=2)
        page = tmp_path / "page.html"
        run(listen.app, source, "-o", page, "--seed", 0, "--seed", 3, "--title", "Doors")
        text = page.read_text(encoding="utf-8")
        assert text.count('<div class="version">') == 1 + 2 * 2
        for words in (
            "<h1>Doors</h1>",
            "48 kHz, stereo, 0.50 s",
            "0.096 kbps",
            "0.3 kbps",
            "seed 3",
        ):
            assert words in text

    def test_takes_folders_streams_and_rates(self, run, tmp_path: Path) -> None:
        sound(tmp_path / "in" / "a.wav")
        sound(tmp_path / "in" / "b.wav")
        page = tmp_path / "page.html"
        run(listen.app, tmp_path / "in", "-b", 0.3, "-o", page)
        text = page.read_text(encoding="utf-8")
        assert text.count('<section class="sound"') == 2
        assert "0.096 kbps" not in text

        coded = tmp_path / "a.spr"
        ((_, stream),) = StandIn().compress_many(
            [("a", SimpleNamespace(samples=RATE, rate=RATE, channels=1))], Profile.of(1, 8)
        )
        coded.write_bytes(spr.write(stream))
        run(listen.app, coded, "--seed", 1, "--seed", 2, "-o", page, "-f")
        text = page.read_text(encoding="utf-8")
        assert text.count('<div class="version">') == 2
        assert "25 B · 0.096 kbps payload, 0.2 file" in text

    def test_sets_files_of_other_codecs_beside_the_source(self, run, tmp_path: Path) -> None:
        source = sound(tmp_path / "door.wav")
        sound(tmp_path / "theirs" / "door.flac")
        page = tmp_path / "page.html"
        run(listen.app, source, "--with", f"Theirs={tmp_path / 'theirs'}", "-o", page)
        text = page.read_text(encoding="utf-8")
        assert text.count('<div class="version">') == 2
        assert "Theirs" in text

    def test_skips_a_peer_that_is_not_installed_with_a_line(
        self, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def absent(spec, weights):
            raise peers.PeerUnavailable("opusenc is not installed")

        monkeypatch.setattr(peers, "peer", absent)
        page = tmp_path / "page.html"
        source = sound(tmp_path / "door.wav")
        result = run(listen.app, source, "--peer", "opus:6", "-o", page)
        assert "opus:6: skipped, opusenc is not installed" in result.err
        assert page.exists()

    def test_keeps_an_existing_page_and_leaves_nothing_partial(self, run, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        page.write_text("mine")
        with pytest.raises(OutputError):
            run(listen.app, sound(tmp_path / "a.wav"), "-o", page)
        bad = tmp_path / "bad.wav"
        bad.write_bytes(b"")
        with pytest.raises(SpressoError):
            run(listen.app, bad, "-o", page, "-f")
        assert page.read_text() == "mine"
        assert {p.name for p in tmp_path.iterdir()} == {"a.wav", "bad.wav", "page.html"}

    def test_takes_the_file_of_the_whole_name(self, run, tmp_path: Path) -> None:
        source = sound(tmp_path / "Door [01].wav")
        sound(tmp_path / "theirs" / "Door [01].wav", 0.5)
        sound(tmp_path / "theirs" / "Door [01].close.wav", 0.25)
        page = tmp_path / "page.html"
        run(listen.app, source, "--with", f"A={tmp_path / 'theirs'}", "-o", page)
        lengths = [
            soundfile.info(io.BytesIO(base64.b64decode(data))).frames
            for data in re.findall('audio/flac;base64,([^"]*)', page.read_text(encoding="utf-8"))
        ]
        assert lengths == [RATE // 2] * 2

    def test_refuses_two_versions_of_one_name(self, run, tmp_path: Path) -> None:
        same = f"A={tmp_path}"
        with pytest.raises(UsageError, match="once"):
            run(listen.app, sound(tmp_path / "a.wav"), "--with", same, "--with", same, "-o", "p")

    def test_blames_the_sound_and_makes_no_page_of_none(self, run, tmp_path: Path) -> None:
        page, bad = tmp_path / "page.html", [tmp_path / "1.wav", tmp_path / "2.wav"]
        for path in bad:
            path.write_bytes(b"no sound")
        with pytest.raises(SpressoError, match="2.wav"):
            run(listen.app, *bad, "-o", page)
        assert not page.exists()

    def test_says_what_does_not_apply_to_a_stream_and_cuts_it_too(
        self, run, tmp_path: Path
    ) -> None:
        ((_, stream),) = StandIn().compress_many(
            [("a", SimpleNamespace(samples=RATE, rate=RATE, channels=1))], Profile.of(1, 8)
        )
        (tmp_path / "a.spr").write_bytes(spr.write(stream))
        page = tmp_path / "page.html"
        result = run(listen.app, tmp_path / "a.spr", "-b", 0.3, "--seconds", 0.5, "-o", page)
        assert "are for sounds" in result.err
        (data,) = re.findall('audio/flac;base64,([^"]*)', page.read_text(encoding="utf-8"))
        assert soundfile.info(io.BytesIO(base64.b64decode(data))).frames == RATE // 2

    def test_cuts_to_the_seconds_asked_for(self, run, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        run(listen.app, sound(tmp_path / "a.wav", 2.0), "--seconds", 0.25, "-o", page)
        assert "48 kHz, mono, 0.25 s" in page.read_text(encoding="utf-8")


class TestMushra:
    def test_exports_our_rates_with_anchors_and_reference(self, run, tmp_path: Path) -> None:
        names = [sound(tmp_path / f"{n}.wav", seed=i) for i, n in enumerate(("a", "b"))]
        folder = tmp_path / "test1"
        run(
            mushra.app,
            "mushra",
            "export",
            *names,
            "--output-dir",
            folder,
            "--question",
            "quality",
            "--question",
            "similarity",
        )
        assert (folder / "test.yaml").read_text().count('type: "mushra"') == 1 + 2 * 2
        assert sorted(p.stem for p in (folder / "a").iterdir()) == [
            "anchor35",
            "anchor70",
            "reference",
            "spresso_0.096_kbps",
            "spresso_0.3_kbps",
        ]

    def test_asks_every_question_once(self, run, tmp_path: Path) -> None:
        folder = tmp_path / "t1"
        asked = ["--question", "quality"] * 2
        source = sound(tmp_path / "a.wav")
        run(mushra.app, "mushra", "export", source, "--output-dir", folder, *asked)
        assert (folder / "test.yaml").read_text().count('id: "a__quality"') == 1

    @pytest.mark.parametrize(
        ("seconds", "channels", "complaint"),
        [(0.5, 8, "8 channels"), (12.1, 1, "longer than 12 s")],
    )
    def test_refuses_a_sound_by_name_before_any_is_coded(
        self, run, tmp_path: Path, monkeypatch, seconds: float, channels: int, complaint: str
    ) -> None:
        def never(*_: object) -> None:
            raise AssertionError("coded")

        monkeypatch.setattr(StandIn, "compress_many", never)
        names = [sound(tmp_path / "a.wav"), sound(tmp_path / "bad.wav", seconds, channels)]
        with pytest.raises(SpressoError, match=rf"bad\.wav: {complaint}"):
            run(mushra.app, "mushra", "export", *names, "--output-dir", tmp_path / "t1")
        assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "bad.wav"}

    def test_names_the_sound_that_has_no_other_version(self, run, tmp_path: Path) -> None:
        names = [sound(tmp_path / f"{name}.wav") for name in "ab"]
        sound(tmp_path / "other" / "a.wav")
        words = ["--with", f"Other={tmp_path / 'other'}", "--output-dir", tmp_path / "t1"]
        with pytest.raises(UsageError, match=r"b\.wav: .*other: no sound named b"):
            run(mushra.app, "mushra", "export", *names, *words)
        assert not (tmp_path / "t1").exists()

    def test_never_mixes_into_an_existing_folder(self, run, tmp_path: Path) -> None:
        source = sound(tmp_path / "in" / "a.wav")
        with pytest.raises(OutputError, match="new folder"):
            run(mushra.app, "mushra", "export", source, "--output-dir", tmp_path / "in")

    def test_analyses_results_as_table_json_and_plot(self, run, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        rows = ["session_uuid,trial_id,rating_stimulus,rating_score"]
        for listener, reference in (("u1", 100), ("u2", 98), ("u3", 20)):
            for item in "abc":
                rows += [
                    f"{listener},{item}__quality,reference,{reference}",
                    f"{listener},{item}__quality,spresso,60",
                ]
        path = tmp_path / "mushra.csv"
        path.write_text("\n".join(rows))
        text = run(mushra.app, "mushra", "analyse", path, "--plot", tmp_path / "s.png").out
        assert "2 listeners kept, 1 left out" in text
        assert "u3: hidden reference below 90 on 3 of 3 pages" in text
        assert (tmp_path / "s.png").exists()
        with pytest.raises(OutputError, match="exists already"):
            run(mushra.app, "mushra", "analyse", path, "--plot", tmp_path / "s.png")
        record = json.loads(run(mushra.app, "mushra", "analyse", path, "--json").out)
        assert [r["condition"] for r in record["results"]] == ["reference", "spresso"]
        assert record["kept"] == ["u1", "u2"]


class TestPlot:
    def test_makes_the_folder_that_it_is_to_lie_in(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        plot.plot_file(sound(tmp_path / "a.wav"), tmp_path / "new" / "a.png")
        assert (tmp_path / "new" / "a.png").exists()

    def test_draws_sounds_and_streams_and_keeps_existing_files(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        plot.plot_file(sound(tmp_path / "a.wav", channels=2), tmp_path / "a.png")
        ((_, stream),) = StandIn().compress_many(
            [("a", SimpleNamespace(samples=RATE, rate=RATE, channels=1))], Profile.of(1, 8)
        )
        (tmp_path / "a.spr").write_bytes(spr.write(stream))
        plot.plot_file(tmp_path / "a.spr", tmp_path / "b.png", seed=2)
        assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
        with pytest.raises(OutputError):
            plot.plot_file(tmp_path / "a.wav", tmp_path / "a.png")
