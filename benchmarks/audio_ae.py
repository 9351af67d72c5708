"""How much the AudioAE alone costs: what everything decoded through it can reach at best.

    python benchmarks/audio_ae.py --clips DIR [--pack NAME|DIR] [--run DIR --config NAME]

Protocol: clips cut to 5 s (shorter ones as they are: zeros behind them would be easy), mono,
48 kHz, scaled to the peak that the codec encodes at (0.5), coded to 128 latents at 100 Hz and back
in float32, no quantisation of anything, phases from noise where the codec takes them from it.
SI-SDR is zero-mean over the whole clip; ms-mel is the sum over DAC's seven scales of the mean
|log10 mel| difference; the error above 8 kHz and of loudness are levels of the output less those of
the clip, as a mean (bias) and as a mean of magnitudes. The first row is the untrained linear path:
the lowest 128 MDCT bins, 0 to 6.4 kHz.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import support
import systems
import torch

from spresso_cli.audio.level import NETWORK_PEAK
from spresso_cli.codec.device import resolve_device
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.weights import load_audio_ae
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation import metrics
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.tables import Column, Table
from spresso_cli.models.audio_ae import AudioAE, AudioAEConfig
from spresso_cli.training.config import load
from spresso_cli.training.workspace import Workspace

COLUMNS = (
    Column("name", "AudioAE"),
    Column("parameters", "M params", 1),
    Column("si_sdr_median", "SI-SDR median", 2),
    Column("si_sdr_mean", "mean", 2),
    Column("ms_mel", "ms-mel", 3),
    Column("high_bias", "> 8 kHz dB", 2),
    Column("high_error", "|dB|", 2),
    Column("loudness_bias", "loudness dB", 2),
    Column("loudness_error", "|dB|", 2),
)


def linear_path() -> AudioAE:
    """An AudioAE whose networks add nothing to the linear path."""
    model = AudioAE(AudioAEConfig(dim=8, encoder_blocks=1, decoder_blocks=1))
    with torch.no_grad():
        model.to_latent.weight.zero_()
        model.head.weight.zero_()
        model.head.bias[: model.config.n_fft // 2 + 1] = -40.0  # log magnitudes
    return model


def candidates(options: argparse.Namespace) -> list[tuple[str, AudioAE]]:
    """Name and network of every row; whatever is missing is told before anything is measured."""
    info = find_pack(options.pack)
    found = [("linear path, untrained", linear_path()), (f"pack {info.name}", load_audio_ae(info))]
    if options.run is not None:
        workspace = Workspace(options.run, load(options.config), resolve_device("cpu"))
        found.append((f"{options.run.name} ({options.config})", workspace.audio_ae()))
    return found


def scores(model: AudioAE, clips: list[np.ndarray]) -> dict[str, float]:
    """The columns of one row."""
    rows = []
    for clip in clips:
        output = systems.through_audio_ae(model, clip)
        rows.append(
            (
                metrics.si_sdr(clip, output),
                metrics.ms_mel(clip, output, CLIP_RATE),
                metrics.high_band_error_db(clip, output, CLIP_RATE),
                metrics.loudness_error_db(clip, output),
            )
        )
    si_sdr, ms_mel, high, loudness = np.array(rows).T
    return {
        "si_sdr_median": float(np.nanmedian(si_sdr)),
        "si_sdr_mean": float(np.nanmean(si_sdr)),
        "ms_mel": float(np.nanmean(ms_mel)),
        "high_bias": float(np.nanmean(high)),
        "high_error": float(np.nanmean(np.abs(high))),
        "loudness_bias": float(np.nanmean(loudness)),
        "loudness_error": float(np.nanmean(np.abs(loudness))),
    }


def main() -> None:
    options = _arguments()
    models = candidates(options)
    found = support.load_clips(options.clips, 0.0, options.limit)
    found = {name: clip[: 5 * CLIP_RATE] for name, clip in found.items()}
    peaks = {name: float(np.abs(clip).max()) for name, clip in found.items()}
    clips = [clip * (NETWORK_PEAK / peaks[name]) for name, clip in found.items() if peaks[name] > 0]
    if not clips:
        raise UsageError(f"{options.clips}: all clips are silent: there is nothing to measure")
    device = resolve_device(options.device)
    rows = []
    for name, model in models:
        count = sum(p.numel() for p in model.parameters()) / 1e6
        rows.append({"name": name, "parameters": count, **scores(model.to(device), clips)})
        print(f"{name} done", file=sys.stderr, flush=True)
    table = Table(COLUMNS, tuple(rows))
    head = f"{len(clips)} clips of {options.clips.name}, up to 5 s each, peak {NETWORK_PEAK}"
    support.publish("audio_ae", head, table, options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--limit", type=int, help="at most this many clips, evenly spaced by name")
    parser.add_argument("--pack", help="name or folder")
    parser.add_argument("--run", type=Path, help="a model's folder: its audio-ae is one more row")
    parser.add_argument("--config", default="base", help="configuration of --run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for audio_ae.csv")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"audio_ae: {error}")
