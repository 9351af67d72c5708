"""A second writer of the two formats, made from the text of format_spec.md alone.

It is naive and slow on purpose: bit strings, long division, and not one import from the codec. If
it and the codec disagree, one of them has misread the specification.
"""

from __future__ import annotations

import hashlib

FAMILIES = [(25, 4, 10), (11, 9, 10), (5, 20, 12), (1, 100, 12)]  # Hz, latent frames, bits
RATES = {48000: 0, 44100: 1, 96000: 2}


def leb(value: int) -> bytes:
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127)
    return bytes([group | 128 for group in groups[:-1]] + [groups[-1]])


def crc16(data: bytes) -> bytes:
    remainder = 0xFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            top = remainder >> 15 ^ byte >> bit & 1
            remainder = remainder << 1 & 0xFFFF
            if top:
                remainder ^= 0x1021
    return remainder.to_bytes(2, "big")


def crc32(data: bytes) -> bytes:
    remainder = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            low = remainder & 1 ^ byte >> bit & 1
            remainder >>= 1
            if low:
                remainder ^= 0xEDB88320
    return (remainder ^ 0xFFFFFFFF).to_bytes(4, "big")


def sealed(body: bytes) -> bytes:
    return body + (crc16(body) if len(body) <= 4093 else crc32(body))


def ceil(a: int, b: int) -> int:
    return a // b + (a % b > 0)


def frames_of(profile: int, samples: int, rate: int) -> int:
    n48 = ceil(samples * 48000, rate)
    return max(1, ceil(ceil(n48, 480), FAMILIES[profile // 32][1]))


def some_codes(channels: int, frames: int, books: int, bits: int, seed: int) -> list:
    state, out = seed, []
    for _ in range(channels):
        out.append([])
        for _ in range(frames):
            out[-1].append([])
            for _ in range(books):
                state = (1664525 * state + 1013904223) % 2**32
                out[-1][-1].append(state >> 32 - bits)
    return out


def packed(codes: list, bits: int) -> bytes:
    text = "".join(
        format(code, f"0{bits}b") for channel in codes for frame in channel for code in frame
    )
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def records(tlvs: list) -> bytes:
    return b"".join(bytes([kind]) + leb(len(value)) + value for kind, value in tlvs)


class Sound:
    """One `.spr` file in parts. Faulty vectors replace parts and seal the result again."""

    def __init__(
        self,
        profile: int,
        rate: int,
        samples: int,
        channels: int = 1,
        gain: int = 193,
        tag: bytes = b"\xab\xcd",
        dual_mono: bool = False,
        levels: tuple | None = None,
        metadata: tuple = (),
        seed: int = 1,
        codes: list | None = None,
    ):
        self.books, self.bits = profile % 32 + 1, FAMILIES[profile // 32][2]
        self.coded = 1 if dual_mono else channels
        self.frames = frames_of(profile, samples, rate) if gain else 0
        self.codes = codes or some_codes(self.coded, self.frames, self.books, self.bits, seed)
        self.metadata = list(metadata)
        self.levels, self.dual_mono = levels, dual_mono
        self.profile_id, self.rate_hz, self.n, self.channels = profile, rate, samples, channels
        self.gain_byte, self.tag_bytes = gain, tag

        self.required = []
        if rate not in RATES:
            self.required.append((0x81, leb(rate)))
        if dual_mono:
            self.required.append((0x82, b""))
        if levels:
            self.required.append((0x83, bytes(levels)))
        self.block = records(self.metadata + self.required)

        # The parts in the order of the file.
        self.magic = b"\xf5SP"
        self.version = 1
        self.flags = (channels == 2) + 2 * bool(self.block) + 4 * RATES.get(rate, 3)
        self.profile = leb(profile)
        self.tag = tag
        self.gain = bytes([gain])
        self.samples = leb(samples)
        self.extension = leb(len(self.block)) + self.block if self.block else b""
        self.payload = packed(self.codes, self.bits)

    def but(self, **parts) -> bytes:
        """The file with some parts replaced and a checksum that is right all the same."""
        p = {**vars(self), **parts}
        head = p["magic"] + bytes([p["version"] << 4 | p["flags"]])
        return sealed(
            head
            + p["profile"]
            + p["tag"]
            + p["gain"]
            + p["samples"]
            + p["extension"]
            + p["payload"]
        )

    def with_block(self, block: bytes, flags: int | None = None) -> bytes:
        """The file with another extension block, and with other flags if need be."""
        flags = self.flags | 2 if flags is None else flags
        return self.but(flags=flags, extension=leb(len(block)) + block)

    @property
    def file(self) -> bytes:
        return self.but()

    def expected(self) -> dict:
        bits = self.coded * self.frames * self.books * self.bits
        flat = [code for channel in self.codes for frame in channel for code in frame]
        fields = {
            "profile": self.profile_id,
            "weights_tag": self.tag_bytes.hex(),
            "gain": self.gain_byte,
            "source_rate": self.rate_hz,
            "samples": self.n,
            "channels": self.channels,
            "dual_mono": self.dual_mono,
            "levels": list(self.levels) if self.levels else None,
            "metadata": [[kind, value.hex()] for kind, value in self.metadata],
            "coded_channels": self.coded,
            "frames": self.frames,
            "codebooks": self.books,
            "payload_bits": bits,
            "codes_sha256": hashlib.sha256(
                b"".join(code.to_bytes(2, "little") for code in flat)
            ).hexdigest(),
        }
        if len(flat) <= 100:
            fields["codes"] = self.codes
        return fields


def bundle(clips: dict, **parts) -> bytes:
    """A bundle of `{name: Sound}`; `parts` may replace `index`, `version`, `flags` or `bodies`."""
    groups = {}
    for name, sound in clips.items():
        flags = (sound.channels == 2) + 2 * bool(sound.metadata)
        flags += 4 * RATES.get(sound.rate_hz, 3) + 16 * sound.dual_mono
        header = bytes([flags]) + leb(sound.profile_id) + sound.tag_bytes
        if sound.rate_hz not in RATES:
            header += leb(sound.rate_hz)
        groups.setdefault(header, []).append((name.encode(), sound))
    index, bodies = leb(len(groups)), b""
    for header in sorted(groups):
        index += header + leb(len(groups[header]))
        before = b""
        for name, sound in sorted(groups[header], key=lambda clip: clip[0]):
            shared = max(i for i in range(len(name) + 1) if before[:i] == name[:i])
            index += bundle_entry(shared, name[shared:], sound)
            crc = sound.file[-2:] if len(sound.file) <= 4095 else sound.file[-4:]
            bodies += records(sound.metadata) + sound.payload + crc
            before = name
    return bundle_around(index, bodies, **parts)


def bundle_entry(shared: int, rest: bytes, sound: Sound) -> bytes:
    entry = leb(shared) + leb(len(rest)) + rest + bytes([sound.gain_byte]) + leb(sound.n)
    entry += bytes(sound.levels or ())
    return entry + leb(len(records(sound.metadata))) if sound.metadata else entry


def bundle_around(index: bytes, bodies: bytes, version: int = 1, flags: int = 0) -> bytes:
    head = b"\xf5SB" + bytes([version << 4 | flags]) + leb(len(index)) + index
    return head + crc32(head) + bodies
