"""Reports: one JSON line per output, appended as it is finished; merged and summed up afterwards.

A line is written by one call, so shards and reruns may share a file on a local disk (not at once on
Windows, where appending is seeking and then writing), and a run that was killed leaves at most one
damaged line. Names that are not UTF-8 keep their bytes as `\\udcXX`.
A report also remembers what each output was made of, which neither `.spr` files nor sounds do.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from spresso_cli.errors import OutputError, SpressoError, reason
from spresso_cli.library.plan import is_special

if TYPE_CHECKING:
    from spresso_cli.library.engine import FileResult
    from spresso_cli.library.plan import Job

Record = dict[str, Any]
_Key = tuple[str, str | None, int | None]  # an output: its place, its name, its seed

_DEPTH = 16  # of objects and lists in each other: ours have two, and others may add to them
_LINE_BYTES = 1 << 20  # of a record; what is longer is none, and is not held in memory


@dataclass(frozen=True)
class Origin:
    """What tells a source from another one of the same name, without reading it."""

    size: int  # bytes
    mtime: float  # seconds, to the microsecond: jq keeps no more digits of a number

    @classmethod
    def of(cls, source: Path) -> Origin:
        """Returns that of a file; raises OSError where there is none."""
        status = os.stat(source)
        return cls(status.st_size, round(status.st_mtime, 6))


def record(result: FileResult) -> Record:
    """Returns a result as a JSON object: what a report and `--json` say of one output."""
    fields: Record = {
        "path": result.job.relative,
        "source": _text(result.job.source),
        "output": _text(result.job.output),
        "status": result.status,
        "source_bytes": result.source_bytes,
        "output_bytes": result.output_bytes,
        "duration": round(result.duration, 6),
        "seconds": round(result.seconds, 6),
    }
    if result.origin is not None:
        fields["source_mtime"] = result.origin.mtime
    if result.job.seed is not None:
        fields["seed"] = result.job.seed
    if result.error is not None:
        fields["error"] = str(result.error)
        fields["exit_code"] = result.error.exit_code
    if result.kept:
        fields["kept"] = True
    if result.notes:
        fields["notes"] = list(result.notes)
    return fields


class ReportWriter:
    """Appends records to a JSONL file, or writes them to a pipe or a device; a context manager.

    Raises:
        OutputError: the file cannot be opened or written, or is something else than a report.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            os.makedirs(path.parent, exist_ok=True)
            if is_special(path):  # reading from it may wait for ever
                self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close
                return
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by close
            if self._is_another():
                self._file.close()
                raise OutputError(f"{path} is no report: name another file")
            self._end_broken_line()
        except (OSError, ValueError) as error:
            raise self._failure(error) from None

    def add(self, result: FileResult) -> None:
        """Appends one line."""
        line = json.dumps(record(result), allow_nan=False).encode("ascii") + b"\n"
        try:
            written = self._file.write(line)
        except OSError as error:
            raise self._failure(error) from None
        if written != len(line):  # a disk that fills up takes what still fits
            raise OutputError(f"the report {self._path} cannot be written: no room for a line")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _is_another(self) -> bool:
        """Whether somebody else's data is there: a sound, because a name was left out."""
        self._file.seek(0)
        return self._file.read(1) not in (b"", b"{")

    def _end_broken_line(self) -> None:
        """A killed run may have left half a line: the next record must not continue it."""
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(f"the report {self._path} cannot be written: {reason(error)}")


@dataclass
class Summary:
    """What the reports of one or many runs add up to, over outputs that exist (done or skipped)."""

    outputs: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    source_bytes: int = 0
    output_bytes: int = 0
    duration: float = 0.0  # seconds of sound
    seconds: float = 0.0  # of work, summed over outputs
    failures: list[Record] = field(default_factory=list)


def merge(
    paths: Iterable[Path | None],
    stdin: Callable[[], BinaryIO] | None = None,
    barren: Callable[[Path | None], None] = lambda path: None,
) -> tuple[list[Record], int]:
    """Reads reports in the order given; returns the records and the number of damaged lines.

    The last record of an output wins, because it is the latest try. But a skipped output is the one
    that was done before, and so is one that was kept because the run would have made it again.
    Records keep the order in which their outputs were first met.

    Args:
        stdin: what a path of None is.
        barren: called with every report that has not a single record.

    Raises:
        SpressoError: a report cannot be read.
    """
    records: dict[_Key, Record] = {}
    whole: dict[_Key, Record] = {}  # the last of each output that speaks of its making, or else any
    damaged = 0
    for path in paths:
        count = 0
        try:
            with nullcontext(stdin()) if path is None else open(path, "rb") as file:
                for line in _lines(file):
                    if (parsed := _parsed(line)) is None:
                        damaged += 1
                        if not count and len(line) == _LINE_BYTES and not line.startswith(b"{"):
                            break  # no report begins like this, and a pipe may go on for ever
                    else:
                        count += 1
                        _take(parsed, records, whole)
        except OSError as error:
            raise SpressoError(f"{path or 'stdin'}: {reason(error)}") from None
        if not count:
            barren(path)
    return list(records.values()), damaged


def origins(path: Path | None) -> Callable[[Job], Origin | None]:
    """Returns what a report tells of the source that a job's output was made of.

    The report is read when the first job asks, which most runs never do: only an output that is
    there already was made of anything. Nothing is known without a report, from one that does not
    exist yet, or from a pipe or a device; one that cannot be read is for its writer to report.
    """
    lock = threading.Lock()  # jobs are looked at in threads
    known: dict[_Key, Origin] | None = None

    def origin(job: Job) -> Origin | None:
        nonlocal known
        with lock:
            if known is None:
                known = {} if path is None or is_special(path) else _origins(path)
        return known.get((job.relative, _text(job.output), job.seed))

    return origin


def _origins(path: Path) -> dict[_Key, Origin]:
    """What a report tells of the sources of all outputs."""
    known: dict[_Key, Origin] = {}
    with suppress(OSError, ValueError), open(path, "rb") as file:
        for fields in filter(None, map(_parsed, _lines(file))):
            key, mtime = _key(fields), fields.get("source_mtime")
            # What was skipped was made of what an older record says, if there is one.
            new = fields["status"] == "done" or (fields["status"] == "skipped" and key not in known)
            if new and _is_number(mtime):
                known[key] = Origin(fields["source_bytes"], mtime)
    return known


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a report; of one that is too long to be a record, only its beginning."""
    while line := file.readline(_LINE_BYTES):
        yield line
        while len(line) == _LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(_LINE_BYTES)


def _take(new: Record, records: dict[_Key, Record], whole: dict[_Key, Record]) -> None:
    """Puts a record into its place beside earlier ones."""
    key = _key(new)
    before = whole.get(key)
    made = before is not None and before["status"] == "done"
    if new["status"] == "failed":
        records[key] = before if before is not None and new.get("kept") is True else new
    else:
        records[key] = whole[key] = before if made and new["status"] == "skipped" else new


def _key(fields: Record) -> _Key:
    return fields["path"], fields.get("output"), fields.get("seed")


def summarise(records: Iterable[Record]) -> Summary:
    """Returns the sums over merged records."""
    summary = Summary()
    for fields in records:
        status = fields["status"]
        summary.outputs += 1
        setattr(summary, status, getattr(summary, status) + 1)
        if status == "failed":
            summary.failures.append(fields)
            continue
        summary.source_bytes += fields["source_bytes"]
        summary.output_bytes += fields["output_bytes"]
        summary.duration += fields["duration"]
        summary.seconds += fields["seconds"]
    return summary


def _parsed(line: bytes) -> Record | None:
    """One line as a record; None if a killed writer or somebody else left it like that."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not _can_be_written(fields, _DEPTH):
        return None
    if fields.get("status") not in ("done", "skipped", "failed"):
        return None
    numbers = (fields.get(k) for k in ("source_bytes", "output_bytes", "duration", "seconds"))
    if not isinstance(fields.get("path"), str) or not all(_is_number(n) for n in numbers):
        return None
    output, seed = fields.get("output"), fields.get("seed")
    if not isinstance(output, str | None) or not isinstance(seed, int | None):
        return None
    return fields


def _can_be_written(value: object, depth: int) -> bool:
    """Whether a value can be copied and written again: no number that JSON cannot say, and no
    deeper than so many objects and lists in each other."""
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_can_be_written(each, depth - 1) for each in inner)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18


def _text(path: Path | None) -> str | None:
    return None if path is None else os.fspath(path)
