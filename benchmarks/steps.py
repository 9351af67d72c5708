"""Solver steps against quality and seconds: what a pack's default sampler and steps come from.

    python benchmarks/steps.py --clips DIR [--rates 0.096 1.32] [--guidance 1 1.5]
        [--ranges 0.004:160 0.02:20] [--envelope left held] [--limit N] --output benchmarks/results

Protocol: clips cut to a common length, shorter ones left out, coded once at each rate and decoded
with one seed by every setting. Heun runs over the pack's range of noise levels, the multistep
samplers over every range asked for. Evaluations are calls of the network for one window: guidance
doubles them. MS-mel and the level error compare a decode with its source; "to Heun" is the MS-mel
distance from the decode by the most Heun steps at the same guidance, the error of the solver alone.
A sound that is held to the envelope of its codes hides much of what the solver does: `left` shows
it. Cosine and first among 20 are `resemblance.py`'s: equal loudness, the sources' mean removed.
Seconds are of all clips; the ratio is measured on `--timed` clips, each setting right after
16 Heun steps without guidance, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import support

from spresso_cli.codec.codec import Codec
from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container.stream import Stream
from spresso_cli.diffusion.samplers import SAMPLERS, evaluations
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation import metrics
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.embeddings import Embedder, project_embedders
from spresso_cli.evaluation.resemblance import at_equal_loudness, identify
from spresso_cli.evaluation.scoring import Reference
from spresso_cli.evaluation.statistics import mean_interval
from spresso_cli.evaluation.tables import Column, Table

Range = tuple[float, float]  # sigma_min, sigma_max
REFERENCE = DecodeOptions(sampler="heun", steps=16, guidance=1.0)


@dataclass(frozen=True)
class Setting:
    """One way to solve the ODE."""

    sampler: str
    steps: int
    guidance: float
    sigmas: Range
    held: bool = True  # to the envelope of the codes

    @property
    def evaluations(self) -> int:
        """Calls of the network for one window."""
        return evaluations(self.sampler, self.steps) * (1 if self.guidance == 1 else 2)

    def options(self, seed: int) -> DecodeOptions:
        """What the codec is asked for."""
        return DecodeOptions(seed, self.steps, self.sampler, self.guidance, envelope=self.held)


class Judge:
    """Sources of one length with all that decodes of them are compared with."""

    def __init__(self, clips: dict[str, np.ndarray], embedders: list[Embedder]) -> None:
        self.references = [Reference(clip) for clip in clips.values()]
        self.embedders = embedders
        level = at_equal_loudness(np.stack(list(clips.values())))
        self._vectors = {e.name: e.embed(level) for e in embedders}
        self._finest: list[list[np.ndarray]] = []  # log-mels of the decodes by the most Heun steps

    def columns(self, decodes: np.ndarray, finest: bool) -> dict[str, float]:
        """Scores of decodes [clips, n]; `finest` ones are what later ones are compared with."""
        mels = [metrics.log_mels(decode, CLIP_RATE) for decode in decodes]
        if finest:
            self._finest = mels
        own = [
            metrics.mel_distance(reference.log_mels, mel)
            for reference, mel in zip(self.references, mels, strict=True)
        ]
        level = [
            abs(metrics.loudness_error_db(reference.samples, decode))
            for reference, decode in zip(self.references, decodes, strict=True)
        ]
        solver = [metrics.mel_distance(a, b) for a, b in zip(self._finest, mels, strict=True)]
        row = _interval("ms_mel", own) | {
            "level": mean_interval(np.array(level)).value,
            "to_heun": float(np.mean(solver)),
        }
        equal = at_equal_loudness(decodes)
        for number, embedder in enumerate(self.embedders):
            found = identify(self._vectors[embedder.name], embedder.embed(equal))
            suffix = f"_{embedder.name}" if number else ""  # the first one is what is printed
            row |= {f"cosine{suffix}": found.cosine.value, f"share{suffix}": found.share.value}
            row |= {f"chance{suffix}": found.chance} if not number else {}
            row |= {f"share{suffix}_low": found.share.low, f"share{suffix}_high": found.share.high}
        return row


def settings(options: argparse.Namespace, own: Range) -> Iterator[Setting]:
    """Every setting of the table; of each envelope and guidance the most Heun steps come first."""
    for held, guidance in product((name == "held" for name in options.envelope), options.guidance):
        for steps in sorted(options.heun, reverse=True):
            yield Setting("heun", steps, guidance, own, held)
        for sampler in options.samplers:
            for sigmas in options.ranges or [own]:
                for steps in sorted(options.multistep, reverse=True):
                    yield Setting(sampler, steps, guidance, sigmas, held)


def main() -> None:
    options = _arguments()
    clips, head = support.common_clips(options.clips, options.seconds, options.limit)
    info = find_pack(options.pack)
    own = (info.sigma_min, info.sigma_max)
    codec = Codec.load(info, options.device)
    embedders = project_embedders(options.pack)
    judge = Judge(clips, embedders)
    rows = []
    for kbps in support.rates(options, info):
        profile = support.point(info, kbps)
        streams = support.compress(codec, clips, profile)
        timed = dict(list(streams.items())[: options.timed])
        list(support.decompress(codec, timed, DecodeOptions(steps=1)))  # loads and warms up
        for setting in settings(options, own):
            finest = setting.sampler == "heun" and setting.steps == max(options.heun)
            codec.pack = info
            before = _seconds(codec, timed, REFERENCE)
            codec.pack = dataclasses.replace(
                info, sigma_min=setting.sigmas[0], sigma_max=setting.sigmas[1]
            )
            decode = setting.options(options.seed)
            ratio = _seconds(codec, timed, decode) / before
            start = time.perf_counter()
            decodes = support.decodes(codec, streams, decode)
            seconds = (time.perf_counter() - start) / len(clips)
            rows.append(
                {
                    "kbps": profile.kbps,
                    "envelope": "held" if setting.held else "left",
                    "sampler": setting.sampler,
                    "steps": setting.steps,
                    "evaluations": setting.evaluations,
                    "guidance": setting.guidance,
                    "sigma_min": setting.sigmas[0],
                    "sigma_max": setting.sigmas[1],
                    **judge.columns(decodes, finest),
                    "seconds": seconds,
                    "ratio": ratio,
                    "clips": len(clips),
                }
            )
            print(f"{profile.kbps:g} kbps, {setting}: {seconds:.2f} s", file=sys.stderr, flush=True)
        codec.pack = info
    head += f"\ncosine and first among 20 on {embedders[0].name} embeddings, "
    head += f"chance {rows[0]['chance']:.3f}"
    wide = support.every_column(rows)
    support.publish("steps", head, Table(COLUMNS, tuple(rows)), options, wide)
    if options.plot:
        _plot(options.output / "steps.png", rows)


COLUMNS = (
    Column("kbps", "kbps", 3),
    Column("envelope", "envelope"),
    Column("sampler", "sampler"),
    Column("steps", "steps"),
    Column("evaluations", "evaluations"),
    Column("guidance", "guidance", 1),
    Column("sigma_min", "sigma from", 3),
    Column("sigma_max", "to", 0),
    Column("ms_mel", "MS-mel", 3),
    Column("to_heun", "to Heun", 3),
    Column("level", "level dB", 2),
    Column("cosine", "cosine", 3),
    Column("share", "first among 20", 3),
    Column("seconds", "s per clip", 2),
    Column("ratio", "x Heun 16", 2),
)


def _seconds(codec: Codec, streams: dict[str, Stream], options: DecodeOptions) -> float:
    start = time.perf_counter()
    list(support.decompress(codec, streams, options))
    return time.perf_counter() - start


def _interval(key: str, values: list[float]) -> dict[str, float]:
    interval = mean_interval(np.array(values))
    return {key: interval.value, f"{key}_low": interval.low, f"{key}_high": interval.high}


def _plot(path: Path, rows: list[dict]) -> None:
    """MS-mel and share of first ranks over evaluations without guidance, two panels a rate."""
    from spresso_cli.evaluation.plots import Point, curves_figure

    panels = []
    last = rows[-1]["envelope"]
    plain = [row for row in rows if row["guidance"] == 1 and row["envelope"] == last]
    for kbps in dict.fromkeys(row["kbps"] for row in plain):
        for key, title in (("ms_mel", "MS-mel (lower is better)"), ("share", "first among 20")):
            points = [
                Point(
                    f"{row['sampler']} from {row['sigma_max']:g}",
                    row["evaluations"],
                    row[key],
                    row[f"{key}_low"],
                    row[f"{key}_high"],
                )
                for row in plain
                if row["kbps"] == kbps
            ]
            panels.append((f"{kbps:g} kbps: {title}", points))
    curves_figure(path, panels, "network evaluations", (4, 8, 16, 32, 64, 128))


def _range(text: str) -> Range:
    low, _, high = text.partition(":")
    try:
        sigmas = float(low), float(high)
    except ValueError:
        sigmas = 1.0, 0.0
    if not 0 < sigmas[0] < sigmas[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW:HIGH, such as 0.02:20")
    return sigmas


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    support.common_arguments(parser, "steps.csv (and steps.png)")
    multistep = [name for name in SAMPLERS if name != "heun"]
    parser.add_argument("--seconds", type=float, default=2.0, help="common length of the clips")
    parser.add_argument("--heun", type=int, nargs="+", default=[4, 8, 16, 32, 64], help="steps")
    parser.add_argument("--samplers", nargs="*", default=multistep, help="beside Heun")
    parser.add_argument("--multistep", type=int, nargs="+", default=[4, 5, 6, 8, 10, 12, 16],
                        help="steps of the samplers beside Heun")  # fmt: skip
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 1.5])
    parser.add_argument("--envelope", nargs="+", choices=("held", "left"), default=["held"],
                        help="whether sounds are held to the envelope of their codes")  # fmt: skip
    parser.add_argument("--ranges", type=_range, nargs="*", metavar="LOW:HIGH",
                        help="noise levels of multistep samplers; default: the pack's")  # fmt: skip
    parser.add_argument("--timed", type=int, default=4, help="clips that the ratio is timed on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", action="store_true", help="draw steps.png too (extra plot)")
    options = parser.parse_args()
    if unknown := set(options.samplers) - set(multistep):
        raise UsageError(f"no sampler is called {min(unknown)}: use {', '.join(multistep)}")
    if options.plot and options.output is None:
        raise UsageError("--plot needs --output, the folder that steps.png goes to")
    return options


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"steps: {error}")
