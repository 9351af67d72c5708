"""Every cut and every flipped bit of every good vector is noticed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spresso_cli.container import spr
from spresso_cli.container.bundle import Bundle
from spresso_cli.errors import CorruptStream, UnsupportedStream

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
GOOD = [path for kind in ("valid", "odd") for path in sorted((FOLDER / kind).iterdir())]
FILES = [path for path in GOOD if path.suffix == ".spr"]
BUNDLES = [path for path in GOOD if path.suffix == ".sprb"]


def name(path: Path) -> str:
    return path.stem


def check_bundle(data: bytes) -> None:
    for fault in Bundle.open(io.BytesIO(data)).verify().values():
        raise fault


def flips(data: bytes, step: int = 1) -> Iterator[tuple[int, bytes]]:
    """Single-bit errors with the byte that has them: all, or every `step`-th."""
    for place in range(0, 8 * len(data), step):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        yield place // 8, bytes(damaged)


def refusal(reader: Callable[[bytes], object], data: bytes) -> type | None:
    """The class of the error with which `reader` refuses the data; None if it reads them."""
    try:
        reader(data)
    except (CorruptStream, UnsupportedStream) as error:
        return type(error)
    return None


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_flipped_bit_of_a_file_is_noticed(path: Path) -> None:
    for byte, damaged in flips(path.read_bytes()):
        # Only the version decides before the checksum has spoken.
        expected = {CorruptStream, UnsupportedStream} if byte == 3 else {CorruptStream}
        assert refusal(spr.read, damaged) in expected


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_truncation_of_a_file_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    for length in range(len(data)):
        assert refusal(spr.read, data[:length]) is CorruptStream


@pytest.mark.parametrize("path", FILES, ids=name)
def test_bytes_after_the_end_of_a_file_are_noticed(path: Path) -> None:
    data = path.read_bytes()
    for tail in [bytes([value]) for value in range(256)] + [bytes(2), bytes(100), data]:
        assert refusal(spr.read, data + tail) is CorruptStream


def test_every_pair_of_flipped_bits_of_the_smallest_file_is_noticed() -> None:
    data = (FOLDER / "odd" / "one_sample.spr").read_bytes()
    for _, damaged in flips(data):
        for _, twice in flips(damaged):
            assert twice == data or refusal(spr.read, twice)


@pytest.mark.parametrize("path", BUNDLES, ids=name)
def test_flipped_bits_of_a_bundle_are_noticed(path: Path) -> None:
    data = path.read_bytes()
    for byte, damaged in flips(data, step=1 if len(data) < 500 else 29):
        expected = {CorruptStream, UnsupportedStream} if byte == 3 else {CorruptStream}
        assert refusal(check_bundle, damaged) in expected


@pytest.mark.parametrize("path", BUNDLES, ids=name)
def test_every_truncation_and_extension_of_a_bundle_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    for length in range(len(data)):
        assert refusal(check_bundle, data[:length]) is CorruptStream
    for tail in (b"\0", b"\xff", data):
        assert refusal(check_bundle, data + tail) is CorruptStream
