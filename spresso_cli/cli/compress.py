"""`spresso compress`: sounds in, `.spr` files out."""

from __future__ import annotations

from typing import Annotated

import typer

from spresso_cli.cli import batch, loading
from spresso_cli.cli.options import (
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

app = typer.Typer()

EXAMPLES = """\
Examples:

  spresso compress door.wav -b 0.096            door.spr, 73 bytes for 5 s
  spresso compress a.wav b.flac --output-dir small
  spresso compress sounds -r --output-dir small --resume --report log.jsonl
  find . -name '*.wav' -print0 | spresso compress --files-from - -0 --output-dir out
  cat door.wav | spresso compress - > door.spr
"""

RATE = "Rate"


@app.command(epilog=EXAMPLES)
def compress(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="IN...", help="Sound files or folders (-r); - is stdin."),
    ] = None,
    kbps: Annotated[
        float | None,
        typer.Option(
            "-b",
            "--kbps",
            metavar="KBPS",
            help="The best point at or below this rate per channel; spresso models lists them.",
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
    output: Output = None,
    output_dir: OutputDir = None,
    force: Force = False,
    downmix: Annotated[
        bool, typer.Option("--downmix", help="Mix all channels to mono first.")
    ] = False,
    keep_metadata: Annotated[
        bool,
        typer.Option("--keep-metadata", help="Carry bext, iXML, smpl, cue and tags along."),
    ] = False,
    max_duration: MaxDuration = 3600.0,
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

    Any length from one sample to an hour, mono or stereo, every rate and format that libsndfile
    reads. door.wav becomes door.spr beside it, or under --output-dir.
    """
