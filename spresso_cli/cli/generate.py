"""`spresso generate`: a caption in, a sound out; what the base model knows without any code."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from spresso_cli.cli.destination import Destination
from spresso_cli.cli.options import Device, Force, Output, Pack, Quiet, Sampler, Verbose
from spresso_cli.cli.seeds import checked_seed, chosen_seed
from spresso_cli.codec.protocol import MAX_GUIDANCE, MAX_STEPS
from spresso_cli.container.profile import CODEC_RATE
from spresso_cli.errors import UsageError

app = typer.Typer(add_completion=False)

EXAMPLES = """
Examples:

  spresso generate "glass breaking" --seed 1 -o glass.wav
  spresso generate "heavy rain on a roof" --seconds 10
  spresso generate "dog barking" --guidance 5 -o - | aplay
"""


@app.command(epilog=EXAMPLES)
def generate(
    ctx: typer.Context,
    caption: Annotated[str, typer.Argument(metavar="CAPTION", help="What the sound should be.")],
    output: Output = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", help="Length in seconds, 60 at most.")
    ] = 5.0,
    seed: Annotated[
        str,
        typer.Option(
            "--seed",
            metavar="N|random",
            help="Each seed is another sound.",
            callback=checked_seed,
        ),
    ] = "0",
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, max=MAX_STEPS, help="Solver steps.")
    ] = 32,
    sampler: Annotated[Sampler, typer.Option("--sampler", help="Solver.")] = Sampler.heun,
    guidance: Annotated[
        float,
        typer.Option(
            "--guidance",
            metavar="W",
            min=-MAX_GUIDANCE,
            max=MAX_GUIDANCE,
            help="Guidance: how strongly to follow the caption; 1 is off.",
        ),
    ] = 3.0,
    force: Force = False,
    pack: Pack = None,
    device: Device = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Generate a sound from words alone.

    Without -o, glass breaking is written to glass-breaking.wav. The same words and seed give the
    same sound on the same machine.
    """
    from spresso_cli.audio.sink import AudioFormat, AudioSink
    from spresso_cli.codec.decoder import Solver
    from spresso_cli.codec.generator import Generator
    from spresso_cli.codec.packs import find_pack

    terminal = ctx.obj.configure(quiet=quiet, verbose=verbose, json=False)
    if not caption.strip():
        raise UsageError("the caption is empty: say what is to be heard")
    solver = Solver(sampler.value, steps, guidance)
    name = output or _file_name(caption)
    audio_format = AudioFormat.named(name)
    target = Destination.of(terminal, name, suffix=audio_format.suffix, force=force)
    chosen = chosen_seed(terminal, seed)
    generator = Generator.load(find_pack(pack), device)

    def progress(done: int, total: int) -> None:
        terminal.detail(f"step {done} of {total}")

    sound = generator.generate(caption, seconds, chosen, solver, progress)

    with (
        target.opened() as file,
        AudioSink(file, audio_format, rate=CODEC_RATE, channels=1, samples=len(sound)) as sink,
    ):
        sink.write(sound)
    terminal.note(f"{target}: {len(sound) / CODEC_RATE:.2f} s, seed {chosen}")


def _file_name(caption: str) -> str:
    """`Glass breaking!` -> `glass-breaking.wav`."""
    words = re.findall(r"[a-z0-9]+", caption.lower())
    return f"{'-'.join(words)[:60] or 'sound'}.wav"
