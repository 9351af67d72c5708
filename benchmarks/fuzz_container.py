"""Feeds 100 000 damaged and forged files to the readers of `.spr` and `.sprb`.

    python benchmarks/fuzz_container.py [--cases 100000] [--seed 0]

Half of the files get a correct checksum after the damage, and half of these the length that their
header calls for, so that the doors behind these checks are tried, too. A file must be read, and
then be exactly what the writer makes of what was read, or be refused with CorruptStream or
UnsupportedStream; anything else stops the run with the seed of the case.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from spresso_cli.container import leb128, spr
from spresso_cli.container.bundle import MAGIC as BUNDLE_MAGIC
from spresso_cli.container.bundle import Bundle, write_bundle
from spresso_cli.errors import CorruptStream, UnsupportedStream

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
TELLING_BYTES = (0x00, 0x01, 0x0F, 0x7F, 0x80, 0x81, 0x82, 0x83, 0x84, 0xF5, 0xFF)
TELLING_NUMBERS = (0, 1, 127, 128, 4093, 4096, 2**20, 2**31, 2**32, 2**60, 2**63 - 1)


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = rng.choice((*TELLING_BYTES, rng.randrange(256)))
        data[place(data, rng)] = value


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def extend(data: bytearray, rng: random.Random) -> None:
    data += rng.randbytes(rng.choice((1, 2, 4, 30)))


def delete(data: bytearray, rng: random.Random) -> None:
    start = place(data, rng)
    del data[start : start + rng.choice((1, 1, 2, 8))]


def insert(data: bytearray, rng: random.Random) -> None:
    start = place(data, rng)
    data[start:start] = rng.randbytes(rng.choice((1, 1, 2, 8)))


def repeat(data: bytearray, rng: random.Random) -> None:
    start, target = place(data, rng), place(data, rng)
    data[target:target] = data[start : start + rng.randrange(1, 40)]


def insert_number(data: bytearray, rng: random.Random) -> None:
    start = place(data, rng)
    number = leb128.encode(rng.choice((*TELLING_NUMBERS, rng.getrandbits(62))))
    data[start : start + rng.randrange(4)] = number


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bits,
    set_bytes,
    truncate,
    extend,
    delete,
    insert,
    repeat,
    insert_number,
)


def place(data: bytearray, rng: random.Random) -> int:
    """A position, mostly near the beginning, where the decisions are."""
    return rng.randrange(min(len(data), rng.choice((12, 12, 64, 4096))))


def reseal(data: bytearray) -> None:
    """Corrects the checksum that the readers look at first, if the damage left it a place."""
    if data[:3] == BUNDLE_MAGIC:
        try:
            length, start = leb128.decode(data, 4)
        except CorruptStream:
            return
        end = start + length
        if end + 4 <= len(data):
            data[end : end + 4] = zlib.crc32(data[:end]).to_bytes(4, "big")
    elif len(data) > 4:
        body = data[:-2] if len(data) <= spr.MAX_CRC16_BYTES + 2 else data[:-4]
        data[len(body) :] = spr.checksum(bytes(body))


def refit(data: bytearray) -> None:
    """Gives a file the payload length that its header calls for, if that is not too much."""
    try:
        header, start = spr.read_header(bytes(data))
    except (CorruptStream, UnsupportedStream):
        return
    if header.payload_bytes < 1 << 16:
        payload = data[start:].ljust(header.payload_bytes, b"\0")[: header.payload_bytes]
        data[start:] = payload + bytes(2 if start + len(payload) <= spr.MAX_CRC16_BYTES else 4)


def forge(seeds: list[list[bytes]], rng: random.Random) -> bytes:
    """One file: a vector with some damage, or noise behind a good magic."""
    if rng.random() < 0.05:
        data = bytearray(rng.choice((spr.MAGIC + b"\x10", BUNDLE_MAGIC + b"\x10", b"")))
        data += rng.randbytes(rng.choice((0, 8, 30, 300, 4096)))
    else:
        data = bytearray(rng.choice(seeds[rng.randrange(2)]))
        for _ in range(rng.choice((1, 1, 2, 4))):
            if data:
                rng.choice(MUTATIONS)(data, rng)
    if rng.random() < 0.5:
        if rng.random() < 0.5:
            refit(data)
        reseal(data)
    return bytes(data)


def try_one(data: bytes) -> str:
    """Reads one file as what it claims to be; returns what became of it."""
    try:
        if data[:3] == BUNDLE_MAGIC:
            return try_bundle(data)
        stream = spr.read(data)
        assert spr.load(io.BytesIO(data), max_seconds=None) == stream
        assert stream.codes().size * stream.profile.bits == stream.payload_bits
        assert spr.write(stream) == data, "two files for one stream"
        return "read"
    except (CorruptStream, UnsupportedStream) as error:
        assert "\n" not in str(error) and len(str(error)) < 200, "not one line"
        return type(error).__name__


def try_bundle(data: bytes) -> str:
    bundle = Bundle.open(io.BytesIO(data))
    faults = bundle.verify()
    clips = {name: bundle.read(name) for name in bundle.names if name not in faults}
    again = io.BytesIO()
    write_bundle(clips.items(), again)
    if faults:
        return "bundle with faulty clips"
    assert again.getvalue() == data, "two bundles for the same clips"
    return "bundle read"


def peak_mebibytes() -> float:
    """The most memory that this process ever had in use, on Linux without what its parent had."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource  # of POSIX; to fuzz takes none

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def fuzz(cases: int, seed: int) -> Counter[str]:
    """Runs the cases; returns how many ended how."""
    seeds = [
        [path.read_bytes() for kind in kinds for path in sorted((VECTORS / kind).iterdir())]
        for kinds in (("valid", "odd"), ("faulty",))
    ]
    outcomes: Counter[str] = Counter()
    for case in range(cases):
        data = forge(seeds, random.Random(f"{seed}/{case}"))
        try:
            outcomes[try_one(data)] += 1
        except Exception as error:
            error.add_note(f"case {seed}/{case}: {data[:200].hex()}")
            raise
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    fuzz(1000, arguments.seed + 1)  # whatever is loaded or cached once is loaded by now
    before = peak_mebibytes()
    began = time.perf_counter()
    outcomes = fuzz(arguments.cases, arguments.seed)
    elapsed = time.perf_counter() - began
    print(f"{arguments.cases} cases, seed {arguments.seed}, {elapsed:.0f} s")
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:8}  {outcome}")
    print(f"peak memory {peak_mebibytes():.1f} MiB, after the first 1000 cases {before:.1f} MiB")


if __name__ == "__main__":
    main()
