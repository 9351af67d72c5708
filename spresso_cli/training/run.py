"""What every stage's training loop shares: the time box, checkpoints, the log and its plot.

A run is a folder: `checkpoint-<step>.safetensors` holds every tensor (weights, EMA, optimiser
moments) and `log.csv` one row (step, time, name, value) per logged number. A run that stops at its
time box continues in the next call on the same loss curve, because the random generator and the
step count are part of the checkpoint.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spresso_cli.training.ema import PowerEMA

KEEP = 2  # checkpoints kept beside the newest one's predecessor, in case a write was cut short


def cosine_rate(progress: float, warmup: float, floor: float = 0.05) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to `floor`, by progress 0..1."""
    if progress < warmup:
        return progress / warmup
    x = min(1.0, (progress - warmup) / max(1e-9, 1 - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * x))


class Run:
    """One stage's training state and its time box.

    Args:
        folder: where checkpoints and the log live; created.
        modules: the trained networks by name.
        optimizer: its state is saved by parameter order.
        minutes: the time box of this call; None means until `steps`.
        steps: total steps of the schedule (progress is steps done / steps).
        ema_sigma: relative width of the power EMA.
        report: called with a dict of numbers at every logged step.
    """

    def __init__(
        self,
        folder: Path,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        steps: int,
        minutes: float | None = None,
        seed: int = 0,
        ema_sigma: float = 0.10,
        log_every: int = 25,
        save_minutes: float = 3.0,
        report: Callable[[dict[str, float]], None] | None = None,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.modules = dict(modules)
        self.optimizer = optimizer
        self.steps = steps
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.generator = torch.Generator().manual_seed(seed)
        self.step = 0
        self.ema = PowerEMA(self.tensors(), ema_sigma)
        self.report = report
        self.log_every = log_every
        self._save_every = 60 * save_minutes
        self._saved_at = time.monotonic()
        self._seen: dict[str, list[float]] = {}
        self._resume()

    def tensors(self) -> dict[str, Tensor]:
        """Every weight and buffer of the trained modules, `<module>.<name>`."""
        return {
            f"{prefix}.{name}": tensor
            for prefix, module in self.modules.items()
            for name, tensor in module.state_dict().items()
        }

    @property
    def progress(self) -> float:
        """Share of the schedule done, 0 to 1."""
        return min(1.0, self.step / self.steps)

    def wants_more(self) -> bool:
        """False once the schedule or the time box is over; then the last checkpoint is written."""
        over = self.step >= self.steps
        if self.deadline is not None:
            over = over or time.monotonic() > self.deadline
        if over:
            self.save()
        return not over

    def finish_step(self, losses: Mapping[str, Tensor | float]) -> None:
        """Count the step, update the EMA, log, and checkpoint when it is time."""
        self.step += 1
        self.ema.update(self.tensors())
        for name, value in losses.items():
            self._seen.setdefault(name, []).append(float(value))
        if self.step % self.log_every == 0:
            means = {name: sum(v) / len(v) for name, v in self._seen.items()}
            self._seen = {}
            self._log(means)
            if self.report:
                self.report({"step": self.step, **means})
        if time.monotonic() - self._saved_at > self._save_every:
            self.save()

    def _log(self, means: Mapping[str, float]) -> None:
        path = self.folder / "log.csv"
        fresh = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            if fresh:
                writer.writerow(("step", "time", "name", "value"))
            now = f"{time.time():.1f}"
            writer.writerows((self.step, now, name, f"{v:.6g}") for name, v in means.items())

    def save(self) -> None:
        """Write a checkpoint atomically and drop all but the newest `KEEP`."""
        tensors = {f"weights.{k}": v.detach().cpu() for k, v in self.tensors().items()}
        tensors |= {f"ema.{k}": v.cpu() for k, v in self.ema.average.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).detach().cpu()
        tensors["generator"] = self.generator.get_state()
        meta = {"step": self.step, "ema_step": self.ema.step}
        target = self.folder / f"checkpoint-{self.step:08d}.safetensors"
        temporary = target.with_suffix(".tmp")
        unshared = {k: v.contiguous().clone() for k, v in tensors.items()}
        save_file(unshared, temporary, metadata={"run": json.dumps(meta)})
        os.replace(temporary, target)
        for old in sorted(self.folder.glob("checkpoint-*.safetensors"))[:-KEEP]:
            old.unlink()
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        checkpoints = sorted(self.folder.glob("checkpoint-*.safetensors"))
        if not checkpoints:
            return
        with safe_open(checkpoints[-1], "pt") as file:
            meta = json.loads(file.metadata()["run"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for prefix, module in self.modules.items():
            head = f"weights.{prefix}."
            own = {k[len(head) :]: v for k, v in tensors.items() if k.startswith(head)}
            module.load_state_dict(own)
        for name, average in self.ema.average.items():
            average.copy_(tensors[f"ema.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.generator.set_state(tensors["generator"])
        self.step, self.ema.step = meta["step"], meta["ema_step"]


def ema_weights(folder: Path) -> dict[str, Tensor]:
    """The newest checkpoint's averaged weights, `<module>.<name>`, for export and later stages.

    Raises:
        FileNotFoundError: the run has no checkpoint.
    """
    checkpoints = sorted(folder.glob("checkpoint-*.safetensors"))
    if not checkpoints:
        raise FileNotFoundError(f"{folder}: no checkpoint; run this stage first")
    with safe_open(checkpoints[-1], "pt") as file:
        return {k[4:]: file.get_tensor(k) for k in file.keys() if k.startswith("ema.")}  # noqa: SIM118


def part(tensors: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    """The state dict of one module out of `<module>.<name>` tensors."""
    head = f"{module}."
    return {name[len(head) :]: value for name, value in tensors.items() if name.startswith(head)}
