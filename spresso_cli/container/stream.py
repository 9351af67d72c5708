"""The content of a `.spr` file as frozen values: the Header, and the Stream that adds the payload.

Every rule of format_spec.md, section 4, that ties fields together is checked here and only here,
whether the values come from an encoder or from a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from spresso_cli.container import leb128, tlv
from spresso_cli.container.profile import (
    MAX_RATE,
    MAX_SECONDS,
    MIN_RATE,
    Profile,
    code_frames,
)

if TYPE_CHECKING:
    import numpy as np

FLAGGED_RATES = (48_000, 44_100, 96_000)  # Hz; the rates that two header bits can name

# RMS dBFS = (byte - ZERO_DB) / STEPS_PER_DB for gain bytes 1..255; byte 0 is digital silence.
ZERO_DB = 241
STEPS_PER_DB = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """Everything in a stream except its codes.

    Raises:
        ValueError: the fields break a rule of the format; the text says which.
    """

    profile: Profile
    weights_tag: bytes  # 2 bytes
    gain: int  # 0 digital silence (no payload); else RMS dBFS = (gain - 241) / 2
    source_rate: int  # Hz
    samples: int  # in each channel, at source_rate
    channels: int  # 1 or 2
    dual_mono: bool = False  # two identical channels, coded once
    levels: tuple[int, int] | None = None  # gain bytes of left and right; true stereo only
    metadata: tuple[tuple[int, bytes], ...] = ()  # ignorable extension records, types ascending

    def __post_init__(self) -> None:
        for fault in self._faults():
            raise ValueError(fault)

    def _faults(self) -> Iterator[str]:
        """Yields the rules that are broken, in the order of the fields."""
        if len(self.weights_tag) != 2:
            yield "the weights tag is not two bytes"
        if not 0 <= self.gain <= 255:
            yield f"gain {self.gain} is not in 0..255"
        if not MIN_RATE <= self.source_rate <= MAX_RATE:
            yield f"source rate {self.source_rate} Hz is not in {MIN_RATE}..{MAX_RATE} Hz"
        if self.samples < 1:
            yield "there are no samples"
        if self.samples > MAX_SECONDS * self.source_rate:
            yield f"{self.samples} samples at {self.source_rate} Hz are more than 24 hours"
        if self.channels not in (1, 2):
            yield f"{self.channels} channels: 1 or 2 are possible"
        if self.dual_mono and (self.channels != 2 or self.silent):
            yield "dual mono is for two channels that are not silent"
        if (self.levels is not None) != (self.coded_channels == 2 and not self.silent):
            yield "channel levels belong to two differing channels and to nothing else"
        if self.levels is not None and not (
            len(self.levels) == 2 and all(0 <= level <= 255 for level in self.levels)
        ):
            yield f"channel levels {self.levels} are not two of 0..255"
        if self.levels == (0, 0):
            yield "both channels are silent and the file is not"
        kinds = [kind for kind, _ in self.metadata]
        if kinds != sorted(set(kinds)) or any(not 0 <= kind < 0x80 for kind in kinds):
            yield "metadata types must ascend and lie in 0..127"
        if len(tlv.pack(self.extension)) > tlv.MAX_BLOCK_BYTES:
            yield f"metadata is larger than {tlv.MAX_BLOCK_BYTES} bytes"

    @property
    def extension(self) -> tuple[tuple[int, bytes], ...]:
        """The records of the extension block, types ascending; empty for most files."""
        records = list(self.metadata)
        if self.source_rate not in FLAGGED_RATES:
            records.append((tlv.SOURCE_RATE, leb128.encode(self.source_rate)))
        if self.dual_mono:
            records.append((tlv.DUAL_MONO, b""))
        if self.levels is not None:
            records.append((tlv.LEVELS, bytes(self.levels)))
        return tuple(records)

    @property
    def silent(self) -> bool:
        """Digital silence: there is no payload, and the decoder writes zeros."""
        return self.gain == 0

    @property
    def coded_channels(self) -> int:
        """Channels with codes of their own: 1 for mono and dual mono, 2 for true stereo."""
        return 1 if self.dual_mono else self.channels

    @property
    def frames(self) -> int:
        """Code frames in each coded channel; 0 for silence, which has none."""
        if self.silent:
            return 0
        return code_frames(self.samples, self.source_rate, self.profile.pool)

    @property
    def payload_bits(self) -> int:
        return self.coded_channels * self.frames * self.profile.codebooks * self.profile.bits

    @property
    def payload_bytes(self) -> int:
        return -(-self.payload_bits // 8)

    @property
    def seconds(self) -> float:
        return self.samples / self.source_rate

    @property
    def payload_kbps(self) -> float:
        """Kilobits of codes per second, over all channels, as quoted in the literature."""
        return self.payload_bits / self.seconds / 1000

    def file_kbps(self, file_bytes: int) -> float:
        """Kilobits per second of the whole file, including header and checksum."""
        return file_bytes * 8 / self.seconds / 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream(Header):
    """One coded sound: a header and its payload, the packed codes.

    Raises:
        ValueError: as Header, or the payload has the wrong length or a set padding bit.
    """

    payload: bytes

    def __post_init__(self) -> None:
        # Named in full: zero-argument super() does not survive the class that slots=True makes.
        Header.__post_init__(self)
        if len(self.payload) != self.payload_bytes:
            raise ValueError(
                f"the payload has {len(self.payload)} bytes, the header calls for "
                f"{self.payload_bytes}"
            )
        padding = 8 * self.payload_bytes - self.payload_bits
        if padding and self.payload[-1] & ((1 << padding) - 1):
            raise ValueError("a padding bit after the last code is set")

    @classmethod
    def of(cls, header: Header, payload: bytes) -> Self:
        """Joins a header and its payload."""
        return cls(
            **{field.name: getattr(header, field.name) for field in fields(Header)},
            payload=payload,
        )

    @classmethod
    def from_codes(cls, header: Header, codes: np.ndarray) -> Self:
        """Packs the codes of a sound that is not silent.

        Args:
            codes: integers [coded_channels, frames, M], each below 2^bits of the profile.

        Raises:
            ValueError: as Stream, or the codes have another shape or range.
        """
        from spresso_cli.container.bits import pack_codes  # numpy, which `info` does without

        expected = (header.coded_channels, header.frames, header.profile.codebooks)
        if tuple(codes.shape) != expected:
            raise ValueError(f"codes of shape {tuple(codes.shape)}, expected {expected}")
        return cls.of(header, pack_codes(codes, header.profile.bits))

    def codes(self) -> np.ndarray:
        """Unpacks the payload: uint16 [coded_channels, frames, M]; frames is 0 for silence."""
        from spresso_cli.container.bits import unpack_codes  # numpy, which `info` does without

        shape = (self.coded_channels, self.frames, self.profile.codebooks)
        count = shape[0] * shape[1] * shape[2]
        return unpack_codes(self.payload, count, self.profile.bits).reshape(shape)
