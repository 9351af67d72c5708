"""What every stage's training loop shares: the time box, checkpoints, the log and its plot.

A run is a folder: `checkpoint-<step>.safetensors` holds every tensor (weights, EMA, optimiser
moments) and `log.csv` one row (step, time, name, value) per logged number. A run that stops at its
time box continues in the next call on the same loss curve, because the random generator, the step
count and whatever else a step depends on are part of the checkpoint. A time box that has to finish
the schedule (`--finish`) skips as much of the schedule as does not fit into the time after its
first step (which may have to wait for sounds and compilers). If there is no time for any step it
skips nothing, because an untrained network must not count as finished. What was skipped is not made
up for later. With several processes (distributed.py), only the first one writes. How the files are
found again is in stored.py.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from spresso_cli.errors import UsageError
from spresso_cli.training import distributed
from spresso_cli.training.ema import PowerEMA
from spresso_cli.training.interruption import Interruption
from spresso_cli.training.stored import (
    checkpoints,
    ema_key,
    fill,
    newest,
    part,
    read_averages,
    write,
)

KEEP = 2  # checkpoints: the newest, and its predecessor in case a write was cut short
_BROKEN = 3  # losses in a row that are not finite: one bad batch alone ends no run (gradients.py)
LOG = "log.csv"
_HEAD = ("step", "time", "name", "value")

Report = Callable[[dict[str, float]], None]


def cosine_rate(progress: float, warmup: float, floor: float = 0.05) -> float:
    """Learning-rate factor: linear warm-up, half a cosine to `floor`, by progress 0..1."""
    if progress < warmup:
        return progress / warmup
    x = min(1.0, (progress - warmup) / max(1e-9, 1 - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * x))


class Run:
    """One stage's training state and its time box.

    Ctrl-C ends it between two steps, with a checkpoint; several processes, of which one may have
    heard it alone, between two that are logged.

    Args:
        folder: where checkpoints and the log live; created.
        modules: the trained networks by name; at every step their averages are updated.
        optimizer: its state is saved by parameter order.
        minutes: the time box of this call; None means until `steps`.
        steps: total steps of the schedule.
        finish: bring the schedule to its end with the time box.
        ema_sigma: relative width of the power EMA.
        more_emas: relative widths of further EMAs, kept beside it, by the names of their settings;
            `prefer` says which of all is for later stages.
        companions: networks that serve the training alone and are not averaged.
        more_optimizers: further optimisers by name.
        state: other tensors that a step depends on, by name; restored in place.
        report: called with a dict of numbers at every logged step.

    Raises:
        UsageError: what the folder holds is damaged, or was trained with other sizes.
    """

    def __init__(
        self,
        folder: Path,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        steps: int,
        minutes: float | None = None,
        finish: bool = False,
        seed: int = 0,
        ema_sigma: float = 0.10,
        more_emas: Mapping[str, float] | None = None,
        companions: Mapping[str, nn.Module] | None = None,
        more_optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
        state: Mapping[str, Tensor] | None = None,
        log_every: int = 25,
        save_minutes: float = 3.0,
        report: Report | None = None,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.modules = dict(modules)
        self.companions = dict(companions or {})
        self.optimizers = {"optimizer": optimizer} | {
            f"optimizer-{name}": other for name, other in (more_optimizers or {}).items()
        }
        self.state = dict(state or {})
        self.steps = steps
        self.finish = finish
        self.generator = torch.Generator().manual_seed(seed)
        self.step = 0
        self.skipped = 0  # steps of the schedule
        weights, learned = self.tensors(), _learned(self.modules)
        self.ema = PowerEMA(weights, ema_sigma, learned)
        self._widths = dict(more_emas or {})
        self.emas = {"ema": self.ema} | {
            ema_key(sigma): PowerEMA(weights, sigma, learned) for sigma in self._widths.values()
        }
        self.preferred = "ema"
        # Each process counts what is left of its own time, and one box has to hold for all.
        self.box = None if minutes is None else distributed.agreed(60 * minutes, self.device)
        self.report = report
        self.log_every = log_every
        self._save_every = 60 * save_minutes
        self._began = self._saved_at = time.monotonic()
        self._seen: dict[str, list[Tensor | float]] = {}
        self._stored: tuple[int, int] | None = None  # where the newest checkpoint is
        self._interruption = Interruption(self)
        self._resume()
        self._cut_log()
        self._from = (self.step, self.skipped)  # where this call begins
        self._started: float | None = None  # seconds of it that its first step took, or first few
        distributed.align(_tensors(self.modules | self.companions).values())

    def tensors(self) -> dict[str, Tensor]:
        """Every weight and buffer of the averaged modules, `<module>.<name>`."""
        return _tensors(self.modules)

    @property
    def device(self) -> torch.device:
        """Where the first module lies."""
        return next(iter(next(iter(self.modules.values())).state_dict().values())).device

    @property
    def due(self) -> int:
        """The step of the schedule that is next: steps done, and those that a time box skipped."""
        return self.step + self.skipped

    @property
    def progress(self) -> float:
        """Share of the schedule done, 0 to 1."""
        return min(1.0, self.due / self.steps)

    def wants_more(self) -> bool:
        """False once the schedule or the time box is over; then the last checkpoint is written.

        Raises:
            KeyboardInterrupt: there was one since the last step; likewise.
        """
        over = self.due >= self.steps
        # Several processes have to agree, which makes them wait: not at every step.
        ask = distributed.size() == 1 or self.step % self.log_every == 0
        if self.box is not None and ask and not over:
            elapsed = distributed.agreed(time.monotonic() - self._began, self.device)
            over = elapsed >= self.box
            if self.finish and self.step > self._from[0]:
                self._started = elapsed if self._started is None else self._started
                self._skip(1.0 if over else (elapsed - self._started) / (self.box - self._started))
                over = self.due >= self.steps
        if (ask or over) and distributed.anyone(self._interruption.asked, self.device):
            self._interruption.asked = over = True
        if over:
            self._save_what_is_new()
            distributed.wait()  # what comes next reads what the first process wrote
            self._interruption.release()
        else:
            self._interruption.hold()
        return not over

    def _save_what_is_new(self) -> None:
        """A checkpoint's time says when it was trained: none is written where nothing was."""
        if self._stored != (self.step, self.skipped):
            self.save()

    def _skip(self, share: float) -> None:
        """Let the schedule be at that share of what was left when this call began, or more."""
        step, skipped = self._from
        begin = step + skipped
        target = begin + int(share * (self.steps - begin))
        self.skipped = max(skipped, target - self.step)

    def finish_step(self, losses: Mapping[str, Tensor | float]) -> None:
        """Count the step, update the EMA, log, and checkpoint when it is time."""
        self.step += 1
        tensors = self.tensors()
        for ema in self.emas.values():
            ema.update(tensors)
        for name, value in losses.items():
            self._seen.setdefault(name, []).append(value)
        if self.step % self.log_every == 0:
            # Only here are losses read back: a GPU would have to be waited for at every step.
            seen, self._seen = _read_back(self._seen), {}
            self._check_losses(seen)
            self.log({name: sum(values) / len(values) for name, values in seen.items()})
        if time.monotonic() - self._saved_at > self._save_every:
            self.save()

    def log(self, numbers: Mapping[str, float]) -> None:
        """Append numbers of the current step to the log, and report them."""
        if distributed.rank() != 0:
            return
        path = self.folder / LOG
        fresh = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            if fresh:
                writer.writerow(_HEAD)
            now = f"{time.time():.1f}"
            writer.writerows((self.step, now, name, f"{v:.6g}") for name, v in numbers.items())
        if self.report:
            self.report({"step": self.step, "steps": self.steps, **numbers})

    def prefer(self, errors: Mapping[str, float]) -> None:
        """Let later stages take that of `emas` whose error is least: the first process's word."""
        keys = list(self.emas)
        best = int(distributed.agreed(keys.index(min(errors, key=errors.get)), self.device))
        if keys[best] == self.preferred:
            return
        self.preferred = keys[best]
        if self._stored == (self.step, self.skipped):  # without a word of it
            self.save()
        distributed.wait()  # all of them, as each may have stored this step or not by its own clock

    def save(self) -> None:
        """Write a checkpoint atomically and drop all but the newest `KEEP`.

        Raises:
            UsageError: losses or weights are no longer finite. Nothing is written then.
        """
        self._saved_at = time.monotonic()
        self._stored = (self.step, self.skipped)
        seen = _read_back(self._seen)
        self._check_losses(seen)
        if distributed.rank() != 0:
            return
        networks = self.modules | self.companions
        tensors = {f"weights.{k}": v for k, v in _tensors(networks).items()}
        for key, ema in self.emas.items():
            tensors |= {f"{key}.{name}": value for name, value in ema.average.items()}
        for prefix, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    tensors[f"{prefix}.{index}.{key}"] = torch.as_tensor(value)
        tensors |= {f"state.{name}": value for name, value in self.state.items()}
        tensors["generator"] = self.generator.get_state()
        meta = {
            "step": self.step,
            "skipped": self.skipped,
            "ema_step": self.ema.step,
            "preferred": self.preferred,
            # What the next logged means are made of, so that the log is unbroken as well.
            "seen": seen,
        }
        target = self.folder / f"checkpoint-{self.step:08d}.safetensors"
        unshared = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        for name, value in unshared.items():
            if not value.isfinite().all():
                raise self._diverged(name)
        write(target, unshared, {"run": json.dumps(meta)})
        written = checkpoints(self.folder)
        past = written.index(target) + 1
        for other in written[: max(0, past - KEEP)] + written[past:]:  # later ones are damaged
            other.unlink()

    def _check_losses(self, seen: Mapping[str, Sequence[float]]) -> None:
        """UsageError if the last of these losses are not finite."""
        for name, values in seen.items():
            last = values[-_BROKEN:]
            if len(last) == _BROKEN and not any(map(math.isfinite, last)):
                raise self._diverged(name)

    def _diverged(self, what: str) -> UsageError:
        written = checkpoints(self.folder)
        good = written[-1].name if written else "where this one began"
        return UsageError(
            f"{self.folder}: at step {self.step} {what} is not finite, and nothing more is saved:"
            f" lower the learning rate in the configuration; the command then goes on from {good}"
        )

    def _resume(self) -> None:
        written = checkpoints(self.folder)
        if not written:
            self._start_from_averages()
            return
        whole = newest(self.folder)
        with safe_open(whole, "pt") as file:
            meta = json.loads(file.metadata()["run"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for prefix, module in (self.modules | self.companions).items():
            fill(module, part(tensors, f"weights.{prefix}"), self.folder)
        self._check_widths(tensors)
        for key, ema in self.emas.items():
            ema.step = meta["ema_step"]
            for name, average in ema.average.items():
                average.copy_(tensors[f"{key}.{name}"])
        for prefix, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in part(tensors, prefix).items():
                index, name = key.split(".", 1)
                # A copy: the optimiser would keep the file's own memory, and on Windows a file that
                # is mapped cannot be replaced or deleted, as this one will be.
                state.setdefault(int(index), {})[name] = value.clone()
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        for name, value in self.state.items():
            if f"state.{name}" in tensors:
                value.copy_(tensors[f"state.{name}"])
        self.generator.set_state(tensors["generator"])
        self.step, self.skipped = meta["step"], meta.get("skipped", 0)
        self.preferred = meta.get("preferred", self.preferred)
        if whole == written[-1]:
            self._stored = (self.step, self.skipped)
        self._seen = {name: list(values) for name, values in meta.get("seen", {}).items()}

    def _check_widths(self, tensors: Mapping[str, Tensor]) -> None:
        """UsageError if a further EMA has another width than before: it cannot be made afterwards.

        The main one goes on with its new width.
        """
        head, end = "ema-", f".{next(iter(self.ema.average))}"
        there = [
            key.removeprefix(head).removesuffix(end)
            for key in tensors
            if key.startswith(head) and key.endswith(end)
        ]
        for setting, sigma in self._widths.items():
            if f"{ema_key(sigma)}{end}" not in tensors:
                raise UsageError(
                    f"{self.folder} was trained with {setting} = {' and '.join(there) or 'none'},"
                    f" not {sigma:g}: set it back, or delete this folder and train it again"
                )

    def _start_from_averages(self) -> None:
        """Go on from what was kept of a run whose checkpoint is gone: at its place in the schedule,
        from averaged weights, with optimisers that know nothing and other random numbers."""
        meta, tensors = read_averages(self.folder)
        if not tensors:
            return
        for prefix, module in self.modules.items():
            fill(module, part(tensors, f"ema.{prefix}"), self.folder)
        for prefix, module in self.companions.items():
            fill(module, part(tensors, f"weights.{prefix}"), self.folder)
        for ema in self.emas.values():
            ema.step = meta["ema_step"]
            for name, average in ema.average.items():
                average.copy_(tensors[f"ema.{name}"])
        self.step, self.skipped = meta["step"], meta["skipped"]
        self.generator.manual_seed(self.generator.initial_seed() + self.step)

    def _cut_log(self) -> None:
        """Drop what a run that was killed had logged after its last checkpoint; all of a log whose
        head or whose run is gone."""
        path = self.folder / LOG
        if distributed.rank() != 0 or not path.exists():
            return
        head, *rows = path.read_text("utf-8", "replace").splitlines(keepends=True) or [""]
        if head.strip() != ",".join(_HEAD) or self.due == 0:
            path.unlink()
            return
        kept = [row for row in rows if _whole(row) and int(row.partition(",")[0]) <= self.step]
        if len(kept) < len(rows):
            path.write_text("".join((head, *kept)), "utf-8")


def _whole(row: str) -> bool:
    """Whether a line of the log was written to its end."""
    step, *others = row.split(",")
    return step.isdecimal() and len(others) + 1 == len(_HEAD) and row.endswith("\n")


def _tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{prefix}.{name}": tensor
        for prefix, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


def _learned(modules: Mapping[str, nn.Module]) -> set[str]:
    """The names of those of `_tensors` that an optimiser may change."""
    return {
        f"{prefix}.{name}"
        for prefix, module in modules.items()
        for name, _ in module.named_parameters()
    }


def _read_back(seen: Mapping[str, Sequence[Tensor | float]]) -> dict[str, list[float]]:
    return {name: [float(value) for value in values] for name, values in seen.items()}
