"""Intervals: seeded, ordered, with the coverage that their name promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from spresso_cli.evaluation import metrics, statistics


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    x = np.random.default_rng(0).standard_normal(400)
    interval = statistics.mean_interval(x)
    half = 1.96 * x.std() / math.sqrt(len(x))
    assert interval.value == pytest.approx(x.mean())
    assert interval.low == pytest.approx(x.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(x.mean() + half, abs=0.02)


def test_the_interval_covers_the_truth_about_19_times_in_20() -> None:
    rng = np.random.default_rng(1)
    intervals = [statistics.mean_interval(x, resamples=300) for x in rng.standard_normal((300, 40))]
    covered = np.mean([i.low <= 0.0 <= i.high for i in intervals])
    assert 0.90 < covered < 0.98


def test_intervals_repeat_with_their_seed() -> None:
    x = np.random.default_rng(2).standard_normal(50)
    assert statistics.mean_interval(x, seed=1) == statistics.mean_interval(x, seed=1)
    assert statistics.mean_interval(x, seed=1) != statistics.mean_interval(x, seed=2)


def test_undefined_values_are_left_out_and_not_counted() -> None:
    interval = statistics.mean_interval(np.array([1.0, np.nan, 3.0]))
    assert (interval.value, interval.count) == (2.0, 2)
    empty = statistics.mean_interval(np.array([np.nan]))
    assert math.isnan(empty.value) and empty.count == 0


def test_one_clip_has_an_interval_of_no_width() -> None:
    assert statistics.mean_interval(np.array([4.0])) == statistics.Interval(4.0, 4.0, 4.0, 1)


def test_the_kad_interval_holds_the_kad_of_the_whole_set() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 6))
    y = x + rng.standard_normal((60, 6)) + 0.4
    interval = statistics.kad_interval(x, y, np.arange(60))
    assert interval.value == pytest.approx(metrics.kad(x, y))
    assert interval.low < interval.value < interval.high


def near(rng: np.random.Generator, clips: int, windows: int) -> tuple[np.ndarray, ...]:
    """Sources and outputs that lie near them, and the clips that their rows belong to."""
    x = np.repeat(rng.standard_normal((clips, 6)), windows, axis=0)
    x += 0.3 * rng.standard_normal(x.shape)
    return x, x + 0.2 * rng.standard_normal(x.shape), np.repeat(np.arange(clips), windows)


@pytest.mark.parametrize("windows", [1, 3])
def test_the_kad_interval_of_outputs_near_their_sources_covers_the_truth(windows: int) -> None:
    rng = np.random.default_rng(8)
    intervals = [statistics.kad_interval(*near(rng, 30, windows), resamples=200) for _ in range(60)]
    truth = np.mean([interval.value for interval in intervals])
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert covered > 0.85


def test_takes_of_a_clip_are_drawn_together_and_their_source_counts_once() -> None:
    rng = np.random.default_rng(9)
    x, y, clips = near(rng, 30, 1)
    one = statistics.kad_interval(x, y, clips)
    takes = np.repeat(y, 4, axis=0) + 1e-6 * rng.standard_normal((120, 6))
    outputs = np.stack((np.repeat(clips, 4), np.arange(120)), 1)
    four = statistics.kad_interval(x, takes, clips, outputs)
    assert four.value == pytest.approx(one.value, rel=1e-3)
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=1e-3)
    errors = rng.standard_normal(30)
    mean = statistics.mean_interval(np.repeat(errors, 4), clips=np.repeat(np.arange(30), 4))
    plain = statistics.mean_interval(errors)
    assert (mean.low, mean.high, mean.count) == pytest.approx((plain.low, plain.high, 30))


def test_clips_with_more_takes_than_others_count_no_more() -> None:
    rng = np.random.default_rng(10)
    x, takes = rng.standard_normal((4, 6)), [1, 3, 2, 1]
    clips = np.repeat(np.arange(4), takes)
    y = x[clips] + 0.7 * rng.standard_normal((7, 6))
    found = statistics.kad_interval(x, y, np.arange(4), np.stack((clips, np.arange(7)), 1))
    ways = itertools.product(*(np.flatnonzero(clips == clip) for clip in range(4)))
    assert found.value == pytest.approx(np.mean([metrics.kad(x, y[list(way)]) for way in ways]))


def test_the_kad_interval_draws_all_windows_of_a_clip_together() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((20, 6)), rng.standard_normal((20, 6)) + 1
    one = statistics.kad_interval(x, y, np.arange(20))
    # Five windows a clip that barely differ hold no more information than one.
    five = statistics.kad_interval(
        np.repeat(x, 5, axis=0) + 1e-6 * rng.standard_normal((100, 6)),
        np.repeat(y, 5, axis=0),
        np.repeat(np.arange(20), 5),
    )
    assert five.high - five.low == pytest.approx(one.high - one.low, rel=0.35)


def test_the_crossed_interval_is_wider_than_one_over_ratings_alone() -> None:
    rng = np.random.default_rng(5)
    scores = 50 + 15 * rng.standard_normal((12, 1)) + 10 * rng.standard_normal((1, 9))
    crossed = statistics.crossed_interval(scores)
    plain = statistics.mean_interval(scores.ravel())
    assert crossed.value == pytest.approx(plain.value)
    assert crossed.high - crossed.low > 1.5 * (plain.high - plain.low)
    rows, columns = scores.mean(1).var() / 12, scores.mean(0).var() / 9
    half = 1.96 * math.sqrt(rows + columns)
    assert (crossed.low, crossed.high) == pytest.approx(
        (crossed.value - half, crossed.value + half), abs=0.15 * half
    )


def test_the_crossed_interval_leaves_missing_ratings_out() -> None:
    scores = np.array([[10.0, np.nan], [30.0, 50.0]])
    interval = statistics.crossed_interval(scores)
    assert (interval.value, interval.count) == (30.0, 3)
