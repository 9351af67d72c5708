"""Compressing and decompressing whole libraries: the two ways through the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from spresso_cli.audio.files import AudioSource, check_channels, open_audio
from spresso_cli.audio.full_scale import PeakSource, level_notes
from spresso_cli.audio.sink import AudioFormat, AudioSink
from spresso_cli.codec.protocol import CodecProtocol, Decoded, DecodeOptions
from spresso_cli.container import spr
from spresso_cli.container.stream import Stream
from spresso_cli.errors import AudioError, SpressoError, reason
from spresso_cli.library import engine, resume
from spresso_cli.library.ahead import loaded
from spresso_cli.library.engine import FileResult, RunOptions, Taken
from spresso_cli.library.plan import Job
from spresso_cli.library.resume import Existing, StreamParameters


def compress_library(
    jobs: Sequence[Job],
    codec_factory: Callable[[], CodecProtocol],
    parameters: StreamParameters,
    options: RunOptions,
) -> Iterator[FileResult]:
    """Makes a `.spr` file of every sound; see `engine.run`."""
    return engine.run(jobs, _Compress(parameters, options), codec_factory, options)


def decompress_library(
    jobs: Sequence[Job],
    codec_factory: Callable[[], CodecProtocol],
    decode: DecodeOptions,
    format: AudioFormat,
    options: RunOptions,
) -> Iterator[FileResult]:
    """Makes a sound of every `.spr` file, with what metadata it carries; see `engine.run`.

    A job that has a seed of its own is decoded with that one instead of the one in `decode`.
    """
    return engine.run(jobs, _Decompress(decode, format, options), codec_factory, options)


@dataclass(frozen=True)
class _Compress:
    """Sound -> `.spr`."""

    parameters: StreamParameters
    options: RunOptions

    def take(self, job: Job) -> Taken[AudioSource]:
        origin = self.options.stdin() if job.source is None else job.source
        opened = open_audio(origin, max_seconds=self.options.max_seconds)
        source: AudioSource = PeakSource(opened, mix=self.parameters.downmix)
        try:
            check_channels(source, self.parameters.downmix)
            if not self.options.dry_run:
                source = loaded(source, metadata=self.parameters.metadata)
            return Taken(source, source.file_bytes, source.samples / source.rate)
        except BaseException:
            source.close()
            raise

    def compare(self, source: Path, output: Path) -> Existing:
        return resume.compare_stream(source, output, self.parameters)

    def drive(
        self, codec: CodecProtocol, items: Iterable[tuple[int, Job, AudioSource]]
    ) -> Iterator[tuple[int, Stream | SpressoError]]:
        return codec.compress_many(
            ((number, source) for number, _, source in items),
            self.parameters.profile,
            better=tuple(profile for profile, _ in self.parameters.better),
            downmix=self.parameters.downmix,
            metadata=self.parameters.metadata,
        )

    def write(self, work: AudioSource, product: Stream, file: BinaryIO) -> Stream:
        file.write(spr.write(product))
        return product

    def notes(self, work: AudioSource) -> tuple[str, ...]:
        return work.notes

    def release(self, work: AudioSource) -> None:
        work.close()

    def discard(self, product: Stream) -> None:
        pass


@dataclass(frozen=True)
class _Decompress:
    """`.spr` -> sound."""

    decode: DecodeOptions
    format: AudioFormat
    options: RunOptions

    def take(self, job: Job) -> Taken[Stream]:
        try:
            if job.source is None:
                stream = spr.load(self.options.stdin(), self.options.max_seconds)
            else:
                with open(job.source, "rb") as file:
                    stream = spr.load(file, self.options.max_seconds)
        except (OSError, ValueError) as error:
            raise AudioError(reason(error)) from None
        self.format.check(stream.source_rate, stream.channels)
        return Taken(stream, len(spr.write(stream)), stream.seconds)

    def compare(self, source: Path, output: Path) -> Existing:
        return resume.compare_sound(source, output, self.format)

    def drive(
        self, codec: CodecProtocol, items: Iterable[tuple[int, Job, Stream]]
    ) -> Iterator[tuple[int, Decoded | SpressoError]]:
        return codec.decompress_many(
            (number, stream, self._options(job)) for number, job, stream in items
        )

    def write(self, work: Stream, product: Decoded, file: BinaryIO) -> Stream:
        with AudioSink(
            file,
            self.format,
            rate=product.rate,
            channels=product.channels,
            samples=product.samples,
            metadata=work.metadata,
        ) as sink:
            for block in product.blocks():
                sink.write(block)
        return work

    def notes(self, work: Stream) -> tuple[str, ...]:
        return (*self.format.notes(work.metadata), *level_notes(work))

    def release(self, work: Stream) -> None:
        pass

    def discard(self, product: Decoded) -> None:
        product.close()

    def _options(self, job: Job) -> DecodeOptions:
        return self.decode if job.seed is None else replace(self.decode, seed=job.seed)
