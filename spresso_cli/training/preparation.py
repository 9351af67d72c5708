"""The request that a training command was given, and the data that several stages share.

Latents of the corpus are encoded once and kept in the run's folder: the next call, or the next
stage, loads them in seconds.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from spresso_cli.errors import UsageError
from spresso_cli.models.log_mel import DEFINITION
from spresso_cli.training import distributed
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.corpus import Clip
from spresso_cli.training.latents import LatentPool, build_pool
from spresso_cli.training.lock import alone
from spresso_cli.training.run import Report
from spresso_cli.training.stored import checkpoints, damage, newest
from spresso_cli.training.streaming import CorpusWindows
from spresso_cli.training.workspace import Workspace


class TimeIsOver(Exception):
    """A time box ended before a stage could begin to train; the next call goes on from what is
    done, which the text says."""

    def __str__(self) -> str:
        return f"the time is over: {super().__str__()}; the same command goes on from there"


@dataclass(frozen=True)
class Call:
    """One training command.

    Attributes:
        corpus: a folder of sounds, or one with a manifest.
        minutes: the time box; None: until the schedule's end.
        finish: bring the schedule to its end with the time box.
        rates: frame rates, for the stages that have several; none: see `Workspace.rates`.
        compiled: whether blocks go through torch.compile.
        report: takes the numbers of every logged step.
        note: takes a line for people.
        began: `time.monotonic()` at the start: preparation counts as well.

    Raises:
        UsageError: a schedule is to end with a time box, and there is none.
    """

    workspace: Workspace
    corpus: Path
    minutes: float | None
    seed: int
    rates: tuple[int, ...]
    compiled: bool
    report: Report
    note: Callable[[str], None]
    began: float
    finish: bool = False

    def __post_init__(self) -> None:
        if self.finish and self.minutes is None:
            raise UsageError(
                "--finish brings a schedule to its end with the time box: add --minutes"
            )

    def minutes_left(self, share: float = 1.0) -> float | None:
        """What is left of the time box, or a share of that."""
        if self.minutes is None:
            return None
        return share * max(0.0, self.minutes - (time.monotonic() - self.began) / 60)

    def over(self, minutes: float = 0.0) -> bool:
        """Whether so many minutes are more than the time box leaves, for all processes."""
        left = self.minutes_left()
        if left is None:
            return False
        return distributed.agreed(left - minutes, self.workspace.device) <= 0

    def part(self, share: float) -> Call:
        """The same with a share of what is left of the time box."""
        if self.minutes is None:
            return self
        return replace(self, minutes=self.minutes - self.minutes_left(1 - share))

    @contextmanager
    def training(self, stage: str) -> Iterator[Path]:
        """The folder of a stage, such as `quantizer/11hz`, for this command alone.

        Raises:
            UsageError: another process is training there, or its checkpoints are damaged.
        """
        folder = self.workspace.folder / stage
        with alone(folder):
            if checkpoints(folder):
                newest(folder, self.note)
            yield folder

    def windows(self, clips: Sequence[Clip]) -> CorpusWindows:
        """These clips, streamed as the configuration says."""
        settings = self.workspace.settings.corpus
        windows = CorpusWindows(
            clips,
            self.workspace.device,
            hours=settings.hours,
            steps=settings.window_steps,
            synthetic=settings.synthetic,
            seed=self.seed,
            note=self.note,
        )
        if windows.unreadable:
            first = windows.unreadable[0]
            self.note(f"{len(windows.unreadable)} sounds cannot be read, the first is {first}")
        return windows


def fingerprint(network: nn.Module, *others: object) -> str:
    """Eight hex digits that change with a network's weights or anything else given."""
    digest = hashlib.sha256(repr(others).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def _is_whole(path: Path) -> bool:
    return path.exists() and damage(path) is None


def latents(call: Call, clips: Sequence[Clip], passes: int) -> tuple[LatentPool, TextBank]:
    """Latents of some clips and the text conditions of their captions, on the device.

    The first pass is plain, later ones are augmented, each window of a corpus too large for
    memory is one pass, so that more windows than passes are not all learnt from. A pass takes
    138 MB for an hour of sound, with fine bands 323 MB.

    Raises:
        UsageError: the AudioAE's latents have not been measured: its training was killed; or there
            is no CLAP.
        TimeIsOver: the time box ended between two passes that had to be encoded.
    """
    workspace = call.workspace
    fine = workspace.settings.fine_bands
    definition = (*DEFINITION, fine) if fine else DEFINITION  # 0: as pools before there were any
    audio_ae = workspace.audio_ae()
    if (audio_ae.latent_std == 1).all():
        raise UsageError(
            f"{workspace.folder / 'audio-ae'}: killed before its latents were measured; that is"
            f" done by spresso train audio-ae {call.corpus} --run {workspace.folder} --minutes 0"
            " (--config as before)"
        )
    tower = workspace.clap().text  # before hours of sound are encoded: it may be missing
    windows = call.windows(clips)
    if windows.count > passes:
        call.note(
            f"{passes} of {windows.count} parts of the corpus are learnt from, {windows.hours:g}"
            " hours each: corpus.passes of the configuration says how many"
        )
    captions: dict[str, int] = {}
    pools, encoded = [], 0
    for index in range(passes):
        own = windows.clips(index)
        paths = [str(clip.path) for clip in own]
        mark = fingerprint(audio_ae, index, call.seed, paths, definition)
        path = workspace.folder / "latents" / f"{index}-{mark}.safetensors"
        missing = distributed.anyone(not _is_whole(path), workspace.device)
        if missing and encoded and call.over():
            windows.close()
            raise TimeIsOver(f"pass {index + 1} of {passes} over the sounds is next")
        encoded += missing
        if distributed.rank() == 0 and missing:
            call.note(f"encoding {len(own)} sounds, pass {index + 1} of {passes}")
            pool = build_pool(
                windows.window(index, ahead=index + 1 < passes),
                audio_ae,
                augment=index > 0,
                seed=call.seed + index,
                fine=fine,
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            pool.save(path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
        distributed.wait()
        pool = LatentPool.load(path)
        # A caption is encoded once, however many sounds it belongs to.
        numbers = [captions.setdefault(clip.caption, len(captions)) for clip in own]
        pool.clip = torch.tensor(numbers)[pool.clip]
        pools.append(pool)
    windows.close()
    pool = LatentPool.join(pools).to(workspace.device)
    return pool, TextBank.of(tower, list(captions))
