"""The codec: PCM to streams and streams to PCM, for single sounds and for whole libraries.

codec = Codec.load()
data = codec.compress(sound, 48_000, kbps=0.096)
take, rate = codec.decompress(data, seed=3)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from spresso_cli.audio.files import ArraySource, AudioSource
from spresso_cli.codec import arguments
from spresso_cli.codec.cores import Cores, Each
from spresso_cli.codec.decoder import LatentDecoder, Piece, Solver
from spresso_cli.codec.device import ROUND, resolve_device, undisturbed, within_memory
from spresso_cli.codec.encoder import SoundEncoder
from spresso_cli.codec.envelope import Excerpts, held_to_envelope
from spresso_cli.codec.networks import Networks
from spresso_cli.codec.packs import FamilyInfo, PackInfo, find_pack, pack_for_tag
from spresso_cli.codec.performance import Performance, Silence, at_source_rate, sound_of
from spresso_cli.codec.protocol import VARIETY, Decoded, DecodeOptions, Key
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile, best_fit
from spresso_cli.container.stream import Header, Stream
from spresso_cli.errors import (
    BadPack,
    MissingPack,
    OutOfMemory,
    OutputError,
    SpressoError,
    UsageError,
)
from spresso_cli.models.dit import TextCondition

LONG = 12  # windows; a sound of more is not decoded beside many others


def _windows(stream: Stream) -> int:
    """Roughly how many decoder windows a sound has."""
    return stream.coded_channels * (1 + stream.frames * stream.profile.pool // 400)


@dataclass(frozen=True)
class _Job:
    """A stream to decode, with every choice made."""

    stream: Stream
    pack: PackInfo
    family: FamilyInfo
    seed: int
    solver: Solver
    prompt: str | None
    envelope: bool
    variety: float

    @property
    def together(self) -> tuple[object, ...]:
        """Jobs in which this is equal can share the batches of one trajectory."""
        return self.pack.path, self.family.frame_rate, self.solver, self.prompt


class Codec:
    """Networks of one pack (and of others, when a file needs them), loaded when first used."""

    def __init__(self, pack: PackInfo, device: torch.device, explicit: bool):
        self.pack = pack
        self.device = device
        self._explicit = explicit
        self._networks = Networks(device)

    @classmethod
    def load(
        cls, pack: str | os.PathLike[str] | PackInfo | None = None, device: str = "auto"
    ) -> Codec:
        """Open a pack on a device.

        Args:
            pack: a name, a folder, or None for what SPRESSO_PACK names, else the default. If a pack
                is given here, `decompress` uses no other.
            device: auto, cpu, cuda or cuda:N.

        Raises:
            MissingPack, BadPack: there is no such pack, or it is damaged.
            UsageError: there is no such device.
        """
        info = pack if isinstance(pack, PackInfo) else find_pack(pack)
        return cls(info, resolve_device(device), pack is not None)

    @property
    def name(self) -> str:
        """The pack's name."""
        return self.pack.name

    def compress(
        self,
        sound: np.ndarray,
        sr: int,
        kbps: float | None = None,
        *,
        frame_rate: int | None = None,
        codebooks: int | None = None,
        best_fit: bool = False,
        downmix: bool = False,
    ) -> bytes:
        """Compress one sound in memory.

        Args:
            sound: float `[n]` or `[n, C]`, full scale 1.0; C up to 2 unless `downmix`.
            sr: its sample rate, Hz.
            kbps: the best operating point of at most this nominal rate per channel is taken; None:
                the pack's default.
            frame_rate, codebooks: override the operating point.
            best_fit: take the best operating point at which one or two code frames hold the whole
                sound and cost no more bits than the point asked for.

        Returns:
            The bytes of a `.spr` file.

        Raises:
            AudioError: empty, not finite, too many channels.
            UsageError: no operating point fits the request, or an argument is no number.
        """
        profile = self.pack.choose(*arguments.request(kbps, frame_rate, codebooks))
        source = ArraySource(arguments.sound_of(sound), arguments.whole("sr", sr))
        better = self.pack.better_than(profile) if best_fit else ()
        ((_, result),) = self.compress_many(
            [(None, source)], profile, better=better, downmix=downmix
        )
        if isinstance(result, SpressoError):
            raise result
        return spr.write(result)

    def decompress(
        self,
        data: bytes | bytearray | memoryview | Stream,
        seed: int = 0,
        steps: int | None = None,
        *,
        sampler: str | None = None,
        guidance: float | None = None,
        prompt: str | None = None,
        envelope: bool = True,
        variety: float = VARIETY,
        max_seconds: float | None = spr.DEFAULT_MAX_SECONDS,
    ) -> tuple[np.ndarray, int]:
        """Decode one sound.

        Args:
            data: a `.spr` file's bytes (or a bytearray or memoryview of them), or a Stream.
            seed: names one of the sound's performances, 0..2^64 - 1.
            steps, sampler: those of the solver; None takes the pack's defaults.
            guidance: how strongly to follow the codes; 1 is no guidance, None the pack's default.
            prompt: a text that steers what the codes leave open.
            envelope: hold the sound to the envelope that the codes describe, if the pack has the
                tensors for it.
            variety: how far that envelope follows the seed, 0 to 1: the share that is filled in of
                what the codes leave open.
            max_seconds: refuse longer sounds, because a few bytes can stand for a day of silence;
                None: no limit but the format's.

        Returns:
            float32 `[n, C]` in -1..1, with as many samples as the source, and its rate in Hz.

        Raises:
            CorruptStream, UnsupportedStream, MissingPack, UsageError.
        """
        stream = arguments.stream_of(data)
        if max_seconds is not None:
            spr.check_duration(stream, arguments.number("max_seconds", max_seconds))
        options = DecodeOptions(seed, steps, sampler, guidance, prompt, envelope, variety)
        options = arguments.checked(options)
        ((_, result),) = self.decompress_many([(None, stream, options)])
        if isinstance(result, SpressoError):
            raise result
        try:
            return np.concatenate(list(result.blocks())), result.rate
        finally:
            result.close()

    @undisturbed
    def compress_many(
        self,
        items: Iterable[tuple[Key, AudioSource]],
        profile: Profile,
        *,
        better: Sequence[Profile] = (),
        downmix: bool = False,
        metadata: bool = False,
    ) -> Iterator[tuple[Key, Stream | SpressoError]]:
        """See `CodecProtocol.compress_many`."""
        with closing(Cores(self.device)) as cores:

            @cache
            def encoder(profile: Profile) -> SoundEncoder:
                family = self.pack.families[profile.frame_rate]
                return SoundEncoder(self._networks.encoder(self.pack, family), profile, cores.each)

            def fitting(item: tuple[Key, AudioSource]) -> Profile:
                try:
                    return best_fit(profile, better, item[1].samples, item[1].rate)
                except SpressoError:
                    return profile  # whose encoder will say so

            def coded(
                items: Iterable[tuple[Key, AudioSource]],
            ) -> Iterator[tuple[Key, Stream | SpressoError]]:
                for chosen, some in groupby(items, fitting if better else lambda _: profile):
                    yield from encoder(chosen).run(some, downmix, metadata)

            encoder(profile)  # a pack that cannot code says so before any sound is read
            yield from cores.through(coded, items)

    @undisturbed
    def decompress_many(
        self, items: Iterable[tuple[Key, Stream, DecodeOptions]]
    ) -> Iterator[tuple[Key, Decoded | SpressoError]]:
        """See `CodecProtocol.decompress_many`."""
        with closing(Cores(self.device)) as cores:
            yield from cores.through(
                lambda some: self._decompressed(some, cores.each),
                items,
                lambda item: _windows(item[1]) > LONG,
            )

    def _decompressed(
        self, items: Iterable[tuple[Key, Stream, DecodeOptions]], each: Each
    ) -> Iterator[tuple[Key, Decoded | SpressoError]]:
        """Results in order; sounds decoded with the same options share batches."""
        room = ROUND[self.device.type]
        waiting: list[tuple[Key, _Job | Silence]] = []
        together = None  # what its jobs agree in
        load = 0  # windows in it; silence counts for one, or results might wait for ever
        for key, stream, options in items:
            try:
                job = self._job(stream, options)
            except SpressoError as error:
                yield from self._decode(waiting, each)
                waiting, together, load = [], None, 0
                yield key, error
                continue
            if isinstance(job, _Job):
                if together not in (None, job.together):
                    yield from self._decode(waiting, each)
                    waiting, load = [], 0
                together = job.together
            waiting.append((key, job))
            load += _windows(stream)
            if load >= room:
                yield from self._decode(waiting, each)
                waiting, together, load = [], None, 0
        yield from self._decode(waiting, each)

    def _job(self, stream: Stream, options: DecodeOptions) -> _Job | Silence:
        """Make every choice that decoding needs; raises the errors that decoding would. Digital
        silence needs no weights, so those that it names need not be installed."""
        if not 0 <= options.seed < 1 << 64:
            raise UsageError(f"seed {options.seed}: use 0 to 2^64 - 1")
        if not 0 <= options.variety <= 1:
            raise UsageError(f"variety {options.variety:g}: use 0 to 1")
        if stream.silent:
            Solver.of(options, next(iter(self.pack.families.values())))  # refuses what others would
            return Silence(stream)
        rate = stream.profile.frame_rate
        pack = self._pack_of(stream)
        family = pack.families[rate]
        if stream.profile.codebooks > family.max_codebooks:
            raise MissingPack(
                f"has {stream.profile.codebooks} codebooks, pack {pack.name} at {rate} Hz only "
                f"{family.max_codebooks}"
            )
        return _Job(
            stream,
            pack,
            family,
            options.seed,
            Solver.of(options, family),
            options.prompt,
            options.envelope,
            options.variety,
        )

    def _pack_of(self, header: Header) -> PackInfo:
        """The pack whose weights made a sound; another than this codec's only if none was chosen.

        Raises MissingPack.
        """
        rate, tag = header.profile.frame_rate, header.weights_tag
        own = self.pack.families.get(rate)
        if own is not None and own.tag == tag:
            return self.pack
        if self._explicit:
            raise MissingPack(
                f"made with weights {tag.hex()} at {rate} Hz, which pack {self.pack.name} "
                "does not have: leave --pack out to use the pack that has them"
            )
        return pack_for_tag(tag, rate)

    def _decode(
        self, waiting: list[tuple[Key, _Job | Silence]], each: Each
    ) -> Iterator[tuple[Key, Decoded | SpressoError]]:
        """Results of jobs with the same `together`, in order; silence is passed on in its place."""
        jobs = [job for _, job in waiting if isinstance(job, _Job)]
        sounds = self._sounds(jobs, each) if jobs else iter(())
        for key, job in waiting:
            yield key, next(sounds) if isinstance(job, _Job) else job

    def _sounds(self, jobs: list[_Job], each: Each) -> Iterator[Decoded | SpressoError]:
        """Results of jobs with the same `together`."""
        first = jobs[0]
        try:
            self._networks.decoder(first.pack, first.family)
            self._networks.audio_ae(first.pack)
            text = self._networks.text(first.pack, first.prompt)
        except (BadPack, OutOfMemory) as error:
            # Nothing can be decoded with this pack: each of its sounds gets the error.
            yield from (error for _ in jobs)
            return
        yield from self._sampled(jobs, text, each)

    def _sampled(
        self, jobs: list[_Job], text: TextCondition | None, each: Each
    ) -> Iterator[Performance | SpressoError]:
        """Decoded sounds: the short ones together in one trajectory, long ones by stretches."""
        decoder = LatentDecoder(self._networks.decoder(jobs[0].pack, jobs[0].family), each)
        solver = jobs[0].solver
        short = [job for job in jobs if len(decoder.plan.stretches(job.stream.frames)) == 1]
        pieces = [Piece(codes, job.seed) for job in short for codes in job.stream.codes()]
        try:
            together = iter(decoder.sample(pieces, solver, text) if pieces else [])
        except OutOfMemory as error:
            yield from (error for _ in jobs)
            return
        for job in jobs:
            codes = job.stream.codes()  # [C, frames, M]
            if len(decoder.plan.stretches(job.stream.frames)) == 1:
                latents = iter([torch.stack([next(together) for _ in codes])])
            else:
                latents = decoder.whole(codes, job.seed, solver, text)
            z = None
            if decoder.models.envelope is not None and job.envelope:
                z = decoder.performed(codes, job.variety, job.seed)
            try:
                result = self._performance(job.stream, job.pack, decoder, latents, job.seed, z)
            except (OutOfMemory, OutputError, UsageError) as error:
                result = error
            yield result

    def _performance(
        self,
        header: Header,
        pack: PackInfo,
        decoder: LatentDecoder,
        latents: Iterator[Tensor],
        seed: int,
        z: Excerpts | None,
    ) -> Performance:
        """The sound that a header describes, from its latents `[C, n, 128]` in pieces; held to the
        envelope of z if that is given.

        Raises OutOfMemory, OutputError where the temporary file cannot be written, UsageError where
        the options lead to values that are not finite.
        """
        sound = sound_of(latents, self._networks.audio_ae(pack), seed)
        if z is not None:
            sound = held_to_envelope(sound, z, decoder.models.envelope)
        with within_memory(self.device):
            return Performance(header, at_source_rate(sound, header))
