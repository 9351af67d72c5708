"""Packs: which weights are installed, what they can do, which of them a file needs. No torch.

A pack is a folder: `pack.json`, `core/` (AudioAE, base DiT, CLAP) and one folder per frame-rate
family (latent encoder, adapter, QINCo2 and the filters around it, envelope), all tensors in
safetensors. This module reads the JSON alone, so that `info`, `verify` and `models` answer at once;
`weights.py` reads the tensors.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from spresso_cli.container.profile import FAMILIES, Profile
from spresso_cli.errors import BadPack, MissingPack, UsageError

FORMAT = 1
PACK_VARIABLE = "SPRESSO_PACK"
TAG_BYTES = 2
KNOWN_FAMILIES = {family.pool: family for family in FAMILIES}
SHIPPED = Path(__file__).resolve().parent.parent / "packs"
PACK_NAME = re.compile(r"\w[\w.-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_JSON_BYTES = 1 << 24  # ours have 20 kB; what stands for the file may be a device without an end


def tag_of(digest: str) -> bytes:
    """The weights tag in a `.spr` header: the first bytes of a digest of 64 hex digits."""
    return bytes.fromhex(digest)[:TAG_BYTES]


@dataclass(frozen=True)
class OperatingPoint:
    """One rate that a pack offers; of two that fit a request, the lower rank is the better."""

    frame_rate: int  # Hz, nominal
    codebooks: int  # M
    rank: int

    @property
    def profile(self) -> Profile:
        """The profile that a file of this point carries."""
        return Profile.of(self.frame_rate, self.codebooks)

    @property
    def kbps(self) -> float:
        """Nominal payload rate of one channel."""
        return self.profile.kbps


@dataclass(frozen=True)
class FamilyInfo:
    """One frame rate of a pack, as its JSON describes it."""

    frame_rate: int  # Hz, nominal
    pool: int  # t, latent frames in one code frame
    bits: int  # log2 K
    max_codebooks: int
    digest: str  # SHA-256 over the tensors that decode it, 64 hex digits
    sampler: str  # default
    steps: int  # default
    guidance: float  # default; 1 = none
    encoder: Mapping[str, Any] = field(repr=False)
    adapter: Mapping[str, Any] = field(repr=False)
    qinco2: Mapping[str, Any] = field(repr=False)
    whitening: Mapping[str, Any] | None = field(repr=False)  # None: windows are coded one by one
    envelope: Mapping[str, Any] | None = field(repr=False)  # None: sounds stay as decoded

    @property
    def tag(self) -> bytes:
        """The two bytes that every file of this family carries."""
        return tag_of(self.digest)

    @property
    def folder(self) -> str:
        """Where its tensors lie inside the pack."""
        return f"{self.frame_rate}hz"


_HAIR = 1 + 1e-9  # of tolerance: 0.3 asked for as a sum of floats is still 0.3


@dataclass(frozen=True)
class PackInfo:
    """A pack's JSON, checked."""

    path: Path
    name: str
    version: str
    status: str  # "preview" or "release"
    licence: str
    description: str
    sigma_min: float
    sigma_max: float
    default_kbps: float
    families: Mapping[int, FamilyInfo]  # by frame rate
    points: tuple[OperatingPoint, ...]  # best rank first
    text_base: bool  # whether the DiT has learnt from captions alone, without any code
    audio_ae: Mapping[str, Any] = field(repr=False)
    dit: Mapping[str, Any] = field(repr=False)
    clap: Mapping[str, Any] = field(repr=False)
    scores: Mapping[str, Any] = field(repr=False)

    def choose(
        self,
        kbps: float | None = None,
        frame_rate: int | None = None,
        codebooks: int | None = None,
    ) -> Profile:
        """Return the profile for a request.

        Args:
            kbps: an upper limit on the nominal rate; the best-ranked point below it is taken.
                None, with nothing else asked for: the pack's default.
            frame_rate, codebooks: override the choice; codebooks alone keep the frame rate
                that the rate would have chosen, and may not go beyond it.

        Raises:
            UsageError: no operating point fits; the text names the lowest rate or what exists.
        """
        if frame_rate is not None and frame_rate not in self.families:
            known = ", ".join(map(str, sorted(self.families)))
            raise UsageError(
                f"pack {self.name} has no frame rate of {frame_rate} Hz: choose one of {known}"
            )
        if frame_rate is not None and codebooks is not None and kbps is None:
            return self._profile(frame_rate, codebooks)
        points = [p for p in self.points if frame_rate in (None, p.frame_rate)]
        limit = kbps if kbps is not None else self.default_kbps
        if kbps is None and frame_rate is not None:
            limit = max(p.kbps for p in points)
        best = self.best_within(limit, frame_rate)
        if best is None:
            lowest = min(p.kbps for p in points)
            place = "" if frame_rate is None else f" at {frame_rate} Hz"
            raise UsageError(
                f"{limit:g} kbps is below the lowest rate of pack {self.name}{place}: "
                f"use -b {lowest:g} or more"
            )
        if codebooks is None:
            return self._profile(best.frame_rate, best.codebooks)
        profile = self._profile(best.frame_rate, codebooks)
        if kbps is not None and profile.kbps > kbps * _HAIR:
            raise UsageError(
                f"{codebooks} codebooks at {best.frame_rate} Hz are {profile.kbps:g} kbps, "
                f"more than {kbps:g}: leave out one of the two"
            )
        return profile

    def best_within(self, kbps: float, frame_rate: int | None = None) -> OperatingPoint | None:
        """The best operating point of at most this nominal rate, of any frame rate or of one; None
        where there is none."""
        fitting = (p for p in self.points if frame_rate in (None, p.frame_rate))
        return next((p for p in fitting if p.kbps <= kbps * _HAIR), None)

    def better_than(self, profile: Profile) -> tuple[Profile, ...]:
        """The operating points that rank before that of `profile`, best first; none for a profile
        that is no operating point."""
        profiles = [point.profile for point in self.points]
        return tuple(profiles[: profiles.index(profile)] if profile in profiles else ())

    def _profile(self, frame_rate: int, codebooks: int) -> Profile:
        most = self.families[frame_rate].max_codebooks
        if not 1 <= codebooks <= most:
            raise UsageError(
                f"{codebooks} codebooks at {frame_rate} Hz: pack {self.name} has 1 to {most}"
            )
        return Profile.of(frame_rate, codebooks)


def _strict(where: str, data: Any, required: set[str]) -> dict[str, Any]:
    """A JSON object with exactly these keys; anything else is a pack for another version."""
    if not isinstance(data, dict):
        raise BadPack(f"{where}: expected an object")
    if wrong := required ^ data.keys():
        raise BadPack(f"{where}: unknown or missing keys: {', '.join(sorted(wrong))}")
    return data


def refuse_kinds(kind: type, data: Mapping[str, Any], where: str) -> None:
    """Raises BadPack for a value that is not of the kind of its field in a dataclass: text for a
    number, or one that is not finite. What is no field is not looked at."""
    hints = typing.get_type_hints(kind)
    for name, value in data.items():
        if name in hints and not _is_of(hints[name], value):
            raise BadPack(f"{where}: {name} cannot be {str(value)[:40]!r}")


def _is_of(hint: Any, value: object) -> bool:
    if options := typing.get_args(hint):  # a table of JSON, or one of several
        if typing.get_origin(hint) is Mapping:
            return isinstance(value, dict)
        return any(_is_of(option, value) for option in options)
    if hint is float:
        return type(value) in (int, float) and abs(value) <= 1e18  # nan neither
    return type(value) is hint


def _family(where: str, data: Any) -> FamilyInfo:
    names = {f.name for f in fields(FamilyInfo)}
    data = _strict(where, data, names)
    refuse_kinds(FamilyInfo, data, where)
    info = FamilyInfo(**data)
    if not _DIGEST.fullmatch(info.digest):
        raise BadPack(f"{where}: the digest is not one of 64 hex digits")
    known = KNOWN_FAMILIES.get(info.pool)
    if known is None or (known.frame_rate, known.bits) != (info.frame_rate, info.bits):
        raise BadPack(f"{where}: {info.frame_rate} Hz with t = {info.pool} is no known family")
    return info


@lru_cache(maxsize=16)
def read_pack(path: Path) -> PackInfo:
    """Read and check one pack's JSON.

    Raises:
        MissingPack: there is no pack at `path`.
        BadPack: its JSON is damaged or of another format version.
    """
    where = path / "pack.json"
    try:
        data = json.loads(_text_of(where))
    except FileNotFoundError:
        raise MissingPack(f"{path}: no pack.json here; give a pack's folder or name") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadPack(f"{where}: cannot be read: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BadPack(f"{where}: pack format is not {FORMAT}; install a newer spresso")
    own = {f.name for f in fields(PackInfo)} - {"path"} | {"format"}
    data = _strict(str(where), data, own)
    try:
        families = [_family(f"{where}: {f}", d) for f, d in data["families"].items()]
        points = [OperatingPoint(**p) for p in data["points"]]
        for point in data["points"]:
            refuse_kinds(OperatingPoint, point, f"{where}: points")
        own = {k: v for k, v in data.items() if k not in ("format", "families", "points")}
        refuse_kinds(PackInfo, own, str(where))
        if not PACK_NAME.fullmatch(own["name"]):  # it is printed
            raise BadPack(f"{where}: {own['name']!r} is no name of a pack")
        info = PackInfo(
            path=path,
            **own,
            families={f.frame_rate: f for f in families},
            points=tuple(sorted(points, key=lambda p: p.rank)),
        )
        for point in info.points:
            info._profile(point.frame_rate, point.codebooks)
    except (TypeError, AttributeError, KeyError, UsageError) as error:
        raise BadPack(f"{where}: {error}") from None
    if not info.points:
        raise BadPack(f"{where}: no operating points")
    return info


def _text_of(path: Path) -> str:
    """What a small regular file holds; OSError or ValueError for anything else."""
    if not path.is_file() and path.exists():
        raise ValueError("not a regular file")
    with open(path, "rb") as file:
        data = file.read(_JSON_BYTES + 1)
    if len(data) > _JSON_BYTES:
        raise ValueError(f"more than {_JSON_BYTES >> 20} MiB")
    return data.decode("utf-8")


def _places() -> Iterator[Path]:
    """Folders that are packs: SPRESSO_PACK's first, then what ships with the program."""
    chosen = os.environ.get(PACK_VARIABLE)
    if chosen and (Path(chosen) / "pack.json").exists():
        yield Path(chosen)
    if SHIPPED.is_dir():
        for folder in sorted(SHIPPED.iterdir(), reverse=True):
            if (folder / "pack.json").exists():
                yield folder


def installed_packs() -> list[PackInfo]:
    """Every pack that can be used, the default one first; BadPack where one is damaged."""
    return [read_pack(path) for path in dict.fromkeys(_places())]


def _usable_packs() -> Iterator[PackInfo]:
    """Those that are not damaged: whoever looks for one of them need not know of the others."""
    for path in dict.fromkeys(_places()):
        with contextlib.suppress(BadPack):
            yield read_pack(path)


def find_pack(name_or_path: str | os.PathLike[str] | None = None) -> PackInfo:
    """The pack of a name or folder; None: SPRESSO_PACK (a name or folder), else the default.

    Raises:
        MissingPack: there is none.
        BadPack: it is damaged.
    """
    wanted = name_or_path or os.environ.get(PACK_VARIABLE)
    if not wanted:
        packs = installed_packs()
        if not packs:
            raise MissingPack("no pack of weights is installed: reinstall spresso")
        return packs[0]
    for info in _usable_packs():
        if info.name == os.fspath(wanted):
            return info
    folder = Path(wanted)
    if not folder.is_dir():
        names = ", ".join(info.name for info in installed_packs()) or "none"
        raise MissingPack(f"no pack is called {wanted} (installed: {names})")
    return read_pack(folder)


def pack_for_tag(tag: bytes, frame_rate: int) -> PackInfo:
    """The installed pack whose weights made a file.

    Args:
        tag: the file's two weights-tag bytes.
        frame_rate: nominal frame rate of its profile, Hz.

    Raises:
        MissingPack: none of the installed packs has these weights; the text names the tag.
    """
    for info in _usable_packs():
        family = info.families.get(frame_rate)
        if family is not None and family.tag == tag:
            return info
    names = ", ".join(info.name for info in installed_packs()) or "none"
    raise MissingPack(
        f"made with weights {tag.hex()} at {frame_rate} Hz, which no installed pack has "
        f"(installed: {names}): install that pack or point {PACK_VARIABLE} at it"
    )
