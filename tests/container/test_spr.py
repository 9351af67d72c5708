"""What a `.spr` file promises: sizes, rates, and errors that say what is wrong."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from spresso_cli.container import bundle, leb128, spr, tlv
from spresso_cli.container.profile import Profile, code_frames
from spresso_cli.container.stream import FLAGGED_RATES, Header, Stream
from spresso_cli.errors import CorruptStream, UnsupportedStream


def sound(profile: int = 103, rate: int = 48_000, samples: int = 240_000, **fields) -> Stream:
    fields = {"channels": 1, "gain": 193, "weights_tag": b"\xab\xcd", **fields}
    chosen = Profile.from_id(profile)
    coded = 1 if fields.get("dual_mono") else fields["channels"]
    shape = (coded, code_frames(samples, rate, chosen.pool), chosen.codebooks)
    codes = np.random.default_rng(0).integers(0, 1 << chosen.bits, shape)
    return Stream.from_codes(
        Header(profile=chosen, source_rate=rate, samples=samples, **fields), codes
    )


SILENCE = {"profile": Profile.from_id(103), "weights_tag": b"\xab\xcd"}


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_five_seconds_at_96_bits_a_second_are_73_bytes(rate: int) -> None:
    assert len(spr.write(sound(rate=rate, samples=5 * rate))) == 73


@pytest.mark.parametrize(("rate", "overhead"), [(48_000, 13), (44_100, 13), (96_000, 13)])
def test_a_mono_file_adds_13_bytes_to_its_payload_up_to_two_million_samples(
    rate: int, overhead: int
) -> None:
    for samples in (1 << 14, (1 << 21) - 1):
        stream = sound(rate=rate, samples=samples)
        assert len(spr.write(stream)) - len(stream.payload) == overhead


def test_above_4093_bytes_the_checksum_takes_two_bytes_more() -> None:
    stream = sound(profile=31, samples=(1 << 21) - 1)
    assert len(spr.write(stream)) - len(stream.payload) == 15


def test_the_two_bitrates_differ_by_the_overhead() -> None:
    stream = sound()
    assert stream.seconds == 5.0
    assert stream.payload_kbps == 0.096
    assert stream.file_kbps(73) == pytest.approx(0.1168)
    stereo = sound(channels=2, levels=(190, 193))
    assert stereo.payload_kbps == 0.192


def test_codes_come_back_as_channels_frames_codebooks() -> None:
    codes = np.random.default_rng(0).integers(0, 1024, (2, 56, 12), dtype=np.uint16)
    stream = Stream.from_codes(
        Header(
            profile=Profile.of(11, 12),
            weights_tag=b"\0\1",
            gain=200,
            source_rate=48_000,
            samples=240_000,
            channels=2,
            levels=(200, 199),
        ),
        codes,
    )
    read = spr.read(spr.write(stream))
    assert read == stream
    assert read.codes().dtype == np.uint16
    assert np.array_equal(read.codes(), codes)


def test_silence_has_no_codes_and_costs_its_header_alone() -> None:
    for channels in (1, 2):
        stream = Stream(
            gain=0, payload=b"", **SILENCE, source_rate=48_000, samples=48_000, channels=channels
        )
        data = spr.write(stream)
        assert len(data) == 13
        assert spr.read(data) == stream
        assert stream.codes().shape == (channels, 0, 8)
        assert stream.payload_kbps == 0


def test_the_smallest_file_has_11_bytes() -> None:
    stream = Stream(gain=0, payload=b"", **SILENCE, source_rate=48_000, samples=1, channels=1)
    data = spr.write(stream)
    assert len(data) == 11
    assert spr.read(data) == stream


def test_metadata_travels_untouched() -> None:
    metadata = ((0x01, b"bext"), (0x05, bytes(range(256))), (0x7F, b"of a later version"))
    for fields in ({}, {"rate": 22_050}, {"channels": 2, "levels": (1, 2)}):
        stream = sound(metadata=metadata, **fields)
        assert spr.read(spr.write(stream)).metadata == metadata


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"samples": 0}, "no samples"),
        ({"samples": 48_000 * 86_400 + 1}, "more than 24 hours"),
        ({"gain": 256}, "gain 256"),
        ({"gain": -1}, "gain -1"),
        ({"weights_tag": b"\0"}, "weights tag"),
        ({"channels": 3}, "3 channels"),
        ({"source_rate": 999}, "source rate 999 Hz"),
        ({"source_rate": 768_001}, "source rate 768001 Hz"),
        ({"dual_mono": True}, "dual mono is for two channels"),
        ({"levels": (1, 2)}, "levels belong to two differing channels"),
        ({"channels": 2}, "levels belong to two differing channels"),
        ({"channels": 2, "levels": (0, 0)}, "both channels are silent"),
        ({"channels": 2, "levels": (0, 256)}, "not two of 0..255"),
        ({"channels": 2, "levels": (1, 2, 3)}, "not two of 0..255"),
        ({"channels": 2, "levels": (1, 2), "dual_mono": True}, "levels belong"),
        ({"metadata": ((5, b""), (5, b""))}, "types must ascend"),
        ({"metadata": ((5, b""), (1, b""))}, "types must ascend"),
        ({"metadata": ((0x82, b""),)}, "lie in 0..127"),
        ({"metadata": ((5, bytes(1 << 20)),)}, "metadata is larger"),
        ({"payload": bytes(59)}, "payload has 59 bytes"),
        ({"payload": bytes(61)}, "payload has 61 bytes"),
        ({"gain": 0}, "the header calls for 0"),
    ],
)
def test_a_stream_that_breaks_a_rule_cannot_exist_and_is_told_the_rule(
    fields: dict, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        replace(sound(), **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"gain": 255},
        {"gain": 1},
        {"rate": 1_000, "samples": 1},
        {"rate": 768_000},
        {"channels": 2, "levels": (0, 255)},
        {"channels": 2, "dual_mono": True},
        {"metadata": ((0, b""), (0x7F, b""))},
        {"metadata": ((0, bytes((1 << 20) - 4)),)},  # with kind and length, a whole block
    ],
)
def test_the_outermost_values_are_possible(fields: dict) -> None:
    stream = sound(**fields)
    assert spr.read(spr.write(stream)) == stream


@pytest.mark.parametrize(
    "records",
    [
        [(tlv.TAGS, b""), (tlv.TAGS, b"")],
        [(tlv.SOURCE_RATE, leb128.encode(22_050))] * 2,
        [(tlv.SOURCE_RATE, leb128.encode(22_050)), (tlv.TAGS, b"")],
    ],
)
def test_records_that_are_repeated_or_out_of_order_are_refused(records: list) -> None:
    block = tlv.pack(records)
    rate = 0b11 << 2 if records[0][0] == tlv.SOURCE_RATE else 0
    body = b"\xf5SP" + bytes([0x12 | rate]) + b"\x67\xab\xcd\0\1"
    body += leb128.encode(len(block)) + block
    with pytest.raises(CorruptStream, match="repeated or out of order"):
        spr.read(body + spr.checksum(body))


def test_codes_of_another_shape_or_range_are_refused() -> None:
    stream = sound()
    fields = {name: getattr(stream, name) for name in ("profile", "weights_tag", "gain")}
    fields |= {"source_rate": 48_000, "samples": 240_000, "channels": 1}
    with pytest.raises(ValueError, match="expected"):
        Stream.from_codes(Header(**fields), np.zeros((1, 4, 8), dtype=int))
    with pytest.raises(ValueError, match="0..4095"):
        Stream.from_codes(Header(**fields), np.full((1, 5, 8), 4096))


def test_an_extension_block_may_not_be_longer_than_the_file() -> None:
    body = b"\xf5SP\x12\x67\xab\xcd\0\1" + b"\3" + tlv.pack([(tlv.TAGS, b"")])
    with pytest.raises(CorruptStream, match="ends inside its header"):
        spr.read(body + spr.checksum(body))


@pytest.mark.parametrize("rate", FLAGGED_RATES)
def test_a_rate_that_flags_can_name_has_no_record(rate: int) -> None:
    block = tlv.pack([(tlv.SOURCE_RATE, leb128.encode(rate))])
    body = b"\xf5SP\x1e\x67\xab\xcd\0\1" + leb128.encode(len(block)) + block
    with pytest.raises(CorruptStream, match="source rate record is malformed"):
        spr.read(body + spr.checksum(body))


@pytest.mark.parametrize("version", [0, *range(2, 16)])
def test_another_version_is_refused_with_both_versions_named(version: int) -> None:
    data = bytearray(spr.write(sound()))
    data[3] = version << 4 | data[3] & 0x0F
    with pytest.raises(UnsupportedStream, match=f"version {version} .* version 1"):
        spr.read(bytes(data))


def test_a_truncated_file_is_called_truncated() -> None:
    with pytest.raises(CorruptStream, match="truncated or damaged .72 of 73 bytes"):
        spr.read(spr.write(sound())[:-1])


def declaring(samples: int) -> bytes:
    """A file that claims this many samples and holds none of their codes."""
    body = b"\xf5SP\x10\x67\xab\xcd\xc1" + leb128.encode(samples)
    return body + spr.checksum(body)


@pytest.mark.parametrize("samples", [2**60, 48_000 * 86_400])
def test_a_huge_declared_length_costs_neither_memory_nor_time(samples: int) -> None:
    tracemalloc.start()
    began = time.process_time()
    for reader in (spr.read, lambda data: spr.load(io.BytesIO(data), max_seconds=None)):
        with pytest.raises(CorruptStream):
            reader(declaring(samples))
    elapsed = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6
    assert elapsed < 0.5


class Endless(io.RawIOBase):
    """A file that begins well and never ends."""

    def __init__(self, start: bytes) -> None:
        self.start, self.given = start, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "reading to the end of an endless file"
        piece, self.start = self.start[:size], self.start[size:]
        piece += bytes(size - len(piece))
        self.given += len(piece)
        return piece


def test_no_more_is_read_of_an_endless_file_than_its_header_calls_for() -> None:
    file = Endless(spr.write(sound()))
    with pytest.raises(CorruptStream):
        spr.load(file)
    assert file.given < 1.1 * (1 << 20)
    with pytest.raises(CorruptStream):
        spr.load(Endless(b"RIFF"))


def test_a_sound_over_the_callers_limit_is_refused_before_it_is_read() -> None:
    long = sound(profile=31, samples=48_000 * 7200)
    data = spr.write(long)
    assert len(data) > 2 << 20
    file = Endless(data)
    with pytest.raises(UnsupportedStream, match="7200 s long and the limit is 3600 s: .*--max-dur"):
        spr.load(file)
    assert file.given < 1.1 * (1 << 20)
    assert spr.load(io.BytesIO(data), max_seconds=7200) == long


def test_a_large_file_is_read_whole_and_not_a_byte_further() -> None:
    stream = sound(profile=31, samples=48_000 * 1800)
    data = spr.write(stream)
    assert spr.load(io.BytesIO(data)) == stream
    with pytest.raises(CorruptStream):
        spr.load(io.BytesIO(data + b"\0"))
    with pytest.raises(CorruptStream):
        spr.load(io.BytesIO(data[:-1]))


def test_the_header_can_be_read_from_the_beginning_of_a_file() -> None:
    stream = sound(rate=22_050, samples=50_000, metadata=((5, b"TITLE=x"),))
    data = spr.write(stream)
    header, start = spr.read_header(data[: len(data) // 2])
    assert data[start:-2] == stream.payload
    assert header.metadata == stream.metadata
    assert header.payload_bits == stream.payload_bits
    assert Stream.of(header, stream.payload) == stream


def test_reading_a_header_needs_no_numpy() -> None:
    code = (
        "import sys; from spresso_cli.container import spr, bundle; "
        "assert not {'numpy', 'torch', 'bitarray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (bundle.MAGIC, "not a .spr file but a bundle: spresso unbundle"),
        (b"RIFF", "not a .spr file but a sound: spresso compress"),
        (b"RF64", "not a .spr file but a sound"),
        (b"fLaC", "not a .spr file but a sound"),
        (b"OggS", "not a .spr file but a sound"),
        (b"hello", "not a .spr file: it starts with other bytes"),
    ],
)
def test_a_file_of_another_kind_is_told_which(start: bytes, told: str) -> None:
    for reader in (spr.read, spr.read_header, lambda data: spr.load(io.BytesIO(data))):
        with pytest.raises(CorruptStream, match=told):
            reader(start + bytes(100))


def test_a_single_file_is_no_bundle_and_told_so() -> None:
    with pytest.raises(CorruptStream, match="not a .sprb file but a .spr file: spresso decompress"):
        bundle.Bundle.open(io.BytesIO(spr.write(sound())))


def test_a_limit_may_be_a_part_of_a_second() -> None:
    data = spr.write(sound())
    with pytest.raises(UnsupportedStream, match="is 5 s long and the limit is 4.5 s"):
        spr.load(io.BytesIO(data), max_seconds=4.5)
    assert spr.load(io.BytesIO(data), max_seconds=5.0) == sound()
