"""`spresso train`: the stages of S-PRESSO, each resumable and fitted to a time box."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from spresso_cli.cli.options import Device, Force, Quiet, Verbose
from spresso_cli.cli.terminal import Terminal
from spresso_cli.cli.text import shown, size
from spresso_cli.cli.training_progress import TrainingProgress

app = typer.Typer(add_completion=False)
train = typer.Typer(no_args_is_help=True, help="Train a model, stage by stage.")
app.add_typer(train, name="train")

Corpus = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS",
        help="A folder of sounds, or one with a manifest.csv (file, caption, category, split).",
        exists=True,
        file_okay=False,
    ),
]
RunFolder = Annotated[
    Path,
    typer.Option("--run", metavar="DIR", help="The model's folder; all its stages share it."),
]
Config = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="NAME|FILE.toml",
        help="tiny, preview, adapt, base, paper or your own file.",
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        metavar="N",
        min=0,
        help="Stop after N minutes (a pass of encoding the sounds is not cut short); the same "
        "command continues from there.",
    ),
]
Finish = Annotated[
    bool,
    typer.Option(
        "--finish",
        help="Bring the schedule (learning rates, phases) to its end within --minutes, skipping "
        "steps that there is no time for. After that the stage trains no further, unless the "
        "configuration is given more steps.",
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, max=2**63 - 1, help="Seed of every random choice."),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="PACK",
        help="A pack that provides what was not trained in this folder: initial weights of the "
        "AudioAE, networks of earlier stages, whole frame rates.",
    ),
]
Rates = Annotated[
    list[int] | None,
    typer.Option(
        "--frame-rate",
        metavar="HZ",
        help="A frame rate; repeat for several, which then share one trunk. Default: all of the "
        "configuration, or all that step 1 has trained.",
    ),
]
Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the blocks: a minute at the start, then faster steps. Default: only on CUDA, "
        "with Triton, which torch has on Linux.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE.png",
        help="Draw the training curves at the end (extra plot); replaces an earlier picture.",
    ),
]

BOXED = """

--minutes also covers the preparation of QINCo2 (encoding crops, k-means codebooks), which is kept
for the next call. Two parts are never interrupted: fitting the filters before QINCo2, a minute on a
CPU, and all that is fitted after QINCo2, for which 15 % of the time is reserved, or as much as it
took last time.
"""
# Without the -- torchrun takes --run for an option of its own.
SEVERAL = "\nSeveral GPUs: torchrun --nproc-per-node 8 -m -- spresso_cli train ..."


def _examples(stage: str, more: str = "") -> str:
    return f"""
Examples:

  spresso train {stage} sounds --run my-model --minutes 9 --plot loss.png
{more}{SEVERAL}
"""


def _simple(stage: str, summary: str, more: str = "") -> None:
    """Register a stage that has no frame rates."""

    @train.command(stage, help=summary, epilog=_examples(stage, more))
    def command(
        ctx: typer.Context,
        corpus: Corpus,
        run: RunFolder,
        config: Config = "base",
        minutes: Minutes = None,
        finish: Finish = False,
        device: Device = "auto",
        seed: Seed = 0,
        origin: From = None,
        compile: Compile = None,
        plot: Plot = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
        _train(
            terminal, stage, corpus, run, config, minutes, finish, device, seed, origin, (),
            compile, plot,
        )  # fmt: skip


def _by_rate(stage: str, summary: str, more: str) -> None:
    """Register a stage that can be run for some frame rates only."""

    @train.command(stage, help=summary, epilog=_examples(stage, more))
    def command(
        ctx: typer.Context,
        corpus: Corpus,
        run: RunFolder,
        rates: Rates = None,
        config: Config = "base",
        minutes: Minutes = None,
        finish: Finish = False,
        device: Device = "auto",
        seed: Seed = 0,
        origin: From = None,
        compile: Compile = None,
        plot: Plot = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
        chosen = tuple(rates or ())
        _train(
            terminal, stage, corpus, run, config, minutes, finish, device, seed, origin, chosen,
            compile, plot,
        )  # fmt: skip


_simple("audio-ae", "Sound to 128 latents at 100 Hz and back: the limit of all later stages.",
        "  spresso train audio-ae sounds --run my-model --from preview4\n")  # fmt: skip
_simple("clap", "Captions and sounds in one space: the text condition and an embedding.")
_simple("dit", "The base model: latents from captions. Needs audio-ae and clap.")
_by_rate("autoencoder", "Step 1: latent encoders and the decoder's condition. Needs dit.",
         "  spresso train autoencoder sounds --run new --frame-rate 1 --frame-rate 11\n"
         "  spresso train autoencoder sounds --run more --config adapt --from preview4\n"
         )  # fmt: skip
_by_rate("quantizer", f"Step 2: QINCo2 on the encoders' output. Needs autoencoder.{BOXED}",
         "  spresso train quantizer sounds --run my-model --frame-rate 1\n")  # fmt: skip
_by_rate("finetune", "Step 3: the decoder on quantised latents. Needs quantizer.",
         "  spresso train finetune sounds --run my-model --frame-rate 11\n")  # fmt: skip

EXPORT_EXAMPLES = """
Examples:

  spresso train export sounds --run my-model --output-dir packs/mine
  spresso decompress door.spr --pack packs/mine
"""


@train.command(epilog=EXPORT_EXAMPLES)
def export(
    ctx: typer.Context,
    corpus: Corpus,
    run: RunFolder,
    rates: Rates = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            metavar="DIR",
            help="Folder of the pack. Default: pack, inside that of --run.",
        ),
    ] = None,
    finetuned: Annotated[
        bool,
        typer.Option(
            "--finetuned/--no-finetuned", help="Use step 3 where it was trained, or never."
        ),
    ] = True,
    config: Config = "base",
    origin: From = None,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a pack that compress and decompress can use.

    The pack's ATTRIBUTION.csv gets the credits of the corpus's manifest and of the pack --from; its
    folder credits/ gets the texts in theirs.
    """
    from spresso_cli.codec.device import resolve_device
    from spresso_cli.errors import OutputError
    from spresso_cli.training.packing import pack_workspace

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
    target = output_dir or run / "pack"
    if (target / "pack.json").exists() and not force:
        raise OutputError(f"{shown(target)} holds a pack already: -f replaces it")
    workspace = _workspace(run, config, resolve_device("cpu"), origin, terminal.note)
    chosen = workspace.rates(rates or (), step_one_done=True)
    if not rates:
        chosen = tuple(sorted({*chosen, *workspace.rates_of_pack()}))
    pack_workspace(workspace, chosen, target, corpus, finetuned)
    terminal.note(f"{shown(target)}: {', '.join(f'{rate} Hz' for rate in chosen)}")


KEEP_EXAMPLES = """
Examples:

  spresso train keep audio-ae --run my-model --output-dir kept
  cp -r kept/audio-ae another-model/
"""


@train.command("keep", epilog=KEEP_EXAMPLES)
def keep_averages(
    ctx: typer.Context,
    stage: Annotated[
        str,
        typer.Argument(
            metavar="STAGE",
            help="Its folder inside that of --run, such as audio-ae or quantizer/11hz.",
        ),
    ],
    run: RunFolder,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", metavar="DIR", help="Folder to write to.")
    ],
    megabytes: Annotated[
        float, typer.Option("--megabytes", metavar="MB", min=1, help="Largest size of one file.")
    ] = 15.0,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Keep what later stages need of a stage, mainly its averaged weights, in small files.

    Copied into another model's folder, DIR/STAGE serves later stages like a checkpoint; the stage
    itself can continue from it, with fresh optimisers.
    """
    from spresso_cli.errors import UsageError
    from spresso_cli.library.outputs import refuse_existing
    from spresso_cli.training import stored

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
    target = output_dir / stage
    for path in stored.averages(target) + stored.beside(target):
        refuse_existing(path, force=False)
    try:
        paths = stored.keep(run / stage, target, int(megabytes * 1e6), terminal.note)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from None
    total = sum(path.stat().st_size for path in paths)
    terminal.note(f"{shown(target)}: {len(paths)} files, {size(total)}")


def _workspace(run: Path, config: str, device, origin: str | None, note: Callable[[str], None]):
    from spresso_cli.codec.packs import find_pack
    from spresso_cli.training.config import load
    from spresso_cli.training.workspace import Workspace

    pack = None if origin is None else find_pack(origin)
    return Workspace(run, load(config), device, pack, note)


def _train(
    terminal: Terminal,
    stage: str,
    corpus: Path,
    run: Path,
    config: str,
    minutes: float | None,
    finish: bool,
    device: str,
    seed: int,
    origin: str | None,
    rates: tuple[int, ...],
    compiled: bool | None,
    plot: Path | None,
) -> None:
    began = time.monotonic()
    if plot is not None:
        _check_plot(plot)
    from spresso_cli.codec.device import resolve_device, within_memory
    from spresso_cli.training import distributed
    from spresso_cli.training.acceleration import prepare, worth_compiling
    from spresso_cli.training.preparation import Call, TimeIsOver
    from spresso_cli.training.stages import STAGES

    with distributed.group(resolve_device(device)) as place:
        speaks = distributed.rank() == 0
        prepare(place)
        with TrainingProgress(terminal if speaks else _mute(), stage) as progress:
            workspace = _workspace(run, config, place, origin, progress.note)
            call = Call(
                workspace=workspace,
                corpus=corpus,
                minutes=minutes,
                finish=finish,
                seed=seed,
                rates=rates,
                compiled=worth_compiling(place) if compiled is None else compiled,
                report=progress.report,
                note=progress.note,
                began=began,
            )
            with within_memory(place, "give this stage a smaller batch in the configuration"):
                try:
                    STAGES[stage](call)
                except TimeIsOver as over:
                    progress.note(str(over))
        if speaks and plot is not None:
            _draw(terminal, plot, run / stage)


def _mute() -> Terminal:
    return Terminal().configure(quiet=True, verbose=False, json=False)


def _check_plot(path: Path) -> None:
    """Refuse before the training what cannot be drawn after it, or would replace no picture."""
    from spresso_cli.errors import OutputError
    from spresso_cli.evaluation.plots import FORMATS, check_picture
    from spresso_cli.library.outputs import refuse_existing

    check_picture(path)
    refuse_existing(path, force=True)
    if path.is_file():
        with open(path, "rb") as file:
            if not file.read(5).startswith(FORMATS[path.suffix.lower()]):
                raise OutputError(f"{path} holds something else than a picture: name a new file")


def _draw(terminal: Terminal, path: Path, folder: Path) -> None:
    from spresso_cli.library.outputs import replacing
    from spresso_cli.training.curves import draw_curves, logs_under

    runs = logs_under(folder)
    if not runs:
        terminal.note(f"{shown(path)}: not drawn, nothing has been logged yet")
        return
    with replacing(path, force=True) as out:
        draw_curves(out, path.suffix.lower().removeprefix("."), runs)
