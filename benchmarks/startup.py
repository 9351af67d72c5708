"""Start-up time: spresso's instant commands beside `import typer, rich`, the floor of such tools.

    python benchmarks/startup.py [--runs N]

Every round runs each command once, so that a busy machine slows all of them alike; the table gives
medians and their ratio to the floor. Exit code 1 if a ratio is above the promised 3.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "tests" / "vectors" / "valid" / "mono_1320bps.spr"
PACK = ROOT / "tests" / "data" / "tiny_pack"  # so that models has something to list
PROMISE = 3.0


def commands() -> dict[str, list[str]]:
    """What is timed, by the name the table gives it; the first row is the floor."""
    spresso = [sys.executable, "-m", "spresso_cli"]
    return {
        'python -c "import typer, rich"': [sys.executable, "-c", "import typer, rich"],
        "spresso --help": [*spresso, "--help"],
        "spresso compress --help": [*spresso, "compress", "--help"],
        "spresso info FILE.spr": [*spresso, "info", str(CLIP)],
        "spresso info --json FILE.spr": [*spresso, "info", "--json", str(CLIP)],
        "spresso verify FILE.spr": [*spresso, "verify", str(CLIP)],
        "spresso models": [*spresso, "models"],
    }


def seconds(command: list[str]) -> float:
    """Wall time of one run, which must succeed."""
    environment = {**os.environ, "SPRESSO_PACK": str(PACK)}
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(timed: dict[str, list[str]], runs: int) -> dict[str, float]:
    """Median seconds of each command over `runs` interleaved rounds, after one unmeasured round."""
    for command in timed.values():
        seconds(command)
    samples: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(runs):
        for name, command in timed.items():
            samples[name].append(seconds(command))
    return {name: statistics.median(values) for name, values in samples.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="interleaved rounds (default 15)")
    medians = measure(commands(), parser.parse_args().runs)
    floor = next(iter(medians.values()))
    table = Table("command", "median ms", "ratio", title="Start-up time")
    for name, median in medians.items():
        table.add_row(name, f"{1000 * median:.0f}", f"{median / floor:.2f}")
    Console().print(table)
    return int(max(medians.values()) > PROMISE * floor)


if __name__ == "__main__":
    sys.exit(main())
