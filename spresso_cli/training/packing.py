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
        corpus: where the weights' training sounds lie; the credits in its manifest go along.
        finetuned: take step 3 where it was trained; False: step 1, for a rate where step 3 loses.

    Raises:
        UsageError: a stage is missing, or rates without a pretrained DiT have different trunks.
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
        if group not in models:
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
    if corpus is not None and (corpus / "manifest.csv").exists():
        _write_credits(corpus / "manifest.csv", folder / "ATTRIBUTION.csv")


def _write_credits(manifest: Path, target: Path) -> None:
    """The columns that say whose sound it was, of every training sound."""
    with (
        open(manifest, newline="", encoding="utf-8") as source,
        open(target, "w", newline="", encoding="utf-8") as out,
    ):
        rows = csv.DictReader(source)
        columns = [name for name in _CREDITS if name in (rows.fieldnames or ())]
        writer = csv.DictWriter(out, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for row in rows if row.get("split", "train") == "train")
