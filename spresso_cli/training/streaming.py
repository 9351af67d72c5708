"""A corpus of any size through the memory of one machine, window by window.

A window is a `Corpus` of as many hours as may be in memory at once. Clips are distributed over
windows in a random order that changes every epoch, and threads decode the next window while the
current one is used for training. Which clips a step sees depends on the step number alone, so a
resumed run sees the same ones. A corpus that fits into memory is a single window for the whole run.

Limit: training stays on a window at least until the next one is decoded. Opus decodes at about 1000
times real time per core, so 16 cores deliver a window of 8 hours every 2 seconds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import soundfile
import torch

from spresso_cli.errors import AudioError, UsageError
from spresso_cli.training.corpus import Clip, Corpus, native, read_all
from spresso_cli.training.procedural import plan, rendered


def seconds_of(path: Path) -> float:
    """Duration by the file's header; 0 where it has none that can be read."""
    try:
        info = soundfile.info(native(path))
    except (soundfile.LibsndfileError, OSError):
        return 0.0
    return info.frames / info.samplerate


class CorpusWindows:
    """Windows over a list of clips.

    Args:
        clips: all of them; those whose header cannot be read are left out, see `unreadable`.
        device: where a window's samples lie.
        hours: of sound in a window; two windows are in memory at a time.
        steps: training steps that a window serves.
        synthetic: procedural effects (procedural.py) that join every window.
        seed: of the dealing and of the synthesis.
        note: takes a line for people on sounds whose header can be read, but not what follows; they
            stay in their window as empty ones, which are never drawn. None: `window` and `at` raise
            AudioError at the first, as they do where nothing of a window can be read.

    Attributes:
        count: windows in an epoch.

    Raises:
        UsageError: no clip has a header that can be read.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        device: torch.device | str = "cpu",
        *,
        hours: float = 8.0,
        steps: int = 2000,
        synthetic: int = 0,
        seed: int = 0,
        note: Callable[[str], None] | None = None,
    ):
        with ThreadPoolExecutor() as pool:
            seconds = list(pool.map(lambda clip: seconds_of(clip.path), clips))
        self.unreadable = [c.path for c, s in zip(clips, seconds, strict=True) if s == 0]
        self._clips = [c for c, s in zip(clips, seconds, strict=True) if s > 0]
        if not self._clips:
            raise UsageError(f"{clips[0].path}: neither this nor any other sound can be read")
        self._device = device
        self.count = min(max(1, math.ceil(sum(seconds) / (3600 * hours))), len(self._clips))
        self.hours = hours
        self._steps = steps
        self._synthetic = synthetic
        self._seed = seed
        self._note = note
        self._failed: dict[str, None] = {}  # errors of sounds, in the order in which they came
        self._told = 0  # of them
        self._loading: dict[int, Future[Corpus]] = {}
        self._loader = ThreadPoolExecutor(1)

    @property
    def whole(self) -> bool:
        """Whether everything fits: there is one window, and it stays."""
        return self.count == 1

    def at(self, step: int) -> Corpus:
        """The window that a training step draws from."""
        return self.window(step // self._steps)

    def window(self, index: int, ahead: bool = True) -> Corpus:
        """One window, decoded; its successor is begun, unless none will be asked for (`ahead`)."""
        if self.whole:
            index = 0
        wanted = (index, index + 1) if ahead and not self.whole else (index,)
        # Before another one is begun, the windows behind are let go.
        self._loading = {k: v for k, v in self._loading.items() if k in wanted}
        for k in wanted:
            if k not in self._loading:
                self._loading[k] = self._loader.submit(self._load, k)
        corpus = self._loading[index].result()
        self._tell()
        return corpus

    def close(self) -> None:
        """Let go of all windows; what is being decoded is not waited for, nor kept."""
        self._loading.clear()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def clips(self, index: int) -> list[Clip]:
        """The clips of one window, in its order, without decoding any."""
        index = 0 if self.whole else index
        effects = plan(self._synthetic, self._window_seed(index))
        return self._real(index) + [effect.clip for effect in effects]

    def _load(self, index: int) -> Corpus:
        real = self._real(index)
        effects = plan(self._synthetic, self._window_seed(index))
        failed = None if self._note is None else self._leave_out
        sounds = read_all(real, failed) + rendered(effects, self._device)
        return Corpus(real + [effect.clip for effect in effects], self._device, sounds)

    def _leave_out(self, error: AudioError) -> None:
        self._failed[str(error)] = None

    def _tell(self) -> None:
        """Note the sounds that have been left out since the last time."""
        fresh = list(self._failed)[self._told :]
        self._told += len(fresh)
        if fresh:
            count = f"{len(fresh)} sounds, the first is " if len(fresh) > 1 else ""
            self._note(f"left out: {count}{fresh[0]}")

    def _window_seed(self, index: int) -> int:
        return self._seed * 1_000_003 + index

    def _real(self, index: int) -> list[Clip]:
        """Recorded clips of a window; windows are counted through all epochs."""
        epoch, part = divmod(index, self.count)
        order = list(self._clips)
        if not self.whole:
            random.Random(self._window_seed(epoch)).shuffle(order)
        return order[part * len(order) // self.count : (part + 1) * len(order) // self.count]
