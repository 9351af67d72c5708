"""`spresso listen`: a page to hear and see a sound beside its decodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spresso_cli.cli import takes
from spresso_cli.cli.destination import Destination
from spresso_cli.cli.inputs import blamed_on
from spresso_cli.cli.options import Device, Force, Pack, Quiet, Verbose, finite_seconds
from spresso_cli.cli.terminal import Terminal
from spresso_cli.cli.text import counted, shown, size
from spresso_cli.container import spr
from spresso_cli.errors import SpressoError
from spresso_cli.library.plan import STREAM_SUFFIXES

if TYPE_CHECKING:
    import numpy as np

    from spresso_cli.evaluation.page import Sound, Version

app = typer.Typer(add_completion=False)

EXAMPLES = """
Examples:

  spresso listen door.wav rain.wav -o page.html
  spresso listen door.wav -b 0.096 --seed 0 --seed 1 --peer opus:6 -o p.html
  spresso listen door.spr --seed 0 --seed 1 --seed 2 -o takes.html
"""


@dataclass(frozen=True)
class _Input:
    """A file of the page: its name, by which others are found, and its heading."""

    path: Path
    name: str
    title: str


class Audio(StrEnum):
    """How the page carries its sounds."""

    flac = "flac"
    wav = "wav"
    ogg = "ogg"


@app.command(epilog=EXAMPLES)
def listen(
    ctx: typer.Context,
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IN", help="Sounds, .spr files, or folders of both."),
    ],
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="PAGE.html", help="The page to write; - is stdout."),
    ],
    force: Force = False,
    rates: takes.Rates = None,
    seeds: takes.Seeds = None,
    steps: takes.Steps = None,
    peers: takes.Peers = None,
    others: takes.Others = None,
    weights: takes.Weights = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            metavar="S",
            min=0.01,
            help="Only the first S seconds.",
            callback=finite_seconds,
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Heading of the page.")] = "Listen",
    audio: Annotated[
        Audio, typer.Option("--audio", help="Sounds inside the page; ogg is small and lossy.")
    ] = Audio.flac,
    pack: Pack = None,
    device: Device = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write one HTML page that plays sounds beside their decodes.

    The page holds everything it needs and works without a network. Versions
    switch without losing the position; keys and sizes are shown on the page.
    """
    from spresso_cli.evaluation.page import write_page

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
    files = _expanded(inputs)
    sources = (file.path for file in files)
    target = Destination.of(terminal, output, suffix=".html", force=force, inputs=sources)
    coded_only = all(_is_coded(file.path) for file in files)
    if any(_is_coded(file.path) for file in files) and (rates or peers or others):
        terminal.note(".spr files are decoded as they are: -b, --peer and --with are for sounds")
    plan = takes.plan(
        terminal,
        {file.path: file.name for file in files if not _is_coded(file.path)},
        rates=[] if coded_only else rates,
        seeds=seeds,
        steps=steps,
        peers=peers,
        weights=weights,
        others=others,
        pack=pack,
        device=device,
    )
    failures: list[_Input] = []
    sounds = _sounds(terminal, files, plan, seconds, failures)
    with target.opened() as out:
        write_page(out, title, sounds, audio.value)
        count = out.tell()
    terminal.note(f"{target}: {counted(len(files) - len(failures), 'sound')}, {size(count)}")
    raise typer.Exit(1 if failures else 0)


def _sounds(
    terminal: Terminal,
    files: list[_Input],
    plan: takes.Plan,
    seconds: float | None,
    failures: list[_Input],
) -> Iterator[Sound]:
    from spresso_cli.evaluation.page import Sound

    for number, file in enumerate(files, 1):
        terminal.note(f"[{number}/{len(files)}] {shown(file.path)}")
        try:
            with blamed_on(file.path):
                sound = Sound(file.title, tuple(_versions(terminal, file.path, plan, seconds)))
        except SpressoError as error:
            failures.append(file)
            if len(failures) == len(files):  # there is nothing to make a page of
                raise
            terminal.error(str(error))
        else:
            yield sound


def _versions(
    terminal: Terminal, path: Path, plan: takes.Plan, seconds: float | None
) -> Iterator[Version]:
    from spresso_cli.evaluation.page import Version

    def beginning(samples: np.ndarray, rate: int) -> np.ndarray:
        if seconds is None:
            return samples
        return samples[: max(1, int(min(seconds * rate, len(samples))))]

    if _is_coded(path):
        with open(path, "rb") as file:
            made = plan.decodes(spr.load(file))
    else:
        samples, rate = takes.read_sound(path, terminal)
        samples = beginning(samples, rate)
        channels = "mono" if samples.shape[1] == 1 else "stereo"
        detail = f"{rate / 1000:g} kHz, {channels}, {len(samples) / rate:.2f} s"
        yield Version("Source", samples, rate, detail)
        made = plan.takes(path, samples, rate)
    for take in made:
        samples = beginning(take.samples, take.rate)
        # Sizes are those of the whole.
        whole = len(samples) == len(take.samples)
        sizes = (take.file_bytes, take.payload_bytes) if whole else (None, None)
        yield Version(take.label, samples, take.rate, take.detail, *sizes)


def _is_coded(path: Path) -> bool:
    return path.suffix.lower() in STREAM_SUFFIXES


def _expanded(inputs: list[Path]) -> list[_Input]:
    from spresso_cli.evaluation.clips import sounds_in

    found = []
    for path in inputs:
        if path.is_dir():
            for file in sounds_in(path, STREAM_SUFFIXES):
                name = file.relative_to(path).with_suffix("").as_posix()
                found.append(_Input(file, name, name))
        else:
            found.append(_Input(path, path.with_suffix("").as_posix(), path.stem))
    return found
