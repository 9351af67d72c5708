"""Write a pack: networks in their stored form, the JSON that describes them, tags, licence.

Exporting a family that is already there replaces it; other families keep their tensors and hence
their tags, as long as the core (AudioAE decoder, base DiT) stays the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from spresso_cli.codec.packs import (
    FORMAT,
    KNOWN_FAMILIES,
    FamilyInfo,
    OperatingPoint,
    PackInfo,
)
from spresso_cli.codec.weights import family_digest, quantise, read_tensors, write_tensors
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.clap import CLAP
from spresso_cli.models.dit import AudioDown, DiT
from spresso_cli.models.envelope import EnvelopeFilter
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.sequence_quantizer import SequenceQuantizer


@dataclass(frozen=True)
class Family:
    """The networks of one frame rate, and its defaults."""

    encoder: LatentEncoder
    adapter: AudioDown
    quantizer: SequenceQuantizer
    envelope: EnvelopeFilter | None = None
    lora: Mapping[str, Tensor] = field(default_factory=dict)
    sampler: str = "heun"
    steps: int = 16
    guidance: float = 1.0


@dataclass(frozen=True)
class StoredFamily:
    """A pack's family that goes along as it is stored: to quantise it again could change it."""

    pack: PackInfo
    info: FamilyInfo


@dataclass(frozen=True)
class Description:
    """What a pack says of itself."""

    name: str
    version: str
    status: str
    licence: str
    description: str
    default_kbps: float
    sigma_min: float = 0.004
    sigma_max: float = 160.0
    scores: Mapping[str, Any] = field(default_factory=dict)


def _everything(name: str) -> bool:
    return True


def _nothing(name: str) -> bool:
    return False


def _networks(name: str) -> bool:
    """QINCo2 keeps its codebooks in float16; its step networks become int8."""
    return not (name == "first" or name.endswith(("codebook", "shortlist")))


def _transformer(name: str) -> bool:
    """The encoder's bypass keeps float16: rows of it are next to nothing, and z stands on it."""
    return name != "components"


def _attention(name: str) -> bool:
    """f_phi and the maps of deviations keep float16: their columns are as unlike in scale as the
    directions of z are, and a row's one scale would serve the largest. So do a refiner's few."""
    return not name.startswith(("f_phi", "deviations.", "refiner."))


def export_pack(
    folder: Path,
    description: Description,
    audio_ae: AudioAE,
    dit: DiT,
    clap: CLAP,
    families: Mapping[int, Family | StoredFamily],
    points: Sequence[OperatingPoint],
    audio_ae_int8: Callable[[str], bool] = _everything,
    text_base: bool = True,
) -> None:
    """Write a whole pack into `folder`.

    Args:
        families: by pooling factor t.
        points: operating points with their ranks (lower is better).
        audio_ae_int8: which AudioAE matrices become int8 (the rest stay float16).
        text_base: whether the DiT has learnt from captions alone, without any code.
    """
    write_tensors(
        quantise(audio_ae.state_dict(), audio_ae_int8), folder / "core" / "audio_ae.safetensors"
    )
    write_tensors(quantise(dit.state_dict(), _everything), folder / "core" / "dit.safetensors")
    write_tensors(quantise(clap.state_dict(), _everything), folder / "core" / "clap.safetensors")
    described = {}
    for pool, networks in families.items():
        name = f"{KNOWN_FAMILIES[pool].frame_rate}hz"
        stored, about = _stored(networks, pool)
        for optional in ("whitening", "envelope"):
            (folder / name / f"{optional}.safetensors").unlink(missing_ok=True)
        for part, tensors in stored.items():
            write_tensors(tensors, folder / name / f"{part}.safetensors")
        described[name] = asdict(replace(about, digest=family_digest(folder, name)))
    pack = {
        "format": FORMAT,
        **asdict(description),
        "families": described,
        "text_base": text_base,
        "points": [asdict(point) for point in points],
        "audio_ae": asdict(audio_ae.config),
        "dit": asdict(dit.config),
        "clap": asdict(clap.config),
    }
    (folder / "pack.json").write_text(json.dumps(pack, indent=2) + "\n", "utf-8")


def _stored(
    family: Family | StoredFamily, pool: int
) -> tuple[dict[str, dict[str, Tensor]], FamilyInfo]:
    """Tensors of a family's files as they are stored, and its description without the digest."""
    if isinstance(family, StoredFamily):
        parts = ["encoder", "adapter", "qinco2"]
        parts += ["whitening"] * (family.info.whitening is not None)
        parts += ["envelope"] * (family.info.envelope is not None)
        origin = family.pack.path / family.info.folder
        return {part: read_tensors(origin / f"{part}.safetensors") for part in parts}, family.info
    adapter = {
        **family.adapter.state_dict(),
        **{f"lora.{key}": value for key, value in family.lora.items()},
    }
    stored = {
        "encoder": quantise(family.encoder.state_dict(), _transformer),
        "adapter": quantise(adapter, _attention),
        "qinco2": quantise(family.quantizer.qinco2.state_dict(), _networks),
    }
    filters = family.quantizer.whitening
    if filters is not None:
        stored["whitening"] = quantise(filters.state_dict(), _nothing)
    if family.envelope is not None:
        stored["envelope"] = quantise(family.envelope.state_dict(), _nothing)
    known = KNOWN_FAMILIES[pool]
    return stored, FamilyInfo(
        frame_rate=known.frame_rate,
        pool=pool,
        bits=known.bits,
        max_codebooks=family.quantizer.qinco2.config.codebooks,
        digest="",
        sampler=family.sampler,
        steps=family.steps,
        guidance=family.guidance,
        encoder=asdict(family.encoder.config),
        adapter=asdict(family.adapter.config),
        qinco2=asdict(family.quantizer.qinco2.config),
        whitening=None if filters is None else asdict(filters.config),
        envelope=None if family.envelope is None else asdict(family.envelope.config),
    )
