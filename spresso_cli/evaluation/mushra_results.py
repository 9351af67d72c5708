"""Results of webMUSHRA listening tests, post-screened after ITU-R BS.1534-3, with intervals."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spresso_cli.errors import UsageError
from spresso_cli.evaluation.mushra import SEPARATOR, TRAINING
from spresso_cli.evaluation.statistics import Interval, crossed_interval

REFERENCE, MID_ANCHOR = "reference", "anchor70"
EXPERT_SCORE = 90.0
TOLERATED_SHARE = 0.15

_COLUMNS = ("session_uuid", "trial_id", "rating_stimulus", "rating_score")


@dataclass(frozen=True)
class Rating:
    """One listener's score of one condition on one page (an item and a question)."""

    listener: str
    item: str
    question: str
    condition: str
    score: float


@dataclass(frozen=True)
class Result:
    """A condition's mean score for one question, over the listeners who were kept."""

    question: str
    condition: str
    score: Interval


@dataclass(frozen=True)
class Analysis:
    """Results by question, best first; who was kept, and why others were not."""

    results: tuple[Result, ...]
    kept: tuple[str, ...]
    excluded: dict[str, str]


def read_ratings(path: Path) -> list[Rating]:
    """Ratings of a webMUSHRA results file, practice left out; of a repeated one the last counts.

    Raises UsageError for a file that is not one, with the line that is wrong.
    """
    ratings: dict[tuple[str, str, str, str], Rating] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: {error}: save it as CSV in UTF-8") from None
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise UsageError(f"{path}: not webMUSHRA's mushra.csv: no column {missing[0]}")
    for line, row in rows:
        listener, trial, condition, text = (row[name] or "" for name in _COLUMNS)
        item, _, question = trial.partition(SEPARATOR)
        if item == TRAINING:
            continue
        try:
            score = float(text)
        except ValueError:
            score = -1.0
        if not 0.0 <= score <= 100.0:
            raise UsageError(f"{path}: line {line}: {text!r} is no score 0..100")
        rating = Rating(listener, item, question, condition, score)
        ratings[listener, trial, question, condition] = rating
    if not ratings:
        raise UsageError(f"{path}: no ratings in this file")
    return list(ratings.values())


def analyse(ratings: Iterable[Rating], seed: int = 0) -> Analysis:
    """Post-screen the listeners, then means with bootstrap intervals over listeners and items.

    A listener is left out who rates the hidden reference below 90 on more than 15 % of the pages,
    or the 7 kHz anchor above 90 on more than 15 %. Raises UsageError when nobody is left.
    """
    ratings = list(ratings)
    listeners = sorted({r.listener for r in ratings})
    excluded = {
        listener: reason
        for listener in listeners
        if (reason := _objection([r for r in ratings if r.listener == listener]))
    }
    kept = [listener for listener in listeners if listener not in excluded]
    if not kept:
        raise UsageError("post-screening left no listener: see their ratings of the reference")
    results = []
    for question in dict.fromkeys(r.question for r in ratings):
        asked = [r for r in ratings if r.question == question and r.listener not in excluded]
        items = sorted({r.item for r in asked})
        means = [
            Result(
                question, condition, crossed_interval(_matrix(asked, condition, kept, items), seed)
            )
            for condition in dict.fromkeys(r.condition for r in asked)
        ]
        results += sorted(means, key=lambda r: -r.score.value)
    return Analysis(tuple(results), tuple(kept), excluded)


def _matrix(
    ratings: list[Rating], condition: str, listeners: list[str], items: list[str]
) -> np.ndarray:
    """Scores of one condition, float64 [listeners, items], NaN where there is none."""
    scores = np.full((len(listeners), len(items)), np.nan)
    for r in ratings:
        if r.condition == condition:
            scores[listeners.index(r.listener), items.index(r.item)] = r.score
    return scores


def _objection(ratings: list[Rating]) -> str | None:
    """Why BS.1534 leaves a listener out, or None."""
    reference = [r.score for r in ratings if r.condition == REFERENCE]
    low = sum(score < EXPERT_SCORE for score in reference)
    if low > TOLERATED_SHARE * len(reference):
        return f"hidden reference below 90 on {low} of {len(reference)} pages"
    anchor = [r.score for r in ratings if r.condition == MID_ANCHOR]
    high = sum(score > EXPERT_SCORE for score in anchor)
    if high > TOLERATED_SHARE * len(anchor):
        return f"7 kHz anchor above 90 on {high} of {len(anchor)} pages"
    return None
