"""The spool gives back what went in, as often as asked, from memory and from disk."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from spresso_cli.audio.spool import Spool
from spresso_cli.errors import OutputError


@pytest.mark.parametrize("memory_bytes", [100, 1 << 20])
def test_blocks_come_back_in_any_size(memory_bytes: int) -> None:
    x = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    spool = Spool(48_000, 2, memory_bytes)
    for start in range(0, 1000, 90):
        spool.append(x[start : start + 90])
    assert spool.samples == 1000
    for size in (1, 77, 5000):
        assert np.array_equal(np.concatenate(list(spool.blocks(size))), x)
    spool.close()


def test_reading_does_not_move_where_the_next_block_goes() -> None:
    spool = Spool(48_000, 1)
    spool.append(np.zeros((5, 1), np.float32))
    next(spool.blocks(2))
    spool.append(np.ones((5, 1), np.float32))
    assert np.concatenate(list(spool.blocks()))[:, 0].tolist() == [0.0] * 5 + [1.0] * 5


def test_a_full_temporary_folder_is_an_error_that_names_it(monkeypatch) -> None:
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    spool = Spool(48_000, 1)
    monkeypatch.setattr(spool._file, "write", full)
    with pytest.raises(OutputError, match="No space left on device.*TMPDIR"):
        spool.append(np.zeros((10, 1), np.float32))
