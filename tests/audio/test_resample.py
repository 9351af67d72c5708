"""Resampling: exact lengths, one result whatever the blocks, sounds that stay where they are."""

from __future__ import annotations

import numpy as np
import pytest

from spresso_cli.audio.resample import Resampler, resample, resample_blocks, resampled_length

RATES = [8000, 11_025, 22_050, 32_000, 44_100, 47_999, 88_200, 96_000, 192_000]


def tone(rate: int, seconds: float, hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", RATES)
def test_the_length_is_the_ceiling_both_ways_from_one_sample_up(rate: int) -> None:
    for source, target in ((rate, 48_000), (48_000, rate)):
        for samples in [*range(1, 20), 480, 481, 4801]:
            x = np.ones((samples, 1), np.float32)
            assert len(resample(x, source, target)) == -(-samples * target // source)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [1, 37, 1000])
def test_the_result_does_not_depend_on_the_blocks(rate: int, size: int) -> None:
    x = np.random.default_rng(0).standard_normal((3001, 2)).astype(np.float32)
    blocks = [x[start : start + size] for start in range(0, len(x), size)]
    streamed = np.concatenate(list(resample_blocks(blocks, rate, 48_000, 2)))
    assert np.array_equal(streamed, resample(x, rate, 48_000))


@pytest.mark.parametrize("rate", [8000, 44_100, 192_000])
def test_nor_does_it_where_a_block_is_longer_than_soxr_takes_at_once(rate: int) -> None:
    x = np.random.default_rng(0).standard_normal((4 * rate, 1)).astype(np.float32)
    streamed = np.concatenate(list(resample_blocks(np.split(x, 400), rate, 48_000, 1)))
    assert np.array_equal(streamed, resample(x, rate, 48_000))


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_place_and_level(rate: int) -> None:
    x = tone(rate, 0.5, 1000.0).astype(np.float32)[:, None]
    y = resample(x, rate, 48_000)[:, 0]
    inner = slice(4800, -4800)
    assert np.abs(y - tone(48_000, 1.0, 1000.0)[: len(y)])[inner].max() < 1e-4


def test_channels_do_not_touch_each_other() -> None:
    x = np.random.default_rng(1).standard_normal((2000, 2)).astype(np.float32)
    both = resample(x, 44_100, 48_000)
    assert np.array_equal(both[:, :1], resample(x[:, :1], 44_100, 48_000))
    x[:, 1] = x[:, 0]
    same = resample(x, 44_100, 48_000)
    assert np.array_equal(same[:, 0], same[:, 1])


def test_equal_rates_leave_the_samples_alone() -> None:
    x = np.random.default_rng(2).standard_normal((100, 1)).astype(np.float32)
    assert np.array_equal(resample(x, 48_000, 48_000), x)


def test_extreme_ratios_keep_the_length_and_bound_the_blocks() -> None:
    assert len(resample(np.ones((5, 1), np.float32), 10, 48_000)) == 24_000
    assert len(resample(np.ones((5, 1), np.float32), 10_000_000, 48_000)) == 1
    assert resampled_length(1, 2**31 - 1, 48_000) == 1


def test_no_samples_stay_no_samples() -> None:
    resampler = Resampler(44_100, 48_000, 1)
    assert len(resampler.push(np.zeros((0, 1), np.float32))) == 0
    assert len(resampler.finish()) == 0
