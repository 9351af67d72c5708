"""`spresso encode-latents` and `decode-latents`: the codec without its quantiser, for research."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spresso_cli.cli.options import (
    Device,
    Envelope,
    Force,
    MaxDuration,
    OutputDir,
    OutputFile,
    Pack,
    Quiet,
    Recursive,
    Sampler,
    Verbose,
)
from spresso_cli.codec.protocol import MAX_GUIDANCE, MAX_STEPS
from spresso_cli.errors import AudioError, UsageError

app = typer.Typer(add_completion=False)

ENCODE_EXAMPLES = r"""
Examples:

  spresso encode-latents door.wav --frame-rate 11
  spresso encode-latents sounds -r --frame-rate 1 --output-dir z

A file holds z, float32 \[channels, frames, 64], as safetensors.
"""

DECODE_EXAMPLES = """
Examples:

  spresso decode-latents door.safetensors --seed 3 -o take.wav
  spresso decode-latents z -r --steps 32 --output-dir back
"""


@app.command("encode-latents", epilog=ENCODE_EXAMPLES)
def encode_latents(
    ctx: typer.Context,
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Sound files or folders.")],
    frame_rate: Annotated[
        int,
        typer.Option(
            "--frame-rate", metavar="HZ", help="Frame rate of the encoder, one of the pack's."
        ),
    ],
    output: OutputFile = None,
    output_dir: OutputDir = None,
    force: Force = False,
    downmix: Annotated[
        bool, typer.Option("--downmix", help="Mix all channels to mono first.")
    ] = False,
    max_duration: MaxDuration = 3600,
    pack: Pack = None,
    device: Device = "auto",
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Encode sounds to the continuous latents before the quantiser."""
    from spresso_cli.audio.files import open_audio
    from spresso_cli.audio.suffixes import SOUND_SUFFIXES
    from spresso_cli.cli.inputs import for_each
    from spresso_cli.cli.text import shown, size
    from spresso_cli.codec.continuous import ContinuousCodec
    from spresso_cli.library.outputs import refuse_existing, replacing

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
    jobs = _jobs(inputs, SOUND_SUFFIXES, ".safetensors", recursive, output, output_dir)
    codec = ContinuousCodec.load(pack, device)

    def work(name: str) -> int:
        target = jobs[name]
        refuse_existing(target, force)
        with open_audio(name, max_seconds=max_duration or None) as source:
            data = codec.encode(source, frame_rate, downmix).to_bytes()
        with replacing(target, force=force) as file:
            return file.write(data)

    def tell(name: str, count: int) -> None:
        terminal.note(f"{shown(name)} -> {shown(jobs[name])}: {size(count)}")

    raise typer.Exit(for_each(terminal, list(jobs), work, tell))


@app.command("decode-latents", epilog=DECODE_EXAMPLES)
def decode_latents(
    ctx: typer.Context,
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Files of latents.")],
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", min=0, max=2**64 - 1, help="Each seed is another take."
        ),
    ] = 0,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, max=MAX_STEPS, help="Solver steps.")
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option("--sampler", help="Solver.")] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            metavar="W",
            min=-MAX_GUIDANCE,
            max=MAX_GUIDANCE,
            help="Guidance: how strongly to follow z; 1 is off.",
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="Words that steer the decoder.")
    ] = None,
    envelope: Envelope = True,
    output: OutputFile = None,
    output_dir: OutputDir = None,
    force: Force = False,
    max_duration: MaxDuration = 3600,
    pack: Pack = None,
    device: Device = "auto",
    recursive: Recursive = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Decode continuous latents to sounds through the sampler."""
    from spresso_cli.audio.sink import AudioFormat, AudioSink
    from spresso_cli.cli.inputs import for_each
    from spresso_cli.cli.text import shown
    from spresso_cli.codec.continuous import ContinuousCodec, Latents
    from spresso_cli.codec.protocol import DecodeOptions
    from spresso_cli.container.spr import check_duration
    from spresso_cli.library.outputs import refuse_existing, replacing
    from spresso_cli.library.plan import LATENT_SUFFIXES

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
    audio_format = AudioFormat.named(output or "")
    jobs = _jobs(inputs, LATENT_SUFFIXES, audio_format.suffix, recursive, output, output_dir)
    codec = ContinuousCodec.load(pack, device)
    options = DecodeOptions(seed, steps, sampler, guidance, prompt, envelope)

    def work(name: str) -> None:
        target = jobs[name]
        refuse_existing(target, force)
        latents = Latents.read(_regular(name))
        check_duration(latents.header, max_duration or None)  # silence costs no latents
        take = codec.decode(latents, options)
        with (
            replacing(target, force=force) as file,
            AudioSink(
                file, audio_format, rate=take.rate, channels=take.channels, samples=take.samples
            ) as sink,
        ):
            for block in take.blocks():
                sink.write(block)
        take.close()

    def tell(name: str, _: None) -> None:
        terminal.note(f"{shown(name)} -> {shown(jobs[name])}")

    raise typer.Exit(for_each(terminal, list(jobs), work, tell))


def _regular(name: str) -> Path:
    """A file of latents, which are read through a map of its bytes.

    Raises AudioError for a pipe or a device, which has none, OSError for what cannot be opened.
    """
    from spresso_cli.library.plan import is_special

    if is_special(name):
        raise AudioError("latents are read from a regular file: save it to one first")
    with open(name, "rb"):  # what safetensors says of a missing file names it once more
        return Path(name)


def _jobs(
    inputs: list[str],
    suffixes: frozenset[str],
    output_suffix: str,
    recursive: bool,
    output: str | None,
    output_dir: str | None,
) -> dict[str, Path]:
    """Output by input name: door.wav to door.safetensors to door.wav."""
    from spresso_cli.library import plan

    found = plan.find(inputs, suffixes=suffixes, recursive=recursive, output_dir=output_dir)
    jobs: dict[str, Path] = {}
    for job in plan.plan(found, suffix=output_suffix, output=output, output_dir=output_dir):
        if job.source is None or job.output is None:
            raise UsageError("latents go through files: name one instead of -")
        jobs[str(job.source)] = job.output
    return jobs
