"""`generate` from the outside: names and seeds, with a generator that has no networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from spresso_cli.cli import destination
from spresso_cli.codec import generator, packs
from spresso_cli.errors import UsageError


class FakeGenerator:
    """Remembers the seeds that it was asked for."""

    seeds: list[int] = []  # noqa: RUF012 - made anew for every test

    @classmethod
    def load(cls, pack: object, device: str) -> FakeGenerator:
        return cls()

    def generate(self, caption, seconds, seed, solver, progress) -> np.ndarray:
        self.seeds.append(seed)
        return np.random.default_rng(seed).uniform(-0.1, 0.1, (4_800, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that were used, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(generator, "Generator", FakeGenerator)
    monkeypatch.setattr(packs, "find_pack", lambda name: None)
    monkeypatch.setattr(FakeGenerator, "seeds", [])
    return FakeGenerator.seeds


def test_words_become_a_sound_that_is_named_by_them(spresso, seeds: list[int]) -> None:
    shown = spresso("generate", "Glass breaking!")
    assert shown.code == 0
    assert "glass-breaking.wav: 0.10 s, seed 0" in shown.stderr
    assert soundfile.info("glass-breaking.wav").frames == 4_800
    assert seeds == [0]


def test_a_random_seed_is_told_and_repeatable(spresso, seeds: list[int]) -> None:
    shown = spresso("generate", "rain", "--seed", "random", "-o", "one.wav")
    assert shown.code == 0
    assert shown.stderr.startswith(f"seed {seeds[0]}\n")
    spresso("generate", "rain", "--seed", seeds[0], "-o", "two.wav")
    assert Path("one.wav").read_bytes() == Path("two.wav").read_bytes()


def test_no_words_are_no_caption(spresso, seeds: list[int]) -> None:
    shown = spresso("generate", " ", "-o", "one.wav")
    assert shown.code == 2
    assert "the caption is empty" in shown.stderr
    assert not seeds


@pytest.mark.parametrize("seed", [0, 7, (1 << 64) - 1])
def test_a_seed_reaches_the_generator(spresso, seeds: list[int], seed: int) -> None:
    assert spresso("generate", "rain", "--seed", seed).code == 0
    assert seeds == [seed]


@pytest.mark.parametrize("seed", ["-1", "1.5", "any", "18446744073709551616", "٣", ""])
def test_what_is_no_seed_is_refused(spresso, seeds: list[int], seed: str) -> None:
    shown = spresso("generate", "rain", "--seed", seed)
    assert shown.code == 2
    assert "neither random nor a number" in shown.stderr
    assert not seeds


def test_a_folder_that_cannot_be_written_into_is_found_before_the_work(
    spresso, seeds: list[int]
) -> None:
    Path("file").touch()
    shown = spresso("generate", "rain", "-o", "file/rain.wav")
    assert shown.code == 1
    assert "cannot be written" in shown.stderr
    assert not seeds


def test_a_sound_is_not_named_like_another_kind_of_file(spresso, seeds: list[int]) -> None:
    shown = spresso("generate", "rain", "-o", "rain.spr")
    assert shown.code == 2
    assert shown.stderr == "spresso: rain.spr is named like a .spr file: name it .wav\n"
    assert not seeds and not Path("rain.spr").exists()


def test_a_sound_goes_to_stdout(spresso, seeds: list[int]) -> None:
    shown = spresso("generate", "rain", "-o", "-")
    spresso("generate", "rain")
    assert shown.data == Path("rain.wav").read_bytes()
    assert shown.stderr == "stdout: 0.10 s, seed 0\n"


def test_a_screen_is_refused_before_the_work(
    spresso, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def screen():
        raise UsageError("refusing to write binary data to a terminal")

    monkeypatch.setattr(destination, "binary_stdout", screen)
    assert spresso("generate", "rain", "-o", "-").code == 2
    assert not seeds
