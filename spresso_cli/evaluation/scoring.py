"""Scores of one system: every metric on every clip, then means with 95 % intervals.

The protocol of S-PRESSO's section 4: outputs at 48 kHz, cut or zero-padded to their reference's
length, no search for a delay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from spresso_cli.evaluation import metrics
from spresso_cli.evaluation.clips import CLIP_RATE
from spresso_cli.evaluation.embeddings import Embedder, windows_of
from spresso_cli.evaluation.metrics import Bandwidth, Defect
from spresso_cli.evaluation.statistics import Interval, kad_interval, mean_interval


@dataclass(frozen=True)
class Metric:
    """How a metric is called (in full and in wide tables) and read.

    `signed` errors are averaged as magnitudes.
    """

    key: str
    heading: str
    short: str
    better: str
    signed: bool = False
    decimals: int = 2


SIGNAL_METRICS = (
    Metric("si_sdr", "SI-SDR dB", "SI-SDR", "higher"),
    Metric("ms_mel", "MS-mel", "MS-mel", "lower", decimals=3),
    Metric("fine", "fine structure", "fine", "higher", decimals=3),
    Metric("loudness", "loudness error dB", "level dB", "lower", signed=True),
    Metric("centroid", "centroid error octaves", "centroid oct", "lower", signed=True),
    Metric("high_band", "error above 8 kHz dB", ">8 kHz dB", "lower", signed=True),
)


DISTANCES = {
    "cosine": Metric("cosine", "cosine", "cosine", "higher", decimals=3),
    "fad": Metric("fad", "FAD", "FAD", "lower", decimals=3),
    "kad": Metric("kad", "KAD", "KAD", "lower", decimals=3),
}
"""Metrics on embeddings; a summary's keys join them with the embedder's name, as in `fad_clap`."""


def metric_of(key: str) -> Metric:
    """The description of a summary's key, such as `si_sdr` or `fad_clap`."""
    for metric in SIGNAL_METRICS:
        if metric.key == key:
            return metric
    kind, _, embedder = key.partition("_")
    return replace(DISTANCES[kind], key=key, heading=f"{DISTANCES[kind].heading} {embedder}")


class Reference:
    """A source clip, float32 [n] at 48 kHz, with what all its comparisons share."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples
        self._embeddings: dict[str, np.ndarray] = {}

    @cached_property
    def log_mels(self) -> list[np.ndarray]:
        """`metrics.log_mels` of the clip."""
        return metrics.log_mels(self.samples, CLIP_RATE)

    @cached_property
    def fine_detail(self) -> tuple[np.ndarray, np.ndarray]:
        """`metrics.fine_detail` of the clip."""
        return metrics.fine_detail(self.samples, CLIP_RATE)

    def embeddings(self, embedder: Embedder) -> np.ndarray:
        """The clip's vectors, float32 [windows, D]."""
        if embedder.name not in self._embeddings:
            self._embeddings[embedder.name] = windows_of(embedder, self.samples[None])[0]
        return self._embeddings[embedder.name]


@dataclass(frozen=True)
class ClipScore:
    """One output against its reference; `embeddings` holds (reference, output), each [W, D].

    `original` names the reference: that of takes, which are several outputs, is one.
    """

    name: str
    original: str
    values: Mapping[str, float]
    defect: Defect | None
    embeddings: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(repr=False)


@dataclass(frozen=True)
class SystemScore:
    """A system over all clips: `values` by metric key, signed `biases`, counts of bad outputs.

    Means are over outputs, intervals over clips: takes of one original are drawn together.

    Keys on embeddings are `fad_NAME`, `kad_NAME` and `cosine_NAME`; `embeddings` has the number of
    vectors and their dimensions behind each. FAD has no interval: it is biased in the number of
    vectors, and a resample has fewer distinct ones.
    """

    clips: int  # originals
    outputs: int
    values: Mapping[str, Interval]
    biases: Mapping[str, float]
    defects: Mapping[str, int]
    embeddings: Mapping[str, tuple[int, int]]


def score_clip(
    name: str,
    reference: Reference,
    output: np.ndarray,
    embedders: Sequence[Embedder] = (),
    original: str | None = None,
) -> ClipScore:
    """Every metric of an output [m] at 48 kHz; one that is not finite gets NaN throughout.

    `original` is the reference's name, where it has several outputs; None: that of the output.
    """
    original = name if original is None else original
    source = reference.samples
    output = np.pad(output[: source.size], (0, max(0, source.size - output.size)))
    defect = metrics.defect(source, output)
    if defect == "non-finite":
        return ClipScore(name, original, {m.key: math.nan for m in SIGNAL_METRICS}, defect, {})
    values = {
        "si_sdr": metrics.si_sdr(source, output),
        "ms_mel": metrics.mel_distance(reference.log_mels, metrics.log_mels(output, CLIP_RATE)),
        "fine": metrics.fine_structure(
            reference.fine_detail, metrics.fine_detail(output, CLIP_RATE)
        ),
        "loudness": metrics.loudness_error_db(source, output),
        "centroid": metrics.centroid_error_octaves(source, output),
        "high_band": metrics.high_band_error_db(source, output, CLIP_RATE),
    }
    vectors = {e.name: (reference.embeddings(e), windows_of(e, output[None])[0]) for e in embedders}
    return ClipScore(name, original, values, defect, vectors)


def summarise(
    scores: Sequence[ClipScore], bandwidth: Bandwidth = "reference", seed: int = 0
) -> SystemScore:
    """Means over clips, distances between the sets of embeddings, and bootstrap intervals."""
    values: dict[str, Interval] = {}
    biases: dict[str, float] = {}
    clips = _numbers(scores)
    for metric in SIGNAL_METRICS:
        column = np.array([score.values[metric.key] for score in scores])
        values[metric.key] = mean_interval(
            np.abs(column) if metric.signed else column, seed, clips=clips
        )
        if metric.signed:
            biases[metric.key] = mean_interval(column, seed, resamples=1).value
    embedded = [score for score in scores if score.embeddings]
    clips = _numbers(embedded)
    firsts = np.unique(clips, return_index=True)[1]  # of each original
    counts: dict[str, tuple[int, int]] = {}
    for name in embedded[0].embeddings if embedded else ():
        pairs = [score.embeddings[name] for score in embedded]
        reference = np.concatenate([pairs[i][0] for i in firsts])  # [clips * windows, D]
        output = np.concatenate([o for _, o in pairs])
        counts[name] = output.shape
        cosines = metrics.cosine(
            np.stack([r.mean(axis=0) for r, _ in pairs]),
            np.stack([o.mean(axis=0) for _, o in pairs]),
        )
        values[f"cosine_{name}"] = mean_interval(cosines, seed, clips=clips)
        if len(firsts) > 1:
            distance = metrics.fad(reference, output)
            values[f"fad_{name}"] = Interval(distance, math.nan, math.nan, len(firsts))
            of_reference = np.repeat(clips[firsts], [len(pairs[i][0]) for i in firsts])
            of_output = np.stack((clips, np.arange(len(clips))), 1)
            of_output = np.repeat(of_output, [len(o) for _, o in pairs], axis=0)
            values[f"kad_{name}"] = kad_interval(
                reference, output, of_reference, of_output, bandwidth, seed
            )
    kinds = [score.defect for score in scores if score.defect]
    defects = {kind: kinds.count(kind) for kind in ("silent", "non-finite")}
    originals = len({score.original for score in scores})
    return SystemScore(originals, len(scores), values, biases, defects, counts)


def _numbers(scores: Sequence[ClipScore]) -> np.ndarray:
    """The number of each output's original, 0 .. count - 1 in order of appearance, `[outputs]`."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(score.original, len(numbers)) for score in scores], int)
