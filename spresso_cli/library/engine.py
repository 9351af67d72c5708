"""Carries jobs through a codec: threads read ahead, results keep the order of the jobs.

Every job gets exactly one result. An error of one file is its result and nobody else's; what ends
the whole run (no codec, interruption, a defect) is raised, and no partial file stays behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Generic, Literal, Protocol, TypeVar

from spresso_cli.codec.protocol import CodecProtocol
from spresso_cli.container.stream import Stream
from spresso_cli.errors import AudioError, OutputError, OutputExists, SpressoError, reason
from spresso_cli.library import outputs
from spresso_cli.library.ahead import default_threads, prepared
from spresso_cli.library.plan import Job
from spresso_cli.library.report import Origin
from spresso_cli.library.resume import Existing
from spresso_cli.library.shares import Shares
from spresso_cli.library.writable import Folders

Status = Literal["done", "skipped", "failed", "planned"]


@dataclass(frozen=True)
class FileResult:
    """What became of one job."""

    job: Job
    status: Status  # planned: what a dry run would do
    seconds: float = 0.0  # its share of the run's time, which these add up to; loading is nobody's
    source_bytes: int = 0
    output_bytes: int = 0
    duration: float = 0.0  # seconds of sound
    error: SpressoError | None = None  # of a failed one
    stream: Stream | None = None  # that was written or read, of one that is done
    notes: tuple[str, ...] = ()  # what the user should know of the input, one line each
    origin: Origin | None = None  # what the input was like; None for stdin
    kept: bool = False  # failed, but only because this run's output is there already


@dataclass(frozen=True)
class RunOptions:
    """How files are treated, whichever way a library is run.

    `stdin` and `stdout` are called only when there is a job that reads or writes them.
    """

    stdin: Callable[[], BinaryIO]
    stdout: Callable[[], BinaryIO]
    force: bool = False  # existing outputs are replaced
    resume: bool = False  # existing outputs that this run would make again are skipped
    dry_run: bool = False  # everything is looked at, nothing is written, no codec is loaded
    origin: Callable[[Job], Origin | None] = lambda job: None  # of which its output was made
    max_seconds: float | None = 3600.0  # longer sounds are refused
    threads: int = field(default_factory=default_threads)  # that read ahead


Work = TypeVar("Work")  # what a codec takes
Product = TypeVar("Product")  # what it gives


@dataclass(frozen=True)
class Taken(Generic[Work]):
    """An input that is ready for the codec."""

    work: Work
    source_bytes: int
    duration: float  # seconds of sound


class Direction(Protocol[Work, Product]):
    """One of the two ways through a codec: what differs between compressing and decompressing."""

    def take(self, job: Job) -> Taken[Work]:
        """Reads or opens the input, in a thread; raises SpressoError."""
        ...

    def compare(self, source: Path, output: Path) -> Existing:
        """Judges an output that is there already; raises SpressoError."""
        ...

    def drive(
        self, codec: CodecProtocol, items: Iterable[tuple[int, Job, Work]]
    ) -> Iterator[tuple[int, Product | SpressoError]]:
        """Hands the numbered items to the codec."""
        ...

    def write(self, work: Work, product: Product, file: BinaryIO) -> Stream:
        """Writes what was made of an input; raises SpressoError and OSError.

        Returns the stream of the two.
        """
        ...

    def notes(self, work: Work) -> tuple[str, ...]:
        """What the user should know of an input, one line each; after the codec has had it, all."""
        ...

    def release(self, work: Work) -> None:
        """Closes an input, whether it was used or not."""
        ...

    def discard(self, product: Product) -> None:
        """Closes what the codec gave, whether it was written or not."""
        ...


@dataclass(frozen=True)
class _Task(Generic[Work]):
    """A job that was looked at: it is ready for the codec, or it has its result already."""

    job: Job
    taken: Taken[Work] | None = None
    result: FileResult | None = None
    waited: float = 0.0  # seconds that nothing else could be done in
    origin: Origin | None = None


def run(
    jobs: Sequence[Job],
    direction: Direction[Work, Product],
    codec_factory: Callable[[], CodecProtocol],
    options: RunOptions,
) -> Iterator[FileResult]:
    """Yields the result of every job, in their order.

    The codec is loaded when the first job needs it, which may be never.
    """
    stdout = None
    if not options.dry_run:
        for folder in {job.output.parent for job in jobs if job.output is not None}:
            outputs.tidy(folder)
        if any(job.output is None for job in jobs):
            stdout = outputs.Unseekable.stdout(options.stdout())  # before the work: it may refuse

    def finish(task: _Task[Work], product: Product | SpressoError) -> FileResult:
        output = partial(_output, task.job, options.force, stdout)
        return _finish(task, product, direction, options, output)

    folders, shares = Folders(), Shares()
    looked_at = prepared(
        jobs, lambda job: _look_at(job, direction, options, folders), options.threads
    )
    tasks = (replace(task, waited=shares.lap()) for task in looked_at)
    try:
        for task in tasks:
            if task.taken is None:
                yield _known(task)
                shares.lap()
            else:
                codec = codec_factory()
                yield from _through_codec(chain([task], tasks), direction, codec, finish, shares)
    except KeyboardInterrupt as interruption:
        looked_at.throw(interruption)
    finally:
        looked_at.close()


def _through_codec(
    tasks: Iterator[_Task[Work]],
    direction: Direction[Work, Product],
    codec: CodecProtocol,
    finish: Callable[[_Task[Work], Product | SpressoError], FileResult],
    shares: Shares,
) -> Iterator[FileResult]:
    """The same for tasks of which the first needs the codec."""
    inside: dict[int, _Task[Work]] = {}  # the codec
    results: dict[int, FileResult] = {}  # waiting for an earlier one
    due = 0
    took = False  # whether the codec has taken items since it last gave something

    def divide() -> None:
        """The codec was at work, on whatever is inside."""
        shares.divide({number: task.taken.duration for number, task in inside.items()})

    def items() -> Iterator[tuple[int, Job, Work]]:
        nonlocal took
        shares.lap()  # the codec has been loading its networks
        for number, task in enumerate(tasks):
            took = True
            if task.taken is None:
                results[number] = _known(task)
            else:
                shares.add(number, task.waited)
                inside[number] = task
                yield number, task.job, task.taken.work
                divide()

    try:
        for number, product in direction.drive(codec, items()):
            if took:  # for all of a batch; what follows is for each alone
                divide()
            took = False
            result = finish(inside.pop(number), product)
            results[number] = replace(result, seconds=shares.take(number))
            while due in results:
                yield results.pop(due)
                due += 1
            shares.lap()  # the caller's own time
        assert not inside and next(tasks, None) is None, "the codec left items out"
        for number in sorted(results):  # those behind the last that needed the codec
            yield results.pop(number)
    finally:
        for task in inside.values():
            direction.release(task.taken.work)


def _known(task: _Task[Work]) -> FileResult:
    """The result that a task has without the codec, with the time that was waited for it."""
    return replace(task.result, seconds=task.waited)


def _look_at(
    job: Job, direction: Direction[Work, Product], options: RunOptions, folders: Folders
) -> _Task[Work]:
    """Everything that can be done for a job before the codec has it; runs in a thread."""
    origin: Origin | None = None

    def result(status: Status, **details) -> _Task[Work]:
        return _Task(job, result=FileResult(job, status, origin=origin, **details))

    try:
        if job.source is not None:
            origin = Origin.of(job.source)  # a mistyped name is the first thing to say
        if options.resume and origin is not None and job.output is not None:
            existing = _existing(job, origin, direction, options)
            if existing is not None and existing.fault is None:
                return result(
                    "skipped",
                    source_bytes=origin.size,
                    output_bytes=os.stat(job.output).st_size,
                    duration=existing.duration,
                )
            if existing is not None and not options.force:
                raise OutputError(f"{job.output} exists and {existing.fault}: -f replaces it")
        if job.output is not None:
            try:
                outputs.refuse_existing(job.output, options.force)
            except OutputExists as error:
                kept = _would_repeat(job, origin, direction, options)
                return result("failed", error=error, kept=kept)
            if not options.dry_run:
                folders.refuse_unwritable(job.output)
        taken = direction.take(job)
    except SpressoError as error:
        return result("failed", error=error)
    except OSError as error:
        return result("failed", error=AudioError(reason(error)))
    if options.dry_run:
        direction.release(taken.work)
        return result(
            "planned",
            source_bytes=taken.source_bytes,
            duration=taken.duration,
            notes=direction.notes(taken.work),
        )
    return _Task(job, taken=taken, origin=origin)


def _existing(
    job: Job, origin: Origin, direction: Direction[Work, Product], options: RunOptions
) -> Existing | None:
    """An earlier run's output, judged; None if there is none or the source is no file."""
    if not (job.output.is_file() and job.source.is_file()):
        return None
    existing = direction.compare(job.source, job.output)
    if existing.fault is None and options.origin(job) not in (None, origin):
        return Existing("was made of another source")
    return existing


def _would_repeat(
    job: Job, origin: Origin | None, direction: Direction[Work, Product], options: RunOptions
) -> bool:
    """Whether the output that is there is the one that this run would make; not if its source has
    no `origin`."""
    if origin is None:
        return False
    with suppress(SpressoError, OSError):
        existing = _existing(job, origin, direction, options)
        return existing is not None and existing.fault is None
    return False


def _finish(
    task: _Task[Work],
    product: Product | SpressoError,
    direction: Direction[Work, Product],
    options: RunOptions,
    output: Callable[[], AbstractContextManager[BinaryIO]],
) -> FileResult:
    """Writes what the codec made of a task."""
    taken, size, error, stream, kept = task.taken, 0, None, None, False
    try:
        if isinstance(product, SpressoError):
            raise product
        try:
            with output() as file:
                stream = direction.write(taken.work, product, file)
                size = file.seek(0, os.SEEK_END) if file.seekable() else file.tell()
        finally:
            direction.discard(product)
    except SpressoError as failure:
        size, error, stream = 0, failure, None
        if isinstance(failure, OutputExists):  # another run was faster
            kept = _would_repeat(task.job, task.origin, direction, options)
    finally:
        direction.release(taken.work)
    return FileResult(
        task.job,
        "failed" if error else "done",
        source_bytes=taken.source_bytes,
        output_bytes=size,
        duration=taken.duration,
        error=error,
        stream=stream,
        notes=direction.notes(taken.work),
        origin=task.origin,
        kept=kept,
    )


@contextmanager
def _output(job: Job, force: bool, stdout: BinaryIO | None) -> Iterator[BinaryIO]:
    """The file that a job writes to."""
    if job.output is None:
        yield stdout
        stdout.flush()
    else:
        with outputs.replacing(job.output, force=force) as file:
            yield file
