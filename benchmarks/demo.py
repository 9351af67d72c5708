"""Three real sounds through the codec and back: what `make demo` runs (extra: plot).

    python benchmarks/demo.py [--kbps 0.096] [--steps N] [--sounds DIR] [--output DIR]

Writes the `.spr` files, two takes of each sound and demo.png (spectrograms of inputs and takes) to
the output folder, and prints what every file weighs.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich import box
from rich.console import Console
from rich.table import Table

from spresso_cli import Codec
from spresso_cli.container import spr

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1)
WINDOW, HOP = 1024, 256
RANGE_DB = 80.0


@dataclass(frozen=True)
class Result:
    """One sound, its compressed bytes and its takes, with wall times in seconds."""

    source: Path
    sound: np.ndarray  # [n, channels] float32
    rate: int
    data: bytes
    takes: tuple[np.ndarray, ...]  # each [n, channels] float32
    compress_seconds: float
    decompress_seconds: float


def run(codec: Codec, source: Path, output: Path, kbps: float, steps: int | None) -> Result:
    """Compress one sound, decompress it with every seed and write all of it to `output`."""
    sound, rate = soundfile.read(source, dtype="float32", always_2d=True)
    start = time.perf_counter()
    data = codec.compress(sound, rate, kbps=kbps)
    compressed = time.perf_counter()
    takes = [codec.decompress(data, seed=seed, steps=steps)[0] for seed in SEEDS]
    decompressed = time.perf_counter()

    (output / f"{source.stem}.spr").write_bytes(data)
    for seed, take in zip(SEEDS, takes, strict=True):
        soundfile.write(output / f"{source.stem}.seed{seed}.wav", take, rate, subtype="PCM_16")
    return Result(
        source,
        sound,
        rate,
        data,
        tuple(takes),
        compress_seconds=compressed - start,
        decompress_seconds=(decompressed - compressed) / len(SEEDS),
    )


def warm_up(codec: Codec, kbps: float) -> None:
    """Make the codec load its networks, so that no sound's time includes it."""
    noise = np.random.default_rng(0).standard_normal(4800) / 10
    codec.decompress(codec.compress(noise, 48_000, kbps=kbps), steps=1)


def table(results: list[Result]) -> Table:
    """One row per sound; times are those of the warm codec."""
    rows = Table(title="Three real sounds through spresso", box=box.SIMPLE, padding=(0, 1, 0, 0))
    rows.add_column("sound", no_wrap=True)
    for heading in (
        "length\ns",
        "input\nbytes",
        ".spr\nbytes",
        "payload\nkbps",
        "file\nkbps",
        "ratio",
        "encode\ns",
        "decode\ns",
    ):
        rows.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        stream = spr.read(result.data)
        source_bytes = result.source.stat().st_size
        rows.add_row(
            result.source.stem,
            f"{stream.seconds:.2f}",
            f"{source_bytes:,}",
            f"{len(result.data):,}",
            f"{stream.payload_kbps:.3f}",
            f"{stream.file_kbps(len(result.data)):.3f}",
            f"{source_bytes / len(result.data):,.0f}x",
            f"{result.compress_seconds:.2f}",
            f"{result.decompress_seconds:.2f}",
        )
    return rows


def level_db(sound: np.ndarray) -> np.ndarray:
    """[n, channels] -> dB of full scale of the channels' mean, [WINDOW // 2 + 1, frames]."""
    mono = np.pad(sound.mean(axis=1), (0, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[::HOP]  # [frames, WINDOW]
    taper = np.hanning(WINDOW)
    spectrum = np.abs(np.fft.rfft(frames * taper, axis=1)) / (taper.sum() / 2)
    return 20 * np.log10(spectrum.T + 1e-9)


def plot(results: list[Result], path: Path) -> None:
    """A grid of spectrograms, one row per sound: the input, then its takes, on one colour scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    levels = [[level_db(sound) for sound in (r.sound, *r.takes)] for r in results]
    top = max(level.max() for row in levels for level in row)
    titles = ["input", *(f"take, seed {seed}" for seed in SEEDS)]
    figure, axes = pyplot.subplots(
        len(results),
        len(titles),
        figsize=(4.4 * len(titles), 2.6 * len(results) + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for result, row, row_axes in zip(results, levels, axes, strict=True):
        weights = (f"{result.source.stat().st_size:,} B", *[f"{len(result.data):,} B"] * len(SEEDS))
        for level, title, weight, panel in zip(row, titles, weights, row_axes, strict=True):
            image = panel.imshow(
                level,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=top - RANGE_DB,
                vmax=top,
                extent=(0, len(result.sound) / result.rate, 0, result.rate / 2000),
            )
            panel.set_title(f"{result.source.stem}: {title} ({weight})", fontsize=9)
        row_axes[0].set_ylabel("kHz")
    for panel in axes[-1]:
        panel.set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB of full scale", shrink=0.8)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kbps", type=float, default=0.096, help="rate per channel")
    parser.add_argument("--steps", type=int, help="solver steps (default: the pack's)")
    parser.add_argument("--sounds", type=Path, default=ROOT / "examples" / "sounds")
    parser.add_argument("--output", type=Path, default=ROOT / "demo")
    options = parser.parse_args()

    sources = sorted(p for p in options.sounds.iterdir() if p.suffix in {".flac", ".ogg", ".wav"})
    options.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    codec = Codec.load()
    warm_up(codec, options.kbps)
    console = Console()
    console.print(f"pack {codec.pack.name} ready in {time.perf_counter() - start:.1f} s")
    results = [run(codec, path, options.output, options.kbps, options.steps) for path in sources]
    console.print(table(results))
    picture = options.output / "demo.png"
    plot(results, picture)
    console.print(f"takes and spectrograms: {options.output}/  {picture.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
