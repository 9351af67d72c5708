"""The picture behind `spresso info --plot`: waveform and spectrogram of any sound or `.spr`."""

from __future__ import annotations

from pathlib import Path

from spresso_cli.cli import loading
from spresso_cli.cli.takes import Plan, read_sound
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr
from spresso_cli.library.outputs import refuse_existing, replacing
from spresso_cli.library.plan import refuse_inputs


def plot_file(path: Path, output: Path, *, force: bool) -> None:
    """Write the picture of a sound file, or of one take of a `.spr` file.

    PNG, SVG or PDF by suffix. Raises what `refuse_picture` does, OutputError for a picture that
    cannot be written, and what reading or decoding raises.
    """
    from spresso_cli.evaluation.plots import sound_figure

    refuse_picture(output, path, force=force)
    if path.suffix.lower() == ".spr":
        plan = Plan(loading.codec_factory(None, "auto"), (), [DecodeOptions()], (), ())
        with open(path, "rb") as file:
            (take,) = plan.decodes(spr.load(file))
        samples, rate, title = take.samples, take.rate, f"{path.name}, {take.detail}"
    else:
        samples, rate = read_sound(path)
        title = path.name
    write_picture(output, sound_figure(output, samples, rate, title), force=force)


def refuse_picture(output: Path, source: Path, *, force: bool) -> None:
    """Refuse a picture that cannot be made or may not be, before the work that it takes.

    Raises UsageError without matplotlib, for a suffix that is no picture's and for the `source`
    itself, OutputError for an existing output without `force`.
    """
    from spresso_cli.evaluation.plots import check_picture

    check_picture(output)
    refuse_inputs([output], [source])
    refuse_existing(output, force)


def write_picture(output: Path, picture: bytes, *, force: bool) -> None:
    """Write a picture that is drawn, whole or not at all; errors name the output."""
    with replacing(output, force=force) as out:
        out.write(picture)
