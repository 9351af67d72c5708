"""How fast and how large: cold and warm, by device, rate, steps and batch, beside a peer.

    python benchmarks/speed.py [--device cpu] [--rates 0.096 1.32] [--steps 4 16] [--batches 1 8]

Cold is a whole command in a fresh process, start-up and weights included; warm is the loaded codec.
The peer is Opus at 12 kbps through libsndfile, run right before each measurement, so that a busy
machine slows both: `x peer` is our time over the peer's for the same sounds. Sounds are synthetic
noise bursts; times are medians. Peak memory is the process's resident high-water mark (cold), its
rise above the loaded codec (warm, Linux), or what CUDA allocated.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import support

from spresso_cli.codec.codec import Codec
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.tables import Column, Table

PEER = """\
import io, sys, soundfile
x, rate = soundfile.read(sys.argv[1])
out = io.BytesIO()
soundfile.write(out, x, rate, format="OGG", subtype="OPUS")
out.seek(0)
soundfile.read(out)
"""
COLUMNS = (
    Column("what", "what"),
    Column("kbps", "kbps", 3),
    Column("steps", "steps"),
    Column("batch", "sounds"),
    Column("seconds", "seconds", 3),
    Column("speed", "x real time", 2),
    Column("ratio", "x peer", 1),
    Column("memory", "peak MB", 0),
)


def main() -> None:
    options = _arguments()
    info = find_pack(options.pack)
    rates = support.rates(options, info)
    rows = _cold(options, rates[0]) + _warm(options, rates)
    table = Table(COLUMNS, tuple(rows))
    head = f"{options.seconds:g} s sounds, device {options.device}, pack {info.name}"
    support.publish("speed", f"{head}, {options.runs} runs", table, options)


def _cold(options: argparse.Namespace, kbps: float) -> list[dict]:
    """One sound through a fresh process, for compress and decompress."""
    with tempfile.TemporaryDirectory() as folder:
        sound, coded, back = (Path(folder, name) for name in ("a.wav", "a.spr", "b.wav"))
        soundfile.write(sound, _sounds(1, options.seconds)["0"], CLIP_RATE)
        shared = ["-q", "-f", "--device", options.device]
        if options.pack:
            shared += ["--pack", options.pack]
        spresso = [sys.executable, "-m", "spresso_cli"]
        commands = {
            "compress": [*spresso, "compress", str(sound), "-b", str(kbps), "-o", str(coded)],
            "decompress": [*spresso, "decompress", str(coded), "-o", str(back)],
        }
        peer = [sys.executable, "-c", PEER, str(sound)]
        rows = []
        for name, command in commands.items():
            ours, theirs, memory = [], [], 0.0
            for _ in range(options.runs):
                theirs.append(support.run_process(peer)[0])
                seconds, peak = support.run_process([*command, *shared])
                ours.append(seconds)
                memory = max(memory, peak)
            row = {"what": f"cold {name}", "kbps": kbps, "batch": 1, "memory": memory}
            rows.append(row | _times(ours, theirs, options.seconds))
        return rows


def _warm(options: argparse.Namespace, rates: list[float]) -> list[dict]:
    """The loaded codec over rates, batches and steps."""
    info = find_pack(options.pack)
    codec = Codec.load(options.pack, options.device)
    rows = []
    for kbps in rates:
        profile = support.point(info, kbps)
        steps = options.steps or [info.families[profile.frame_rate].steps]
        for batch in options.batches:
            sounds = _sounds(batch, options.seconds)
            streams = support.compress(codec, sounds, profile)  # loads and warms up
            list(support.decompress(codec, streams, DecodeOptions(steps=1)))
            base = {"kbps": profile.kbps, "batch": batch}
            calls: list[tuple[dict, Callable[[], object]]] = [
                (
                    {"what": "compress", **base},
                    lambda s=sounds, p=profile: support.compress(codec, s, p),
                )
            ]
            for count in steps:
                decode = DecodeOptions(steps=count, sampler=options.sampler)
                calls.append(
                    (
                        {"what": "decompress", **base, "steps": count},
                        lambda s=streams, d=decode: list(support.decompress(codec, s, d)),
                    )
                )
            rows += [row | _measured(call, sounds, options) for row, call in calls]
    return rows


def _measured(
    call: Callable[[], object], sounds: dict[str, np.ndarray], options: argparse.Namespace
) -> dict:
    ours, theirs = [], []
    memory = _Memory(options.device)
    for _ in range(options.runs):
        theirs.append(_seconds(lambda: [_opus(sound) for sound in sounds.values()]))
        memory.reset()
        ours.append(_seconds(call))
        memory.read()
    return {"memory": memory.peak} | _times(ours, theirs, options.seconds * len(sounds))


class _Memory:
    """The peak in MB of what runs between `reset` and `read`; None where nothing tells."""

    def __init__(self, device: str) -> None:
        import torch

        self.peak: float | None = None
        self._cuda = torch.cuda if torch.cuda.is_available() and device != "cpu" else None
        self._status = Path("/proc/self/status")
        self._before = 0.0

    def reset(self) -> None:
        if self._cuda:
            self._cuda.reset_peak_memory_stats()
        elif self._status.exists():
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
            self._before = self._resident()

    def read(self) -> None:
        if self._cuda:
            value = self._cuda.max_memory_allocated() / 1e6
        elif self._status.exists():
            value = self._resident() - self._before
        else:
            return
        self.peak = max(self.peak or 0.0, value)

    def _resident(self) -> float:
        for line in self._status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
        return 0.0


def _opus(sound: np.ndarray) -> None:
    out = io.BytesIO()
    soundfile.write(out, sound, CLIP_RATE, format="OGG", subtype="OPUS")
    out.seek(0)
    soundfile.read(out)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _times(ours: list[float], theirs: list[float], audio_seconds: float) -> dict:
    seconds = statistics.median(ours)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "seconds": seconds,
        "speed": audio_seconds / seconds,
        "ratio": statistics.median(ratios),
    }


def _sounds(count: int, seconds: float) -> dict[str, np.ndarray]:
    """Noise bursts float32 [n] at 48 kHz, different for every number."""
    rng = np.random.default_rng(0)
    length = round(seconds * CLIP_RATE)
    fade = np.exp(-(np.arange(length) % 24_000) / 6000.0)
    return {
        str(i): (0.2 * fade * rng.standard_normal(length)).astype(np.float32) for i in range(count)
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--rates", type=float, nargs="*", help="kbps; default: the pack's points")
    parser.add_argument("--steps", type=int, nargs="*", help="default: the pack's")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8], help="sounds at once")
    parser.add_argument("--sampler", help="default: the pack's")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a sound")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pack", help="name or folder")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for speed.csv")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"speed: {error}")
