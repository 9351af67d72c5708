"""How well does the DiT denoise at each noise level, and what is it worth to tell it more?

    python benchmarks/denoiser.py --corpus DIR [--split dev] [--pack NAME|DIR]
        --output benchmarks/results

Protocol: crops of 5 s from the clips of one split of a corpus with a manifest, as training draws
them, the same noise in every row. Error of F, the network inside the EDM preconditioning, per
number of a latent; an F that is always 0 has the latents' mean power at high levels, which is more
than 1 where some of them are levels of high bands. `nothing`: neither
caption nor codes; `caption`: the clip's own; `z`: a frame rate's continuous z; `codes`: z as all
of its codebooks say it. A frame rate sees the beginning of each crop that holds whole windows.
Where z tells deviations (spresso_cli/models/deviations.py), latents are in units of these in all
rows of the frame rate, and silent frames hardly count.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import support
import torch
from torch import Tensor

from spresso_cli.codec.device import resolve_device
from spresso_cli.codec.packs import PackInfo, find_pack
from spresso_cli.codec.weights import (
    fine_bands,
    load_audio_ae,
    load_clap,
    load_dit,
    load_encoder,
    load_quantizer,
)
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.tables import Column, Table
from spresso_cli.models.dit import AudioDown, DiT, TextCondition
from spresso_cli.training.autoencoder import crop_frames, diffusion_loss
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.corpus import Corpus, find_clips
from spresso_cli.training.dit import LEVELS
from spresso_cli.training.latents import build_pool
from spresso_cli.training.randomness import normal

FRAMES = 500  # of a crop
TOGETHER = 16  # crops that run at a time
COLUMNS = (
    Column("frame_rate", "Hz"),
    Column("told", "told"),
    *(Column(f"{level:g}", f"sigma {level:g}", 3) for level in LEVELS),
    Column("mean", "mean", 3),
)


@dataclass(frozen=True)
class Crops:
    """What is denoised: latents, log-mels, noise `[N, FRAMES, ...]` and every crop's caption."""

    latents: Tensor
    mel: Tensor
    noise: Tensor
    text: TextCondition

    def part(self, rows: slice, frames: int) -> Crops:
        """Some crops' beginnings."""
        text = {f.name: getattr(self.text, f.name)[rows] for f in fields(self.text)}
        whole = (self.latents, self.mel, self.noise)
        return Crops(*(t[rows, :frames] for t in whole), TextCondition(**text))


def crops_of(options: argparse.Namespace, info: PackInfo, device: torch.device) -> Crops:
    """Crops of the split's clips."""
    clips = find_clips(options.corpus, options.split)
    audio_ae = load_audio_ae(info).to(device)
    pool = build_pool(Corpus(clips, device), audio_ae, False, fine=fine_bands(info))
    bank = TextBank.of(load_clap(info).text.to(device), [clip.caption for clip in clips])
    generator = torch.Generator().manual_seed(options.seed)
    drawn = pool.crops(options.crops, FRAMES, generator)
    noise = normal(drawn.latents.shape, generator, device)
    text = bank.condition(drawn.clip, 1.0, generator)
    return Crops(drawn.latents, drawn.mel, noise, replace(text, present=text.present | True))


@torch.inference_mode()
def errors(
    dit: DiT,
    crops: Crops,
    adapter: AudioDown | None,
    z: Tensor | None,
    caption: bool,
    present: bool = True,
) -> dict[str, float]:
    """The columns of one row; z not `present`: the adapter's null, on latents scaled as z tells."""
    found = dict.fromkeys(map("{:g}".format, LEVELS), 0.0)
    frames = crops.latents.shape[1]
    for start in range(0, len(crops.latents), TOGETHER):
        rows = slice(start, start + TOGETHER)
        some, down = crops.part(rows, frames), None
        if adapter is not None:
            there = torch.full((len(some.latents),), present, device=z.device)
            down = adapter.condition(z[rows], there)
        for level in LEVELS:
            sigma = some.latents.new_full((len(some.latents),), level)
            text = some.text if caption else None
            each = diffusion_loss(dit, some.latents, sigma, some.noise, text, down)
            found[f"{level:g}"] += float(each.sum()) / len(crops.latents)
    return found | {"mean": sum(found.values()) / len(LEVELS)}


def rows_of(info: PackInfo, crops: Crops, device: torch.device) -> Iterator[dict]:
    """The table, from the pack's base to its highest frame rate."""
    if info.text_base:
        base = load_dit(info, None)[0].to(device)
        for told, caption in (("nothing", False), ("caption", True)):
            yield {"frame_rate": None, "told": told, **errors(base, crops, None, None, caption)}
    for rate, family in sorted(info.families.items()):
        dit, adapter = load_dit(info, family)
        dit, adapter = dit.to(device), adapter.to(device)
        encoder = load_encoder(info, family).to(device)
        quantizer = load_quantizer(info, family).to(device)
        whole = crop_frames(FRAMES, family.pool, dit.config.patch)
        own = crops.part(slice(None), whole)
        with torch.inference_mode():
            z = encoder(own.latents, own.mel)
            coded = quantizer.decode(quantizer.encode(z))
        for told, given, caption, present in (
            ("nothing", coded, False, False),
            ("caption", coded, True, False),
            ("codes", coded, False, True),
            ("z", z, False, True),
        ):
            row = errors(dit, own, adapter, given, caption, present)
            yield {"frame_rate": rate, "told": told, **row}
        print(f"{rate} Hz done", file=sys.stderr, flush=True)


def main() -> None:
    options = _arguments()
    info, device = find_pack(options.pack), resolve_device(options.device)
    crops = crops_of(options, info, device)
    table = Table(COLUMNS, tuple(rows_of(info, crops, device)))
    head = (
        f"pack {info.name}: {options.crops} crops of {options.corpus.name}, split {options.split}"
    )
    support.publish("denoiser", head, table, options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--split", default="dev", help="of the manifest")
    parser.add_argument("--crops", type=int, default=32)
    parser.add_argument("--pack", help="name or folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for denoiser.csv")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"denoiser: {error}")
