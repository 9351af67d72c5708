"""How evenly a quantiser uses its codebooks (the perplexity of QINCODEC's tables)."""

from __future__ import annotations

import numpy as np


def perplexity(codes: np.ndarray, entries: int) -> np.ndarray:
    """Perplexity of each codebook, float64 `[M]`, of codes `[N, M]` in 0 .. `entries` - 1.

    2 to the entropy in bits of how often each entry is chosen: 1 when it is always the same,
    `entries` when all are chosen alike. It cannot exceed N.
    """
    values = []
    for column in np.asarray(codes).T:
        shares = np.bincount(column, minlength=entries) / len(column)
        used = shares[shares > 0]
        values.append(2.0 ** -(used * np.log2(used)).sum())
    return np.array(values)
