"""Frame-rate families, profile ids and the integer frame arithmetic (format_spec.md, 5 and 6).

A profile says how many codes a second of sound has and how many bits each takes. It needs no pack:
`info` and `verify` work from the id alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spresso_cli.errors import UnsupportedStream, UsageError

CODEC_RATE = 48_000  # Hz, the rate at which the networks work
LATENT_HOP = 480  # samples at CODEC_RATE in one latent frame: 100 latent frames a second
MAX_CODEBOOKS = 32
MOST_FITTING = 2  # code frames that a sound may take at a better operating point than asked for
RESERVED_ID = 128  # this id and all above belong to codecs that version 1 does not define

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz, of the source
MAX_SECONDS = 24 * 3600  # of one file


@dataclass(frozen=True)
class Family:
    """The profiles that share one frame rate."""

    index: int  # 0..3
    frame_rate: int  # Hz, nominal: what the paper prints and what names the family
    pool: int  # latent frames in one code frame; the exact frame rate is 100 / pool Hz
    bits: int  # of one code: log2 K


FAMILIES = (
    Family(index=0, frame_rate=25, pool=4, bits=10),
    Family(index=1, frame_rate=11, pool=9, bits=10),
    Family(index=2, frame_rate=5, pool=20, bits=12),
    Family(index=3, frame_rate=1, pool=100, bits=12),
)


@dataclass(frozen=True, order=True)
class Profile:
    """A frame-rate family with a number of codebooks, M = 1..32.

    Raises:
        ValueError: there is no such family or no such number of codebooks.
    """

    family: int  # index into FAMILIES
    codebooks: int  # M, codes in one code frame

    def __post_init__(self) -> None:
        if not 0 <= self.family < len(FAMILIES):
            raise ValueError(f"family {self.family} is not one of 0..{len(FAMILIES) - 1}")
        if not 1 <= self.codebooks <= MAX_CODEBOOKS:
            raise ValueError(f"{self.codebooks} codebooks is not in 1..{MAX_CODEBOOKS}")

    @classmethod
    def from_id(cls, profile_id: int) -> Profile:
        """Returns the profile of an id read from a file.

        Raises:
            UnsupportedStream: the id is reserved for a later codec.
        """
        if not 0 <= profile_id < RESERVED_ID:
            raise UnsupportedStream(
                f"profile {profile_id} belongs to a codec this version does not know "
                f"(it knows 0..{RESERVED_ID - 1}): install a newer spresso"
            )
        return cls(profile_id // MAX_CODEBOOKS, profile_id % MAX_CODEBOOKS + 1)

    @classmethod
    def of(cls, frame_rate: int, codebooks: int) -> Profile:
        """Returns the profile of a nominal frame rate (25, 11, 5 or 1 Hz) and M codebooks.

        Raises:
            UsageError: there is no such frame rate or no such number of codebooks.
        """
        for family in FAMILIES:
            if family.frame_rate == frame_rate:
                if not 1 <= codebooks <= MAX_CODEBOOKS:
                    raise UsageError(f"{codebooks} codebooks: choose 1 to {MAX_CODEBOOKS}")
                return cls(family.index, codebooks)
        known = ", ".join(str(family.frame_rate) for family in FAMILIES)
        raise UsageError(f"no profile has {frame_rate} frames a second: choose one of {known}")

    @property
    def id(self) -> int:
        return self.family * MAX_CODEBOOKS + self.codebooks - 1

    @property
    def frame_rate(self) -> int:
        """Nominal code frames a second."""
        return FAMILIES[self.family].frame_rate

    @property
    def pool(self) -> int:
        """Latent frames (10 ms each) in one code frame."""
        return FAMILIES[self.family].pool

    @property
    def bits(self) -> int:
        """Bits of one code."""
        return FAMILIES[self.family].bits

    @property
    def nominal_bps(self) -> int:
        """Bits a second of one channel, as the paper prints them."""
        return self.codebooks * self.bits * self.frame_rate

    @property
    def kbps(self) -> float:
        """`nominal_bps` / 1000."""
        return self.nominal_bps / 1000

    def code_bits(self, samples: int, rate: int) -> int:
        """Returns the bits of one channel's codes for `samples` samples at `rate` Hz."""
        return code_frames(samples, rate, self.pool) * self.codebooks * self.bits


def latent_frames(samples: int, rate: int) -> int:
    """Returns T, the latent frames (100 Hz) of `samples` samples at `rate` Hz; exact integers."""
    at_codec_rate = -(-samples * CODEC_RATE // rate)  # n48
    return -(-at_codec_rate // LATENT_HOP)


def code_frames(samples: int, rate: int, pool: int) -> int:
    """Returns the code frames of one channel of `samples` samples at `rate` Hz; at least one."""
    return max(1, -(-latent_frames(samples, rate) // pool))


def best_fit(profile: Profile, better: Iterable[Profile], samples: int, rate: int) -> Profile:
    """Returns the first of `better` that holds a whole sound of this length in at most two code
    frames and takes no more bits for it than `profile`; `profile` if there is none.

    A sound takes the bits of whole code frames. If it does not fill a frame, shorter frames may
    hold it with the same bits. More than two would leave too few codebooks for each, which gains
    nothing (benchmarks/TRAINING_LOG.md, where sounds end).
    """
    most = profile.code_bits(samples, rate)
    for candidate in better:
        held = code_frames(samples, rate, candidate.pool) <= MOST_FITTING
        if held and candidate.code_bits(samples, rate) <= most:
            return candidate
    return profile
