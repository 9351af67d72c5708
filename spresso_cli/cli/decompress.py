"""`spresso decompress`: `.spr` files in, sounds out."""

from __future__ import annotations

from typing import Annotated

import typer

from spresso_cli.cli.options import (
    BATCH,
    OUTPUT,
    Device,
    DryRun,
    Envelope,
    FilesFrom,
    Force,
    Json,
    MaxDuration,
    Null,
    Output,
    OutputDir,
    Pack,
    Quiet,
    Recursive,
    Report,
    Sampler,
    Shard,
    Variety,
    Verbose,
)
from spresso_cli.cli.seeds import MAX_SEED, checked_seed, chosen_seed
from spresso_cli.codec.protocol import MAX_GUIDANCE, MAX_STEPS, VARIETY
from spresso_cli.errors import UsageError

app = typer.Typer(add_completion=False)

EXAMPLES = """
Examples:

  spresso decompress door.spr --seed 3          door.seed3.wav
  spresso decompress door.spr --variations 4    door.seed0.wav ... seed3.wav
  spresso decompress door.spr -o take.wav       without -o: door.wav
  spresso decompress door.spr --seed random --format flac
  spresso decompress small -r --output-dir back --steps 4
  spresso decompress - < door.spr | aplay
"""

SOUND = "The sound"
MAX_VARIATIONS = 100_000  # each is planned before the first is made


@app.command(epilog=EXAMPLES)
def decompress(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="IN", help=".spr files or folders (-r); - is stdin."),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            "--seed",
            metavar="N|random",
            help="Each seed is another take, named after it. Default: seed 0, and a plain name.",
            callback=checked_seed,
            rich_help_panel=SOUND,
        ),
    ] = None,
    variations: Annotated[
        int,
        typer.Option(
            "--variations",
            metavar="K",
            min=1,
            max=MAX_VARIATIONS,
            help="Make K takes, with seeds N to N+K-1.",
            rich_help_panel=SOUND,
        ),
    ] = 1,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            max=MAX_STEPS,
            help="Solver steps; more take longer.",
            rich_help_panel=SOUND,
        ),
    ] = None,
    sampler: Annotated[
        Sampler | None, typer.Option("--sampler", help="Solver.", rich_help_panel=SOUND)
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            metavar="W",
            min=-MAX_GUIDANCE,
            max=MAX_GUIDANCE,
            help="Guidance: how strongly to follow the codes; 1 is off, and twice as fast.",
            rich_help_panel=SOUND,
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEXT",
            help="Words that steer the decoder.",
            rich_help_panel=SOUND,
        ),
    ] = None,
    envelope: Envelope = True,
    variety: Variety = VARIETY,
    output: Output = None,
    output_dir: OutputDir = None,
    force: Force = False,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="wav|flac|ogg",
            help="Format of the outputs. Default: by the name given to -o, else wav.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    subtype: Annotated[
        str | None,
        typer.Option(
            "--subtype",
            metavar="NAME",
            help="Sample type, such as PCM_16, PCM_24, FLOAT; wav and flac default to PCM_16.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    max_duration: MaxDuration = 3600,
    pack: Pack = None,
    device: Device = "auto",
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    null: Null = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip outputs that exist and are up to date, whatever options made them.",
            rich_help_panel=BATCH,
        ),
    ] = False,
    dry_run: DryRun = False,
    shard: Shard = None,
    report: Report = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Decompress .spr files to sounds.

    The output has exactly the source's length, rate and channels, and its level. The same file and
    seed give the same sound on the same machine; another seed gives another take of it. With -r, an
    output folder inside the folder that is searched is skipped.
    """
    from spresso_cli.audio.sink import AudioFormat
    from spresso_cli.cli import batch, loading
    from spresso_cli.codec.protocol import DecodeOptions
    from spresso_cli.library import plan
    from spresso_cli.library.run import decompress_library

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    audio_format = AudioFormat.named(output or "", subtype, format)
    first = chosen_seed(terminal, seed or "0")
    if first + variations - 1 > MAX_SEED:
        raise UsageError("--variations counts beyond the largest seed, 2^64 - 1: lower --seed")
    decode = DecodeOptions(
        seed=first,
        steps=steps,
        sampler=sampler,
        guidance=guidance,
        prompt=prompt,
        envelope=envelope,
        variety=variety,
    )
    # The seed is part of the name, unless the name is given.
    if resume and decode != DecodeOptions(seed=first if output is None else 0):
        terminal.note("note: --resume keeps sounds that are there, whatever options made them")
    jobs = batch.plan_jobs(
        inputs,
        suffixes=plan.STREAM_SUFFIXES,
        output_suffix=audio_format.suffix,
        recursive=recursive,
        files_from=files_from,
        null=null,
        output=output,
        output_dir=output_dir,
        shard=shard,
        report_path=report,
        seeds=None if seed is None and variations == 1 else range(first, first + variations),
    )
    results = decompress_library(
        jobs,
        loading.codec_factory(pack, device),
        decode,
        audio_format,
        batch.run_options(
            force=force,
            resume=resume,
            dry_run=dry_run,
            report_path=report,
            max_duration=max_duration,
        ),
    )
    code = batch.follow(
        terminal, "decompress", jobs, results, report_path=None if dry_run else report
    )
    raise typer.Exit(code)
