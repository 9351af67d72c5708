"""Whole libraries as a user runs them: every command is a process of its own, on real files.

    python benchmarks/library.py --clips DIR [--parts batch resume long shards bundle fuzz]

batch    many files in one call, every one accounted for by the report and on disk; the same few
         files in one call and in a shell loop of single calls, start-up included in both
resume   kill -9 in the middle of a call, then --resume, beside an unbroken run
long     memory and seams of one long file (long_sound.py)
shards   four processes with --shard, beside an unbroken run
bundle   the bytes of a bundle of the batch's files, beside loose files and tar
fuzz     fuzz_container.py: damaged files to the readers

Processes run with one thread each (--threads), because results are promised byte by byte for equal
thread counts only. The CSV keeps the rows of parts that are not run.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import long_sound
import support

from spresso_cli.container import spr
from spresso_cli.container.bundle_index import Group
from spresso_cli.evaluation.clips import sounds_in
from spresso_cli.evaluation.tables import Column, Table
from spresso_cli.library import report

BLOCK = 4096  # bytes that a loose file is rounded up to on most disks
SHARDS = 4
COLUMNS = (
    Column("part", "part"),
    Column("what", "what"),
    Column("value", "value", 2),
    Column("unit", "unit"),
    Column("aim", "aim"),
    Column("pack", "pack"),
)
Row = dict[str, str | int | float | None]


class Place:
    """A temporary folder with copies of the clips, and the commands that are run in it."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.seconds = 0.0  # of the call that made `coded`

    def clips(self, count: int) -> Path:
        """A folder of `count` clips, evenly spaced by name, with their tree."""
        target = self.folder / f"in{count}"
        if not target.exists():
            source = self.options.clips
            stems = {path.with_suffix(""): path for path in sounds_in(source)}
            paths = list(stems.values())
            if len(paths) > count:
                paths = [paths[i * len(paths) // count] for i in range(count)]
            for path in paths:
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        return target

    def command(self, *arguments: object) -> list[str]:
        return [
            sys.executable,
            "-m",
            "spresso_cli",
            str(arguments[0]),
            "-q",
            *map(str, arguments[1:]),
        ]

    def run(self, *arguments: object) -> tuple[float, float]:
        """Wall seconds and peak MB of a spresso command that must succeed."""
        return support.run_process(self.command(*arguments))

    def compress(self, source: Path, target: Path, *more: object) -> float:
        return self.run("compress", source, "-r", "--output-dir", target, *more)[0]

    def decompress(self, source: Path, target: Path, *more: object) -> float:
        steps = ("--steps", self.options.steps)
        return self.run("decompress", source, "-r", "--output-dir", target, *steps, *more)[0]

    @cached_property
    def coded(self) -> Path:
        """The clips of the batch, compressed in one call, with `coded.jsonl` beside them."""
        target = self.folder / "coded"
        clips = self.clips(self.options.files)
        self.seconds = self.compress(clips, target, "--report", self.folder / "coded.jsonl")
        return target

    @cached_property
    def unbroken(self) -> dict[str, bytes]:
        """What one run makes of a few clips, by name."""
        target = self.folder / "unbroken"
        self.compress(self.clips(self.options.few), target)
        return contents(target)


def batch(place: Place) -> list[Row]:
    options, folder = place.options, place.folder
    coded = place.coded
    rows = accounted(
        place.clips(options.files), coded, ".spr", folder / "coded.jsonl", "compressed"
    )
    duration = report.summarise(report.merge([folder / "coded.jsonl"])[0]).duration
    rows.append(row("sound compressed in one call", duration / place.seconds, "x real time"))
    some = folder / "some"
    for path in sorted(coded.rglob("*.spr"))[: options.decoded]:
        copy = some / path.relative_to(coded)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    record = folder / "decoded.jsonl"
    seconds = place.decompress(some, folder / "decoded", "--report", record)
    rows += accounted(some, folder / "decoded", ".wav", record, "decompressed")
    duration = report.summarise(report.merge([record])[0]).duration
    rows.append(row("sound decompressed in one call", duration / seconds, "x real time"))

    clips = place.clips(options.loop)
    once = place.compress(clips, folder / "once")
    loop = sum(
        place.run("compress", path, "-o", folder / "loop" / f"{i}.spr")[0]
        for i, path in enumerate(sounds_in(clips))
    )
    rows += throughput("compress", options.loop, once, loop)
    once = place.decompress(folder / "once", folder / "once.back")
    loop = sum(
        place.run("decompress", path, "--steps", options.steps, "-o", folder / "loop" / f"{i}.wav")[
            0
        ]
        for i, path in enumerate(sorted((folder / "once").rglob("*.spr")))
    )
    return rows + throughput("decompress", options.loop, once, loop)


def accounted(source: Path, target: Path, suffix: str, record: Path, verb: str) -> list[Row]:
    """How many files of `source` are done by the report and have their output; others end the run."""
    wanted = {path.relative_to(source).with_suffix(suffix) for path in files(source)}
    made = {path.relative_to(target) for path in files(target)}
    records, damaged = report.merge([record])
    done = {Path(r["output"]).relative_to(target) for r in records if r["status"] == "done"}
    failed = [f"{r['path']}: {r['error']}" for r in records if r["status"] == "failed"]
    if damaged or done != made or len(records) != len(wanted) or not done <= wanted:
        sys.exit(f"library: the report and {target} disagree")
    print(*failed, sep="\n", end="\n" if failed else "")
    return [row(f"{verb} in one call", len(done), f"of {len(wanted)} files", f"{len(wanted)}")]


def throughput(verb: str, count: int, once: float, loop: float) -> list[Row]:
    return [
        row(f"{verb} {count} files in a loop of single calls", loop, "s"),
        row(f"{verb} {count} files in one call", once, "s"),
        row(f"{verb}: loop over one call", loop / once, "x", ">= 3"),
    ]


def resume(place: Place) -> list[Row]:
    clips, target = place.clips(place.options.few), place.folder / "resumed"
    expected = place.unbroken
    for _ in range(5):
        shutil.rmtree(target, ignore_errors=True)
        command = place.command("compress", clips, "-r", "--output-dir", target)
        process = subprocess.Popen(command)
        while len(list(target.rglob("*.spr"))) < len(expected) // 3 and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        if process.wait() < 0:
            break
    else:
        sys.exit("library: the call was over before it could be killed: give it more files (--few)")
    kept = len(contents(target))
    place.compress(clips, target, "--resume")
    return [
        row("finished before kill -9", kept, f"of {len(expected)} files"),
        row("other bytes after --resume", differing(contents(target), expected), "files", "0"),
    ]


def shards(place: Place) -> list[Row]:
    clips, target = place.clips(place.options.few), place.folder / "shards"
    expected = place.unbroken
    calls = [
        place.command("compress", clips, "-r", "--output-dir", target, "--shard", f"{i}/{SHARDS}")
        for i in range(SHARDS)
    ]
    processes = [subprocess.Popen(call) for call in calls]
    if sum(process.wait() for process in processes):
        sys.exit("library: a shard failed")
    other = differing(contents(target), expected)
    return [row(f"other bytes from {SHARDS} shards", other, f"of {len(expected)} files", "0")]


def bundle(place: Place) -> list[Row]:
    """Sizes for the clips of the batch; a name counts as stored, without what it shares."""
    coded, target = place.coded, place.folder / "all.sprb"
    place.run("bundle", coded, "-r", "-o", target)
    groups: dict[Group, list[bytes]] = {}
    payload = loose = 0
    for name, data in contents(coded).items():
        stream = spr.read(data)
        groups.setdefault(Group.of(stream), []).append(name.removesuffix(".spr").encode())
        payload += stream.payload_bytes
        loose += -(-len(data) // BLOCK) * BLOCK
    names = sum(
        len(name) - len(os.path.commonprefix([before, name]))
        for group in groups.values()
        for before, name in pairwise([b"", *sorted(group)])
    )
    count, size = sum(map(len, groups.values())), target.stat().st_size
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(coded, ".")
    return [
        row("clips in the bundle", count, "clips"),
        row("besides name and payload", (size - names - payload) / count, "bytes a clip", "<= 8"),
        row("bundle", size / count, "bytes a clip"),
        row("tar", archive.tell() / count, "bytes a clip"),
        row("loose on 4 KiB blocks", loose / count, "bytes a clip"),
    ]


def long(place: Place) -> list[Row]:
    options = place.options
    return [
        row(*cells)
        for cells in long_sound.figures(
            place.run, sounds_in(options.clips), place.folder, options.minutes, options.long_steps
        )
    ]


def fuzz(place: Place) -> list[Row]:
    script = Path(__file__).with_name("fuzz_container.py")
    cases = place.options.cases
    command = [sys.executable, str(script), "--cases", str(cases)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(text)
    peak, before = (float(number) for number in re.findall(r"([\d.]+) MiB", text))
    return [
        row("damaged files read or refused cleanly", cases, f"of {cases} cases", str(cases)),
        row("growth of memory after the first 1000", peak - before, "MiB"),
    ]


PARTS: dict[str, Callable[[Place], list[Row]]] = {
    "batch": batch,
    "resume": resume,
    "long": long,
    "shards": shards,
    "bundle": bundle,
    "fuzz": fuzz,
}


def row(what: str, value: float, unit: str, aim: str | None = None) -> Row:
    return {"what": what, "value": value, "unit": unit, "aim": aim}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, left-over temporary ones too, by its relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files(folder)}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> int:
    """How many names have different bytes, or bytes on one side only."""
    return sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())


def kept(path: Path, parts: Sequence[str]) -> list[Row]:
    """The rows of an earlier table that are not of `parts`."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [dict(fields) for fields in csv.DictReader(file) if fields["part"] not in parts]


def main() -> None:
    options = _arguments()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.pack:
        os.environ["SPRESSO_PACK"] = options.pack
    from spresso_cli.codec.packs import find_pack

    name = find_pack(None).name
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), options)
        for part in options.parts:
            rows += [{"part": part, "pack": name} | fields for fields in PARTS[part](place)]
            print(Table(COLUMNS, tuple(r for r in rows if r["part"] == part)).render(), flush=True)
    print(f"{options.clips.name}, pack {name}, {options.threads} threads a process")
    print(support.machine())  # last: it imports torch, and children would inherit that memory
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        path = options.output / "library.csv"
        rows += kept(path, options.parts)
        rows.sort(key=lambda fields: list(PARTS).index(fields["part"]))
        path.write_text(Table(COLUMNS, tuple(rows)).render("csv"), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--files", type=int, default=1000, help="of batch and bundle")
    parser.add_argument("--decoded", type=int, default=100, help="of these, decompressed")
    parser.add_argument("--loop", type=int, default=30, help="files coded one call each")
    parser.add_argument("--few", type=int, default=100, help="files of resume and shards")
    parser.add_argument("--steps", type=int, default=4, help="of the solver")
    parser.add_argument("--minutes", type=float, default=60, help="of the long file")
    parser.add_argument("--long-steps", type=int, default=2, help="of the solver, long file")
    parser.add_argument("--cases", type=int, default=100_000, help="of the fuzzer")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--pack", help="name or folder; default: SPRESSO_PACK or the shipped one")
    parser.add_argument("--output", type=Path, help="folder for library.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
