"""`spresso mushra export` and `analyse`: a BS.1534 listening test, and its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spresso_cli.cli import takes
from spresso_cli.cli.inputs import blamed_on
from spresso_cli.cli.options import Device, Force, Json, Pack, Quiet, Verbose, folder_name
from spresso_cli.cli.terminal import Terminal
from spresso_cli.cli.text import counted, printable, shown
from spresso_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from spresso_cli.evaluation.mushra import Item

app = typer.Typer(add_completion=False)
mushra = typer.Typer(no_args_is_help=True, help="Make a listening test and analyse its results.")
app.add_typer(mushra, name="mushra")

EXPORT_EXAMPLES = """
Examples:

  spresso mushra export door.wav rain.wav fire.wav --output-dir test1
  spresso mushra export *.wav -b 0.3 -b 1.32 --peer opus:6 --output-dir test1

Copy the folder to configs/ of a webMUSHRA installation and open it as
?config=test1/test.yaml.
"""

ANALYSE_EXAMPLES = """
Examples:

  spresso mushra analyse results/test1/mushra.csv --plot scores.png
"""


class Question(StrEnum):
    """What listeners are asked."""

    quality = "quality"
    similarity = "similarity"


@mushra.command(epilog=EXPORT_EXAMPLES)
def export(
    ctx: typer.Context,
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IN", help="Sounds, 12 s at most.", dir_okay=False),
    ],
    output_dir: Annotated[
        Path,
        typer.Option(
            "--output-dir",
            metavar="DIR",
            help="A new folder; its name is the test's id.",
            parser=folder_name,
        ),
    ],
    rates: takes.Rates = None,
    seeds: takes.Seeds = None,
    steps: takes.Steps = None,
    peers: takes.Peers = None,
    others: takes.Others = None,
    weights: takes.Weights = None,
    questions: Annotated[
        list[Question] | None,
        typer.Option("--question", help="What to ask; repeat to ask both, each on its own page."),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Title of the test.")] = "Sound quality",
    pack: Pack = None,
    device: Device = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a BS.1534 test for webMUSHRA.

    Every page has the hidden reference, anchors low-passed at 3.5 and 7 kHz
    and all versions, at equal loudness. The first sound also serves as the
    practice page.
    """
    from spresso_cli.evaluation.mushra import export as export_test

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise OutputError(f"{shown(output_dir)}: exists; name a new folder")
    plan = takes.plan(
        terminal,
        {path: path.with_suffix("").as_posix() for path in inputs},
        rates=rates,
        seeds=seeds,
        steps=steps,
        peers=peers,
        weights=weights,
        others=others,
        pack=pack,
        device=device,
        ours="spresso ",
    )
    asked = [q.value for q in dict.fromkeys(questions or [Question.quality])]
    path = export_test(
        output_dir, _items(terminal, inputs, plan), title, output_dir.resolve().name, asked
    )
    sounds = counted(len(inputs), "sound")
    terminal.note(f"{shown(path)}: {sounds}, questions: {', '.join(asked)}")


@mushra.command(epilog=ANALYSE_EXAMPLES)
def analyse(
    ctx: typer.Context,
    results: Annotated[
        Path,
        typer.Argument(metavar="MUSHRA.csv", help="webMUSHRA's results.", dir_okay=False),
    ],
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw the scores (extra plot)."),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Post-screen the listeners and print mean scores.

    Leaves out listeners who rate the hidden reference below 90, or the 7 kHz
    anchor above 90, on more than 15 % of the pages. Intervals are 95 % bootstrap
    intervals over listeners and sounds.
    """
    from spresso_cli.evaluation.mushra_results import analyse as analyse_ratings
    from spresso_cli.evaluation.mushra_results import read_ratings
    from spresso_cli.evaluation.tables import Column, Table

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    if plot is not None:
        from spresso_cli.cli.plot import refuse_picture

        refuse_picture(plot, results, force=force)
    analysis = analyse_ratings(read_ratings(results))
    rows = [
        {
            "question": r.question,
            "condition": r.condition,
            "score": r.score.value,
            "low": r.score.low,
            "high": r.score.high,
            "ratings": r.score.count,
        }
        for r in analysis.results
    ]
    headings = {"score": "mean", "low": "95 % from", "high": "to"}
    columns = tuple(Column(key, headings.get(key, key), 1) for key in rows[0])
    terminal.record(
        {"results": rows, "kept": list(analysis.kept), "excluded": dict(analysis.excluded)}
    )
    # What listeners' browsers sent is for a terminal only in printable form.
    texts = ("question", "condition")
    lines = tuple(row | {key: printable(row[key]) for key in texts} for row in rows)
    terminal.result(Table(columns, lines).render())
    terminal.result(f"{len(analysis.kept)} listeners kept, {len(analysis.excluded)} left out")
    for listener, reason in analysis.excluded.items():
        terminal.result(f"  {printable(listener)}: {reason}")
    if plot is not None:
        from spresso_cli.cli.plot import write_picture
        from spresso_cli.evaluation.plots import mushra_figure

        write_picture(plot, mushra_figure(plot, analysis.results), force=force)


def _items(terminal: Terminal, inputs: list[Path], plan: takes.Plan) -> Iterator[Item]:
    from spresso_cli.evaluation.mushra import Item

    # All are checked before the first is coded.
    sounds = [_sound(terminal, path) for path in inputs]
    for number, (path, (samples, rate)) in enumerate(zip(inputs, sounds, strict=True), 1):
        terminal.note(f"[{number}/{len(inputs)}] {shown(path)}")
        with blamed_on(path):
            systems = _systems(list(plan.takes(path, samples, rate)), samples.shape[1])
        yield Item(path.stem, _for_test(samples, rate, samples.shape[1]), systems)


def _sound(terminal: Terminal, path: Path) -> tuple[np.ndarray, int]:
    """A sound of the test, float32 [n, C <= 2], and its rate; errors name the file."""
    from spresso_cli.evaluation.mushra import check_length

    with blamed_on(path):
        return takes.read_sound(path, terminal, check_length)


def _systems(made: list[takes.Take], channels: int) -> dict[str, np.ndarray]:
    """Versions [n, C] by system: the seed shows only where there are several.

    Raises UsageError when two would have one name.
    """
    seeds = Counter(take.label for take in made)
    systems: dict[str, np.ndarray] = {}
    for take in made:
        name = f"{take.label} {take.detail}" if seeds[take.label] > 1 else take.label
        if name in systems:
            raise UsageError(f"{name}: two versions have this name")
        systems[name] = _for_test(take.samples, take.rate, channels)
    return systems


def _for_test(samples: np.ndarray, rate: int, channels: int) -> np.ndarray:
    """A version [n, C] at the test's rate, mono ones doubled for a stereo page."""
    import numpy as np

    from spresso_cli.audio.resample import resample
    from spresso_cli.evaluation.mushra import TEST_RATE

    wide = resample(samples, rate, TEST_RATE)
    return np.repeat(wide, channels, axis=1) if wide.shape[1] < channels else wide
