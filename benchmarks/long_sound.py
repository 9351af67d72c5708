"""One long file: how much memory it takes beside a short one, and whether its seams show.

Part `long` of library.py. A seam is a border of latent frames where a window of the encoder's
kept codes or of the decoder begins or ends, or where stretches begin or end to fade into each
other. The jump between two frames is their mean absolute difference in log-mel over all bands;
at a seam those of the two frame pairs are taken whose analysis windows touch it. What chance does
to such a figure is shown by as many pairs drawn from the rest of the file, again and again; what
the change of codes does, which every seam comes with, by the borders of codes that are no seams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
import soundfile

from spresso_cli.audio.windows import Plan
from spresso_cli.codec.packs import find_pack
from spresso_cli.container import spr
from spresso_cli.container.profile import CODEC_RATE, LATENT_HOP
from spresso_cli.evaluation.clips import load_clip
from spresso_cli.evaluation.metrics import MEL_FLOOR
from spresso_cli.evaluation.spectra import magnitudes, mel_filters

WINDOW, BANDS = 1024, 80
CHUNK = 6000  # frames analysed at a time
PERCENTILE = 95
DRAWS = 1000  # of random places

Cells = tuple[str, float | None, str, str | None]  # what, value, unit, aim


def figures(
    run: Callable[..., tuple[float, float]],
    clips: list[Path],
    folder: Path,
    minutes: float,
    steps: int,
) -> list[Cells]:
    """Codes a short and a long file with `run`, which returns seconds and peak MB of a command."""
    rows: list[Cells] = []
    peaks: dict[str, list[float]] = {"compress": [], "decompress": []}
    short = min(1.0, minutes / 2)
    for length in (short, minutes):
        sound, coded, back = (folder / f"{length:g}min{s}" for s in (".wav", ".spr", ".back.wav"))
        concatenate(clips, sound, length)
        calls = {
            "compress": ("compress", sound, "-o", coded),
            "decompress": ("decompress", coded, "-o", back, "--steps", steps),
        }
        for verb, call in calls.items():
            seconds, peak = run(*call)
            peaks[verb].append(peak)
            rows.append((f"{verb} {length:g} min", 60 * length / seconds, "x real time", None))
            rows.append((f"{verb} {length:g} min, peak memory", peak, "MB", None))
    for verb, (low, high) in peaks.items():
        what = f"{verb}: memory of {minutes:g} min over {short:g} min"
        rows.append((what, high / low, "x", "<= 1.5"))

    jumps = log_mel_jumps(back)  # [T - 1]
    borders, code = seams(coded)
    at, others = touching(borders, len(jumps)), touching(code - borders, len(jumps))
    rest = jumps[~at]
    here, elsewhere = (float(np.percentile(part, PERCENTILE)) for part in (jumps[at], rest))
    rng = np.random.default_rng(0)
    drawn = [np.percentile(rng.choice(rest, int(at.sum())), PERCENTILE) for _ in range(DRAWS)]
    low, high = (float(limit) for limit in np.percentile(drawn, (2.5, 97.5)) / elsewhere)
    inside = float(np.percentile(jumps[others], PERCENTILE)) / elsewhere if others.any() else None
    return [
        *rows,
        ("pairs of frames at seams", int(at.sum()), f"of {len(at)}", None),
        (f"{PERCENTILE}th percentile of the log-mel jump at seams", here, "dB", None),
        ("the same elsewhere in the file", elsewhere, "dB", None),
        ("seams over elsewhere", here / elsewhere, "x", "<= 1"),
        ("random places over elsewhere, 95 % from", low, "x", None),
        ("random places over elsewhere, 95 % to", high, "x", None),
        ("borders of codes inside windows over elsewhere", inside, "x", None),
    ]


def touching(borders: set[int], count: int) -> np.ndarray:
    """Which of `count` pairs of neighbouring frames touch a border, bool `[count]`."""
    mask = np.zeros(count, bool)
    for border in borders:
        mask[max(0, border - 1) : border + 1] = True
    return mask


def concatenate(clips: list[Path], target: Path, minutes: float) -> None:
    """Writes the clips behind each other, again and again, until the file is as long as asked."""
    left = round(60 * minutes * CODEC_RATE)
    with soundfile.SoundFile(target, "w", CODEC_RATE, 1, "PCM_16") as file:
        for path in cycle(clips):
            sound = load_clip(path)[:left]
            file.write(sound)
            left -= len(sound)
            if left <= 0:
                return


def seams(coded: Path) -> tuple[set[int], set[int]]:
    """Latent frames of a mono 48 kHz `.spr` file: where its windows end, where codes do."""
    with open(coded, "rb") as file:
        stream = spr.load(file, max_seconds=None)
    pool, frames = stream.profile.pool, stream.frames
    pack = find_pack(None)
    encoder = Plan.of(pool, pack.families[stream.profile.frame_rate].encoder["stride"])
    decoder = Plan.of(pool, pack.dit["patch"])
    borders = {window.keep for window in encoder.encoder_windows(frames)}
    stretches = decoder.stretches(frames)
    for begin, stop in stretches:
        for window in decoder.decoder_windows(stop - begin):
            borders |= {begin + window[0], begin + window[1]}
    fades = {
        begin * pool + third * (stop - begin) * pool // 3
        for (_, stop), (begin, _) in pairwise(stretches)
        for third in (1, 2)
    }
    ends = fades | {border * pool for border in borders if 0 < border < frames}
    return ends, {code * pool for code in range(1, frames)}


def log_mel_jumps(path: Path) -> np.ndarray:
    """Mean absolute log-mel difference of neighbouring latent frames' borders, dB, `[T - 1]`."""
    mels = np.concatenate(list(_log_mels(path)))  # [T, bands]
    return 20 * np.abs(np.diff(mels, axis=0)).mean(1)


def _log_mels(path: Path) -> Iterator[np.ndarray]:
    """log10 mel magnitudes centred at the borders of latent frames, by the chunk."""
    filters = mel_filters(CODEC_RATE, WINDOW, BANDS).T
    margin = WINDOW // LATENT_HOP  # frames that see the reflected ends of a chunk
    with soundfile.SoundFile(path) as file:
        frames = 1 + file.frames // LATENT_HOP
        for start in range(0, frames, CHUNK):
            stop = min(start + CHUNK, frames)
            first, last = max(0, start - margin), min(stop + margin, frames)
            file.seek(first * LATENT_HOP)
            x = file.read((last - first) * LATENT_HOP, dtype="float32")
            for_chunk = np.concatenate(list(magnitudes(x, WINDOW, LATENT_HOP)))
            mel = for_chunk[start - first : stop - first] @ filters
            yield np.log10(np.maximum(mel, MEL_FLOOR)).astype(np.float32)
