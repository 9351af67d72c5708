"""The exported listening test: BS.1534's limits and anchors, webMUSHRA's rules, readable YAML."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.errors import OutputError, UsageError
from spresso_cli.evaluation import mushra

RATE = mushra.TEST_RATE


def item(name: str = "door", seconds: float = 1.0, systems: tuple[str, ...] = ("A", "B")):
    rng = np.random.default_rng(0)
    x = (0.1 * rng.standard_normal((int(seconds * RATE), 1))).astype(np.float32)
    return mushra.Item(name, x, {s: (0.3 + i) * x[:-100] for i, s in enumerate(systems)})


def gain_db(cutoff: float, hz: float) -> float:
    x = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)[:, None]
    y = mushra.anchor(x, cutoff)[2000:-2000]
    return float(10 * np.log10(np.mean(y**2) / np.mean(x[2000:-2000] ** 2)))


class TestAnchors:
    @pytest.mark.parametrize("cutoff", [3500.0, 7000.0])
    def test_meet_the_mask_of_the_recommendation(self, cutoff: float) -> None:
        for hz in (50, 1000, cutoff - 200, cutoff):
            assert abs(gain_db(cutoff, hz)) < 0.1
        assert gain_db(cutoff, cutoff + 500) < -25
        for hz in (cutoff + 1000, 2 * cutoff, 20_000):
            assert gain_db(cutoff, hz) < -50

    def test_keep_every_sample_in_place(self) -> None:
        x = np.zeros((4001, 2), np.float32)
        x[2000] = 1.0
        y = mushra.anchor(x, 3500.0)
        assert y.shape == x.shape
        np.testing.assert_array_equal(np.argmax(y, axis=0), [2000, 2000])

    def test_take_sounds_shorter_than_the_filter(self) -> None:
        assert mushra.anchor(np.ones((1, 1), np.float32), 3500.0).shape == (1, 1)


class TestSounds:
    def test_of_a_page_share_rate_length_channels_and_loudness(self, tmp_path: Path) -> None:
        mushra.export(tmp_path, [item()], "Test", "t1")
        names = sorted(path.name for path in (tmp_path / "door").iterdir())
        assert names == ["A.wav", "B.wav", "anchor35.wav", "anchor70.wav", "reference.wav"]
        sounds = {n: soundfile.read(tmp_path / "door" / n, always_2d=True) for n in names}
        assert {(x.shape, rate) for x, rate in sounds.values()} == {((RATE, 1), RATE)}
        level = np.sqrt(np.mean(sounds["reference.wav"][0] ** 2))
        for name in ("A.wav", "B.wav"):
            own = np.sqrt(np.mean(sounds[name][0] ** 2))
            assert own == pytest.approx(level, rel=1e-3)

    def test_never_clip(self, tmp_path: Path) -> None:
        loud = item()
        spiky = np.zeros_like(loud.reference)
        spiky[500] = 1.0
        mushra.export(tmp_path, [mushra.Item("x", loud.reference, {"A": spiky})], "Test", "t1")
        x, _ = soundfile.read(tmp_path / "x" / "A.wav")
        assert np.max(np.abs(x)) == pytest.approx(mushra.PEAK, abs=1e-3)

    def test_that_are_silent_stay_silent(self, tmp_path: Path) -> None:
        silent = np.zeros((1000, 2), np.float32)
        mushra.export(tmp_path, [mushra.Item("x", silent, {"A": silent})], "Test", "t1")
        assert not soundfile.read(tmp_path / "x" / "A.wav")[0].any()


class TestConfiguration:
    def test_has_practice_then_random_pages_for_every_question(self, tmp_path: Path) -> None:
        items = [item("door"), item("rain & wind")]
        path = mushra.export(tmp_path, items, "My test", "t1", ("quality", "similarity"))
        config = parse(path.read_text(encoding="utf-8"))
        assert config["testId"] == "t1"
        pages = config["pages"]
        assert [p["type"] for p in pages if isinstance(p, dict)] == [
            "generic",
            "volume",
            "mushra",
            "finish",
        ]
        assert pages[2]["id"] == "training__quality"
        assert pages[3][0] == "random"
        assert [p["id"] for p in pages[3][1:]] == [
            "door__quality",
            "door__similarity",
            "rain_wind__quality",
            "rain_wind__similarity",
        ]

    def test_points_at_files_that_exist(self, tmp_path: Path) -> None:
        path = mushra.export(tmp_path, [item()], "Test", "t1")
        page = parse(path.read_text(encoding="utf-8"))["pages"][3][1]
        assert list(page["stimuli"]) == ["anchor35", "anchor70", "A", "B"]
        for stimulus in (page["reference"], *page["stimuli"].values()):
            assert (tmp_path / stimulus.removeprefix("configs/t1/")).is_file()
        assert page["strict"] is True
        assert page["createAnchor35"] is False

    def test_keeps_awkward_text_intact(self, tmp_path: Path) -> None:
        title = 'Quotes " and: colons, # and ünïcode'
        path = mushra.export(tmp_path, [item()], title, "t1")
        assert parse(path.read_text(encoding="utf-8"))["testname"] == title

    def test_agrees_with_a_yaml_reader(self, tmp_path: Path) -> None:
        yaml = pytest.importorskip("yaml")
        text = mushra.export(tmp_path, [item()], "Test", "t1").read_text(encoding="utf-8")
        assert yaml.safe_load(text) == parse(text)


class TestFolder:
    def test_appears_only_when_the_test_is_complete(self, tmp_path: Path) -> None:
        folder = tmp_path / "tests" / "t1"

        def items():
            yield item("a")
            assert not folder.exists()
            raise UsageError("b: no sound")

        with pytest.raises(UsageError, match="b: no sound"):
            mushra.export(folder, items(), "Test", "t1")
        assert not list((tmp_path / "tests").iterdir())
        mushra.export(folder, [item("a")], "Test", "t1")
        assert [path.name for path in (tmp_path / "tests").iterdir()] == ["t1"]

    def test_that_cannot_be_written_is_named_as_it_was_given(
        self, tmp_path: Path, monkeypatch
    ) -> None:
        (tmp_path / "a.wav").touch()
        with pytest.raises(OutputError, match=r"a\.wav[/\\]t1 cannot be written: "):
            mushra.export(tmp_path / "a.wav" / "t1", [item()], "Test", "t1")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".t1.xyz"))

        monkeypatch.setattr(mushra.AudioSink, "write", full)
        with pytest.raises(OutputError, match=r"^t1 cannot be written: No space left on device$"):
            monkeypatch.chdir(tmp_path)
            mushra.export(Path("t1"), [item()], "Test", "t1")
        assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]

    def test_can_be_read_by_a_server_of_another_user(self, tmp_path: Path) -> None:
        (tmp_path / "as usual").mkdir()
        usual = (tmp_path / "as usual").stat().st_mode
        mushra.export(tmp_path / "t1", [item("a")], "Test", "t1")
        assert {p.stat().st_mode for p in (tmp_path / "t1", tmp_path / "t1" / "a")} == {usual}

    def test_may_be_the_present_one(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        mushra.export(Path(), [item("a")], "Test", "t1")
        assert sorted(path.name for path in Path().iterdir()) == ["a", "test.yaml"]

    @pytest.mark.parametrize(
        ("name", "folder"), [("..", "sound"), ("_.._", "sound"), (".a", "a"), ("a.", "a")]
    )
    def test_holds_everything_in_plain_sight(self, tmp_path: Path, name: str, folder: str) -> None:
        mushra.export(tmp_path / "t1", [item(name)], "Test", "t1")
        assert [path.name for path in tmp_path.iterdir()] == ["t1"]
        assert {path.name for path in (tmp_path / "t1").iterdir()} == {folder, "test.yaml"}


class TestRefusals:
    def test_more_conditions_than_a_page_may_have(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="13 conditions"):
            mushra.export(tmp_path, [item(systems=tuple("ABCDEFGHIJ"))], "Test", "t1")

    def test_sounds_longer_than_twelve_seconds(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="12 s"):
            mushra.export(tmp_path, [item(seconds=12.1)], "Test", "t1")

    def test_names_that_collide(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="taken"):
            mushra.export(tmp_path, [item("a b"), item("a_b")], "Test", "t1")
        with pytest.raises(UsageError, match="taken"):
            mushra.export(tmp_path, [item(systems=("reference",))], "Test", "t1")

    @pytest.mark.parametrize("names", [("Door", "door"), ("test.yaml",), ("Test.yaml",)])
    def test_names_that_some_file_systems_do_not_tell_apart(
        self, tmp_path: Path, names: tuple[str, ...]
    ) -> None:
        with pytest.raises(UsageError, match="taken"):
            mushra.export(tmp_path, map(item, names), "Test", "t1")

    @pytest.mark.parametrize("systems", [("Reference",), ("a", "A")])
    def test_systems_that_some_file_systems_do_not_tell_apart(
        self, tmp_path: Path, systems: tuple[str, ...]
    ) -> None:
        with pytest.raises(UsageError, match="taken"):
            mushra.export(tmp_path, [item(systems=systems)], "Test", "t1")

    def test_systems_that_differ_between_sounds(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="same systems"):
            mushra.export(tmp_path, [item("a"), item("b", systems=("A",))], "Test", "t1")

    def test_no_sounds_and_bad_ids(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="at least one"):
            mushra.export(tmp_path, [], "Test", "t1")
        with pytest.raises(UsageError, match="id takes"):
            mushra.export(tmp_path, [item()], "Test", "../t1")


def parse(text: str):
    """A reader for the YAML subset that the exporter may use: blocks, '- ', JSON scalars."""
    lines = [(len(re.match(" *", line)[0]), line.strip()) for line in text.splitlines()]

    def block(at: int, indent: int):
        is_list = lines[at][1].startswith("- ")
        result = [] if is_list else {}
        while at < len(lines) and lines[at][0] == indent:
            body = lines[at][1]
            if is_list:
                rest = body[2:]
                if re.match(r"[A-Za-z_][\w-]*:( |$)|- ", rest):
                    lines[at] = (indent + 2, rest)
                    value, at = block(at, indent + 2)
                else:
                    value, at = json.loads(rest), at + 1
                result.append(value)
            else:
                key, _, rest = body.partition(":")
                if rest:
                    result[key], at = json.loads(rest), at + 1
                else:
                    result[key], at = block(at + 1, lines[at + 1][0])
        return result, at

    return block(0, 0)[0]
