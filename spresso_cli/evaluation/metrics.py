"""The numbers of S-PRESSO's tables and the signal errors around them (S-PRESSO, section 4).

Everything here is numpy in float64. Signals are mono [n], reference and estimate of one length;
embeddings are [count, dimensions]. A metric that a clip does not define (the SI-SDR of a silent
reference) is NaN, and averages skip it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from spresso_cli.evaluation.spectra import magnitudes, mean_power, mel_filters

MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""Window lengths and mel bands of DAC's multi-scale mel loss; the hop is a quarter window."""

MEL_FLOOR = 1e-5
SI_SDR_LIMIT = 60.0
HIGH_BAND_HZ = 8000.0
HIGH_BAND_FLOOR = 1e-9  # mean square: -90 dB of full scale, so that empty bands agree
FINE_WINDOW, FINE_HOP = 4096, 2048
FINE_BINS = 12  # on either side, whose mean is the level that a bin's detail stands out from
FINE_BAND_HZ = (50.0, 8000.0)
FINE_RANGE_DB = 60.0  # below the loudest bin; less is not looked at
SILENCE_PEAK = 1e-4  # -80 dB of full scale
KAD_SCALE = 100.0

Bandwidth = Literal["reference", "as released"]
Defect = Literal["non-finite", "silent"]


def fad(reference: np.ndarray, evaluated: np.ndarray) -> float:
    """Frechet distance of two embedding sets [m, D] and [n, D] (Kilgour et al. 2019).

    Unbiased covariances. The trace of (S_r S_e)^(1/2) is taken as the sum of the singular values
    of S_r^(1/2) S_e^(1/2), whose squares are the eigenvalues of S_r^(1/2) S_e S_r^(1/2): real and
    stable for the singular covariances of fewer embeddings than dimensions.
    Raises ValueError for sets of fewer than two embeddings or not finite.
    """
    reference, evaluated = _embedding_sets(reference, evaluated)
    shift = reference.mean(axis=0) - evaluated.mean(axis=0)
    root_r = _covariance_root(reference)
    root_e = _covariance_root(evaluated)
    cross = np.linalg.svd(root_r @ root_e.T, compute_uv=False).sum()
    spread = np.sum(root_r**2) + np.sum(root_e**2) - 2.0 * cross
    return float(shift @ shift + max(spread, 0.0))


def kad(reference: np.ndarray, evaluated: np.ndarray, bandwidth: Bandwidth = "reference") -> float:
    """Kernel audio distance x 100 of two embedding sets [m, D] and [n, D] (Chung et al. 2025).

    Unbiased squared MMD with a Gaussian kernel, so slightly negative values occur. The kernel's
    width is the median distance inside the reference set, as the paper and the toolkit's README
    say; "as released" takes it from the evaluated set, as the toolkit's code does. Outputs made
    from the reference clips themselves lie nearer to them than independent sounds would: the value
    of n perfect outputs is about -80 / n.
    """
    reference, evaluated = _embedding_sets(reference, evaluated)
    within_r, within_e, across = kad_kernels(reference, evaluated, bandwidth)
    inside = sum(
        (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))
        for kernel in (within_r, within_e)
    )
    return float(KAD_SCALE * (inside - 2.0 * across.mean()))


def kad_kernels(
    reference: np.ndarray, evaluated: np.ndarray, bandwidth: Bandwidth = "reference"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kernel matrices [m, m], [n, n] and [m, n] of `kad`."""
    within_r = _squared_distances(reference, reference)
    within_e = _squared_distances(evaluated, evaluated)
    source = within_e if bandwidth == "as released" else within_r
    pairs = np.sqrt(source[np.triu_indices(len(source), k=1)])
    # The lower middle, like torch.median, not the mean of the two middle values.
    width = float(np.partition(pairs, (len(pairs) - 1) // 2)[(len(pairs) - 1) // 2])
    gamma = 1.0 / (2.0 * width**2 + 1e-8)
    across = _squared_distances(reference, evaluated)
    return np.exp(-gamma * within_r), np.exp(-gamma * within_e), np.exp(-gamma * across)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine between matching rows of [n, D] and [n, D]: float64 [n], 0 where a row is zero."""
    a = np.asarray(a, dtype=np.float64)
    b = np.asarray(b, dtype=np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.einsum("nd,nd->n", a, b)
    return np.divide(products, lengths, out=np.zeros(len(a)), where=lengths > 0)


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, zero-mean, limited to +-60 dB.

    NaN for a reference that is silent (or constant): the ratio is undefined there.
    """
    s, e = _signals(reference, estimate)
    s = s - s.mean()
    e = e - e.mean()
    power = s @ s
    if power <= (SILENCE_PEAK**2) * 1e-4 * s.size:
        return float("nan")
    target = (e @ s / power) * s
    error = e - target
    signal, noise = target @ target, error @ error
    if signal == 0.0:
        return -SI_SDR_LIMIT
    if noise == 0.0:
        return SI_SDR_LIMIT
    return float(np.clip(10.0 * np.log10(signal / noise), -SI_SDR_LIMIT, SI_SDR_LIMIT))


def log_mels(x: np.ndarray, rate: int) -> list[np.ndarray]:
    """log10 mel magnitudes of a signal [n] at the seven scales, each float64 [T, bands]."""
    result = []
    for window, bands in MEL_SCALES:
        filters = mel_filters(rate, window, bands)
        blocks = [block @ filters.T for block in magnitudes(x, window, window // 4)]
        result.append(np.log10(np.maximum(np.concatenate(blocks), MEL_FLOOR)))
    return result


def ms_mel(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Multi-scale mel distance of DAC: the L1 means of seven scales, summed (lower is better)."""
    s, e = _signals(reference, estimate)
    return mel_distance(log_mels(s, rate), log_mels(e, rate))


def mel_distance(reference: list[np.ndarray], estimate: list[np.ndarray]) -> float:
    """`ms_mel` from two results of `log_mels`."""
    return float(sum(np.abs(r - e).mean() for r, e in zip(reference, estimate, strict=True)))


def loudness_error_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """RMS level of the estimate minus that of the reference, in dB (unweighted, whole clip).

    NaN when either is digital silence.
    """
    s, e = _signals(reference, estimate)
    power_s, power_e = np.mean(s**2), np.mean(e**2)
    if power_s == 0.0 or power_e == 0.0:
        return float("nan")
    return float(10.0 * np.log10(power_e / power_s))


def fine_detail(x: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """What stands out from the spectral envelope of a signal [n], for `fine_structure`.

    Returns (detail, level), both [T, bins]: the level is the mean magnitude of neighbouring bins of
    a long-window spectrum, the detail a bin's magnitude over that, less 1.
    """
    spectrum = np.concatenate(list(magnitudes(x, FINE_WINDOW, FINE_HOP)))
    low, high = (round(hz * FINE_WINDOW / rate) for hz in FINE_BAND_HZ)
    around = np.pad(spectrum, ((0, 0), (FINE_BINS + 1, FINE_BINS)), mode="edge")
    sums = np.cumsum(around, axis=1)
    width = 2 * FINE_BINS + 1
    level = np.maximum((sums[:, width:] - sums[:, :-width]) / width, MEL_FLOOR)
    detail = np.where(level > MEL_FLOOR, spectrum / level - 1.0, 0.0)
    return detail[:, low:high], level[:, low:high]


def fine_structure(
    reference: tuple[np.ndarray, np.ndarray], estimate: tuple[np.ndarray, np.ndarray]
) -> float:
    """Do partials lie where the reference has them? Two results of `fine_detail`.

    The correlation of details where the reference sounds: 1 for the same sound at any level and
    with any spectral envelope, about 0 for noise instead of tones, for tones of another pitch, and
    for other noise of the same kind. So it is bounded by how tonal the reference is, and only
    systems on the same clips can be compared. NaN for a silent reference.
    """
    (detail, level), (other, _) = reference, estimate
    loudest = level.max()
    if loudest <= MEL_FLOOR:
        return float("nan")
    heard = level > loudest * 10.0 ** (-FINE_RANGE_DB / 20.0)
    a, b = detail[heard], other[heard]
    power = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / power) if power > 0.0 else 0.0


def centroid_error_octaves(reference: np.ndarray, estimate: np.ndarray) -> float:
    """log2 of the ratio of the spectral centroids (centre of gravity of the mean power spectrum).

    Positive when the estimate is brighter; NaN when either is digital silence.
    """
    s, e = _signals(reference, estimate)
    bins = np.arange(1025)  # the ratio needs no unit; DC counts for nothing
    moments = [(power @ bins, power[1:].sum()) for power in (mean_power(s), mean_power(e))]
    if any(weight <= 0.0 for _, weight in moments):
        return float("nan")
    (first, weight), (second, other) = moments
    return float(np.log2((second / other) / (first / weight)))


def high_band_error_db(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Level above 8 kHz of the estimate minus that of the reference, in dB.

    Levels stop at -90 dB of full scale, so two empty bands differ by 0 dB.
    """
    s, e = _signals(reference, estimate)
    bins = np.linspace(0.0, rate / 2, 1025)
    band = bins > HIGH_BAND_HZ
    levels = [np.log10(max(mean_power(x)[band].sum(), HIGH_BAND_FLOOR)) for x in (s, e)]
    return float(10.0 * (levels[1] - levels[0]))


def defect(reference: np.ndarray, estimate: np.ndarray) -> Defect | None:
    """What makes an output unusable: NaN or infinite samples, or silence where there was sound."""
    if not np.all(np.isfinite(estimate)):
        return "non-finite"
    if _peak(estimate) < SILENCE_PEAK <= _peak(reference):
        return "silent"
    return None


def _peak(x: np.ndarray) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def _signals(reference: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if reference.ndim != 1 or reference.shape != estimate.shape or reference.size == 0:
        raise ValueError(f"expected two signals [n], got {reference.shape} and {estimate.shape}")
    return reference.astype(np.float64), estimate.astype(np.float64)


def _embedding_sets(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for name, x in (("reference", a), ("evaluated", b)):
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(f"the {name} set needs at least two embeddings, got shape {x.shape}")
        if not np.all(np.isfinite(x)):
            raise ValueError(f"the {name} set holds embeddings that are not finite")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"embeddings of {a.shape[1]} and {b.shape[1]} dimensions")
    return a.astype(np.float64), b.astype(np.float64)


def _covariance_root(x: np.ndarray) -> np.ndarray:
    """A square root R of the unbiased covariance, S = R^T R, [D, D]."""
    centred = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / (len(x) - 1))
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1)[None, :] - 2.0 * (a @ b.T)
    return np.maximum(squares, 0.0)
