"""A share of a library for each of many processes, by a stable hash of the relative path.

The hash sees names and nothing else, so every machine agrees whatever order its disk lists them in
and however it composes accents, and a file keeps its shard when others come and go.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spresso_cli.errors import UsageError
from spresso_cli.library.plan import Job


@dataclass(frozen=True)
class Shard:
    """Share `index` of `count`, 0 <= index < count."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"there is no shard {self.index}/{self.count}: count from 0 to N - 1")

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Shard:
        """Reads `I/N`, or for `auto` the variables of a SLURM array, of torchrun, or of both.

        Raises:
            UsageError: neither, out of range, or `auto` without such variables.
        """
        if text == "auto":
            return cls._automatic(environment)
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if not match:
            raise UsageError(f"{text!r} is no shard: write I/N, as 0/4, or auto")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def _automatic(cls, environment: Mapping[str, str]) -> Shard:
        shards = [shard for shard in (_slurm(environment), _torchrun(environment)) if shard]
        if not shards:
            raise UsageError(
                "--shard auto finds neither SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT "
                "nor RANK and WORLD_SIZE: write --shard I/N"
            )
        shard = cls()
        for inner in shards:  # every task of an array may start torchrun
            shard = cls(shard.index * inner.count + inner.index, shard.count * inner.count)
        return shard

    def holds(self, relative: str) -> bool:
        """Whether a file belongs to this share; `relative` as in `Job`."""
        digest = hashlib.sha256(_hashed(relative)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    def select(self, jobs: Iterable[Job]) -> list[Job]:
        """Returns the jobs of this share, in their order; all takes of a file are in one share."""
        return [job for job in jobs if self.holds(job.relative)]


def _hashed(relative: str) -> bytes:
    """A name in the one form that all machines make of it; if it is not UTF-8, its bytes."""
    try:
        return unicodedata.normalize("NFC", relative).encode()
    except UnicodeEncodeError:
        return relative.encode("utf-8", "surrogateescape")


def _slurm(environment: Mapping[str, str]) -> Shard | None:
    if "SLURM_ARRAY_TASK_ID" not in environment or "SLURM_ARRAY_TASK_COUNT" not in environment:
        return None
    first = _number(environment, "SLURM_ARRAY_TASK_MIN", 0)
    step = _number(environment, "SLURM_ARRAY_TASK_STEP", 1)
    index, rest = divmod(_number(environment, "SLURM_ARRAY_TASK_ID") - first, max(step, 1))
    count = _number(environment, "SLURM_ARRAY_TASK_COUNT")
    if rest or not 0 <= index < count:
        raise UsageError(
            "the SLURM array has gaps, so its ids do not count its tasks: write --shard I/N"
        )
    return Shard(index, count)


def _torchrun(environment: Mapping[str, str]) -> Shard | None:
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    return Shard(_number(environment, "RANK"), _number(environment, "WORLD_SIZE"))


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environment.get(name)
    if value is None and default is not None:
        return default
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"{name}={value!r} is not a number: write --shard I/N") from None
