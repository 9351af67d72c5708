"""The index of a bundle: clips grouped by their header, names front-coded (format_spec.md, 13).

Index bytes are untrusted. Every loop here ends when its bytes do, and keeps only a name and two
integers of each clip; the rest is parsed again when the clip is asked for.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from spresso_cli.container import leb128, spr, tlv
from spresso_cli.container.profile import Profile
from spresso_cli.container.stream import FLAGGED_RATES, Header
from spresso_cli.errors import CorruptStream, UnsupportedStream

MAX_CLIPS = 1 << 20
MAX_INDEX_BYTES = 1 << 26
MAX_NAME_BYTES = 1024
MAX_ALL_NAMES_BYTES = 1 << 26  # written out, so that front coding is no decompression bomb

# The low four bits of a group's flags are those of a .spr file.
_DUAL_MONO = 0b1_0000
_RESERVED = 0b1110_0000

# Gain, samples, levels and bytes of metadata of a clip, in the order of its entry.
_Entry = tuple[int, int, tuple[int, int] | None, int]


@dataclass(frozen=True, slots=True)
class Group:
    """What all clips of a group share."""

    profile: Profile
    weights_tag: bytes
    source_rate: int
    channels: int
    dual_mono: bool
    has_metadata: bool

    @classmethod
    def of(cls, header: Header) -> Group:
        return cls(
            profile=header.profile,
            weights_tag=header.weights_tag,
            source_rate=header.source_rate,
            channels=header.channels,
            dual_mono=header.dual_mono,
            has_metadata=bool(header.metadata),
        )

    def header(self, gain: int, samples: int, levels: tuple[int, int] | None) -> Header:
        """Returns the header of one clip, without its metadata; ValueError as Header."""
        return Header(
            profile=self.profile,
            weights_tag=self.weights_tag,
            gain=gain,
            source_rate=self.source_rate,
            samples=samples,
            channels=self.channels,
            dual_mono=self.dual_mono,
            levels=levels,
        )

    def has_levels(self, gain: int) -> bool:
        return self.channels == 2 and not self.dual_mono and gain != 0


@dataclass(frozen=True, slots=True)
class Clip:
    """Where one clip is, and everything the index says about it."""

    header: Header  # without metadata, which lies beside the payload
    metadata_bytes: int  # size of its packed metadata records
    offset: int  # where its metadata begins in the bundle

    @property
    def file_bytes(self) -> int:
        """Size of the clip as a `.spr` file of its own."""
        return spr.file_bytes(self.header, self.metadata_bytes)

    @property
    def stored_bytes(self) -> int:
        """Size of metadata, payload and checksum in the bundle."""
        payload = self.header.payload_bytes
        return self.metadata_bytes + payload + spr.checksum_bytes(self.file_bytes)


class Index:
    """The parsed groups of a bundle; clips are numbered in the order of their groups and names.

    Args:
        data: the index.
        bodies: offset of the first clip's bytes in the bundle.

    Raises:
        CorruptStream: the index breaks a rule of the format.
        UnsupportedStream: a group needs a newer reader.
    """

    def __init__(self, data: bytes, bodies: int) -> None:
        self._data = data
        self._groups: list[Group] = []
        self._first: list[int] = []  # number of each group's first clip
        self._entries = array("Q")  # position in the data of each clip, after its name
        self._offsets = array("Q")  # position in the bundle of each clip
        self.names: list[str] = []
        self._parse(bodies)

    def __len__(self) -> int:
        return len(self.names)

    def groups(self) -> Iterator[range]:
        """Yields the clip numbers of each group; within one the names ascend."""
        for first, after in pairwise([*self._first, len(self)]):
            yield range(first, after)

    def clip(self, number: int) -> Clip:
        group = self._groups[bisect_right(self._first, number) - 1]
        (gain, samples, levels, metadata_bytes), _ = _read_entry(
            self._data, self._entries[number], group
        )
        header = group.header(gain, samples, levels)
        return Clip(header, metadata_bytes, self._offsets[number])

    def _parse(self, offset: int) -> None:
        group_count, position = leb128.decode(self._data, 0)
        previous = b""
        all_names_bytes = 0
        for _ in range(group_count):
            start = position
            group, position = _read_group(self._data, position)
            if self._data[start:position] <= previous:
                raise CorruptStream("the groups of the bundle are repeated or out of order")
            previous = self._data[start:position]
            clip_count, position = leb128.decode(self._data, position)
            if not 1 <= clip_count <= MAX_CLIPS - len(self):
                raise CorruptStream(f"a group of {clip_count} clips: not a valid bundle")
            self._groups.append(group)
            self._first.append(len(self))
            name = b""
            for _ in range(clip_count):
                name, position = _read_name(self._data, position, name)
                all_names_bytes += len(name)
                if all_names_bytes > MAX_ALL_NAMES_BYTES:
                    raise CorruptStream("the names of the bundle are too long together")
                self.names.append(name.decode())
                self._entries.append(position)
                self._offsets.append(offset)
                fields, position = _read_entry(self._data, position, group)
                try:
                    offset += _stored_bytes(group, *_kind(*fields))
                except ValueError as fault:
                    raise CorruptStream(f"{fault}: not a valid bundle") from None
        if position != len(self._data):
            raise CorruptStream("the index of the bundle has bytes after its last clip")
        if len(set(self.names)) != len(self):
            raise CorruptStream("two clips of the bundle have the same name")
        self.end = offset  # size of the whole bundle


def group_bytes(group: Group) -> bytes:
    """Returns the stored form of a group's header; groups are sorted by these bytes."""
    flags = spr.flags_of(group.source_rate, group.channels)
    flags |= spr.EXTENSION if group.has_metadata else 0
    flags |= _DUAL_MONO if group.dual_mono else 0
    out = bytes([flags]) + leb128.encode(group.profile.id) + group.weights_tag
    if group.source_rate not in FLAGGED_RATES:
        out += leb128.encode(group.source_rate)
    return out


def entry_bytes(header: Header, metadata_bytes: int) -> bytes:
    """Returns the stored form of a clip's entry, without its name."""
    out = bytes([header.gain]) + leb128.encode(header.samples) + bytes(header.levels or ())
    return out + leb128.encode(metadata_bytes) if metadata_bytes else out


def front_coded(names: Iterable[bytes]) -> Iterator[bytes]:
    """Yields each of the ascending names as the length shared with the one before and the rest."""
    previous = b""
    for name in names:
        shared = 0
        while shared < min(len(name), len(previous)) and name[shared] == previous[shared]:
            shared += 1
        rest = name[shared:]
        yield leb128.encode(shared) + leb128.encode(len(rest)) + rest
        previous = name


def name_fault(name: bytes) -> str | None:
    """Returns what makes `name` impossible in a bundle, or None.

    A name is a relative POSIX path in UTF-8 that stays inside the folder it is unpacked to.
    """
    if not 1 <= len(name) <= MAX_NAME_BYTES:
        return f"has {len(name)} bytes (1 to {MAX_NAME_BYTES} are possible)"
    try:
        name.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    if b"\0" in name:
        return "contains a zero byte"
    path = b"/" + name + b"/"
    if b"//" in path or b"/./" in path or b"/../" in path:
        return "is not a plain relative path"
    return None


def _read_group(data: bytes, position: int) -> tuple[Group, int]:
    flags = _take(data, position, 1)[0]
    if flags & _RESERVED:
        raise UnsupportedStream(
            "the bundle uses flags that this version does not know: install a newer spresso"
        )
    profile_id, position = leb128.decode(data, position + 1)
    profile = Profile.from_id(profile_id)
    weights_tag = _take(data, position, 2)
    position += 2
    rate_code = (flags & 0b1111) >> spr.RATE_SHIFT
    if rate_code == spr.RATE_ELSEWHERE:
        source_rate, position = leb128.decode(data, position)
        if source_rate in FLAGGED_RATES:
            raise CorruptStream("a source rate is not in its shortest form: not a valid bundle")
    else:
        source_rate = FLAGGED_RATES[rate_code]
    group = Group(
        profile=profile,
        weights_tag=weights_tag,
        source_rate=source_rate,
        channels=2 if flags & spr.STEREO else 1,
        dual_mono=bool(flags & _DUAL_MONO),
        has_metadata=bool(flags & spr.EXTENSION),
    )
    return group, position


def _read_name(data: bytes, position: int, previous: bytes) -> tuple[bytes, int]:
    shared, position = leb128.decode(data, position)
    length, position = leb128.decode(data, position)
    if shared > len(previous) or not 1 <= length <= MAX_NAME_BYTES:
        raise CorruptStream("a name of the bundle is malformed: not a valid bundle")
    rest = _take(data, position, length)
    # One comparison proves both that names ascend and that nothing more could be shared.
    if shared < len(previous) and rest[0] <= previous[shared]:
        raise CorruptStream("the names of the bundle are repeated or out of order")
    name = previous[:shared] + rest
    if fault := name_fault(name):
        raise CorruptStream(f"a name of the bundle {fault}")
    return name, position + length


def _read_entry(data: bytes, position: int, group: Group) -> tuple[_Entry, int]:
    """Reads a clip's gain, samples, levels and metadata size; returns the position after."""
    gain = _take(data, position, 1)[0]
    samples, position = leb128.decode(data, position + 1)
    levels = None
    if group.has_levels(gain):
        left, right = _take(data, position, 2)
        levels = left, right
        position += 2
    metadata_bytes = 0
    if group.has_metadata:
        metadata_bytes, position = leb128.decode(data, position)
        if not 1 <= metadata_bytes <= tlv.MAX_BLOCK_BYTES:
            raise CorruptStream(f"{metadata_bytes} bytes of metadata: not a valid bundle")
    return (gain, samples, levels, metadata_bytes), position


def _kind(gain: int, samples: int, levels: tuple[int, int] | None, metadata_bytes: int) -> _Entry:
    """The same entry for all clips of equal size: of gain and levels, only 0 or not matters."""
    if levels is not None:
        levels = min(levels[0], 1), min(levels[1], 1)
    return min(gain, 1), samples, levels, metadata_bytes


@lru_cache(maxsize=1 << 12)
def _stored_bytes(
    group: Group, gain: int, samples: int, levels: tuple[int, int] | None, metadata_bytes: int
) -> int:
    """Returns the bytes that a clip takes in the bundle; ValueError as Header.

    Cached, because making a header for each of a million clips would take most of the time of
    opening a bundle, and many clips of a library have the same length.
    """
    return Clip(group.header(gain, samples, levels), metadata_bytes, 0).stored_bytes


def _take(data: bytes, position: int, count: int) -> bytes:
    if position + count > len(data):
        raise CorruptStream("the index of the bundle ends inside a clip")
    return data[position : position + count]
