"""An hour of sound takes no more memory than a minute: measured in processes of their own."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Reads a sound twice, as an encoder does, and writes it at another rate, as a decoder does.
PROGRAM = """
import os, resource, sys
from spresso_cli.audio.files import open_audio
from spresso_cli.audio.level import Leveller, measure
from spresso_cli.audio.resample import resample_blocks, resampled_length
from spresso_cli.audio.sink import AudioFormat, AudioSink
from spresso_cli.audio.spool import Spool

with open_audio(sys.argv[1]) as source, open(os.devnull, "wb") as file:
    level = measure(source.blocks())
    spool, leveller = Spool(48_000, 1, 1 << 20), Leveller(1)
    for block in resample_blocks(source.blocks(), source.rate, 48_000, 1):
        leveller.add(block)
        spool.append(block)
    assert spool.samples == resampled_length(level.samples, source.rate, 48_000)
    fit = leveller.fit([0.1])
    with AudioSink(file, AudioFormat(), rate=48_000, channels=1, samples=spool.samples) as sink:
        for block in spool.blocks():
            sink.write(fit.apply(block))
    spool.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_memory(path: Path, seconds: int) -> int:
    """Kilobytes that the program needs for a silent 16-bit mono file at 44.1 kHz."""
    size = 2 * 44_100 * seconds
    fmt = struct.pack("<HHIIHH", 1, 1, 44_100, 88_200, 2, 16)
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16))
        file.write(fmt + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)  # a hole: it takes no disk
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(result.stdout)


@pytest.mark.slow
def test_an_hour_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="what a process takes is told by POSIX")
    minute = peak_memory(tmp_path / "minute.wav", 60)
    hour = peak_memory(tmp_path / "hour.wav", 3600)
    assert hour <= 1.1 * minute
