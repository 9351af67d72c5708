"""The expander: where a peak is too low, the loudest moments are raised, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from spresso_cli.audio.expander import LIMIT_DB, RANGE_DB, Expander

RATE = 48_000


def expanded(x: np.ndarray, peak: float, rate: int = RATE, blocks: int = 1 << 30) -> np.ndarray:
    """A sound [n, C] in blocks of so many samples, collected and then raised in other blocks."""
    expander = Expander(x.shape[1], rate, peak)
    for start in range(0, len(x), blocks):
        expander.add(x[start : start + blocks])
    size = max(1, blocks // 2)
    pieces = [expander.apply(x[at : at + size], at) for at in range(0, len(x), size)]
    return np.concatenate(pieces)


def clicks_over(background: float, click: float, at: float = 0.5) -> np.ndarray:
    """A second of noise [n, 1] with 50 ms of louder noise in it, both of that peak."""
    noise = np.random.default_rng(0).uniform(-1, 1, RATE)
    begin = int(at * RATE)
    noise[:begin] *= background
    noise[begin : begin + RATE // 20] *= click
    noise[begin + RATE // 20 :] *= background
    return noise[:, None].astype(np.float32)


def test_a_sound_that_reaches_its_peak_is_left_alone_to_the_bit() -> None:
    x = clicks_over(0.01, 0.5)
    assert np.array_equal(expanded(x, 0.4), x)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_the_loudest_moment_reaches_the_peak(rate: int) -> None:
    y = expanded(clicks_over(0.001, 0.1), 0.5, rate)
    assert 0.45 <= np.abs(y).max() <= 0.5 * 1.0001


def test_what_is_far_below_the_loudest_moment_stays_as_it_is() -> None:
    background = 0.1 * 10 ** (-(RANGE_DB + 3) / 20)
    x = clicks_over(background, 0.1)
    y = expanded(x, 0.5)
    far = np.r_[0 : RATE // 2 - 2000, RATE // 2 + 5000 : RATE]  # two frames beside the click
    assert np.array_equal(y[far], x[far])


def test_frames_in_between_are_raised_by_less() -> None:
    x = clicks_over(0.1 * 10 ** (-RANGE_DB / 2 / 20), 0.1)  # half of the range below
    y = expanded(x, 0.2)  # 6 dB
    quiet = slice(0, RATE // 4)
    raised = 20 * np.log10(np.abs(y[quiet]).mean() / np.abs(x[quiet]).mean())
    assert raised == pytest.approx(3.0, abs=0.5)


def test_a_steady_sound_is_raised_as_a_whole() -> None:
    x = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)[:, None].astype(np.float32)
    y = expanded(x, 0.5)
    assert np.allclose(y, 5 * x, atol=1e-3)


def test_nothing_is_raised_beyond_the_limit() -> None:
    y = expanded(clicks_over(1e-7, 1e-5), 0.5)
    assert np.abs(y).max() == pytest.approx(1e-5 * 10 ** (LIMIT_DB / 20), rel=0.02)


@pytest.mark.parametrize("blocks", [1, 479, 10_007])
def test_blocks_do_not_matter(blocks: int) -> None:
    x = clicks_over(0.003, 0.1)[: 3_000 if blocks == 1 else None]
    assert np.array_equal(expanded(x, 0.5, blocks=blocks), expanded(x, 0.5))


def test_channels_are_looked_at_one_by_one() -> None:
    left, right = clicks_over(0.001, 0.1), clicks_over(0.002, 0.6, at=0.2)
    both = expanded(np.concatenate((left, right), 1), 0.5)
    assert np.array_equal(both[:, :1], expanded(left, 0.5))
    assert np.array_equal(both[:, 1:], right)
    twice = expanded(np.repeat(left, 2, axis=1), 0.5)
    assert np.array_equal(twice[:, 0], twice[:, 1])


@pytest.mark.parametrize("samples", [1, 479, 480, 481])
def test_the_shortest_sounds_and_silence_pass(samples: int) -> None:
    silence = np.zeros((samples, 2), np.float32)
    assert np.array_equal(expanded(silence, 0.5), silence)
    y = expanded(np.full((samples, 1), 0.1, np.float32), 0.5)
    assert y.shape == (samples, 1) and y.dtype == np.float32
    assert np.allclose(y, 0.5)
