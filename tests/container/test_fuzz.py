"""The seeded fuzzer of benchmarks/fuzz_container.py: a taste in the fast lane, all in the slow."""

from __future__ import annotations

import pytest

from benchmarks.fuzz_container import fuzz, peak_mebibytes

OUTCOMES = {
    "read",
    "CorruptStream",
    "UnsupportedStream",
    "bundle read",
    "bundle with faulty clips",
}


def test_five_thousand_forged_files_are_read_or_refused() -> None:
    outcomes = fuzz(5000, seed=1)
    assert outcomes.total() == 5000
    assert set(outcomes) == OUTCOMES


@pytest.mark.slow
def test_a_hundred_thousand_forged_files_are_read_or_refused_in_flat_memory() -> None:
    fuzz(1000, seed=1)
    before = peak_mebibytes()
    outcomes = fuzz(100_000, seed=0)
    assert outcomes.total() == 100_000
    assert set(outcomes) == OUTCOMES
    assert peak_mebibytes() - before < 16
