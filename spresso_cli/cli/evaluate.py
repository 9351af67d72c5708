"""`spresso evaluate`: how near decoded sounds are to their originals, in the papers' numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spresso_cli.cli.destination import Destination
from spresso_cli.cli.options import Force, Json, Pack, Quiet, Verbose
from spresso_cli.cli.terminal import Terminal
from spresso_cli.cli.text import printable, shown
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.library.plan import STDIN

if TYPE_CHECKING:
    from spresso_cli.evaluation.clips import Pair
    from spresso_cli.evaluation.embeddings import Embedder
    from spresso_cli.evaluation.scoring import ClipScore, SystemScore
    from spresso_cli.evaluation.statistics import Interval

app = typer.Typer(add_completion=False)

EXAMPLES = """
Examples:

  spresso evaluate originals decoded
  spresso evaluate originals decoded --csv scores.csv --json
  spresso evaluate originals decoded --laion-clap clap.onnx

Numbers on the embeddings clap and logmel-stats compare systems with each
other; only those on VGGish and LAION-CLAP compare with published ones.
"""

EMBEDDINGS = "Embeddings"


@app.command(epilog=EXAMPLES)
def evaluate(
    ctx: typer.Context,
    references: Annotated[
        Path,
        typer.Argument(metavar="REF_DIR", help="Original sounds.", file_okay=False),
    ],
    outputs: Annotated[
        Path,
        typer.Argument(
            metavar="OUT_DIR",
            help="Decoded sounds of the same names; each take, such as a.seed3.wav, counts.",
            file_okay=False,
        ),
    ],
    csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE.csv", help="Write one line per clip.")
    ] = None,
    force: Force = False,
    vggish: Annotated[
        Path | None,
        typer.Option(
            "--vggish",
            metavar="FILE.onnx",
            help="VGGish without its PCA and last ReLU: [N, 96, 64] to [N, 128] (extra eval).",
            rich_help_panel=EMBEDDINGS,
        ),
    ] = None,
    laion_clap: Annotated[
        Path | None,
        typer.Option(
            "--laion-clap",
            metavar="FILE.onnx",
            help="LAION-CLAP audio branch: waveform or log-mel to [B, 512] (extra eval).",
            rich_help_panel=EMBEDDINGS,
        ),
    ] = None,
    kad_as_released: Annotated[
        bool,
        typer.Option(
            "--kad-as-released",
            help="Take KAD's bandwidth from the evaluated set, as the released toolkit does.",
            rich_help_panel=EMBEDDINGS,
        ),
    ] = False,
    pack: Pack = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure decoded sounds against their originals.

    Pairs files by name, averages channels, resamples to 48 kHz and cuts or
    pads to the original's length. Means come with 95 % bootstrap intervals
    over clips.
    """
    from spresso_cli.evaluation.clips import pair_by_name
    from spresso_cli.evaluation.embeddings import project_embedders
    from spresso_cli.evaluation.scoring import summarise

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    if csv == STDIN:
        raise UsageError("--csv writes a file: --json writes the summary to stdout")
    pairs, missing, extra = pair_by_name(references, outputs)
    target = None
    if csv is not None:
        sounds = (path for pair in pairs for path in (pair.reference, pair.output))
        inputs = (*sounds, vggish, laion_clap)
        target = Destination.of(terminal, csv, suffix=".csv", force=force, inputs=inputs)
    embedders = project_embedders(pack)
    if vggish is not None:
        from spresso_cli.evaluation.onnx_embedders import load_vggish

        embedders.append(load_vggish(vggish))
    if laion_clap is not None:
        from spresso_cli.evaluation.onnx_embedders import load_laion_clap

        embedders.append(load_laion_clap(laion_clap))
    failed: list[str] = []
    scores = list(_scored(terminal, pairs, embedders, failed))
    if not scores:
        raise typer.Exit(1)
    bandwidth = "as released" if kad_as_released else "reference"
    summary = summarise(scores, bandwidth)
    terminal.record(_record(summary, bandwidth, missing, extra, failed))
    terminal.result(_text(summary, missing, extra))
    if target is not None:
        with target.opened() as out:
            # Names may hold bytes that are no UTF-8: escaped, as everywhere else.
            out.write(_clip_table(scores).encode("utf-8", "backslashreplace"))
    raise typer.Exit(1 if failed else 0)


def _scored(
    terminal: Terminal, pairs: list[Pair], embedders: list[Embedder], failed: list[str]
) -> Iterator[ClipScore]:
    """Scores pair by pair; takes of one original share its features. Names that fail are kept."""
    from spresso_cli.evaluation.clips import load_clip
    from spresso_cli.evaluation.scoring import Reference, score_clip

    reference: tuple[Path, Reference] | None = None
    for number, pair in enumerate(pairs, 1):
        terminal.detail(f"[{number}/{len(pairs)}] {shown(pair.output)}")
        path = pair.reference
        try:
            if reference is None or reference[0] != path:
                reference = (path, Reference(load_clip(path)))
            path = pair.output
            yield score_clip(
                pair.name, reference[1], load_clip(path), embedders, str(pair.reference)
            )
        except SpressoError as error:
            terminal.error(f"{shown(path)}: {error}")
            failed.append(pair.name)


def _record(
    summary: SystemScore,
    bandwidth: str,
    missing: list[str],
    extra: list[str],
    failed: list[str],
) -> dict[str, object]:
    """The summary as plain JSON: undefined numbers are null."""
    return {
        "clips": summary.clips,
        "outputs": summary.outputs,
        "metrics": {key: _interval(value) for key, value in summary.values.items()},
        "bias": {key: _number(value) for key, value in summary.biases.items()},
        "defects": dict(summary.defects),
        "embeddings": {
            name: {"vectors": count, "dimensions": dimensions}
            for name, (count, dimensions) in summary.embeddings.items()
        },
        "kad_bandwidth": bandwidth,
        "missing": missing,
        "extra": extra,
        "failed": failed,
    }


def _interval(value: Interval) -> dict[str, object]:
    return {
        "value": _number(value.value),
        "low": _number(value.low),
        "high": _number(value.high),
        "clips": value.count,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(summary: SystemScore, missing: list[str], extra: list[str]) -> str:
    from spresso_cli.evaluation.scoring import metric_of
    from spresso_cli.evaluation.tables import Column, Table

    rows = []
    for key, value in summary.values.items():
        metric = metric_of(key)
        shown_as = f"{{:.{metric.decimals}f}}".format
        interval = f"{shown_as(value.low)} .. {shown_as(value.high)}"
        bias = summary.biases.get(key)
        rows.append(
            {
                "metric": metric.heading,
                "value": shown_as(value.value),
                "interval": "" if math.isnan(value.low) else interval,
                "bias": "" if bias is None else f"{bias:+.2f}",
                "clips": value.count,
                "better": metric.better,
            }
        )
    headings = ("metric", "value", "interval", "bias", "clips", "better")
    titles = {"interval": "95 % interval", "bias": "mean bias", "better": "better is"}
    columns = tuple(Column(key, titles.get(key, key)) for key in headings)
    lines = [Table(columns, tuple(rows)).render().rstrip("\n"), ""]
    lines += [
        f"{count} of {summary.outputs} outputs are {kind}"
        for kind, count in summary.defects.items()
        if count
    ]
    lines += [
        f"FAD on {name}: {count} vectors for {size} dimensions are too few, compare with care"
        for name, (count, size) in summary.embeddings.items()
        if count <= size
    ]
    lines += [
        f"{len(names)} {lack}, the first is {printable(names[0])}"
        for names, lack in (
            (missing, "originals have no output"),
            (extra, "outputs have no original"),
        )
        if names
    ]
    return "\n".join(lines).rstrip("\n")


def _clip_table(scores: list[ClipScore]) -> str:
    from spresso_cli.evaluation.scoring import SIGNAL_METRICS
    from spresso_cli.evaluation.tables import Column, Table

    keys = ("name", *(metric.key for metric in SIGNAL_METRICS), "defect")
    rows = tuple({"name": s.name, **s.values, "defect": s.defect} for s in scores)
    return Table(tuple(Column(key, key) for key in keys), rows).render("csv")
