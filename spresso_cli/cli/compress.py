"""`spresso compress`: sounds in, `.spr` files out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spresso_cli.cli import text
from spresso_cli.cli.options import (
    OUTPUT,
    Device,
    DryRun,
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
    Resume,
    Shard,
    Verbose,
)

if TYPE_CHECKING:
    from spresso_cli.library.engine import FileResult

app = typer.Typer(add_completion=False)

EXAMPLES = """
Examples:

  spresso compress door.wav -b 0.096            door.spr, 73 bytes for 5 s
  spresso compress a.wav b.flac --output-dir small
  spresso compress clicks -r --best-fit         better where sounds are short
  spresso compress sounds -r --output-dir small --resume --report log.jsonl
  find . -name '*.wav' -print0 | spresso compress --files-from - -0
  cat door.wav | spresso compress - > door.spr
"""

RATE = "Rate"


@app.command(epilog=EXAMPLES)
def compress(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="IN", help="Sound files or folders (-r); - is stdin."),
    ] = None,
    kbps: Annotated[
        float | None,
        typer.Option(
            "-b",
            "--kbps",
            metavar="KBPS",
            help="Highest rate per channel; the best operating point within it is taken. "
            "Default: the one that spresso models marks with *.",
            rich_help_panel=RATE,
        ),
    ] = None,
    frame_rate: Annotated[
        int | None,
        typer.Option(
            "--frame-rate", metavar="HZ", help="Code frames a second.", rich_help_panel=RATE
        ),
    ] = None,
    codebooks: Annotated[
        int | None,
        typer.Option("--codebooks", metavar="M", help="Codes per frame.", rich_help_panel=RATE),
    ] = None,
    best_fit: Annotated[
        bool,
        typer.Option(
            "--best-fit",
            help="For short sounds, take a better operating point if it needs no more bits.",
            rich_help_panel=RATE,
        ),
    ] = False,
    output: Output = None,
    output_dir: OutputDir = None,
    keep_suffix: Annotated[
        bool,
        typer.Option(
            "--keep-suffix",
            help="door.wav becomes door.wav.spr, so that door.flac can stand beside it.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    force: Force = False,
    downmix: Annotated[
        bool, typer.Option("--downmix", help="Mix all channels to mono first.")
    ] = False,
    keep_metadata: Annotated[
        bool,
        typer.Option(
            "--keep-metadata",
            help="Keep tags and the chunks bext, iXML, smpl and cue (with its labels).",
        ),
    ] = False,
    max_duration: MaxDuration = 3600,
    pack: Pack = None,
    device: Device = "auto",
    recursive: Recursive = False,
    files_from: FilesFrom = None,
    null: Null = False,
    resume: Resume = False,
    dry_run: DryRun = False,
    shard: Shard = None,
    report: Report = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compress sounds to .spr files.

    Takes mono and stereo sounds from one sample to an hour long, at any rate and in any format
    that libsndfile reads. door.wav becomes door.spr beside it, or under --output-dir. With -r, an
    output folder inside the folder that is searched is skipped.
    """
    from spresso_cli.audio.suffixes import SOUND_SUFFIXES
    from spresso_cli.cli import batch, loading
    from spresso_cli.errors import UsageError
    from spresso_cli.library import plan
    from spresso_cli.library.resume import StreamParameters
    from spresso_cli.library.run import compress_library

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=json)
    jobs = batch.plan_jobs(
        inputs,
        suffixes=SOUND_SUFFIXES,
        output_suffix=plan.Appended(".spr") if keep_suffix else ".spr",
        recursive=recursive,
        files_from=files_from,
        null=null,
        output=output,
        output_dir=output_dir,
        shard=shard,
        report_path=report,
    )
    if best_fit and (frame_rate, codebooks) != (None, None):
        raise UsageError("--best-fit chooses for itself: leave out --frame-rate and --codebooks")
    profile, tag = loading.choose_profile(pack, kbps, frame_rate, codebooks)
    better = loading.better_points(pack, profile) if best_fit else ()
    terminal.detail(
        f"{profile.kbps:g} kbps: {profile.codebooks} codes of {profile.bits} bits "
        f"at {profile.frame_rate} Hz, weights {tag.hex()}"
    )
    results = compress_library(
        jobs,
        loading.codec_factory(pack, device),
        StreamParameters(profile, tag, downmix=downmix, metadata=keep_metadata, better=better),
        batch.run_options(
            force=force,
            resume=resume,
            dry_run=dry_run,
            report_path=report,
            max_duration=max_duration,
        ),
    )
    code = batch.follow(
        terminal, "compress", jobs, results, _described, report_path=None if dry_run else report
    )
    raise typer.Exit(code)


def _described(result: FileResult) -> tuple[str, dict[str, object]]:
    """Both bitrates of a finished file."""
    stream = result.stream
    rates = {
        "payload_kbps": stream.payload_kbps,
        "payload_kbps_per_channel": stream.payload_kbps / stream.coded_channels,
        "file_kbps": stream.file_kbps(result.output_bytes),
    }
    payload = text.payload(stream.payload_kbps, stream.coded_channels)
    return f"payload {payload}, file {text.kbps(rates['file_kbps'])}", rates
