"""How fast and how large: cold and warm, by device, rate, steps and batch, beside a peer.

    python benchmarks/speed.py [--device cpu] [--rates 0.096 1.32] [--steps 4 16] [--batches 1 8]

Cold is a whole command in a fresh process, start-up and weights included; warm is the loaded codec.
The peer is Opus at 12 kbps through libsndfile, run right before each measurement, so that a busy
machine slows both: `x peer` is our time over the peer's for the same sounds and the same direction,
to a file's bytes or back. Sounds are synthetic noise bursts; times are medians. Peak memory is the
process's resident high-water mark (cold), or what CUDA allocated (warm).
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import support
import torch

from spresso_cli.codec.codec import Codec
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container.profile import Profile
from spresso_cli.errors import SpressoError
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.tables import Column, Table

LEVEL = 0.976  # libsndfile's compression level of Opus: 0 is 256 kbps a channel, 1 is 6
# One direction of the peer as a process of its own: from a file to a file.
PEER = f"""\
import sys, soundfile
x, rate = soundfile.read(sys.argv[1])
if sys.argv[2].endswith(".opus"):
    soundfile.write(sys.argv[2], x, rate, "OPUS", format="OGG", compression_level={LEVEL})
else:
    soundfile.write(sys.argv[2], x, rate)
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
    size = len(_opus(_sounds(1, options.seconds)["0"]))
    head += f", Opus has {size * 8 / options.seconds / 1000:.1f} kbps"
    support.publish("speed", f"{head}, {options.runs} runs", table, options)


def _cold(options: argparse.Namespace, kbps: float) -> list[dict]:
    """One sound through a fresh process, for compress and decompress."""
    with tempfile.TemporaryDirectory() as folder:
        sound, coded, back = (Path(folder, name) for name in ("a.wav", "a.spr", "b.wav"))
        opus, heard = Path(folder, "a.opus"), Path(folder, "c.wav")
        soundfile.write(sound, _sounds(1, options.seconds)["0"], CLIP_RATE)
        shared = ["-q", "-f", "--device", options.device]
        if options.pack:
            shared += ["--pack", options.pack]
        spresso = [sys.executable, "-m", "spresso_cli"]
        commands = {
            "compress": [*spresso, "compress", str(sound), "-b", str(kbps), "-o", str(coded)],
            "decompress": [*spresso, "decompress", str(coded), "-o", str(back)],
        }
        peer = [sys.executable, "-c", PEER]
        peers = {
            "compress": [*peer, str(sound), str(opus)],
            "decompress": [*peer, str(opus), str(heard)],
        }
        rows = []
        for name, command in commands.items():
            ours, theirs, memory = [], [], 0.0
            for _ in range(options.runs):
                theirs.append(support.run_process(peers[name])[0])
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
        for batch in options.batches:
            rows += _both_ways(codec, support.point(info, kbps), batch, options)
    return rows


def _both_ways(
    codec: Codec, profile: Profile, batch: int, options: argparse.Namespace
) -> Iterator[dict]:
    """Some sounds to streams, and these back with every number of steps."""
    sounds = _sounds(batch, options.seconds)
    streams = support.compress(codec, sounds, profile)  # loads and warms up
    list(support.decompress(codec, streams, DecodeOptions(steps=1)))
    opus = [_opus(sound) for sound in sounds.values()]
    row = {"what": "compress", "kbps": profile.kbps, "batch": batch}
    yield row | _measured(
        lambda: support.compress(codec, sounds, profile),
        lambda: [_opus(sound) for sound in sounds.values()],
        options.seconds * batch,
        options,
    )
    for count in options.steps or [codec.pack.families[profile.frame_rate].steps]:
        decode = DecodeOptions(steps=count, sampler=options.sampler)
        yield (
            row
            | {"what": "decompress", "steps": count}
            | _measured(
                lambda decode=decode: list(support.decompress(codec, streams, decode)),
                lambda: [_heard(data) for data in opus],
                options.seconds * batch,
                options,
            )
        )


def _measured(
    call: Callable[[], object],
    peer: Callable[[], object],
    audio_seconds: float,
    options: argparse.Namespace,
) -> dict:
    ours, theirs, memory = [], [], None
    for _ in range(options.runs):
        theirs.append(_seconds(peer))
        ours.append(_seconds(call))
    if torch.cuda.is_available() and options.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        call()
        memory = torch.cuda.max_memory_allocated() / 1e6
    return {"memory": memory} | _times(ours, theirs, audio_seconds)


def _opus(sound: np.ndarray) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, sound, CLIP_RATE, "OPUS", format="OGG", compression_level=LEVEL)
    return out.getvalue()


def _heard(opus: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(opus), dtype="float32")[0]


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
