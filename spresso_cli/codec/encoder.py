"""PCM to codes: level, resampling, windows, AudioAE, latent encoder, QINCo2 (S-PRESSO figure 1).

Windows of different sounds share device batches of one fixed shape; a sound is read block by
block, so that memory does not grow with its length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spresso_cli.audio.files import AudioSource, blocks_of, check_channels
from spresso_cli.audio.level import NETWORK_PEAK, Level, measure
from spresso_cli.audio.resample import resample_blocks
from spresso_cli.audio.windows import EncoderWindow, Plan
from spresso_cli.codec.cores import Each
from spresso_cli.codec.device import (
    ROUND,
    SEARCH_BATCH,
    WEIGHTED_SEARCH_BATCH,
    Batches,
    within_memory,
)
from spresso_cli.container.profile import (
    CODEC_RATE,
    LATENT_HOP,
    Profile,
    code_frames,
    latent_frames,
)
from spresso_cli.container.stream import Header, Stream
from spresso_cli.errors import OutOfMemory, SpressoError
from spresso_cli.models.audibility import Audibility, packed, unpacked
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.log_mel import LogMel, going_on
from spresso_cli.models.sequence_quantizer import SequenceQuantizer


@dataclass(frozen=True)
class EncoderModels:
    """The networks of one frame-rate family on their device, and the tag of its decoder."""

    audio_ae: AudioAE | None  # None: log-mels are all that codes depend on
    context: int  # latent frames on either side that a window has to know
    encoder: LatentEncoder
    quantizer: SequenceQuantizer
    audibility: Audibility | None  # None: errors of z count alike
    tag: bytes
    batches: Batches

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.batches.device


@dataclass
class Sound:
    """A sound on its way: what is known of it, and the z of the windows that are done."""

    key: Hashable
    source: AudioSource
    level: Level
    channels: int
    coded: int  # channels that are coded: 1 for mono and dual mono
    frames: int  # code frames
    metadata: tuple[tuple[int, bytes], ...]
    pending: int = 0  # windows taken but not yet run
    complete: bool = False  # all windows taken
    # In order, each of n code frames: z [coded, n, 64], and what of it counts [coded, n, coarse].
    z: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    error: SpressoError | None = None


@dataclass(frozen=True)
class _Task:
    """One window of one sound: `pcm` float32 `[coded, samples]`, `lead` frames of context."""

    sound: Sound
    window: EncoderWindow
    lead: int
    pcm: np.ndarray
    sounding: int  # latent frames of the window that are of the sound, not of what fills its last


class SoundEncoder:
    """Runs sounds through the encoder of one profile."""

    def __init__(self, models: EncoderModels, profile: Profile, each: Each = map):
        """`each` goes through the parts of a sound that need not wait for each other."""
        self.models = models
        self.profile = profile
        self._each = each
        self.plan = Plan.of(profile.pool, models.encoder.config.stride)
        self._round = ROUND[models.device.type]
        self._audibility = models.audibility
        # A sound, behind its end within the last window; where latents are seen, they say it ends.
        self._goes_on = models.encoder.bypass_alone
        self._log_mel = None
        if models.encoder.needs_mel:
            fine = models.encoder.config.fine_bands
            self._log_mel = LogMel(LATENT_HOP, fine).to(models.device)

    def run(
        self,
        items: Iterable[tuple[Hashable, AudioSource]],
        mix: bool = False,
        metadata: bool = False,
    ) -> Iterator[tuple[Hashable, Stream | SpressoError]]:
        """Streams or errors in the order of the items; see `CodecProtocol.compress_many`."""
        waiting: list[Sound] = []
        tasks: list[_Task] = []
        for key, source in items:
            try:
                sound = self._open(key, source, mix, metadata)
            except SpressoError as error:
                waiting.append(self._failed(key, source, error))
                yield from self._finished(waiting)
                continue
            waiting.append(sound)
            try:
                for task in self._tasks(sound, mix):
                    sound.pending += 1
                    tasks.append(task)
                    if len(tasks) >= self._round:
                        self._flush(tasks)
            except SpressoError as error:
                sound.error = error
                tasks = [task for task in tasks if task.sound is not sound]
                sound.pending = 0
            sound.complete = True
            yield from self._finished(waiting)
        self._flush(tasks)
        yield from self._finished(waiting)

    @staticmethod
    def _failed(key: Hashable, source: AudioSource, error: SpressoError) -> Sound:
        level = Level(samples=1, rms=(0.0,), peak=(0.0,), identical=True)
        return Sound(key, source, level, 1, 1, 1, (), complete=True, error=error)

    def _open(self, key: Hashable, source: AudioSource, mix: bool, metadata: bool) -> Sound:
        """First pass: level and length."""
        check_channels(source, mix)
        level = measure(blocks_of(source, mix))
        channels = 1 if mix else source.channels
        frames = code_frames(level.samples, source.rate, self.profile.pool)
        coded = 1 if level.identical else channels
        extra = source.metadata() if metadata else ()
        return Sound(key, source, level, channels, coded, frames, extra)

    def _tasks(self, sound: Sound, mix: bool) -> Iterator[_Task]:
        """Second pass: the windows of a sound at 48 kHz and network level."""
        if sound.level.silent:
            return
        peaks = sound.level.peak[: sound.coded]
        gains = np.array([NETWORK_PEAK / p if p > 0 else 0.0 for p in peaks])
        blocks = (b[:, : sound.coded] for b in blocks_of(sound.source, mix))
        pcm = resample_blocks(blocks, sound.source.rate, CODEC_RATE, sound.coded)
        pool, context = self.profile.pool, self.models.context
        total = sound.frames * pool
        sounding = latent_frames(sound.level.samples, sound.source.rate)
        held = np.zeros((0, sound.coded), np.float32)
        offset = 0  # sample index of held[0]
        for window in self.plan.encoder_windows(sound.frames):
            # Context is only taken inside the sound: its edges are the networks' edges.
            first = max(0, window.start * pool - context)
            last = min(total, window.stop * pool + context)
            begin, end = first * LATENT_HOP, last * LATENT_HOP
            held, offset = held[begin - offset :], begin
            parts = [held]
            have = offset + len(held)
            while have < end:
                block = next(pcm, None)
                if block is None:
                    parts.append(np.zeros((end - have, sound.coded), np.float32))
                    have = end
                else:
                    parts.append((block * gains).astype(np.float32))
                    have += len(block)
            held = np.concatenate(parts)
            piece = np.ascontiguousarray(held[: end - begin].T)
            start = window.start * pool
            yield _Task(sound, window, start - first, piece, sounding - start)

    def _flush(self, tasks: list[_Task]) -> None:
        """Run the collected windows, equal shapes together, and hand their z to their sounds."""
        groups: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
        for index, task in enumerate(tasks):
            shape = (task.pcm.shape[1], task.lead, task.window.stop - task.window.start)
            groups[shape] += [(index, channel) for channel in range(task.sound.coded)]
        done: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}
        for (_, lead, codes), rows in groups.items():
            pcm = [tasks[i].pcm[c] for i, c in rows]
            sounding = torch.tensor([tasks[i].sounding for i, _ in rows])
            run = partial(self._windows, pcm, sounding, lead, codes)
            try:
                values = self.models.batches.run(run)
            except OutOfMemory as error:
                for index, _ in rows:
                    tasks[index].sound.error = error
            else:
                done |= zip(rows, values, strict=True)
        for index, task in enumerate(tasks):
            window, sound = task.window, task.sound
            core = slice(window.keep - window.start, window.until - window.start)
            if sound.error is None:
                parts = zip(*(done[index, c] for c in range(sound.coded)), strict=True)
                for kept, channels in zip((sound.z, sound.weights), parts, strict=False):
                    kept.append(np.stack([channel[core] for channel in channels]))
            sound.pending -= 1
        tasks.clear()

    @torch.inference_mode()
    def _windows(
        self, pcm: Sequence[np.ndarray], sounding: Tensor, lead: int, codes: int, size: int
    ) -> list[tuple[np.ndarray, ...]]:
        """PCM `[samples]` of equal windows, of which so many latent frames sound, -> z `[codes,
        64]` of each and, where it matters, what of it counts, `packed`, uint8 `[codes,
        coarse]`; `size` windows at a time."""
        done: list[tuple[np.ndarray, ...]] = []
        for start in range(0, len(pcm), size):
            some = np.stack(pcm[start : start + size])
            batch = torch.zeros(size, some.shape[1])
            batch[: len(some)] = torch.from_numpy(some)
            batch = batch.to(self.models.device)
            core = slice(lead, lead + codes * self.profile.pool)
            latents = None
            if self.models.audio_ae is not None:
                latents = self.models.audio_ae.encode(batch)[:, core]
            mel = self._log_mel(batch)[:, core] if self._log_mel else None
            ends = sounding[start : start + size].to(batch.device)
            ends = F.pad(ends, (0, size - len(ends)))
            if self._goes_on:
                mel = going_on(mel, ends)
            z = self.models.encoder(latents, mel)
            results = [z]
            if self._audibility:
                z, weights = self._audibility.heard(z, mel, ends)
                results = [z, packed(weights)]
            done += zip(*(result[: len(some)].cpu().numpy() for result in results), strict=True)
        return done

    def _finished(self, waiting: list[Sound]) -> Iterator[tuple[Hashable, Stream | SpressoError]]:
        """Results of the sounds at the head of the queue that are through."""
        while waiting and waiting[0].complete and waiting[0].pending == 0:
            sound = waiting.pop(0)
            try:
                result = sound.error or self.result(sound)
            except OutOfMemory as error:
                result = error
            yield sound.key, result

    def result(self, sound: Sound) -> Stream:
        """What becomes of a sound whose windows are done; raises OutOfMemory."""
        header = self.header(sound)
        if header.silent:
            return Stream.of(header, b"")
        return Stream.from_codes(header, self._quantise(sound))

    def header(self, sound: Sound) -> Header:
        """All that is known of a sound but its codes."""
        silent = sound.level.silent
        gain, levels = sound.level.gains
        return Header(
            profile=self.profile,
            weights_tag=self.models.tag,
            gain=gain,
            source_rate=sound.source.rate,
            samples=sound.level.samples,
            channels=sound.channels,
            dual_mono=sound.channels == 2 and sound.coded == 1 and not silent,
            levels=levels,
            metadata=sound.metadata,
        )

    @staticmethod
    def latents(sound: Sound) -> Tensor:
        """z of a whole sound that is not silent, `[coded, frames, 64]`."""
        return torch.from_numpy(np.concatenate(sound.z, axis=1))

    def _quantise(self, sound: Sound) -> np.ndarray:
        """Codes uint16 `[coded, frames, M]`."""
        z = self.latents(sound)
        metric = self._metric(sound)
        search = SEARCH_BATCH if metric is None else WEIGHTED_SEARCH_BATCH
        with within_memory(self.models.device):
            codes = self.models.quantizer.encode(
                z.to(self.models.device),
                self.profile.codebooks,
                micro_batch=search[self.models.device.type],
                each=self._each,
                metric=metric,
            )
        return codes.cpu().numpy().astype(np.uint16)

    def _metric(self, sound: Sound) -> Callable[[int, int], Tensor] | None:
        """L for the windows of a sound from one to before another, all its channels in a row."""
        audibility = self._audibility
        if audibility is None:
            return None
        weights = torch.from_numpy(np.concatenate(sound.weights, axis=1)).flatten(0, 1)

        def metric(first: int, stop: int) -> Tensor:
            return audibility.metric(unpacked(weights[first:stop].to(self.models.device)))

        return metric
