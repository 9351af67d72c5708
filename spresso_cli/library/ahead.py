"""Reading ahead: threads prepare the next items while the codec works on the present ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from spresso_cli.audio.files import ArraySource, AudioSource
from spresso_cli.codec.in_order import in_order

DEPTH = 32  # items prepared or in preparation
HELD_BYTES = 8 << 20  # of float32 samples of one item: 43 s of mono at 48 kHz

Item = TypeVar("Item")
Ready = TypeVar("Ready")


def default_threads() -> int:
    """Threads that decode files: enough to keep a codec busy, no more than there are cores."""
    return min(8, os.cpu_count() or 1)


def prepared(
    items: Iterable[Item], prepare: Callable[[Item], Ready], threads: int
) -> Iterator[Ready]:
    """`prepare(item)` of every item, `DEPTH` of them in advance; see `in_order`."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="spresso-ahead")
    return in_order(pool, prepare, items, DEPTH)


def loaded(source: AudioSource, *, metadata: bool) -> AudioSource:
    """Reads a short sound into memory, with its metadata if asked for, and closes its file.

    A long one is returned as it is, to be read block by block when its turn comes.

    Raises:
        AudioError: it cannot be read.
    """
    records = source.metadata() if metadata else ()
    blocks, held = [], 0
    for block in source.blocks():
        held += block.nbytes
        if held > HELD_BYTES:
            return source
        blocks.append(block)
    source.close()
    short = ArraySource(np.concatenate(blocks), source.rate, records)
    short.file_bytes = source.file_bytes
    short.notes = source.notes
    return short
