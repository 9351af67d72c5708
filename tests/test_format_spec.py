"""The specification and the code say the same: tables, examples and dumps are read and tried."""

from __future__ import annotations

import binascii
import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from spresso_cli import errors
from spresso_cli.audio.expander import raised
from spresso_cli.audio.level import fit_level
from spresso_cli.audio.windows import Plan, window_weights
from spresso_cli.codec.tags import weights_digest
from spresso_cli.container import bundle_index, leb128, spr, stream, tlv
from spresso_cli.container.profile import (
    FAMILIES,
    MAX_RATE,
    MAX_SECONDS,
    MIN_RATE,
    Family,
    Profile,
    code_frames,
    latent_frames,
)
from spresso_cli.diffusion.noise import latent_noise, phase_noise, variation_noise

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "format_spec.md").read_text(encoding="utf-8")
VECTORS = ROOT / "tests" / "vectors"


def section(title: str) -> str:
    """The text from a heading to the next of its depth or above."""
    start = TEXT.index(f"# {title}\n")
    depth = len(re.search(r"#*$", TEXT[: start + 1]).group())
    rest = TEXT[start + 2 :]
    end = re.search(rf"^#{{1,{depth}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str, columns: int) -> Iterator[list[str]]:
    """The cells of the tables of this many columns, without head lines and code marks."""
    body = False
    for line in text.splitlines():
        cells = [cell.strip(" `") for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            body = False
        elif len(cells) == columns and set(line) <= set("|-: "):
            body = True
        elif len(cells) == columns and body:
            yield cells


def number(text: str) -> int:
    return int(text.replace(" ", "").replace("2^63-1", str(2**63 - 1)))


def test_the_sections_that_code_and_errors_refer_to_exist() -> None:
    numbered = re.findall(r"^##+ (\d+(?:\.\d+)?) ", TEXT, re.MULTILINE)
    for path in (ROOT / "spresso_cli").rglob("*.py"):
        for reference in re.findall(
            r"format_spec\.md, (?:sections? )?(\d+(?:\.\d+)?)", path.read_text(encoding="utf-8")
        ):
            assert reference in numbered, path


def test_numbers() -> None:
    table = list(rows(section("2 Notation"), 2))
    assert len(table) == 5
    for value, form in table:
        assert leb128.encode(number(value)) == bytes.fromhex(form)


def test_sizes_of_common_sounds() -> None:
    profile = Profile.from_id(103)
    for seconds, payload, file, rate in rows(section("3 Layout"), 4):
        samples = 48_000 * int(seconds.removesuffix(" s"))
        header = stream.Header(
            profile=profile,
            weights_tag=b"ab",
            gain=1,
            source_rate=48_000,
            samples=samples,
            channels=1,
        )
        assert f"{header.payload_bytes} B" == payload
        assert f"{spr.file_bytes(header)} B" == file
        assert f"{1000 * header.file_kbps(spr.file_bytes(header)):.1f}" == rate


def test_families_and_profiles() -> None:
    families = list(rows(section("5 Profiles"), 6))
    assert [int(row[0]) for row in families] == [family.index for family in FAMILIES]
    for index, ids, frame_rate, pool, exact, bits in families:
        family = FAMILIES[int(index)]
        assert (family.frame_rate, family.pool, family.bits) == tuple(
            map(int, (frame_rate, pool, bits))
        )
        assert exact in (str(100 // family.pool), f"100/{family.pool}")
        first, last = map(int, ids.split("-"))
        assert Profile(family.index, 1).id == first
        assert Profile(family.index, 32).id == last
    for profile_id, index, codebooks, bps in rows(section("5 Profiles"), 4):
        profile = Profile(int(index), int(codebooks))
        assert (profile.id, profile.nominal_bps) == (int(profile_id), number(bps))


def test_frames() -> None:
    table = list(rows(section("6 Frames and codes"), 6))
    assert len(table) == 5
    for row in table:
        samples, rate, pool, n48, latents, frames = map(number, row)
        assert -(-samples * 48_000 // rate) == n48
        assert latent_frames(samples, rate) == latents
        assert code_frames(samples, rate, pool) == frames


def test_extension_records() -> None:
    table = {int(row[0], 16): row[1] for row in rows(section("4.8 Extension block"), 4)}
    assert table == {
        tlv.BEXT: "bext",
        tlv.IXML: "iXML",
        tlv.SMPL: "smpl",
        tlv.CUE: "cue",
        tlv.TAGS: "tags",
        tlv.ADTL: "adtl",
        tlv.SOURCE_RATE: "source rate",
        tlv.DUAL_MONO: "dual mono",
        tlv.LEVELS: "channel levels",
    }


def test_checksums() -> None:
    check = [row[-1] for row in rows(section("4.10 Checksum"), 7)]
    assert bytes.fromhex(check[0]) == binascii.crc_hqx(b"123456789", 0xFFFF).to_bytes(2, "big")
    assert bytes.fromhex(check[1]) == zlib.crc32(b"123456789").to_bytes(4, "big")


def test_weights_tag() -> None:
    example = re.search(r"```\n([0-9a-f \n]+)```", section("4.5 Weights tag")).group(1)
    canonical = bytes.fromhex(example)
    assert len(canonical) == 35
    tensors = {"dit.a": np.array(0.5, np.float16), "dit.b": np.array([1, 2], np.int8)}
    assert weights_digest(tensors) == hashlib.sha256(canonical).digest()
    said = re.search(r"starts with `([0-9a-f ]+)`, so the tag is `([0-9a-f ]+)`", TEXT).groups()
    for start in map(bytes.fromhex, said):
        assert weights_digest(tensors).startswith(start)


def test_noise() -> None:
    table = list(rows(section("7 Decoder noise"), 7))
    assert len(table) == 9 + 5
    for row, (seed, frame, channel, w0, w1, value, bits) in enumerate(table):
        field, drawn = (0, latent_noise) if row < 9 else (2, variation_noise)
        index = int(frame) * 128 + int(channel)
        before = (index - 1) % (1 << 256)
        words = np.array([before >> 64 * word & (1 << 64) - 1 for word in range(4)], np.uint64)
        key = np.array([int(seed), field], np.uint64)
        raw = np.random.Philox(key=key, counter=words).random_raw(2)
        assert [f"{int(word):016x}" for word in raw] == [w0, w1]
        expected = np.uint32(int(bits, 16)).view(np.float32)
        assert f"{expected:.9g}" == value
        noise = drawn(int(seed), int(frame), 1, 128)[0, int(channel)]
        np.testing.assert_array_max_ulp(noise, expected, maxulp=1)


def test_phases() -> None:
    table = list(rows(section("7 Decoder noise"), 6))
    assert len(table) >= 5
    for seed, frame, j, word, value, bits in table:
        phase = phase_noise(int(seed), int(frame), 1, 512)[0, int(j)]
        assert int(phase.view(np.uint32)) == int(bits, 16)
        assert float(value) == pytest.approx(float(phase), rel=1e-7)
        assert phase == ((int(word, 16) >> 41) + 0.5) * 2.0**-23


def test_limits() -> None:
    limits = {row[0]: row[1:] for row in rows(section("8 Limits"), 3)}
    assert limits == {
        "source rate, Hz": [f"{MIN_RATE:,}".replace(",", " "), f"{MAX_RATE:,}".replace(",", " ")],
        "samples in a channel": ["1", f"{MAX_SECONDS:,} × source rate".replace(",", " ")],
        "extension block, bytes": ["1", f"{tlv.MAX_BLOCK_BYTES:,}".replace(",", " ")],
        "clips in a bundle": ["0", f"{bundle_index.MAX_CLIPS:,}".replace(",", " ")],
        "index of a bundle, bytes": ["1", f"{bundle_index.MAX_INDEX_BYTES:,}".replace(",", " ")],
        "name in a bundle, bytes": ["1", f"{bundle_index.MAX_NAME_BYTES:,}".replace(",", " ")],
        "all names in a bundle, bytes": [
            "0",
            f"{bundle_index.MAX_ALL_NAMES_BYTES:,}".replace(",", " "),
        ],
    }


def test_windows_of_the_decoder() -> None:
    table = list(rows(section("7.1 From codes to a sound").replace("\n   |", "\n|"), 3))
    assert len(table) == len(FAMILIES)
    for row in table:
        pool, window, shared = map(int, row)
        for patch in (1, 2, 4):
            assert Plan.of(pool, patch) == Plan(pool, window, shared)


@pytest.mark.parametrize("family", FAMILIES)
def test_where_windows_and_stretches_begin(family: Family) -> None:
    plan = Plan.of(family.pool)
    w, v = plan.window, plan.context
    for frames in (1, w):
        assert plan.decoder_windows(frames) == [(0, frames)]
    for frames in (w + 1, 2 * w - v, 2 * w - v + 1, 10 * w):
        begins = [*range(0, frames - w, w - v), frames - w]
        assert plan.decoder_windows(frames) == [(begin, begin + w) for begin in begins]
    span = 48 * (w - v) + v
    assert plan.stretches(span) == [(0, span)]
    assert plan.stretches(span + 1) == [(0, span), (span - 3 * v, span + 1)]
    second = 2 * span - 3 * v
    assert plan.stretches(second + 1)[1:] == [(span - 3 * v, second), (second - 3 * v, second + 1)]


def test_weights_of_windows() -> None:
    """Of five at the second rate; the last two share more than the others do."""
    windows, pool = Plan.of(9).decoder_windows(200), 9
    rows = np.zeros((len(windows), 200 * pool))
    for number, (begin, stop) in enumerate(windows):
        for frame in range(begin * pool, stop * pool):
            weight = 1.0
            if number:
                shared = (windows[number - 1][1] - begin) * pool
                weight = min(weight, (frame - begin * pool + 0.5) / shared)
            if number + 1 < len(windows):
                shared = (stop - windows[number + 1][0]) * pool
                weight = min(weight, (stop * pool - 1 - frame + 0.5) / shared)
            rows[number, frame] = weight
    rows /= rows.sum(0)
    weights = window_weights(windows, pool, 200 * pool)
    for row, (begin, stop), came in zip(rows, windows, weights, strict=True):
        np.testing.assert_allclose(came, row[begin * pool : stop * pool], atol=1e-6)


def test_raised_peaks() -> None:
    """Section 7.1 in single steps, at a rate whose hundredth is no whole number."""
    rate, rng = 8_060, np.random.default_rng(0)
    sound = 0.01 * rng.standard_normal(rate // 2)
    sound[1500:1700] *= np.linspace(20, 1, 200)
    sound = sound.astype(np.float32)
    missing = 20 * math.log10(0.5 / np.abs(sound).max())
    h = max(1, round(rate / 100))
    curve = 0.5 - 0.5 * np.cos(np.pi * np.arange(4 * h) / (2 * h))
    x = math.log(1 + rate / 1400)
    middles = {math.floor(700 * math.expm1(j * x / 64) * 4 * h / rate) for j in range(64)}
    edges = [*sorted(middles), 2 * h + 1]
    padded = np.concatenate((np.zeros(3 * h), sound, np.zeros(5 * h)))
    spectra = [
        np.fft.rfft(curve * padded[begin : begin + 4 * h])
        for begin in range(0, 3 * h + len(sound), h)
    ]
    levels = [
        [20 * math.log10(max(1e-9, np.abs(s[a:b]).sum())) for a, b in pairwise(edges)]
        for s in spectra
    ]
    most = min(1.2 * missing, 20)
    whole = np.zeros(len(padded) + 4 * h)
    for place, (spectrum, level) in enumerate(zip(spectra, levels, strict=True)):
        gains = [most * max(0, 1 - (np.max(levels) - one) / 35) for one in level]
        centres = [(a + b - 1) / 2 for a, b in pairwise(edges)]
        decibels = np.interp(np.arange(2 * h + 1), centres, gains)
        window = curve * np.fft.irfft(spectrum * 10 ** (decibels / 20), 4 * h) / 1.5
        whole[place * h : (place + 4) * h] += window
    expected = whole[3 * h : 3 * h + len(sound)]
    column = sound[:, None]
    came = np.concatenate(list(raised(lambda: [column], len(sound), rate, np.array([missing]))))
    np.testing.assert_allclose(came[:, 0], expected, atol=1e-6)
    assert 1.2 * np.abs(sound).max() < np.abs(expected).max()


def test_the_limiter() -> None:
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((4000, 1)).astype(np.float32)
    out = fit_level(sound, [0.6])[:, 0].astype(np.float64)
    assert 10 * math.log10((out**2).mean() / 0.36) == pytest.approx(0, abs=0.02)
    below = np.abs(out) < 0.8
    a = (out[below] / sound[below, 0])[np.abs(sound[below, 0]) > 0.1].mean()
    size = np.abs(a * sound[:, 0])
    expected = np.where(size > 0.8, 0.8 + 0.2 * np.tanh((size - 0.8) / 0.2), size)
    np.testing.assert_allclose(np.abs(out), expected, atol=1e-5)


def test_the_largest_file() -> None:
    header = stream.Header(
        profile=Profile(0, 32),
        weights_tag=b"ab",
        gain=1,
        source_rate=MAX_RATE,
        samples=MAX_SECONDS * MAX_RATE,
        channels=2,
        levels=(1, 1),
    )
    metadata = tlv.MAX_BLOCK_BYTES - len(tlv.pack(header.extension))
    said = section("8.1 What follows for programs")
    for value in (header.payload_bytes, header.payload_bits, spr.file_bytes(header, metadata)):
        assert f"{value:,}".replace(",", " ") in said.replace("\n  ", " ")


def test_how_many_wrong_bits_are_found() -> None:
    high, low = map(int, re.search(r"x\^(\d+) \+ x\^(\d+) \+ 1", TEXT).groups())
    # A multiple of the polynomial is what nothing notices; the first bit has the highest power.
    bits = high + 1
    data = bytearray(-(-bits // 8))
    for bit in (0, high - low, high):
        data[bit // 8] ^= 1 << bit % 8
    body, crc = data[:-4], data[-4:]
    assert zlib.crc32(body) ^ zlib.crc32(bytes(len(body))) == int.from_bytes(crc, "little")
    assert f"{(bits - 1) // 8:,}".replace(",", " ") + " bytes" in section("11 Security")


def test_errors() -> None:
    table = {row[0]: int(row[1]) for row in rows(section("9 Errors"), 3)}
    assert table == {
        "CorruptStream": errors.CorruptStream.exit_code,
        "UnsupportedStream": errors.UnsupportedStream.exit_code,
    }


@pytest.mark.parametrize("name", ["mono_96bps_48k.spr", "stereo_22k05.spr"])
def test_dumps(name: str) -> None:
    text = section("12 A file, byte by byte").split(f"`valid/{name}`")[1]
    dump = re.search(r"```\n(.*?)```", text, re.DOTALL).group(1)
    data = (VECTORS / "valid" / name).read_bytes()
    assert bytes.fromhex("".join(line[4:] for line in dump.splitlines())) == data
    position = 0
    for offset, cell, _ in rows(text.split("`valid/")[0], 3):
        begin, *end = (bytes.fromhex(piece) for piece in re.split(r"` ?\.\.\. ?`", cell))
        assert int(offset) == position
        assert data.startswith(begin, position)
        position += len(begin)
        if end:  # an abridged row goes up to the checksum
            position = len(data) - 2
            assert data[:position].endswith(end[0])
    assert position == len(data)


def test_every_vector_is_listed() -> None:
    manifest = json.loads((VECTORS / "manifest.json").read_text(encoding="utf-8"))
    listed = list(rows(section("14 Test vectors"), 3))
    expected = []
    for entry in manifest:
        size = f"{entry['bytes']:,}".replace(",", " ")
        second = entry["error"].removesuffix("Stream") if "error" in entry else size
        expected.append([entry["file"].split("/")[1], second, entry["why"]])
    assert listed == expected
