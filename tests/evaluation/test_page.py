"""The listening page: one file, no network, players that switch in place, keys, both widths."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest

from spresso_cli.evaluation.page import Sound, Version, write_page

RATE = 48_000
SECONDS = 3.0


def tone(hz: float, seconds: float = SECONDS) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)[:, None]


def sounds() -> list[Sound]:
    return [
        Sound(
            name,
            (
                Version("Source", tone(hz), RATE, "48 kHz, mono"),
                Version("0.096 kbps", tone(hz * 1.01), RATE, "seed 0", 49, 36),
                Version("1.32 kbps", tone(hz * 1.02), RATE, "seed 0", 517, 504),
            ),
        )
        for name, hz in (("door", 440.0), ("<b>rain & wind</b>", 880.0))
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    with path.open("wb") as out:
        write_page(out, "Two <sounds>", sounds())
    return path


class TestTheFile:
    def test_asks_for_nothing_outside_itself(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        assert "://" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", text)
        sources = re.findall(r'(?:src|href)="([^"]{0,40})', text)
        assert sources
        assert all(source.startswith("data:") for source in sources)
        assert "default-src 'none'" in text

    def test_escapes_names(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        assert "&lt;b&gt;rain &amp; wind&lt;/b&gt;" in text
        assert "<b>" not in text

    def test_shows_bytes_and_both_bitrates(self, page: Path) -> None:
        assert "49 B · 0.096 kbps payload, 0.131 file" in page.read_text(encoding="utf-8")

    @pytest.mark.parametrize("audio", ["flac", "wav", "ogg"])
    def test_carries_the_audio_in_the_chosen_format(self, audio: str) -> None:
        out = io.BytesIO()
        write_page(out, "One", sounds()[:1], audio)
        assert out.getvalue().count(f'src="data:audio/{audio};base64,'.encode()) == 3

    def test_takes_stereo_and_very_short_sounds(self) -> None:
        out = io.BytesIO()
        versions = (
            Version("Source", np.zeros((1, 1), np.float32), RATE),
            Version("Stereo", np.zeros((100, 2), np.float32), 44_100),
        )
        write_page(out, "Short", [Sound("click", versions)])
        assert out.getvalue().count(b"data:image/png") == 2


class TestInChromium:
    @pytest.mark.parametrize("width", [1280, 390])
    @pytest.mark.parametrize("dark", [False, True])
    def test_opens_from_disk_without_a_network_and_fits(
        self, browser, page: Path, width: int, dark: bool
    ) -> None:
        browser.open(page, width, dark=dark)
        assert browser.run("return document.querySelectorAll('.version').length") == 6
        assert browser.run("return document.documentElement.scrollWidth") == width
        assert browser.run("return [...document.images].every((i) => i.naturalWidth > 0)")
        background = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 384) == dark
        assert browser.errors() == []

    def test_plays_and_switches_without_losing_the_position(self, browser, page: Path) -> None:
        browser.open(page, 1280)
        browser.click(".play")
        browser.wait("sounds[0].playing && sounds[0].now() > 0.3")
        before = browser.run("return sounds[0].now()")
        browser.click(".version label", 2)
        after = browser.run("return [sounds[0].now(), sounds[0].chosen, sounds[0].playing]")
        assert after[1:] == [2, True]
        assert before < after[0] < before + 1.5
        browser.wait("sounds[0].voices[2].gain.gain.value > 0.99")
        gains = browser.run("return sounds[0].voices.map((v) => Math.round(v.gain.gain.value))")
        assert gains == [0, 0, 1]
        assert browser.errors() == []

    def test_plays_to_the_end_and_stops(self, browser, page: Path) -> None:
        browser.open(page, 1280)
        browser.press(" ")
        browser.wait("sounds[0].playing")
        browser.wait("!sounds[0].playing")
        assert browser.run("return sounds[0].now()") == 0

    def test_loops(self, browser, page: Path) -> None:
        browser.open(page, 1280)
        browser.press("l")
        browser.run("sounds[0].load()")
        browser.wait("sounds[0].duration > 0")
        browser.run(f"sounds[0].seek({SECONDS - 0.2})")
        browser.press(" ")
        browser.wait("sounds[0].playing && sounds[0].now() < 1")
        assert browser.run("return sounds[0].loopButton.getAttribute('aria-pressed')") == "true"
        browser.press("l")
        assert browser.run("return sounds[0].playing")

    def test_is_driven_by_keys(self, browser, page: Path) -> None:
        left, up, right, down = "\ue012", "\ue013", "\ue014", "\ue015"
        browser.open(page, 1280)
        browser.press("3")
        assert browser.run("return sounds[0].chosen") == 2
        browser.press("9")
        assert browser.run("return sounds[0].chosen") == 2
        browser.press(right)
        browser.press(right)
        browser.wait("sounds[0].now() === 1")
        browser.press(left)
        browser.wait("sounds[0].now() === 0.5")
        browser.press(down)
        assert browser.run("return [current === sounds[1], sounds[1].chosen]") == [True, 2]
        browser.press(up)
        browser.press(" ")
        browser.wait("sounds[0].playing && sounds[0].now() > 0.5")
        browser.press(" ")
        browser.wait("!sounds[0].playing && sounds[0].now() > 0.5")
        assert browser.errors() == []

    def test_the_space_bar_presses_the_button_that_has_the_focus(self, browser, page: Path) -> None:
        browser.open(page, 1280)
        browser.click(".play", 1)
        browser.wait("sounds[1].playing")
        browser.press(" ")
        browser.wait("!sounds[1].playing")
        browser.click(".loop", 1)
        browser.press(" ")
        browser.wait("!sounds[1].loop && !sounds[1].playing")
        assert browser.errors() == []

    def test_a_click_into_a_spectrogram_chooses_and_seeks(self, browser, page: Path) -> None:
        browser.open(page, 390)
        browser.click(".strip", 1)
        browser.wait("sounds[0].position > 0")
        chosen, position = browser.run("return [sounds[0].chosen, sounds[0].position]")
        assert chosen == 1
        assert position == pytest.approx(SECONDS / 2, abs=0.02)

    def test_only_one_sound_plays_at_a_time(self, browser, page: Path) -> None:
        browser.open(page, 1280)
        browser.click(".play", 0)
        browser.wait("sounds[0].playing")
        browser.click(".play", 1)
        browser.wait("sounds[1].playing")
        assert browser.run("return sounds[0].playing") is False


def test_long_sounds_and_any_rate_can_be_carried_as_ogg() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (60 * 8000, 1)).astype(np.float32)
    versions = (Version("long", noise, 8000), Version("high", noise[:4000], 384_000))
    out = io.BytesIO()
    write_page(out, "Ogg", [Sound("x", versions)], "ogg")
    assert re.findall(r"data:(audio/\w+)", out.getvalue().decode()) == ["audio/ogg", "audio/wav"]
