"""What a stage's run left in its folder: checkpoints, or the averages that were kept of one.

A checkpoint holds everything that the run needs to continue, including optimisers and random
generator, and is four to six times as large as the network. `keep` writes only what later stages
need, so that it can be copied off a machine that is only lent: the averaged weights, and companions
such as discriminators, in float16 and in files of a given size.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spresso_cli.errors import UsageError
from spresso_cli.training import distributed

# What step 2 fits beside its quantiser, and later stages read.
_BESIDE = ("envelope.safetensors", "whitening.safetensors")
_COPYING = 60.0  # seconds that files of a folder that was copied may lie apart, in any order


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"))


def averages(folder: Path) -> list[Path]:
    """The files of averages in a run's folder, in order."""
    return sorted(folder.glob("average-*.safetensors"))


def beside(folder: Path) -> list[Path]:
    """What a stage has fitted beside its networks, in order."""
    return [folder / name for name in _BESIDE if (folder / name).exists()]


def damage(path: Path) -> str | None:
    """What is wrong with a safetensors file as a whole, cut short above all; None: nothing."""
    try:
        with safe_open(path, "pt"):
            return None
    except SafetensorError as error:
        return str(error)


def whole_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that a stage has fitted.

    Raises:
        UsageError: it is damaged.
    """
    if wrong := damage(path):
        raise UsageError(f"{path}: damaged ({wrong}): delete it")
    return load_file(path)


def about(path: Path) -> dict[str, str]:
    """What `write` was told about a file; nothing, where it is missing or damaged."""
    if not path.exists() or damage(path):
        return {}
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def write(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> None:
    """Write a file, whole or not at all; of several processes the first one does."""
    if distributed.rank() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
        save_file(tensors, temporary, about)
        os.replace(temporary, path)


def newest(folder: Path, note: Callable[[str], None] | None = None) -> Path:
    """The newest checkpoint of a run that is whole: a write may have been cut short.

    Args:
        note: is told in a line of a later one that is damaged.

    Raises:
        FileNotFoundError: the run has no checkpoint.
        UsageError: all that it has are damaged.
    """
    written = checkpoints(folder)
    if not written:
        raise FileNotFoundError(f"{folder}: no checkpoint; run this stage first")
    for path in reversed(written):
        if damage(path) is None:
            if note and path != written[-1]:
                note(f"{written[-1]} is damaged: its predecessor {path.name} is used")
            return path
    names = " and ".join(path.name for path in written)
    raise UsageError(
        f"{folder}: {names} damaged ({damage(written[-1])}): delete what is, and the stage"
        " starts anew"
    )


def fill(network: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Load what was trained in `where` into a network.

    Raises:
        UsageError: it does not fit.
    """
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError:  # which lists every tensor
        text = f"{where} was trained with other sizes: is --config as before?"
        raise UsageError(text) from None


def trained_at(folder: Path) -> float | None:
    """When a stage was last trained here, in seconds since 1970; None: never."""
    files = checkpoints(folder) or averages(folder)
    return files[-1].stat().st_mtime if files else None


def older(folder: Path, origin: Path) -> bool:
    """Whether a stage was last trained before the one that it came from, as far as times tell.

    Those of an origin that was restored from what was kept of it do not.
    """
    own, begun = trained_at(folder), trained_at(origin)
    if own is None or begun is None or not checkpoints(origin):
        return False
    return own < begun - _COPYING


def ema_key(sigma: float) -> str:
    """What the names of a further EMA begin with."""
    return f"ema-{sigma:g}"


def ema_weights(folder: Path, note: Callable[[str], None] | None = None) -> dict[str, Tensor]:
    """The newest averaged weights, `<module>.<name>`, for export and later stages: of several
    averages those that the run preferred.

    Args:
        note: see `newest`.

    Raises:
        FileNotFoundError: the run has left nothing.
        UsageError: a file of the averages is missing, or what there is is damaged.
    """
    if averages(folder) and not checkpoints(folder):
        return part(read_averages(folder)[1], "ema")
    with safe_open(newest(folder, note), "pt") as file:
        head = _preferred(json.loads(file.metadata()["run"]))
        names = [key for key in file.keys() if key.startswith(f"{head}.")]  # noqa: SIM118
        return part({name: file.get_tensor(name) for name in names}, head)


def _preferred(meta: Mapping[str, Any]) -> str:
    """What the names of the average begin with that is for later stages."""
    return meta.get("preferred", "ema")


def part(tensors: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """Those tensors whose names begin with `<head>.`, without it."""
    head = f"{head}."
    return {name[len(head) :]: value for name, value in tensors.items() if name.startswith(head)}


def keep(
    folder: Path, target: Path, most: int, note: Callable[[str], None] | None = None
) -> list[Path]:
    """Write the averages of a run's newest checkpoint into the folder `target`, and copy what was
    fitted beside it.

    Args:
        most: bytes of a file; a single larger tensor has one of its own.
        note: see `newest`.

    Returns:
        The files, in order.

    Raises:
        FileNotFoundError: the run has no checkpoint.
        UsageError: all that it has are damaged.
    """
    with safe_open(newest(folder, note), "pt") as file:
        meta = json.loads(file.metadata()["run"])
        averaged, trained = f"{_preferred(meta)}.", "weights."
        names = list(file.keys())
        own = [name.removeprefix(averaged) for name in names if name.startswith(averaged)]
        modules = {name.split(".")[0] for name in own}
        tensors = {f"ema.{name}": _halved(file.get_tensor(averaged + name)) for name in own} | {
            name: _halved(file.get_tensor(name))
            for name in names
            if name.startswith(trained) and name.split(".")[1] not in modules
        }
    groups: list[dict[str, Tensor]] = [{}]
    room = most
    for name, value in tensors.items():
        if groups[-1] and value.nbytes > room:
            groups.append({})
            room = most
        groups[-1][name] = value
        room -= value.nbytes
    target.mkdir(parents=True, exist_ok=True)
    about = {"step": meta["step"], "skipped": meta.get("skipped", 0), "ema_step": meta["ema_step"]}
    paths = []
    for number, group in enumerate(groups, 1):
        paths.append(target / f"average-{number:02d}.safetensors")
        save_file(group, paths[-1], {"run": json.dumps(about | {"files": len(groups)})})
    return paths + [Path(shutil.copyfile(path, target / path.name)) for path in beside(folder)]


def read_averages(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `keep` wrote: numbers of the run, and float32 tensors; empty where there is nothing.

    Raises:
        UsageError: a file is missing or damaged.
    """
    meta: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    files = averages(folder)
    for path in files:
        if wrong := damage(path):
            raise UsageError(f"{path}: damaged ({wrong}): copy it here again")
        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()["run"])
            for name in file.keys():  # noqa: SIM118
                value = file.get_tensor(name)
                tensors[name] = value.float() if value.dtype == torch.float16 else value
    if files and meta["files"] != len(files):
        raise UsageError(f"{folder}: {len(files)} of {meta['files']} files of averages are there")
    return meta, tensors


def _halved(value: Tensor) -> Tensor:
    return value.half() if value.dtype == torch.float32 else value
