"""Level: the byte, the measurement, and a fit that meets its RMS wherever that is possible."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spresso_cli.audio.level import Leveller, fit_level, gain_byte, measure, rms_of


def decibels(x: np.ndarray) -> float:
    return 10 * math.log10(np.mean(np.square(x, dtype=np.float64)))


def sounds() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    seconds = np.arange(24_000) / 48_000
    noise = random.standard_normal(24_000)
    return {
        "noise": 0.1 * noise,
        "spiky noise": 1e-3 * noise**3,
        "sine": 0.3 * np.sin(2 * np.pi * 440 * seconds),
        "decay": noise * np.exp(-20 * seconds),
        "constant": np.full(1000, 0.5),
        "whisper": 1e-20 * noise,
        "one sample": np.array([0.01]),
    }


# The byte of format_spec.md.


@pytest.mark.parametrize(("byte", "db"), [(1, -120.0), (141, -50.0), (241, 0.0), (255, 7.0)])
def test_the_byte_counts_half_decibels(byte: int, db: float) -> None:
    assert math.isclose(20 * math.log10(rms_of(byte)), db, abs_tol=1e-9)
    assert gain_byte(rms_of(byte)) == byte


def test_every_byte_survives_its_own_rms() -> None:
    assert [gain_byte(rms_of(byte)) for byte in range(256)] == list(range(256))


def test_only_zero_is_silence_and_extremes_are_clamped() -> None:
    assert gain_byte(0.0) == 0
    assert gain_byte(1e-30) == 1
    assert gain_byte(1e9) == 255


def test_the_byte_is_at_most_a_quarter_decibel_off() -> None:
    for db in np.arange(-119.9, 6.9, 0.07):
        assert abs(20 * math.log10(rms_of(gain_byte(10 ** (db / 20)))) - db) <= 0.25 + 1e-9


# Measuring.


def test_level_is_measured_in_one_pass_whatever_the_blocks() -> None:
    x = np.random.default_rng(1).standard_normal((1000, 2)).astype(np.float32)
    whole = measure([x])
    split = measure(x[start : start + 7] for start in range(0, 1000, 7))
    assert whole.samples == split.samples == 1000
    assert np.allclose(whole.rms, split.rms, rtol=1e-12)
    assert whole.peak == split.peak == tuple(float(peak) for peak in np.abs(x).max(axis=0))
    assert math.isclose(whole.overall_rms, math.sqrt(np.mean(x.astype(float) ** 2)))
    assert whole.overall_peak == max(whole.peak)


def test_identical_channels_are_recognised_bit_for_bit() -> None:
    x = np.random.default_rng(2).standard_normal((100, 1)).astype(np.float32)
    assert measure([x]).identical
    pair = np.repeat(x, 2, axis=1)
    assert measure([pair]).identical
    pair[99, 1] = np.nextafter(pair[99, 1], 1)
    assert not measure([pair]).identical


def test_silence_is_exact() -> None:
    assert measure([np.zeros((10, 2), np.float32)]).silent
    assert not measure([np.full((10, 1), 1e-45, np.float32)]).silent


def test_a_block_without_samples_changes_nothing() -> None:
    x = sounds()["noise"].astype(np.float32)[:, None]
    assert measure([x[:0], x, x[:0]]) == measure([x])
    leveller = Leveller(1)
    for block in (x[:0], x, x[:0]):
        leveller.add(block)
    assert np.array_equal(leveller.fit([0.5]).apply(x), fit_level(x, [0.5]))


def test_nothing_has_no_level() -> None:
    with pytest.raises(ValueError, match="no samples"):
        measure([])


# Fitting.


@pytest.mark.parametrize("name", sounds())
@pytest.mark.parametrize("target", [-90.0, -40.0, -20.0, -12.0, -6.0, -3.0])
def test_the_rms_is_met_within_a_tenth_of_a_decibel(name: str, target: float) -> None:
    y = fit_level(sounds()[name].astype(np.float32)[:, None], [10 ** (target / 20)])
    assert np.abs(y).max() <= 1.0
    assert y.dtype == np.float32
    assert abs(decibels(y) - target) < 0.1


@pytest.mark.parametrize("peak", [0.2, 0.99])
def test_up_to_full_scale_a_fit_is_plain_gain(peak: float) -> None:
    x = sounds()["noise"].astype(np.float32)[:, None]
    gain = peak / np.abs(x).max()
    y = fit_level(x, [gain * math.sqrt(np.mean(np.square(x, dtype=np.float64)))])
    assert np.allclose(y, x * gain, rtol=1e-6)


def test_peaks_beyond_full_scale_are_bent_and_not_cut() -> None:
    x = sounds()["sine"].astype(np.float32)[:, None]
    y = fit_level(x, [0.9])  # by plain gain the peak would be 1.27
    assert 0.9 < np.abs(y).max() < 1.0


def test_limiting_leaves_what_lies_below_the_knee_in_proportion() -> None:
    x = sounds()["spiky noise"].astype(np.float32)[:, None]
    y = fit_level(x, [0.2])[:, 0]
    quiet = (np.abs(y) < 0.8) & (x[:, 0] != 0)
    ratio = y[quiet] / x[quiet, 0]
    assert np.ptp(ratio) < 1e-5 * ratio.mean()
    assert np.array_equal(np.sign(y), np.sign(x[:, 0]))


def test_a_level_above_full_scale_becomes_full_scale() -> None:
    y = fit_level(sounds()["sine"].astype(np.float32)[:, None], [2.0])
    assert np.abs(y).max() <= 1.0
    assert decibels(y) > -0.1


def test_a_click_cannot_be_loud_and_stays_finite() -> None:
    x = np.zeros((4800, 1), np.float32)
    x[7] = 0.5
    y = fit_level(x, [1.0])
    assert y[7] > 0.99 and np.count_nonzero(y) == 1


def test_silence_stays_silence_whatever_it_should_be() -> None:
    assert not fit_level(np.zeros((10, 1), np.float32), [0.1]).any()
    assert not fit_level(np.ones((10, 1), np.float32), [0.0]).any()


def test_the_smallest_float_can_be_raised() -> None:
    x = np.full((100, 1), 1e-45, np.float32)
    assert abs(decibels(fit_level(x, [0.1])) + 20) < 0.1


def test_channels_have_targets_of_their_own() -> None:
    x = np.random.default_rng(3).standard_normal((4800, 2)).astype(np.float32)
    y = fit_level(x, [0.1, 0.01])
    assert abs(decibels(y[:, 0]) + 20) < 0.1
    assert abs(decibels(y[:, 1]) + 40) < 0.1


def test_equal_channels_with_equal_targets_stay_equal() -> None:
    x = np.repeat(sounds()["spiky noise"].astype(np.float32)[:, None], 2, axis=1)
    y = fit_level(x, [0.3, 0.3])
    assert np.array_equal(y[:, 0], y[:, 1])


def test_a_long_sound_is_fitted_block_by_block_with_the_same_result() -> None:
    x = sounds()["spiky noise"].astype(np.float32)[:, None]
    leveller = Leveller(1)
    blocks = [x[start : start + 1000] for start in range(0, len(x), 1000)]
    for block in blocks:
        leveller.add(block)
    fit = leveller.fit([0.3])
    streamed = np.concatenate([fit.apply(block) for block in blocks])
    assert fit.limited == (True,)
    assert np.allclose(streamed, fit_level(x, [0.3]), atol=1e-6)
