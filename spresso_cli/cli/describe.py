"""What a file holds, as plain records: the stable JSON schema of `spresso info` and its text form.

Every record starts with `file`, `kind` and `bytes`. Keys are only ever added, never renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from spresso_cli.cli.text import clock, kbps, payload, shown, size
from spresso_cli.container import spr, tlv
from spresso_cli.container.stream import STEPS_PER_DB, ZERO_DB
from spresso_cli.errors import BadPack, MissingPack

if TYPE_CHECKING:
    from spresso_cli.audio.files import AudioSource
    from spresso_cli.container.bundle import Bundle
    from spresso_cli.container.bundle_index import Clip
    from spresso_cli.container.stream import Header, Stream

_METADATA = {
    tlv.BEXT: "bext",
    tlv.IXML: "iXML",
    tlv.SMPL: "smpl",
    tlv.CUE: "cue",
    tlv.TAGS: "tags",
    tlv.ADTL: "adtl",
}


_NONE_NEEDED = "none needed"  # digital silence alone


def stream_record(name: str, stream: Stream, file_bytes: int) -> dict[str, object]:
    """Every header field of a `.spr` file, what follows from it, and the pack that decodes it."""
    profile = stream.profile
    return {
        "file": name,
        "kind": "spr",
        "bytes": file_bytes,
        "format_version": spr.VERSION,
        "profile": profile.id,
        "frame_rate": profile.frame_rate,
        "codebooks": profile.codebooks,
        "bits_per_code": profile.bits,
        "nominal_kbps": profile.kbps,
        "source_rate": stream.source_rate,
        "samples": stream.samples,
        "seconds": stream.seconds,
        "channels": stream.channels,
        "dual_mono": stream.dual_mono,
        "coded_channels": stream.coded_channels,
        "frames": stream.frames,
        "payload_bytes": len(stream.payload),
        "payload_kbps": stream.payload_kbps,
        "payload_kbps_per_channel": stream.payload_kbps / stream.coded_channels,
        "file_kbps": stream.file_kbps(file_bytes),
        "level_dbfs": _dbfs(stream.gain),
        "channel_levels_dbfs": [_dbfs(g) for g in stream.levels] if stream.levels else None,
        "metadata": {metadata_name(kind): len(value) for kind, value in stream.metadata},
        "weights_tag": stream.weights_tag.hex(),
        "pack": pack_name(stream.weights_tag, profile.frame_rate),
    }


def sound_record(name: str, sound: AudioSource, file_bytes: int) -> dict[str, object]:
    """The shape of a sound file."""
    return {
        "file": name,
        "kind": "sound",
        "bytes": file_bytes,
        "source_rate": sound.rate,
        "samples": sound.samples,
        "seconds": sound.samples / sound.rate,
        "channels": sound.channels,
        "file_kbps": file_bytes * 8 * sound.rate / sound.samples / 1000,
    }


def bundle_record(name: str, bundle: Bundle, file_bytes: int) -> dict[str, object]:
    """What a bundle holds in all; `spresso list` describes its clips one by one."""
    headers = [bundle.clip(clip).header for clip in bundle.names]
    return {
        "file": name,
        "kind": "sprb",
        "bytes": file_bytes,
        "format_version": spr.VERSION,
        "clips": len(headers),
        "seconds": sum(header.seconds for header in headers),
        "payload_bytes": sum(header.payload_bytes for header in headers),
        "nominal_kbps": sorted({header.profile.kbps for header in headers}),
        "packs": packs(headers),
    }


def clip_record(name: str, clip: Clip) -> dict[str, object]:
    """One clip of a bundle: what `spresso list --json` prints a line of."""
    header = clip.header
    return {
        "name": name,
        "bytes": clip.file_bytes,
        "nominal_kbps": header.profile.kbps,
        "source_rate": header.source_rate,
        "samples": header.samples,
        "seconds": header.seconds,
        "channels": header.channels,
        "weights_tag": header.weights_tag.hex(),
    }


def packs(headers: Iterable[Header]) -> dict[str, str | None]:
    """For each weights tag the installed pack that decodes it, or None. Digital silence needs
    none."""
    voiced = (header for header in headers if not header.silent)
    wanted = {(header.weights_tag, header.profile.frame_rate) for header in voiced}
    return {tag.hex(): pack_name(tag, rate) for tag, rate in sorted(wanted)}


def pack_name(tag: bytes, frame_rate: int) -> str | None:
    """The installed pack whose weights decode this tag, if there is a sound one."""
    from spresso_cli.codec.packs import pack_for_tag

    try:
        return pack_for_tag(tag, frame_rate).name
    except (MissingPack, BadPack):
        return None


def metadata_name(kind: int) -> str:
    """The name of an ignorable extension: `bext`, or `0x2a` for one this version does not know."""
    return _METADATA.get(kind, f"0x{kind:02x}")


def spr_text(record: Mapping[str, object]) -> str:
    """A `.spr` record as aligned lines for people."""
    stereo = record["channels"] == 2
    level = _level_text(record["level_dbfs"])
    if record["channel_levels_dbfs"]:
        left, right = (_level_text(value) for value in record["channel_levels_dbfs"])
        level += f" (left {left}, right {right})"
    channels = "stereo" if stereo else "mono"
    if record["dual_mono"]:
        channels += ", both channels alike: coded once"
    lines = {
        "file": shown(record["file"]),
        "length": f"{clock(record['seconds'])} ({record['samples']:,} samples at "
        f"{record['source_rate']:,} Hz)",
        "channels": channels,
        "level": level,
        "size": f"{size(record['bytes'])}, of which payload {size(record['payload_bytes'])}",
        "payload rate": payload(record["payload_kbps"], record["coded_channels"]),
        "file rate": kbps(record["file_kbps"]),
        "profile": f"{record['profile']}: {record['codebooks']} codes of "
        f"{record['bits_per_code']} bits, {record['frame_rate']} times a second, "
        f"nominally {kbps(record['nominal_kbps'])}",
        "frames": record["frames"],
        "weights tag": record["weights_tag"],
        "pack": _pack_of(record),
        "format": f"version {record['format_version']}",
    }
    if record["metadata"]:
        parts = (f"{name} ({size(count)})" for name, count in record["metadata"].items())
        lines["metadata"] = ", ".join(parts)
    return aligned(lines)


def sound_text(record: Mapping[str, object]) -> str:
    """A sound's record as aligned lines for people."""
    return aligned(
        {
            "file": shown(record["file"]),
            "length": f"{clock(record['seconds'])} ({record['samples']:,} samples at "
            f"{record['source_rate']:,} Hz)",
            "channels": record["channels"],
            "size": size(record["bytes"]),
            "file rate": kbps(record["file_kbps"]),
        }
    )


def bundle_text(record: Mapping[str, object]) -> str:
    """A bundle's record as aligned lines for people."""
    rates = ", ".join(kbps(rate) for rate in record["nominal_kbps"])
    return aligned(
        {
            "file": shown(record["file"]),
            "clips": f"{record['clips']:,}, {clock(record['seconds'])} of sound",
            "size": f"{size(record['bytes'])}, of which payload {size(record['payload_bytes'])}",
            "rates": rates or "none",
            "packs": packs_text(record["packs"]),
            "format": f"version {record['format_version']}",
        }
    )


def packs_text(packs: Mapping[str, str | None]) -> str:
    """`abcd: spresso-small, 0123: not installed`."""
    each = (f"{tag}: {name or 'not installed'}" for tag, name in packs.items())
    return ", ".join(each) or _NONE_NEEDED


def _pack_of(record: Mapping[str, object]) -> object:
    if record["level_dbfs"] is None:
        return _NONE_NEEDED
    return record["pack"] or "not installed: decompressing needs it"


def aligned(lines: Mapping[str, object]) -> str:
    """`name   value` lines with the values in one column."""
    width = max(len(name) for name in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


def _dbfs(gain: int) -> float | None:
    """RMS in dB of full scale that a gain byte stands for; None for digital silence."""
    return (gain - ZERO_DB) / STEPS_PER_DB if gain else None


def _level_text(dbfs: float | None) -> str:
    return "digital silence" if dbfs is None else f"{dbfs:g} dBFS"
