"""A pack from a workspace: every stage's newest averaged weights, and whom to credit."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spresso_cli.errors import UsageError
from spresso_cli.models.lora import lora_tensors
from spresso_cli.training.autoencoder import StepOne
from spresso_cli.training.export import Family, StoredFamily, export_pack
from spresso_cli.training.workspace import Workspace, group_name

_TARGET = "ATTRIBUTION.csv"
_NOTES = "credits"  # a folder of texts by authors, which lines of the table may point at
_CREDITS = ("file", "source_repo", "source_path", "author", "licence")


def pack_workspace(
    workspace: Workspace,
    rates: Sequence[int],
    folder: Path,
    corpus: Path | None = None,
    finetuned: bool = True,
) -> None:
    """Write a pack of some frame rates into `folder`.

    A frame rate of the workspace's pack that nothing was trained for goes along as it is.

    Args:
        corpus: where the weights' training sounds lie; the credits in its manifest go along, behind
            those of the workspace's pack, and so do the texts in a folder `credits` beside it.
        finetuned: take step 3 where it was trained; False: step 1, for a rate where step 3 loses.

    Raises:
        UsageError: a stage is missing or unfinished, or rates without a pretrained DiT have
            different trunks.
    """
    settings = workspace.settings
    models: dict[tuple[int, ...], StepOne] = {}
    families = {}
    int8 = workspace.audio_ae_int8()
    for rate in rates:
        group = workspace.group_of(rate)
        there = finetuned and workspace.trained(f"finetune/{group_name(group)}")
        untouched = not there and not workspace.has_step_two(rate)
        if untouched and (known := workspace.family_of_pack(rate)):
            families[known.pool] = StoredFamily(workspace.pack, known)
            continue
        workspace.check_step_two(rate)
        workspace.check_age(f"quantizer/{rate}hz", group)
        if group not in models:
            if there:
                workspace.check_age(f"finetune/{group_name(group)}", group)
            models[group] = workspace.step_one(group, "finetune" if there else "autoencoder")
        model, own = models[group], settings.rates[rate]
        t = own.encoder.pool
        families[t] = Family(
            model.encoders[str(t)],
            model.adapters[str(t)],
            workspace.quantizer(rate),
            workspace.envelope(rate),
            lora_tensors(model.dit),
            own.sampler,
            own.sampler_steps,
            own.guidance,
        )
    if settings.lora_rank or not models:
        dit = workspace.base_dit()
    elif len(models) == 1 and not any(map(workspace.family_of_pack, rates)):
        dit = next(iter(models.values())).dit
    else:
        raise UsageError("without a pretrained DiT, one pack holds rates of one trunk: name them")
    points = [
        point
        for point in settings.points
        if point.frame_rate in rates
        and point.codebooks <= settings.rates[point.frame_rate].qinco2.codebooks
    ]
    if not points:
        raise UsageError(f"the configuration has no operating point at {sorted(rates)} Hz")
    lowest = min(point.kbps for point in points)
    description = replace(settings.pack, default_kbps=max(settings.pack.default_kbps, lowest))
    export_pack(
        folder,
        description,
        workspace.audio_ae(),
        dit,
        workspace.clap(),
        families,
        points,
        audio_ae_int8=lambda name: int8,
        text_base=workspace.text_base(),
    )
    credited = []
    if workspace.pack is not None and (workspace.pack.path / _TARGET).exists():
        credited += _of_pack(workspace.pack.path / _TARGET)
    if corpus is not None and (corpus / "manifest.csv").exists():
        credited += _of_manifest(corpus / "manifest.csv")
    if credited:
        _write_credits(credited, folder / _TARGET)
    for source in (workspace.pack.path if workspace.pack else None, corpus):
        if source is not None:
            _copy_notes(source / _NOTES, folder / _NOTES)


def _copy_notes(source: Path, target: Path) -> None:
    """The texts of a folder, if it is there; of one name and other words, behind the former."""
    for note in sorted(source.glob("*.txt")):
        target.mkdir(exist_ok=True)
        text, place = note.read_bytes(), target / note.name
        former = place.read_bytes() if place.exists() else b""
        if text not in former:
            place.write_bytes(b"\n\n".join(filter(None, (former, text))))


def _of_pack(table: Path) -> list[dict[str, str]]:
    """All that a pack's credits say: its licences may ask for every column."""
    return [
        {"file" if name == "sound" else name: value for name, value in row.items()}
        for row in _rows(table)
    ]


def _of_manifest(table: Path) -> list[dict[str, str]]:
    """The columns that say whose sound it was, of every training sound."""
    return [
        {name: row[name] for name in _CREDITS if name in row}
        for row in _rows(table)
        if row.get("split", "train") == "train"
    ]


def _rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="", encoding="utf-8-sig") as source:
        rows = list(csv.DictReader(source, restval=""))
    return [{name: value for name, value in row.items() if name} for row in rows]


def _write_credits(rows: Sequence[dict[str, str]], target: Path) -> None:
    """Every line once, in order, with the columns that any of them has."""
    there = dict.fromkeys(name for row in rows for name in row)
    columns = [name for name in _CREDITS if name in there]
    columns += [name for name in there if name not in _CREDITS]
    lines = dict.fromkeys(tuple(row.get(name, "") for name in columns) for row in rows)
    with open(target, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([columns, *lines])
