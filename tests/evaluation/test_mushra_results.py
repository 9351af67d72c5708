"""Analysing a listening test: post-screening by the recommendation, means, hostile files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spresso_cli.errors import UsageError
from spresso_cli.evaluation.mushra_results import Rating, analyse, read_ratings

HEADER = (
    "session_test_id,email,session_uuid,trial_id,rating_stimulus,rating_score,rating_time,"
    "rating_comment"
)


def ratings(
    listener: str, reference: float = 100.0, anchor: float = 50.0, items: int = 10
) -> list[Rating]:
    scores = {"reference": reference, "anchor35": 20.0, "anchor70": anchor, "spresso": 60.0}
    return [
        Rating(listener, f"item{i}", "quality", condition, score)
        for i in range(items)
        for condition, score in scores.items()
    ]


class TestPostScreening:
    def test_keeps_those_who_find_the_reference(self) -> None:
        analysis = analyse(ratings("a") + ratings("b", reference=90.0))
        assert analysis.kept == ("a", "b")

    def test_drops_those_who_miss_it_on_more_than_15_percent_of_pages(self) -> None:
        good = ratings("a", items=20)
        for misses, kept in ((3, True), (4, False)):
            poor = [
                Rating("b", r.item, r.question, r.condition, 80.0)
                if r.condition == "reference" and int(r.item[4:]) < misses
                else Rating("b", r.item, r.question, r.condition, r.score)
                for r in good
            ]
            analysis = analyse(good + poor)
            assert ("b" in analysis.kept) == kept
        assert analysis.excluded == {"b": "hidden reference below 90 on 4 of 20 pages"}

    def test_drops_those_who_hear_no_difference_to_the_mid_anchor(self) -> None:
        analysis = analyse(ratings("a") + ratings("b", anchor=95.0))
        assert analysis.excluded == {"b": "7 kHz anchor above 90 on 10 of 10 pages"}

    def test_that_leaves_nobody_is_an_error(self) -> None:
        with pytest.raises(UsageError, match="no listener"):
            analyse(ratings("a", reference=10.0))


class TestMeans:
    def test_are_per_condition_best_first_over_kept_listeners(self) -> None:
        analysis = analyse(ratings("a") + ratings("b") + ratings("c", reference=0.0))
        assert [(r.condition, r.score.value) for r in analysis.results] == [
            ("reference", 100.0),
            ("spresso", 60.0),
            ("anchor70", 50.0),
            ("anchor35", 20.0),
        ]
        assert {r.score.count for r in analysis.results} == {20}

    def test_have_intervals_over_listeners_and_items(self) -> None:
        rng = np.random.default_rng(0)
        noisy = [
            Rating(f"l{i}", f"item{j}", "quality", "spresso", float(s))
            for i, j, s in (
                (i, j, np.clip(60 + 10 * rng.standard_normal(), 0, 100))
                for i in range(12)
                for j in range(9)
            )
        ]
        (result,) = analyse(noisy).results
        assert result.score.low < result.score.value < result.score.high
        assert analyse(noisy) == analyse(noisy)

    def test_are_apart_for_apart_questions(self) -> None:
        other = [
            Rating(r.listener, r.item, "similarity", r.condition, r.score) for r in ratings("a")
        ]
        assert {r.question for r in analyse(ratings("a") + other).results} == {
            "quality",
            "similarity",
        }


class TestReading:
    def write(self, folder: Path, *rows: str, header: str = HEADER) -> Path:
        path = folder / "mushra.csv"
        path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
        return path

    def test_takes_webmushras_columns_and_leaves_practice_out(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path,
            "t1,a@b,u1,training__quality,A,10,900,",
            't1,a@b,u1,door__quality,A,71,1200,"fine, really"',
        )
        assert read_ratings(path) == [Rating("u1", "door", "quality", "A", 71.0)]

    def test_the_last_of_repeated_ratings_counts(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, *(f"t,e,u1,door__q,A,{s},1," for s in (10, 20)))
        assert [r.score for r in read_ratings(path)] == [20.0]

    @pytest.mark.parametrize("score", ["", "loud", "101", "-1", "nan"])
    def test_names_the_line_of_a_bad_score(self, tmp_path: Path, score: str) -> None:
        path = self.write(tmp_path, "t,e,u1,door__q,A,50,1,", f"t,e,u1,door__q,B,{score},1,")
        with pytest.raises(UsageError, match="line 3"):
            read_ratings(path)

    def test_refuses_other_encodings_with_the_files_name(self, tmp_path: Path) -> None:
        path = tmp_path / "mushra.csv"
        path.write_bytes(f"{HEADER}\nt,e,René,door__q,A,50,1,\n".encode("latin-1"))
        with pytest.raises(UsageError, match=r"mushra\.csv: .* save it as CSV in UTF-8"):
            read_ratings(path)

    def test_takes_an_empty_file_for_another_table(self, tmp_path: Path) -> None:
        (tmp_path / "e.csv").touch()
        with pytest.raises(UsageError, match=r"e\.csv: not webMUSHRA's .* session_uuid"):
            read_ratings(tmp_path / "e.csv")

    def test_refuses_other_tables_and_empty_ones(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no column session_uuid"):
            read_ratings(self.write(tmp_path, "1,2", header="a,b"))
        with pytest.raises(UsageError, match="no ratings"):
            read_ratings(self.write(tmp_path))
