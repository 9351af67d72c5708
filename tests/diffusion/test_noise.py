"""The noise field, against an independent Philox4x64-10 and the vectors of Random123."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spresso_cli.diffusion.noise import latent_noise, phase_noise, variation_noise

MASK = (1 << 64) - 1
ONES = MASK

# Random123 1.14, tests/kat_vectors, philox4x64 10: counter (4 words), key (2 words), output.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (ONES, ONES, ONES, ONES),
        (ONES, ONES),
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


def philox4x64(counter: tuple, key: tuple) -> tuple:
    """Salmon et al. 2011, section 3.3, in whole-number arithmetic."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * x0, 0xCA5A826395121157 * x2
        x0, x1, x2, x3 = p1 >> 64 ^ x1 ^ k0, p1 & MASK, p0 >> 64 ^ x3 ^ k1, p0 & MASK
        k0, k1 = k0 + 0x9E3779B97F4A7C15 & MASK, k1 + 0xBB67AE8584CAA73B & MASK
    return x0, x1, x2, x3


def reference(seed: int, frame: int, channel: int) -> np.float32:
    index = frame * 128 + channel
    words = tuple(index >> 64 * word & MASK for word in range(4))
    w0, w1, _, _ = philox4x64(words, (seed, 0))
    u1 = ((w0 >> 11) + 0.5) * 2.0**-53
    u2 = ((w1 >> 11) + 0.5) * 2.0**-53
    return np.float32(math.sqrt(-2 * math.log(u1)) * math.cos(2 * math.pi * u2))


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_the_reference_is_philox(counter: tuple, key: tuple, output: tuple) -> None:
    assert philox4x64(counter, key) == output


SEEDS = st.integers(0, MASK) | st.sampled_from([0, 1, MASK])
FRAMES = st.integers(0, 10_000_000) | st.sampled_from([0, 1, (1 << 57) - 1, 1 << 57, 1 << 62])


@given(SEEDS, FRAMES, st.integers(0, 127))
def test_every_element_is_what_the_specification_says(seed: int, frame: int, channel: int) -> None:
    value = latent_noise(seed, frame, 1)[0, channel]
    # Mathematics libraries may differ in the last bit of a float64, seldom seen in a float32.
    np.testing.assert_array_max_ulp(value, reference(seed, frame, channel), maxulp=1)


@given(SEEDS, st.integers(0, 1 << 40), st.lists(st.integers(0, 5), max_size=5))
def test_the_field_does_not_depend_on_where_it_is_cut(seed: int, start: int, cuts: list) -> None:
    whole = latent_noise(seed, start, sum(cuts))
    pieces = [latent_noise(seed, start + sum(cuts[:i]), cut) for i, cut in enumerate(cuts)]
    assert np.array_equal(whole, np.concatenate([np.empty((0, 128), np.float32), *pieces]))


def test_fewer_channels_are_the_first_of_the_same_field() -> None:
    assert np.array_equal(latent_noise(7, 3, 5, channels=64), latent_noise(7, 3, 5)[:, :64])


def test_it_is_standard_normal_and_seeds_do_not_resemble_each_other() -> None:
    fields = [latent_noise(seed, 0, 500).astype(np.float64) for seed in (0, 1, 2)]
    for field in fields:
        assert field.shape == (500, 128)
        assert abs(field.mean()) < 4 / math.sqrt(field.size)
        assert abs(field.var() - 1) < 4 * math.sqrt(2 / field.size)
        assert abs((field**4).mean() - 3) < 4 * math.sqrt(96 / field.size)
    for one, other in ((0, 1), (1, 2)):
        assert abs((fields[one] * fields[other]).mean()) < 4 / math.sqrt(fields[0].size)


def test_the_default_seed_keeps_its_noise_across_releases() -> None:
    expected = [reference(0, 0, channel) for channel in range(128)]
    np.testing.assert_array_max_ulp(latent_noise(0, 0, 1)[0], np.array(expected), maxulp=1)
    assert latent_noise(0, 0, 1).dtype == np.float32


def test_five_seconds_take_milliseconds() -> None:
    times = []
    for _ in range(5):
        began = time.process_time()
        latent_noise(0, 0, 500)
        times.append(time.process_time() - began)
    assert min(times) < 0.05


def test_long_noise_takes_little_more_memory_than_its_result() -> None:
    tracemalloc.start()
    try:
        noise = latent_noise(0, 0, 20_000)
        assert tracemalloc.get_traced_memory()[1] < 3 * noise.nbytes
    finally:
        tracemalloc.stop()
    # Across the borders of what is drawn at a time, it is still one field.
    assert np.array_equal(noise[500:1100], latent_noise(0, 500, 600))


def test_no_frames_is_an_empty_field() -> None:
    assert latent_noise(0, 10, 0).shape == (0, 128)


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 1), (1 << 64, 0, 1), (0, -1, 1), (0, 0, -1), (0, 0, 1, 0), (0, 0, 1, 129)]
)
def test_arguments_out_of_range_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError):
        latent_noise(*arguments)


def test_phases_are_uniform_and_the_same_wherever_they_are_cut() -> None:
    whole = phase_noise(3, 0, 50, 353)
    assert whole.dtype == np.float32
    assert 0 < whole.min() < 0.01 and 0.99 < whole.max() < 1
    assert whole.mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(phase_noise(3, 20, 7, 353), whole[20:27])
    assert np.array_equal(phase_noise(3, 0, 50, 10), whole[:, :10])
    assert not np.array_equal(phase_noise(4, 0, 50, 353), whole)


def test_phases_are_a_field_of_their_own() -> None:
    """The first words of the two fields of a seed have nothing in common."""
    normal = latent_noise(0, 0, 200).ravel()
    phases = phase_noise(0, 0, 50, 512).ravel()
    assert abs(np.corrcoef(normal, phases)[0, 1]) < 0.02


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 1, 8), (0, -1, 1, 8), (0, 0, -1, 8), (0, 0, 1, -1), (0, 0, 1, 513)]
)
def test_phases_that_are_not_there_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        phase_noise(*arguments)


def test_variation_is_normal_in_a_field_of_its_own_and_the_same_wherever_it_is_cut() -> None:
    whole = variation_noise(3, 0, 400, 64)
    assert whole.dtype == np.float32
    assert whole.mean() == pytest.approx(0, abs=0.02) and whole.std() == pytest.approx(1, abs=0.02)
    assert np.array_equal(variation_noise(3, 20, 7, 64), whole[20:27])
    assert np.array_equal(variation_noise(3, 0, 400, 10), whole[:, :10])
    assert not np.array_equal(variation_noise(4, 0, 400, 64), whole)
    assert abs(np.corrcoef(latent_noise(3, 0, 400, 64).ravel(), whole.ravel())[0, 1]) < 0.02
    with pytest.raises(ValueError):
        variation_noise(0, -1, 1, 64)
