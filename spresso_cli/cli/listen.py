"""`spresso listen`: a page to hear and see a sound beside its decodes."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spresso_cli.cli import takes
from spresso_cli.cli.inputs import blamed_on
from spresso_cli.cli.options import Device, Force, Pack, Quiet, Verbose
from spresso_cli.cli.terminal import Terminal, binary_stdout
from spresso_cli.cli.text import shown, size
from spresso_cli.container import spr
from spresso_cli.errors import SpressoError

if TYPE_CHECKING:
    import numpy as np

    from spresso_cli.evaluation.page import Sound

app = typer.Typer(add_completion=False)

EXAMPLES = """
Examples:

  spresso listen door.wav rain.wav -o page.html
  spresso listen door.wav -b 0.096 --seed 0 --seed 1 --peer opus:6 -o page.html
  spresso listen door.spr --seed 0 --seed 1 --seed 2 -o takes.html
"""


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
        typer.Argument(metavar="IN", help="Sounds, .spr files, or folders of sounds.", exists=True),
    ],
    output: Annotated[
        Path,
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
        typer.Option("--seconds", metavar="S", min=0.01, help="Only the first S seconds."),
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
    from spresso_cli.library.outputs import refuse_existing, replacing

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
    to_stdout = str(output) == "-"
    if not to_stdout:
        refuse_existing(output, force)
    files = _expanded(inputs)
    coded_only = all(_is_coded(path) for path in files)
    if any(map(_is_coded, files)) and (rates or peers or others):
        terminal.note(".spr files are decoded as they are: -b, --peer and --with are for sounds")
    plan = takes.plan(
        terminal,
        rates=[] if coded_only else rates,
        seeds=seeds,
        steps=steps,
        peers=peers,
        weights=weights,
        others=others,
        pack=pack,
        device=device,
    )
    failures: list[Path] = []
    sounds = _sounds(terminal, files, plan, seconds, failures)
    if to_stdout:
        write_page(binary_stdout(), title, sounds, audio.value)
    else:
        with replacing(output, force=force) as out:
            write_page(out, title, sounds, audio.value)
        made = len(files) - len(failures)
        terminal.note(f"{shown(output)}: {made} sounds, {size(output.stat().st_size)}")
    raise typer.Exit(1 if failures else 0)


def _sounds(
    terminal: Terminal,
    files: list[Path],
    plan: takes.Plan,
    seconds: float | None,
    failures: list[Path],
) -> Iterator[Sound]:
    for number, path in enumerate(files, 1):
        terminal.note(f"[{number}/{len(files)}] {shown(path)}")
        try:
            with blamed_on(path):
                sound = _sound(path, plan, seconds)
        except SpressoError as error:
            failures.append(path)
            if len(failures) == len(files):  # there is nothing to make a page of
                raise
            terminal.error(str(error))
        else:
            yield sound


def _sound(path: Path, plan: takes.Plan, seconds: float | None) -> Sound:
    from spresso_cli.evaluation.page import Sound, Version

    def beginning(samples: np.ndarray, rate: int) -> np.ndarray:
        return samples if seconds is None else samples[: max(1, int(seconds * rate))]

    versions = []
    if _is_coded(path):
        with open(path, "rb") as file:
            made = plan.decodes(spr.load(file))
    else:
        samples, rate = takes.read_sound(path)
        samples = beginning(samples, rate)
        channels = "mono" if samples.shape[1] == 1 else "stereo"
        detail = f"{rate / 1000:g} kHz, {channels}, {len(samples) / rate:.2f} s"
        versions.append(Version("Source", samples, rate, detail))
        made = plan.takes(path.stem, samples, rate)
    for take in made:
        samples = beginning(take.samples, take.rate)
        # Sizes are those of the whole.
        whole = len(samples) == len(take.samples)
        sizes = (take.file_bytes, take.payload_bytes) if whole else (None, None)
        versions.append(Version(take.label, samples, take.rate, take.detail, *sizes))
    return Sound(path.stem, tuple(versions))


def _is_coded(path: Path) -> bool:
    return path.suffix.lower() == ".spr"


def _expanded(inputs: list[Path]) -> list[Path]:
    from spresso_cli.evaluation.clips import sounds_in

    return [file for path in inputs for file in (sounds_in(path) if path.is_dir() else [path])]
