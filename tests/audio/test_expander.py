"""The expander: where a peak is too low, the loudest parts are raised, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from spresso_cli.audio.expander import LIMIT_DB, RANGE_DB, SHARE, raised, shortfall

RATE = 48_000


def expanded(
    x: np.ndarray, peak: float = 0.5, rate: int = RATE, blocks: int = 1 << 30
) -> np.ndarray:
    """A sound [n, C], read in blocks of so many samples."""
    parts = [x[start : start + blocks] for start in range(0, len(x), blocks)]
    missing = shortfall(np.abs(x).max(axis=0), peak)
    return np.concatenate(list(raised(lambda: parts, len(x), rate, missing)))


def click_over(background: float, click: float, at: float = 0.5) -> np.ndarray:
    """A second of noise [n, 1] with 50 ms of louder noise in it."""
    noise = np.random.default_rng(0).uniform(-1, 1, RATE)
    begin = int(at * RATE)
    noise[:begin] *= background
    noise[begin : begin + RATE // 20] *= click
    noise[begin + RATE // 20 :] *= background
    return noise[:, None].astype(np.float32)


def tone(hz: float, amplitude: float) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE))[:, None].astype(np.float32)


def decibels(after: np.ndarray, before: np.ndarray) -> float:
    return float(10 * np.log10(np.square(after).mean() / np.square(before).mean()))


def test_what_a_peak_misses_is_told_of_each_channel() -> None:
    missing = shortfall(np.array([0.25, 0.5, 1.0, 0.0]), 0.5)
    assert missing == pytest.approx([6.02, 0.0, 0.0, 0.0], abs=0.01)


def test_a_channel_that_misses_nothing_is_the_same() -> None:
    x = np.concatenate((click_over(0.01, 0.6), click_over(0.01, 0.1)), 1)
    y = expanded(x)
    assert np.allclose(y[:, 0], x[:, 0], rtol=0, atol=1e-7)
    assert not np.allclose(y[:, 1], x[:, 1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("rate", [1_000, 8_000, 44_100, 48_000, 192_000])
def test_the_loudest_moment_comes_near_the_peak(rate: int) -> None:
    y = expanded(click_over(0.001, 0.1), rate=rate)
    assert 0.3 <= np.abs(y).max() <= 0.7


def test_what_is_far_below_the_loudest_stays_as_it_is() -> None:
    x = click_over(0.1 * 10 ** (-(RANGE_DB + 8) / 20), 0.1)
    y = expanded(x)
    far = np.r_[0 : RATE // 2 - 2500, RATE // 2 + 5500 : RATE]  # a window beside the click
    assert np.allclose(y[far], x[far], rtol=0, atol=1e-7)


def test_bands_are_raised_one_by_one() -> None:
    """Two tones at once: the loud one by about what is missing, the faint one by nothing."""
    loud, faint = tone(1_000, 0.2), tone(8_000, 0.2 * 10 ** (-(RANGE_DB + 5) / 20))
    y = expanded(loud + faint)[4_000:-4_000, 0]
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    was = np.abs(np.fft.rfft((loud + faint)[4_000:-4_000, 0] * np.hanning(len(y))))
    at = [round(hz * len(y) / RATE) for hz in (1_000, 8_000)]
    gains = 20 * np.log10(spectrum[at] / was[at])
    missing = 20 * np.log10(0.5 / 0.202)
    assert 0.8 * missing < gains[0] <= SHARE * missing
    assert gains[1] == pytest.approx(0.0, abs=0.3)


def test_what_lies_between_is_raised_by_less() -> None:
    x = click_over(0.1 * 10 ** (-RANGE_DB / 2 / 20), 0.1)  # half of the range below
    y = expanded(x)
    quiet, loud = slice(0, RATE // 4), slice(RATE // 2, RATE // 2 + RATE // 20)
    assert 1.0 < decibels(y[quiet], x[quiet]) < 0.6 * decibels(y[loud], x[loud])


def test_nothing_is_raised_beyond_the_limit() -> None:
    x = tone(1_000, 1e-4)
    assert LIMIT_DB - 4 < decibels(expanded(x), x) <= LIMIT_DB


@pytest.mark.parametrize("blocks", [1, 479, 10_007])
def test_blocks_do_not_matter(blocks: int) -> None:
    x = click_over(0.003, 0.1)[: 3_000 if blocks == 1 else None]
    assert np.array_equal(expanded(x, blocks=blocks), expanded(x))


def test_less_than_a_second_is_held_of_a_long_sound() -> None:
    x = np.ones((20 * RATE, 1), np.float32)
    begun, read, given = 0, 0, 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal begun, read
        begun, read = begun + 1, 0
        for block in np.split(x, 200):
            read += len(block)
            yield block

    for piece in raised(blocks, len(x), RATE, np.array([6.0])):
        assert begun == 2 and read - given < RATE
        given += len(piece)
    assert given == len(x)


def test_equal_channels_stay_equal() -> None:
    y = expanded(np.repeat(click_over(0.001, 0.1), 2, axis=1))
    assert np.array_equal(y[:, 0], y[:, 1])


@pytest.mark.parametrize("samples", [1, 479, 480, 481, 31_000])
def test_every_length_comes_back_silence_too(samples: int) -> None:
    silence = np.zeros((samples, 1), np.float32)
    x = np.full((samples, 1), 0.1, np.float32)
    y = expanded(np.concatenate((silence, x), 1))
    assert y.shape == (samples, 2) and y.dtype == np.float32
    assert not y[:, 0].any()
    assert np.isfinite(y).all() and y[:, 1].any()
