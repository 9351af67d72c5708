"""Profile ids, nominal rates and the frame arithmetic, against the numbers of the paper."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spresso_cli.container.profile import (
    FAMILIES,
    MAX_RATE,
    MAX_SECONDS,
    MIN_RATE,
    Profile,
    best_fit,
    code_frames,
    latent_frames,
)
from spresso_cli.errors import UnsupportedStream, UsageError


@pytest.mark.parametrize(
    ("profile_id", "frame_rate", "codebooks", "kbps"),
    [
        (103, 1, 8, 0.096),
        (120, 1, 25, 0.3),
        (43, 11, 12, 1.32),
        (0, 25, 1, 0.25),
        (95, 5, 32, 1.92),
    ],
)
def test_ids_and_nominal_rates_are_the_papers(
    profile_id: int, frame_rate: int, codebooks: int, kbps: float
) -> None:
    profile = Profile.of(frame_rate, codebooks)
    assert profile.id == profile_id
    assert profile.kbps == kbps
    assert Profile.from_id(profile_id) == profile


def test_every_id_below_128_is_a_profile_and_comes_back() -> None:
    profiles = [Profile.from_id(profile_id) for profile_id in range(128)]
    assert [profile.id for profile in profiles] == list(range(128))
    assert {(profile.frame_rate, profile.pool, profile.bits) for profile in profiles} == {
        (25, 4, 10),
        (11, 9, 10),
        (5, 20, 12),
        (1, 100, 12),
    }


@pytest.mark.parametrize("profile_id", [128, 129, 2**62])
def test_reserved_ids_need_a_newer_reader(profile_id: int) -> None:
    with pytest.raises(UnsupportedStream, match=f"profile {profile_id} "):
        Profile.from_id(profile_id)


@pytest.mark.parametrize(("frame_rate", "codebooks"), [(12, 8), (1, 0), (1, 33)])
def test_a_request_for_no_profile_is_a_usage_error(frame_rate: int, codebooks: int) -> None:
    with pytest.raises(UsageError):
        Profile.of(frame_rate, codebooks)


@pytest.mark.parametrize(("family", "codebooks"), [(-1, 1), (4, 1), (0, 0), (0, 33)])
def test_what_no_id_stands_for_is_no_profile(family: int, codebooks: int) -> None:
    with pytest.raises(ValueError, match="is not"):
        Profile(family, codebooks)


def test_five_seconds_at_11_hz_are_56_frames_not_the_papers_55() -> None:
    assert code_frames(240_000, 48_000, pool=9) == 56


def test_one_sample_is_one_frame_in_every_family() -> None:
    for family in FAMILIES:
        assert latent_frames(1, 48_000) == 1
        assert code_frames(1, 48_000, family.pool) == 1


@given(st.integers(MIN_RATE, MAX_RATE), st.data())
def test_frames_are_the_exact_ceilings_at_every_length_and_rate(
    rate: int, data: st.DataObject
) -> None:
    samples = data.draw(st.integers(1, MAX_SECONDS * rate))
    latents = ceil(Fraction(ceil(Fraction(samples * 48_000, rate)), 480))
    assert latent_frames(samples, rate) == latents
    assert latents == ceil(Fraction(100 * samples, rate)), "the short form in the specification"
    for family in FAMILIES:
        assert code_frames(samples, rate, family.pool) == max(
            1, ceil(Fraction(latents, family.pool))
        )


def test_frames_never_fall_as_a_sound_grows_sample_by_sample() -> None:
    for rate in (44_100, 48_000):
        counts = [code_frames(samples, rate, pool=4) for samples in range(1, 3 * rate)]
        assert all(0 <= b - a <= 1 for a, b in pairwise(counts))


@pytest.mark.parametrize(
    ("milliseconds", "kbps"),
    [(90, 0.88), (91, 0.48), (200, 0.48), (201, 0.24), (400, 0.24), (401, 0.096)],
)
def test_a_sound_that_one_or_two_shorter_code_frames_hold_has_that_for_the_same_bits(
    milliseconds: int, kbps: float
) -> None:
    better = [Profile.of(11, 8), Profile.of(5, 8), Profile.of(5, 4)]
    fitting = best_fit(Profile.of(1, 8), better, 48 * milliseconds, 48_000)
    assert fitting.kbps == kbps


@given(st.integers(1, 10 * 44_100), st.lists(st.integers(0, 127), max_size=8))
def test_what_fits_best_is_the_first_that_holds_the_sound_in_two_frames_and_costs_no_more(
    samples: int, ids: list[int]
) -> None:
    asked, better = Profile.of(1, 8), [Profile.from_id(i) for i in ids]
    most = asked.code_bits(samples, 44_100)

    def fits(profile: Profile) -> bool:
        frames = code_frames(samples, 44_100, profile.pool)
        return frames <= 2 and frames * profile.codebooks * profile.bits <= most

    fitting = best_fit(asked, better, samples, 44_100)
    assert fitting == next(filter(fits, better), asked)
    assert fitting.code_bits(samples, 44_100) <= most
