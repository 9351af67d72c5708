"""Laws that hold for every stream and every sequence of bytes (hypothesis)."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spresso_cli.container import spr, tlv
from spresso_cli.container.bundle import Bundle, write_bundle
from spresso_cli.container.bundle_index import name_fault
from spresso_cli.container.profile import MAX_RATE, MIN_RATE, Profile, code_frames
from spresso_cli.container.stream import Header, Stream
from spresso_cli.errors import CorruptStream, UnsupportedStream

PROFILES = st.builds(Profile, st.integers(0, 3), st.integers(1, 32))
RATES = st.sampled_from([48_000, 44_100, 96_000, 22_050]) | st.integers(MIN_RATE, MAX_RATE)
METADATA = st.dictionaries(st.integers(0, 127), st.binary(max_size=200), max_size=3).map(
    lambda records: tuple(sorted(records.items()))
)
NAMES = st.text(min_size=1, max_size=12).filter(
    lambda name: name_fault(name.encode(errors="surrogatepass")) is None
)
LEVELS = st.tuples(st.integers(0, 255), st.integers(0, 255)).filter(any)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    profile, rate = draw(PROFILES), draw(RATES)
    channels = draw(st.integers(1, 2))
    shared = {
        "profile": profile,
        "weights_tag": draw(st.binary(min_size=2, max_size=2)),
        "source_rate": rate,
        "samples": draw(st.integers(1, 2 * rate)),
        "channels": channels,
        "metadata": draw(METADATA),
    }
    gain = draw(st.integers(0, 255))
    if gain == 0:
        return Stream(gain=0, payload=b"", **shared)
    dual_mono = channels == 2 and draw(st.booleans())
    coded = 1 if dual_mono else channels
    shape = (coded, code_frames(shared["samples"], rate, profile.pool), profile.codebooks)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Stream.from_codes(
        Header(
            gain=gain, dual_mono=dual_mono, levels=draw(LEVELS) if coded == 2 else None, **shared
        ),
        rng.integers(0, 1 << profile.bits, shape),
    )


@given(streams())
def test_a_stream_comes_back_from_its_bytes(stream: Stream) -> None:
    data = spr.write(stream)
    assert spr.read(data) == stream
    assert spr.file_bytes(stream) == len(data)
    codes = stream.codes()
    assert codes.shape == (stream.coded_channels, stream.frames, stream.profile.codebooks)
    assert codes.size * stream.profile.bits == stream.payload_bits


@given(streams(), st.data())
def test_a_damaged_stream_never_reads_as_another(stream: Stream, data: st.DataObject) -> None:
    """Bursts of up to 16 bits, which CRC-16 and CRC-32 both find without exception."""
    whole = spr.write(stream)
    position = data.draw(st.integers(0, 8 * len(whole) - 16))
    burst = data.draw(st.integers(1, 0xFFFF))
    damaged = int.from_bytes(whole, "big") ^ burst << position
    try:
        spr.read(damaged.to_bytes(len(whole), "big"))
    except (CorruptStream, UnsupportedStream):
        return
    raise AssertionError("damage was read as sound")


@given(st.binary(max_size=64))
def test_any_header_bytes_are_read_or_refused_and_what_is_read_is_canonical(tail: bytes) -> None:
    """Bytes behind a good beginning, with a good checksum: the parser's own doors."""
    for first in (0x10, 0x11, 0x12, 0x13, 0x1E, 0x1F):
        body = b"\xf5SP" + bytes([first]) + tail
        data = body + spr.checksum(body)
        try:
            stream = spr.read(data)
        except (CorruptStream, UnsupportedStream):
            continue
        assert spr.write(stream) == data


@given(st.binary(max_size=64))
def test_any_extension_block_is_read_or_refused_and_what_is_read_is_canonical(
    block: bytes,
) -> None:
    try:
        records = tlv.unpack(block)
    except (CorruptStream, UnsupportedStream):
        return
    assert tlv.pack(records) == block


@given(st.dictionaries(NAMES, streams(), max_size=3))
def test_a_bundle_gives_back_every_file(clips: dict[str, Stream]) -> None:
    file = io.BytesIO()
    write_bundle(clips.items(), file)
    bundle = Bundle.open(file)
    assert list(bundle.names) == sorted(clips, key=str.encode)
    assert {name: bundle.read(name) for name in bundle.names} == clips
    assert all(bundle.clip(n).file_bytes == len(spr.write(s)) for n, s in clips.items())


@given(st.binary(max_size=1100))
def test_a_name_is_possible_only_if_it_stays_in_its_folder(name: bytes) -> None:
    if name_fault(name) is None:
        parts = name.decode().split("/")
        assert all(part not in ("", ".", "..") and "\0" not in part for part in parts)
        assert len(name) <= 1024
