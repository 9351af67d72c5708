"""WAV headers of our own: every size is known beforehand, so a WAV can be written into a pipe.

libsndfile would have to seek back, and it stamps the time into float files; these bytes depend on
nothing but the sound. Beyond 4 GiB the header is that of RF64 (EBU Tech 3306).
"""

from __future__ import annotations

import struct

from spresso_cli.audio.metadata import chunk

_PCM, _FLOAT = 1, 3  # wFormatTag
_MAX_RIFF = (1 << 32) - 1  # what a 32-bit length can say
_DS64_BYTES = 8 + 28


def header(
    *,
    rate: int,
    channels: int,
    samples: int,
    sample_bytes: int,
    floating: bool,
    before: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """Returns everything before the samples.

    Args:
        samples: in each channel.
        sample_bytes: of one sample of one channel.
        before: further chunks that stand before the sound.
        behind: those that whoever writes the samples writes behind them and their padding.
    """
    frame = channels * sample_bytes
    size = samples * frame
    tag = _FLOAT if floating else _PCM
    described = struct.pack(
        "<HHIIHH", tag, channels, rate, _in_32_bits(rate * frame), frame, 8 * sample_bytes
    )
    if floating:  # EBU and Microsoft ask for both in files that are not PCM
        described += struct.pack("<H", 0)
    body = chunk(b"fmt ", described)
    if floating:
        body += chunk(b"fact", struct.pack("<I", _in_32_bits(samples)))
    body += before

    riff_size = 4 + len(body) + 8 + size + size % 2 + len(behind)
    if riff_size <= _MAX_RIFF:
        start = struct.pack("<4sI4s", b"RIFF", riff_size, b"WAVE")
        return start + body + struct.pack("<4sI", b"data", size)
    start = struct.pack("<4sI4s", b"RF64", _MAX_RIFF, b"WAVE")
    ds64 = chunk(b"ds64", struct.pack("<QQQI", riff_size + _DS64_BYTES, size, samples, 0))
    return start + ds64 + body + struct.pack("<4sI", b"data", _MAX_RIFF)


def _in_32_bits(value: int) -> int:
    return min(value, _MAX_RIFF)
