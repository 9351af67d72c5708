"""Whole libraries as a user runs them: every command is a process of its own, on real files.

    python benchmarks/library.py --clips DIR [--parts batch loop resume long shards bundle fuzz]
                                 [--work DIR]

batch    many files in one call, every one accounted for by the report and on disk
loop     a few files in a loop of single calls and in one call, start-up included in both
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
from itertools import pairwise
from pathlib import Path

import long_sound
import support
from library_place import Place, Row, contents, files, row

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


def batch(place: Place) -> list[Row]:
    folder, coded = place.folder, place.coded
    clips, some, decoded = place.clips(place.options.files), folder / "some", folder / "decoded"
    for path in files(coded)[: place.options.decoded]:
        copy = some / path.relative_to(coded)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    place.decompress(some, decoded, "--resume", "--report", folder / "decoded.jsonl")
    return [
        accounted(clips, coded, ".spr", folder / "coded.jsonl", "compressed"),
        accounted(some, decoded, ".wav", folder / "decoded.jsonl", "decompressed"),
    ]


def accounted(source: Path, target: Path, suffix: str, record: Path, verb: str) -> Row:
    """How many files of `source` are done, by report and by output; others end the run."""
    wanted = {path.relative_to(source).with_suffix(suffix) for path in files(source)}
    made = {path.relative_to(target) for path in files(target)}
    records, damaged = report.merge([record])
    done = [r for r in records if r["status"] != "failed"]
    failed = [f"{r['path']}: {r['error']}" for r in records if r["status"] == "failed"]
    named = {Path(r["output"]).relative_to(target) for r in done}
    if damaged or named != made or len(records) != len(wanted) or not named <= wanted:
        sys.exit(f"library: the report and {target} disagree")
    print(*failed, sep="\n", end="\n" if failed else "")
    return row(f"{verb} in one call", len(done), f"of {len(wanted)} files", f"{len(wanted)}")


def throughput(
    verb: str, once: Callable[[int], float], calls: list[tuple[object, ...]], place: Place
) -> list[Row]:
    """One call before and one after the loop: a machine that gets busier slows both."""
    before = once(0)
    apart = sum(place.run(*call)[0] for call in calls)
    mean = (before + once(1)) / 2
    return [
        row(f"{verb} {len(calls)} files in a loop of single calls", apart, "s"),
        row(f"{verb} {len(calls)} files in one call", mean, "s"),
        row(f"{verb}: loop over one call", apart / mean, "x", ">= 3"),
    ]


def loop(place: Place) -> list[Row]:
    clips, looped = place.clips(place.options.loop), place.folder / "looped"
    rows = throughput(
        "compress",
        lambda again: place.compress(clips, place.folder / f"once{again}"),
        [("compress", path, "-o", looped / f"{i}.spr") for i, path in enumerate(files(clips))],
        place,
    )
    steps = ("--steps", place.options.steps)
    return rows + throughput(
        "decompress",
        lambda again: place.decompress(looped, place.folder / f"back{again}"),
        [("decompress", path, "-o", path.with_suffix(".wav"), *steps) for path in files(looped)],
        place,
    )


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
    whole = len(list(target.rglob("*.spr")))
    place.compress(clips, target, "--resume")
    other = differing(contents(target), expected)
    return [
        row("finished before kill -9", whole, f"of {len(expected)} files"),
        row("files with other bytes after --resume", other, f"of {len(expected)} files", "0"),
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
    return [
        row(f"files with other bytes from {SHARDS} shards", other, f"of {len(expected)} files", "0")
    ]


def bundle(place: Place) -> list[Row]:
    """Sizes for the clips of the batch; a name counts as stored, without what it shares."""
    coded, target = place.coded, place.folder / "all.sprb"
    place.run("bundle", coded, "-r", "-f", "-o", target)
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
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
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
    "loop": loop,
    "resume": resume,
    "long": long,
    "shards": shards,
    "bundle": bundle,
    "fuzz": fuzz,
}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> int:
    """How many names have different bytes, or bytes on one side only."""
    return sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())


def main() -> None:
    options = _arguments()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.pack:
        os.environ["SPRESSO_PACK"] = options.pack
    from spresso_cli.codec.packs import find_pack

    name = find_pack(None).name
    table = Table(COLUMNS, ())
    with tempfile.TemporaryDirectory() as folder:
        place = Place(options.work or Path(folder), options)
        place.folder.mkdir(parents=True, exist_ok=True)
        for part in options.parts:
            rows = [{"part": part, "pack": name} | fields for fields in PARTS[part](place)]
            print(Table(COLUMNS, tuple(rows)).render(), flush=True)
            table = merged(table, rows, options.output)
    print(f"{options.clips.name}, pack {name}, {options.threads} threads a process")
    print(support.machine())  # last: it imports torch, and children would inherit that memory
    if options.markdown:
        aimed = tuple(shown(fields) for fields in table.rows if fields["aim"])
        print("\n" + Table(COLUMNS[:-1], aimed).render("markdown"), end="")


def merged(table: Table, rows: list[Row], folder: Path | None) -> Table:
    """The table with the new rows of a part; with a folder, that one is written again."""
    before: Sequence[Row] = table.rows
    path = None if folder is None else folder / "library.csv"
    if path is not None and path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            before = list(csv.DictReader(file))
    merged = [fields for fields in before if fields["part"] != rows[0]["part"]] + rows
    merged.sort(key=lambda fields: list(PARTS).index(fields["part"]))
    table = Table(COLUMNS, tuple(merged))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table.render("csv"), encoding="utf-8")
    return table


def shown(fields: Row) -> Row:
    """A row for people: numbers that count things without decimals."""
    value = float(fields["value"])
    return fields | {"value": f"{value:.{0 if value == round(value) else 2}f}"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--work", type=Path, help="folder that stays; batch goes on where it was")
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
    parser.add_argument("--markdown", action="store_true", help="also the table of RESULTS.md")
    parser.add_argument("--output", type=Path, help="folder for library.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
