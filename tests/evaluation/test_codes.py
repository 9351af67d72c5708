"""Perplexity: one for a constant, all entries for even use."""

import numpy as np
import pytest

from spresso_cli.evaluation.codes import perplexity


def test_perplexity_counts_the_entries_in_even_use() -> None:
    even, constant = np.arange(64) % 16, np.full(64, 3)
    half = np.where(np.arange(64) < 32, 1, 2)
    found = perplexity(np.stack((even, constant, half), 1), 16)
    assert found == pytest.approx([16.0, 1.0, 2.0])
