"""Paired comparison: what clips share cancels, directions count, broken outputs do not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from spresso_cli.evaluation.comparison import Difference, compare
from spresso_cli.evaluation.embeddings import LogMelEmbedder
from spresso_cli.evaluation.metrics import kad
from spresso_cli.evaluation.scoring import ClipScore, Reference, score_clip
from spresso_cli.evaluation.statistics import Interval, kad_difference

COUNT = 8


@pytest.fixture
def scored(noise) -> Callable[[float], list[ClipScore]]:
    """Scores of eight clips of very different levels with noise of a level added to each."""
    embedder = LogMelEmbedder()

    def make(level: float, seed: int = 100) -> list[ClipScore]:
        scores = []
        for i in range(COUNT):
            clip = noise(9600, seed=i, level=0.3 * 0.5**i)
            error = noise(9600, seed=seed + i, level=level * 0.3 * 0.5**i)
            scores.append(score_clip(str(i), Reference(clip), clip + error, [embedder]))
        return scores

    return make


def by_key(found: list[Difference]) -> dict[str, Difference]:
    return {difference.key: difference for difference in found}


def test_less_noise_is_better_in_both_directions_of_better(scored) -> None:
    found = by_key(compare(scored(0.1), scored(0.5)))
    assert found["si_sdr"].verdict == "better" and found["si_sdr"].difference.value > 0
    assert found["ms_mel"].verdict == "better" and found["ms_mel"].difference.value < 0
    back = by_key(compare(scored(0.5), scored(0.1)))
    assert back["si_sdr"].verdict == back["ms_mel"].verdict == "worse"
    for key, difference in found.items():
        assert difference.first - difference.second == pytest.approx(
            difference.difference.value, abs=1e-6
        ), key


def test_a_system_against_itself_is_undecided(scored) -> None:
    for difference in compare(scored(0.3), scored(0.3)):
        assert difference.verdict == "undecided"
        assert difference.difference.value == pytest.approx(0.0, abs=1e-9)


def test_fad_has_a_difference_but_no_verdict(scored) -> None:
    fad = by_key(compare(scored(0.1), scored(0.9)))["fad_logmel-stats"]
    assert math.isnan(fad.difference.low) and fad.verdict == "undecided"


def test_broken_outputs_are_left_out_of_both_systems(scored) -> None:
    first, second = scored(0.1), scored(0.5)
    nothing = {key: math.nan for key in first[0].values}
    first[3] = dataclasses.replace(first[3], values=nothing, defect="non-finite", embeddings={})
    found = by_key(compare(first, second))
    assert found["si_sdr"].difference.count == found["kad_logmel-stats"].difference.count == 7


def test_other_clips_are_refused(scored) -> None:
    scores = scored(0.1)
    with pytest.raises(ValueError, match="different clips"):
        compare(scores, scores[::-1])


def test_the_paired_interval_is_narrower_than_the_clips_spread(scored) -> None:
    difference = by_key(compare(scored(0.1), scored(0.5)))["ms_mel"].difference
    values = np.array([score.values["ms_mel"] for score in scored(0.5)])
    assert difference.high - difference.low < 4 * values.std()


def test_the_difference_of_kads_is_that_of_two_kads_and_paired() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5))
    near, far = x + 0.3 * rng.standard_normal((40, 5)), x + 1.5
    found = kad_difference(x, near, far, np.arange(40))
    assert found.value == pytest.approx(kad(x, near) - kad(x, far))
    assert found.high < 0
    assert kad_difference(x, far, far, np.arange(40)) == Interval(0.0, 0.0, 0.0, 40)
