"""A bundle gives back its files, costs next to nothing, and reads only what it must."""

from __future__ import annotations

import io
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from spresso_cli.container import bundle_index, leb128, spr, tlv
from spresso_cli.container.bundle import Bundle, held, write_bundle
from spresso_cli.container.profile import Profile, code_frames
from spresso_cli.container.stream import Header, Stream
from spresso_cli.errors import CorruptStream, UsageError

PROFILE = Profile.of(1, 8)


def clip(number: int, seconds: float = 5.0, rate: int = 48_000, **fields) -> Stream:
    samples = int(seconds * rate)
    fields = {"channels": 1, "gain": 100 + number % 100, **fields}
    shape = (fields["channels"], code_frames(samples, rate, PROFILE.pool), PROFILE.codebooks)
    codes = np.random.default_rng(number).integers(0, 4096, shape)
    return Stream.from_codes(
        Header(
            profile=PROFILE, weights_tag=b"\xab\xcd", source_rate=rate, samples=samples, **fields
        ),
        codes,
    )


def bundled(clips: dict[str, Stream]) -> bytes:
    file = io.BytesIO()
    assert write_bundle(clips.items(), file) == len(file.getvalue())
    return file.getvalue()


def opened(clips: dict[str, Stream]) -> Bundle:
    return Bundle.open(io.BytesIO(bundled(clips)))


class Watched(io.BytesIO):
    """A file that counts the bytes read of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self.taken += len(piece)
        return piece


MIXED = {
    "b/mono": clip(1),
    "b/mono 44": clip(2, rate=44_100),
    "a/odd": clip(3, rate=11_025),
    "a/stereo": clip(4, channels=2, levels=(90, 120)),
    "a/tagged": clip(5, metadata=((1, b"bext"), (5, b"TITLE=x"))),
    "a/tagged stereo": clip(6, channels=2, levels=(1, 0), metadata=((2, b"<xml/>"),)),
    "c/silence": Stream(
        gain=0,
        payload=b"",
        profile=PROFILE,
        weights_tag=b"\xab\xcd",
        source_rate=48_000,
        samples=9,
        channels=1,
    ),
    "c/other weights": Stream(
        gain=0,
        payload=b"",
        profile=Profile.of(11, 12),
        weights_tag=b"\0\0",
        source_rate=48_000,
        samples=9,
        channels=2,
    ),
    "c/long": clip(7, seconds=600),
}


def test_clips_of_any_kind_come_back_as_their_own_files() -> None:
    bundle = opened(MIXED)
    assert len(bundle) == len(MIXED)
    assert bundle.names == tuple(sorted(MIXED))
    for name, stream in MIXED.items():
        assert name in bundle
        assert spr.write(bundle.read(name)) == spr.write(stream)
    assert bundle.verify() == {}


def test_the_index_tells_of_a_clip_all_but_its_metadata() -> None:
    bundle = opened(MIXED)
    for name, stream in MIXED.items():
        entry = bundle.clip(name)
        assert entry.file_bytes == len(spr.write(stream))
        assert (entry.header.samples, entry.header.gain) == (stream.samples, stream.gain)
        assert (entry.header.levels, entry.header.profile) == (stream.levels, stream.profile)
        assert entry.header.metadata == ()


def test_the_order_of_writing_does_not_show() -> None:
    assert bundled(MIXED) == bundled(dict(reversed(MIXED.items())))


def test_a_bundle_of_nothing_is_a_bundle() -> None:
    bundle = opened({})
    assert (len(bundle), bundle.names, bundle.verify()) == (0, (), {})


def test_a_thousand_clips_cost_at_most_eight_bytes_each_besides_name_and_payload() -> None:
    clips = {f"{zlib.crc32(b'%d' % i):08x}": clip(i, seconds=1 + i % 40) for i in range(1000)}
    size = len(bundled(clips))
    own = sum(len(name) + len(stream.payload) for name, stream in clips.items())
    assert size - own <= 8 * len(clips)
    loose = sum(len(spr.write(stream)) for stream in clips.values())
    assert size - sum(map(len, clips)) < loose - 5 * len(clips)


def test_reading_a_clip_reads_header_index_and_that_clip() -> None:
    file = Watched(bundled({f"{number:03}": clip(number, seconds=60) for number in range(100)}))
    bundle = Bundle.open(file)
    assert file.taken < 0.03 * len(file.getvalue())
    before = file.taken
    bundle.read("050")
    assert file.taken - before == bundle.clip("050").stored_bytes == 60 * 12 + 2


def test_a_damaged_clip_does_not_hide_the_others() -> None:
    data = bytearray(bundled(MIXED))
    place = opened(MIXED).clip("b/mono").offset
    data[place + 5] ^= 4
    bundle = Bundle.open(io.BytesIO(bytes(data)))
    assert list(bundle.verify()) == ["b/mono"]
    with pytest.raises(CorruptStream, match="checksum"):
        bundle.read("b/mono")
    assert bundle.read("b/mono 44") == MIXED["b/mono 44"]


def test_an_unknown_name_is_a_usage_error_that_says_it() -> None:
    bundle = opened(MIXED)
    assert "nothing" not in bundle
    with pytest.raises(UsageError, match="'nothing'"):
        bundle.read("nothing")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/./b",
        "a\0b",
        "x" * 1025,
        "\udcff",
        "é" * 513,
    ],
)
def test_names_that_leave_the_folder_or_are_no_text_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="rename"):
        bundled({name: clip(1)})


@pytest.mark.parametrize("name", ["a", "...", "..a", "a..", "~", "-rf", "a b\n", "C:x", "é" * 512])
def test_other_odd_names_are_fine(name: str) -> None:
    assert opened({name: clip(1)}).names == (name,)


def test_a_name_used_twice_is_refused_even_in_different_groups() -> None:
    with pytest.raises(UsageError, match="two sounds"):
        write_bundle([("a", clip(1)), ("a", clip(1, rate=44_100))], io.BytesIO())


@pytest.mark.parametrize(
    ("limit", "most"), [("MAX_CLIPS", 2), ("MAX_ALL_NAMES_BYTES", 5), ("MAX_INDEX_BYTES", 25)]
)
def test_more_than_a_bundle_may_hold_is_refused_before_a_byte_is_written(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    for module in ("bundle", "bundle_index"):  # who writes and who reads
        monkeypatch.setattr(f"spresso_cli.container.{module}.{limit}", most)
    assert len(opened({"a": clip(1), "bcde": clip(2)})) == 2
    file = io.BytesIO()
    with pytest.raises(UsageError, match="3 sounds are too many for one bundle"):
        write_bundle([("a", clip(1)), ("bcde", clip(2)), ("f", clip(3))], file)
    assert file.getvalue() == b""


def test_a_bundle_of_another_size_is_told_which_way() -> None:
    data = bundled(MIXED)
    with pytest.raises(CorruptStream, match="is truncated: "):
        Bundle.open(io.BytesIO(data[:-1]))
    with pytest.raises(CorruptStream, match="is extended: "):
        Bundle.open(io.BytesIO(data + b"\0"))


def test_no_more_is_read_of_a_pipe_than_the_bundle_and_the_byte_that_tells_it_is_extended() -> None:
    data = bundled(MIXED)
    with held(io.BytesIO(data)) as whole:
        assert whole.read() == data
    pipe = Watched(data + bytes(10_000))
    with held(pipe) as extended, pytest.raises(CorruptStream, match="is extended: "):
        Bundle.open(extended)
    assert pipe.taken == len(data) + 1


def crafted(index: bytes, bodies: bytes = b"") -> io.BytesIO:
    head = b"\xf5SB\x10" + leb128.encode(len(index)) + index
    return io.BytesIO(head + zlib.crc32(head).to_bytes(4, "big") + bodies)


GROUP = b"\x00\x67\xab\xcd"


def test_clips_of_one_length_cost_one_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million of them would otherwise take most of a minute to open."""
    made = []

    def counted(group: bundle_index.Group, *fields: object) -> Header:
        made.append(fields)
        return header(group, *fields)

    header = bundle_index.Group.header
    clips = {f"{i:03}": clip(i, seconds=11 + i % 3) for i in range(60)}
    stereo = {f"s{i}": clip(i, channels=2, levels=(i, 100), seconds=17) for i in range(9)}
    data = bundled(clips | stereo)
    monkeypatch.setattr(bundle_index.Group, "header", counted)
    bundle = Bundle.open(io.BytesIO(data))
    assert len(made) <= 3 + 2  # a level of 0 is not like others
    assert bundle.verify() == {}
    assert bundle.clip("017").header.gain == 117


def test_an_index_of_no_bytes_is_damage_whatever_the_flags() -> None:
    for flags in (0x10, 0x11):
        head = b"\xf5SB" + bytes([flags, 0])
        with pytest.raises(CorruptStream):
            Bundle.open(io.BytesIO(head + zlib.crc32(head).to_bytes(4, "big") + b"\0"))


def test_a_block_over_its_limit_is_found_when_the_clip_is_read() -> None:
    """Metadata may be as long as a block; with the records behind it, the block is too long."""
    most = tlv.pack([(5, bytes(tlv.MAX_BLOCK_BYTES - 4))])
    assert len(most) == tlv.MAX_BLOCK_BYTES
    for flags, levels, read in ((0x02, b"", None), (0x03, b"\1\1", CorruptStream)):
        entry = b"\0\1a" + b"\1" + b"\1" + levels + leb128.encode(len(most))
        index = b"\1" + bytes([flags]) + GROUP[1:] + b"\1" + entry
        block = most + (b"\x83\2" + levels if levels else b"")
        payload = bytes(12 * (2 if levels else 1))
        body = b"\xf5SP" + bytes([0x10 | flags]) + GROUP[1:] + b"\1\1"
        body += leb128.encode(len(block)) + block + payload
        bundle = Bundle.open(crafted(index, most + payload + spr.checksum(body)))
        assert [type(fault) for fault in bundle.verify().values()] == [read] * (read is not None)


def test_names_may_not_outgrow_the_index_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 kB names from 8 bytes each: front coding as a decompression bomb."""
    monkeypatch.setattr(bundle_index, "MAX_ALL_NAMES_BYTES", 1 << 20)
    count = 2000
    index = bytearray(b"\x01" + GROUP + leb128.encode(count))
    before = ""
    for number in range(count):
        digits = f"{number:05x}"
        shared = next((i for i, x in enumerate(before) if digits[i] != x), 0)
        rest = (digits[shared:] if before else "n" * 1000 + digits).encode()
        index += leb128.encode(1000 + shared if before else 0)
        index += leb128.encode(len(rest)) + rest + b"\x00\x01"
        before = digits
    with pytest.raises(CorruptStream, match="too long together"):
        Bundle.open(crafted(bytes(index)))


@pytest.mark.parametrize(
    "index",
    [
        leb128.encode(2**60),
        b"\x01" + GROUP + leb128.encode(2**60),
        b"\x01" + GROUP + leb128.encode(1 << 20),
        b"\x01" + GROUP + b"\x01" + b"\x00" + leb128.encode(2**60) + b"a",
        b"\x01" + GROUP + b"\x01" + b"\x00\x01a\x01" + leb128.encode(2**60),
        b"\x01\x02" + GROUP[1:] + b"\x01" + b"\x00\x01a\x00\x01" + leb128.encode(2**60),
    ],
)
def test_huge_declared_counts_cost_neither_memory_nor_time(index: bytes) -> None:
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(CorruptStream):
        Bundle.open(crafted(index))
    elapsed = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6
    assert elapsed < 0.5
