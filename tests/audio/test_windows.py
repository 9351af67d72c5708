"""Windows: one code grid, every code kept once, weights that sum to one."""

from itertools import pairwise

import numpy as np
import pytest

from spresso_cli.audio.windows import WINDOW_FRAMES, Plan, window_weights

POOLS = [4, 9, 20, 100]
LENGTHS = [1, 2, 5, 6, 24, 25, 56, 57, 125, 126, 400, 3001]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("patch", [1, 4])
def test_full_windows_hold_whole_patches_and_fit_the_networks(pool, patch):
    plan = Plan.of(pool, patch)
    assert plan.window * pool % patch == 0
    assert plan.window * pool <= WINDOW_FRAMES
    assert plan.window > 2 * plan.context


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("frames", LENGTHS)
def test_encoder_windows_keep_every_code_exactly_once(pool, frames):
    plan = Plan.of(pool)
    windows = list(plan.encoder_windows(frames))
    assert [w.keep for w in windows] == [0] + [w.until for w in windows[:-1]]
    assert windows[-1].until == frames
    for window in windows:
        assert 0 <= window.start <= window.keep < window.until <= window.stop <= frames
        assert window.stop - window.start == min(frames, plan.window)


@pytest.mark.parametrize("pool", POOLS)
def test_encoder_windows_inside_a_sound_have_context_on_both_sides(pool):
    plan = Plan.of(pool)
    for window in plan.encoder_windows(3000):
        assert window.start == 0 or window.keep - window.start >= plan.context
        assert window.stop == 3000 or window.stop - window.until >= plan.context


@pytest.mark.parametrize("pool", POOLS)
def test_encoder_windows_inside_a_sound_keep_all_but_their_context(pool):
    plan = Plan.of(pool)
    for window in list(plan.encoder_windows(3000))[1:-1]:
        assert window.until - window.keep == plan.window - 2 * plan.context


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("frames", LENGTHS)
def test_decoder_weights_sum_to_one_over_the_whole_sound(pool, frames):
    windows = Plan.of(pool).decoder_windows(frames)
    total = frames * pool
    weight = np.zeros(total)
    for (start, _), w in zip(windows, window_weights(windows, pool, total), strict=True):
        assert (w > 0).all()
        weight[start * pool : start * pool + len(w)] += w
    np.testing.assert_allclose(weight, 1.0, atol=1e-6)


@pytest.mark.parametrize("pool", POOLS)
def test_neighbours_fade_linearly_into_each_other_over_what_they_share(pool):
    plan = Plan.of(pool)
    windows = plan.decoder_windows(2 * plan.window - plan.context)
    (_, stop), (start, end) = windows
    left, right = window_weights(windows, pool, end * pool)
    shared = (stop - start) * pool
    progress = (np.arange(shared) + 0.5) / shared  # in the middle of each frame
    np.testing.assert_allclose(right[:shared], progress, atol=1e-6)
    np.testing.assert_allclose(left[-shared:], 1 - progress, atol=1e-6)
    assert (left[:-shared] == 1).all() and (right[shared:] == 1).all()


def test_a_single_window_may_reach_beyond_its_codes():
    (weights,) = window_weights([(0, 3)], 9, 28)
    np.testing.assert_array_equal(weights, np.ones(28))


@pytest.mark.parametrize("pool", POOLS)
def test_stretches_cover_a_long_sound_and_overlap_enough_to_fade(pool):
    plan = Plan.of(pool, 4)
    frames = 360_000 // pool  # an hour
    ranges = plan.stretches(frames)
    assert len(ranges) > 1 and ranges[0][0] == 0 and ranges[-1][1] == frames
    for (_, stop), (begin, _) in pairwise(ranges):
        assert stop - begin == 3 * plan.context


def test_a_sound_of_a_minute_is_one_stretch():
    assert Plan.of(100, 4).stretches(60) == [(0, 60)]
