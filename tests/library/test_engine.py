"""Times of the files of a run: shares of what the codec took, which add up to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spresso_cli.audio.suffixes import SOUND_SUFFIXES
from spresso_cli.container.profile import Profile
from spresso_cli.library.plan import Job, find, plan
from spresso_cli.library.resume import StreamParameters
from spresso_cli.library.run import compress_library

from .conftest import TAG, Clock

LOW = StreamParameters(Profile.of(1, 8), TAG)


def jobs_of(folder: Path) -> list[Job]:
    found = find([str(folder)], suffixes=SOUND_SUFFIXES, recursive=True)
    return plan(found, suffix=".spr")


def test_times_are_shares_of_the_time_that_the_codec_took_without_loading_it(
    tmp_path: Path, make_sound, codec, options, clock: Clock
) -> None:
    """Six seconds for every batch of three and half a one for the end of each file."""
    for number in range(5):
        make_sound(tmp_path / f"{number}.wav", samples=1000 * (1 + number % 3))

    def load():
        clock.now += 1000
        return codec

    def compress_many(items, *_, **__):
        clock.now += 1000  # some networks are loaded when they are needed
        items = iter(items)
        while batch := [pair for _, pair in zip(range(3), items, strict=False)]:
            clock.now += 6
            for key, source in batch:
                clock.now += 0.5
                yield key, codec._stream(source, LOW.profile, False, False)

    codec.compress_many = compress_many
    seconds = []
    for result in compress_library(jobs_of(tmp_path), load, LOW, options()):
        seconds.append(result.seconds)
        clock.now += 50  # whoever looks at the results takes his time
    assert sum(seconds) == pytest.approx(2 * 6 + 5 * 0.5)
    first = [6 / 6, 2 * 6 / 6, 3 * 6 / 6]  # by length
    assert seconds[0] == pytest.approx(first[0] + 0.5 / 6)
    assert seconds[1] == pytest.approx(first[1] + 2 * 0.5 / 6 + 0.5)
    assert seconds[2] == pytest.approx(first[2] + 3 * 0.5 / 6 + 0.5)
    assert seconds[4] == pytest.approx(2 * seconds[3] + 0.5)


def test_times_of_a_batch_add_up_to_no_more_than_passed(
    tmp_path: Path, make_sound, codec, options
) -> None:
    for number in range(10):
        make_sound(tmp_path / f"{number}.wav", seed=number)
    codec.batch = 100
    begin = time.monotonic()
    results = list(compress_library(jobs_of(tmp_path), lambda: codec, LOW, options()))
    assert 0 < sum(result.seconds for result in results) <= time.monotonic() - begin


def test_what_is_skipped_takes_no_time_from_what_is_done(
    tmp_path: Path, make_sound, codec, options, clock: Clock
) -> None:
    """Nobody waited for it: the clock stood still."""
    for number in range(4):
        make_sound(tmp_path / f"{number}.wav")
    jobs = jobs_of(tmp_path)
    list(compress_library(jobs[:2], lambda: codec, LOW, options()))

    def compress_many(items, *_, **__):
        for key, source in items:
            clock.now += 3
            yield key, codec._stream(source, LOW.profile, False, False)

    codec.compress_many = compress_many
    results = compress_library(jobs, lambda: codec, LOW, options(resume=True))
    assert [(r.status, r.seconds) for r in results] == [("skipped", 0)] * 2 + [("done", 3)] * 2
