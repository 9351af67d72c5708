"""`spresso evaluate`, `listen`, `mushra` and the picture of `info --plot`, without networks."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from spresso_cli.container.stream import Header, Stream
from spresso_cli.errors import OutputError, SpressoError, UsageError
from spresso_cli.evaluation import embeddings, peers
from tests.conftest import named_in_bytes

RATE = 48_000


class StandIn:
    """A codec whose decodes are noise of the right shape."""

    def compress_many(self, items, profile, **_):
        for key, source in items:
            frames = code_frames(source.samples, source.rate, profile.pool)
            yield (
                key,
                Stream.from_codes(
                    Header(
                        profile=profile,
                        weights_tag=b"ab",
                        gain=200,
                        source_rate=source.rate,
                        samples=source.samples,
                        channels=source.channels,
                        levels=(200, 200) if source.channels == 2 else None,
                    ),
                    np.zeros((source.channels, frames, profile.codebooks), np.uint16),
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

    def test_writes_no_table_over_a_sound_that_it_measures(self, run, folders, tmp_path) -> None:
        original = folders[0] / "a.wav"
        network = sound(tmp_path / "vggish.onnx.wav").rename(tmp_path / "vggish.onnx")
        whole = original.read_bytes(), network.read_bytes()
        with pytest.raises(UsageError, match=r"a\.wav is the input"):
            run(evaluate.app, *folders, "--csv", original, "-f")
        with pytest.raises(UsageError, match=r"vggish\.onnx is the input"):
            run(evaluate.app, *folders, "--csv", network, "--vggish", network, "-f")
        for name in ("other.wav", "other.spr"):
            with pytest.raises(UsageError, match=r"name it \.csv"):
                run(evaluate.app, *folders, "--csv", tmp_path / name)
        assert (original.read_bytes(), network.read_bytes()) == whole

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
            named_in_bytes(folder / "a.wav", "a")
        named_in_bytes(originals / "c.wav", "c")
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


def stream_file(path: Path) -> Path:
    """One second of a stream at 96 bps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = SimpleNamespace(samples=RATE, rate=RATE, channels=1)
    ((_, stream),) = StandIn().compress_many([("a", source)], Profile.of(1, 8))
    path.write_bytes(spr.write(stream))
    return path


def lengths(page: Path) -> list[int]:
    """Samples of all versions on a page."""
    return [
        soundfile.info(io.BytesIO(base64.b64decode(data))).frames
        for data in re.findall('audio/flac;base64,([^"]*)', page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(
    "words",
    [
        "listen nix.wav -o page.html",
        "listen nix.spr -o page.html",
        "mushra export nix.wav --output-dir t1",
        "mushra analyse nix.csv",
        "evaluate nix here",
        "evaluate here nix",
    ],
)
def test_a_missing_file_is_said_like_everywhere(
    spresso, tmp_path: Path, monkeypatch, words: str
) -> None:
    sound(tmp_path / "here" / "a.wav")
    monkeypatch.chdir(tmp_path)
    outcome = spresso(*words.split())
    last = outcome.stderr.splitlines()[-1]
    assert re.fullmatch(r"spresso: nix(\.\w+)?: No such file or directory", last)
    assert outcome.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


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

        coded = stream_file(tmp_path / "a.spr")
        run(listen.app, coded, "--seed", 1, "--seed", 2, "-o", page, "-f")
        text = page.read_text(encoding="utf-8")
        assert text.count('<div class="version">') == 2
        assert "25 B · 0.096 kbps payload, 0.2 file" in text

    def test_takes_the_streams_of_a_folder_beside_its_sounds(self, run, tmp_path: Path) -> None:
        stream_file(tmp_path / "in" / "p" / "a.spr")
        page = tmp_path / "page.html"
        run(listen.app, tmp_path / "in", "-o", page)
        assert page.read_text(encoding="utf-8").count('<div class="version">') == 1
        sound(tmp_path / "in" / "a.wav")
        run(listen.app, tmp_path / "in", "-b", 0.3, "-o", page, "-f")
        text = page.read_text(encoding="utf-8")
        assert re.findall("<h2[^>]*>([^<]*)", text) == ["a", "p/a"]
        assert text.count('<div class="version">') == 2 + 1

    def test_pairs_a_tree_with_its_mirror_image(self, run, tmp_path: Path) -> None:
        for folder in "pq":
            sound(tmp_path / "in" / folder / "x.wav")
        sound(tmp_path / "out" / "p" / "x.wav", 0.25)
        sound(tmp_path / "out" / "q" / "x.seed3.wav", 0.125)
        page, other = tmp_path / "page.html", f"Other={tmp_path / 'out'}"
        one_by_one = [tmp_path / "in" / folder / "x.wav" for folder in "pq"]
        for inputs in [tmp_path / "in"], one_by_one:
            run(listen.app, *inputs, "--with", other, "-o", page, "-f")
            assert lengths(page) == [RATE // 2, RATE // 4, RATE // 2, RATE // 8]
            assert "seed 3" in page.read_text(encoding="utf-8")

    def test_refuses_one_file_for_two_sounds(self, run, tmp_path: Path) -> None:
        for folder in ("in/p", "in/q", "out"):
            sound(tmp_path / folder / "x.wav")
        other = f"Other={tmp_path / 'out'}"
        with pytest.raises(UsageError, match=r"out[/\\]x\.wav could stand for "):
            run(listen.app, tmp_path / "in", "--with", other, "-o", tmp_path / "page.html")
        assert not (tmp_path / "page.html").exists()

    def test_tells_of_a_sound_that_was_cut_off(self, run, tmp_path: Path) -> None:
        path = sound(tmp_path / "a.wav")
        path.write_bytes(path.read_bytes()[:20_000])
        result = run(listen.app, path, "-o", tmp_path / "page.html")
        assert "a.wav: ends after 0.21 of 0.50 s: cut off?\n" in result.err

    def test_takes_names_that_are_no_utf_8(self, run, tmp_path: Path) -> None:
        path, page = named_in_bytes(sound(tmp_path / "a.wav"), "a"), tmp_path / "page.html"
        run(listen.app, path, "-o", page)
        assert r"a\udcff" in page.read_text(encoding="utf-8")

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
        assert lengths(page) == [RATE // 2] * 2

    def test_refuses_two_versions_of_one_name(self, run, tmp_path: Path) -> None:
        same = f"A={tmp_path}"
        with pytest.raises(UsageError, match="once"):
            run(listen.app, sound(tmp_path / "a.wav"), "--with", same, "--with", same, "-o", "p")
        ours = ["-b", 0.096, "--with", f"0.096 kbps={tmp_path}"]
        with pytest.raises(UsageError, match=r"^0\.096 kbps: 2 versions of this name"):
            run(listen.app, sound(tmp_path / "a.wav"), *ours, "-o", "p")

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
        stream_file(tmp_path / "a.spr")
        page = tmp_path / "page.html"
        result = run(listen.app, tmp_path / "a.spr", "-b", 0.3, "--seconds", 0.5, "-o", page)
        assert "are for sounds" in result.err
        assert lengths(page) == [RATE // 2]

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

    def test_names_a_system_after_its_folder_and_by_seed_where_there_are_several(
        self, run, tmp_path: Path
    ) -> None:
        source = sound(tmp_path / "a.wav")
        for name in ("one/a.seed3.wav", "two/a.seed0.wav", "two/a.seed1.wav"):
            sound(tmp_path / name)
        words = [f"--with={name}={tmp_path / name}" for name in ("one", "two")]
        run(mushra.app, "mushra", "export", source, *words, "--output-dir", tmp_path / "t1")
        names = {path.stem for path in (tmp_path / "t1" / "a").iterdir()}
        assert names - {"reference", "anchor35", "anchor70"} == {"one", "two_seed_0", "two_seed_1"}

    @pytest.mark.parametrize(
        ("words", "name"),
        [
            (["--peer", "opus:6", "--with", "Opus 6={}"], "Opus 6"),
            (["--peer", "opus:6", "--peer", "opus:6.0"], "Opus 6"),
            (["-b", "0.096", "--with", "spresso 0.096 kbps={}"], "spresso 0.096 kbps"),
            (["--with", "two={}/two", "--with", "two seed 1={}"], "two seed 1"),
            (["--with", "again={}/again"], "again seed 1"),
        ],
    )
    def test_refuses_two_systems_of_one_name(
        self, run, tmp_path: Path, monkeypatch, words: list[str], name: str
    ) -> None:
        monkeypatch.setattr(peers, "peer", lambda *_: SimpleNamespace(name="Opus 6"))
        other = tmp_path / "other"
        for file in ("a", "two/a.seed0", "two/a.seed1", "again/a.seed1"):
            sound(other / f"{file}.wav")
        sound(other / "again" / "a.seed1.flac")
        asked = [word.format(other) for word in words]
        source = sound(tmp_path / "a.wav")
        with pytest.raises(UsageError, match=f"{name}: .* versions"):
            run(mushra.app, "mushra", "export", source, *asked, "--output-dir", tmp_path / "t1")

    def test_takes_a_seed_that_is_named_twice_for_one(self, run, tmp_path: Path) -> None:
        source, seeds = sound(tmp_path / "a.wav"), ["--seed", 3] * 2
        asked = ["-b", 0.3, *seeds, "--output-dir", tmp_path / "t1"]
        run(mushra.app, "mushra", "export", source, *asked)
        assert (tmp_path / "t1" / "a" / "spresso_0.3_kbps.wav").exists()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
    def test_reads_a_pipe_once(self, run, tmp_path: Path) -> None:
        data = sound(tmp_path / "a.wav").read_bytes()
        os.mkfifo(tmp_path / "pipe")
        with ThreadPoolExecutor(1) as writer:
            written = writer.submit((tmp_path / "pipe").write_bytes, data)
            folder = tmp_path / "t1"
            run(mushra.app, "mushra", "export", tmp_path / "pipe", "--output-dir", folder)
            written.result()
        assert (folder / "pipe" / "reference.wav").exists()

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

    def test_prints_what_browsers_sent_without_its_control_characters(
        self, run, tmp_path: Path
    ) -> None:
        path = tmp_path / "mushra.csv"
        path.write_text(
            "rating_score,session_uuid,trial_id,rating_stimulus\n"
            "60,u1,a__qual\x1bity,x\x1b[31mred\n"
            "60,u1,a__short\n"
        )
        text = run(mushra.app, "mushra", "analyse", path).out
        assert "qual\\x1bity" in text
        assert "x\\x1b[31mred" in text
        assert "\x1b" not in text
        record = json.loads(run(mushra.app, "mushra", "analyse", path, "--json").out)
        assert record["results"][0]["condition"] == "x\x1b[31mred"


class TestPlot:
    def test_makes_the_folder_that_it_is_to_lie_in(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        plot.plot_file(sound(tmp_path / "a.wav"), tmp_path / "new" / "a.png", force=False)
        assert (tmp_path / "new" / "a.png").exists()

    def test_draws_sounds_and_streams_and_keeps_existing_files(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        plot.plot_file(sound(tmp_path / "a.wav", channels=2), tmp_path / "a.png", force=False)
        stream_file(tmp_path / "a.spr")
        plot.plot_file(tmp_path / "a.spr", tmp_path / "b.png", force=False)
        assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
        with pytest.raises(OutputError):
            plot.plot_file(tmp_path / "a.wav", tmp_path / "a.png", force=False)

    def test_that_cannot_be_written_is_named_and_leaves_the_old_one(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        resource = pytest.importorskip("resource", reason="limits are POSIX")
        source, picture = sound(tmp_path / "a.wav"), tmp_path / "a.png"
        with pytest.raises(OutputError, match=r"a\.wav/x\.png cannot be written"):
            plot.plot_file(source, source / "x.png", force=False)
        picture.write_bytes(b"old")
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
        try:
            with pytest.raises(OutputError, match=r"a\.png cannot be written: File too large"):
                plot.plot_file(source, picture, force=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert picture.read_bytes() == b"old"
        assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "a.png"}

    def test_does_not_replace_what_it_shows(self, run, tmp_path: Path) -> None:
        """However it is called: what it is like is told by its first bytes."""
        pytest.importorskip("matplotlib")
        source = sound(tmp_path / "a.wav").rename(tmp_path / "a.png")
        whole = source.read_bytes()
        with pytest.raises(UsageError, match=r"a\.png is the input"):
            plot.plot_file(source, source, force=True)
        with pytest.raises(UsageError, match=r"a\.png is the input"):
            run(mushra.app, "mushra", "analyse", source, "--plot", source, "-f")
        assert source.read_bytes() == whole

    def test_of_another_kind_is_refused_before_anything_is_decoded(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        with pytest.raises(UsageError, match=r"a\.txt: a plot is written as"):
            plot.plot_file(tmp_path / "missing.spr", tmp_path / "a.txt", force=False)
