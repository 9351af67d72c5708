"""Each metric against hand-computed cases, an independent formula, and what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spresso_cli.evaluation import metrics

RATE = 48_000


def noise(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(samples)


def tone(hz: float, samples: int = RATE, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(samples) / RATE)


class TestFad:
    def test_of_a_set_with_itself_is_zero(self) -> None:
        x = np.random.default_rng(0).standard_normal((300, 64))
        assert metrics.fad(x, x) < 1e-6

    def test_of_a_set_with_itself_is_zero_with_fewer_clips_than_dimensions(self) -> None:
        x = np.random.default_rng(0).standard_normal((20, 256))
        assert metrics.fad(x, x[::-1]) < 1e-6

    def test_in_one_dimension_is_the_shift_and_the_spread(self) -> None:
        # Deviations (n-1): sqrt(2) and 2 sqrt(2); means 0 and 3.
        reference = np.array([[-1.0], [1.0]])
        evaluated = np.array([[1.0], [5.0]])
        expected = 9.0 + (2 * math.sqrt(2) - math.sqrt(2)) ** 2
        assert metrics.fad(reference, evaluated) == pytest.approx(expected, abs=1e-12)

    def test_agrees_with_the_eigenvalues_of_the_product(self) -> None:
        rng = np.random.default_rng(1)
        a = rng.standard_normal((200, 12)) @ rng.standard_normal((12, 12))
        b = rng.standard_normal((150, 12)) @ rng.standard_normal((12, 12)) + 0.3
        sa, sb = np.cov(a.T), np.cov(b.T)
        root = np.sqrt(np.linalg.eigvals(sa @ sb).astype(complex)).sum().real
        shift = a.mean(0) - b.mean(0)
        expected = shift @ shift + np.trace(sa) + np.trace(sb) - 2 * root
        assert metrics.fad(a, b) == pytest.approx(expected, rel=1e-9)

    def test_does_not_change_with_rotation_order_or_direction(self) -> None:
        rng = np.random.default_rng(2)
        a, b = rng.standard_normal((80, 8)), rng.standard_normal((90, 8)) * 2
        rotation, _ = np.linalg.qr(rng.standard_normal((8, 8)))
        value = metrics.fad(a, b)
        assert metrics.fad(a @ rotation, b @ rotation) == pytest.approx(value, rel=1e-9)
        assert metrics.fad(b[::-1], a) == pytest.approx(value, rel=1e-9)

    @pytest.mark.parametrize("bad", [np.zeros((1, 4)), np.zeros(4), np.full((3, 4), np.nan)])
    def test_refuses_sets_that_have_no_covariance(self, bad: np.ndarray) -> None:
        with pytest.raises(ValueError, match="set"):
            metrics.fad(np.zeros((3, 4)), bad)

    def test_refuses_embeddings_of_different_kinds(self) -> None:
        with pytest.raises(ValueError, match="dimensions"):
            metrics.fad(np.zeros((3, 4)), np.zeros((3, 5)))


class TestKad:
    def test_agrees_with_double_loops(self) -> None:
        rng = np.random.default_rng(3)
        x, y = rng.standard_normal((7, 3)), rng.standard_normal((6, 3)) + 1.0
        for bandwidth, source in (("reference", x), ("as released", y)):
            distances = sorted(
                math.dist(source[i], source[j]) for i in range(len(source)) for j in range(i)
            )
            gamma = 1 / (2 * distances[(len(distances) - 1) // 2] ** 2 + 1e-8)

            def mean(a: np.ndarray, b: np.ndarray, same: bool, gamma: float = gamma) -> float:
                values = [
                    math.exp(-gamma * math.dist(p, q) ** 2)
                    for i, p in enumerate(a)
                    for j, q in enumerate(b)
                    if not (same and i == j)
                ]
                return sum(values) / len(values)

            expected = 100 * (mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False))
            assert metrics.kad(x, y, bandwidth) == pytest.approx(expected, rel=1e-9)

    def test_takes_its_width_from_the_middle_of_all_distances(self) -> None:
        rng = np.random.default_rng(7)
        x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 3)) + 1.0
        pairs = sorted(math.dist(x[i], x[j]) for i in range(40) for j in range(i))
        gamma = 1 / (2 * pairs[(len(pairs) - 1) // 2] ** 2 + 1e-8)
        across = metrics.kad_kernels(x, y)[2]
        assert across[3, 5] == pytest.approx(math.exp(-gamma * math.dist(x[3], y[5]) ** 2))

    def test_of_two_points_by_hand(self) -> None:
        # Reference 0 and 1: h = 1, gamma = 1/2. Evaluated 1 and 2: same distances inside.
        x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
        one, four = math.exp(-0.5), math.exp(-2.0)
        expected = 100 * (one + one - 2 * (one + four + 1.0 + one) / 4)
        assert metrics.kad(x, y) == pytest.approx(expected, abs=1e-5)

    def test_of_two_halves_of_one_distribution_averages_zero(self) -> None:
        rng = np.random.default_rng(4)
        values = [metrics.kad(x[:60], x[60:]) for x in rng.standard_normal((200, 120, 8))]
        error = np.std(values) / math.sqrt(len(values))
        assert abs(np.mean(values)) < 3 * error
        assert min(values) < 0 < max(values)

    def test_of_outputs_that_are_their_sources_is_what_is_said_of_it(self) -> None:
        x = np.random.default_rng(6).standard_normal((50, 64))
        assert 50 * metrics.kad(x, x) == pytest.approx(-80, abs=5)

    def test_does_not_change_with_shift_scale_or_order(self) -> None:
        rng = np.random.default_rng(5)
        x, y = rng.standard_normal((30, 4)), rng.standard_normal((40, 4)) + 0.5
        value = metrics.kad(x, y)
        assert metrics.kad(x * 7 + 2, y * 7 + 2) == pytest.approx(value, rel=1e-6)
        assert metrics.kad(x[::-1], y[::-1]) == pytest.approx(value, rel=1e-9)


class TestCosine:
    def test_is_one_zero_and_minus_one(self) -> None:
        a = np.array([[2.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
        b = np.array([[5.0, 0.0], [0.0, 3.0], [-2.0, -2.0], [1.0, 0.0]])
        np.testing.assert_allclose(metrics.cosine(a, b), [1, 0, -1, 0], atol=1e-12)


class TestSiSdr:
    def test_of_orthogonal_noise_is_the_power_ratio(self) -> None:
        s, n = tone(1000), tone(3000, level=0.05)
        assert metrics.si_sdr(s, s + n) == pytest.approx(20.0, abs=1e-6)

    def test_agrees_with_the_definition(self) -> None:
        s, e = noise(4800, 1), noise(4800, 1) + noise(4800, 2, 0.03) + 0.2
        s0, e0 = s - s.mean(), e - e.mean()
        a = np.dot(e0, s0) / np.dot(s0, s0)
        ratio = np.sum((a * s0) ** 2) / np.sum((e0 - a * s0) ** 2)
        assert metrics.si_sdr(s, e) == pytest.approx(10 * math.log10(ratio), rel=1e-9)

    def test_ignores_level_polarity_and_offset(self) -> None:
        s = noise(4800, 1)
        e = s + noise(4800, 2)
        value = metrics.si_sdr(s, e)
        assert metrics.si_sdr(s, -0.01 * e + 0.3) == pytest.approx(value, rel=1e-9)
        assert metrics.si_sdr(s * 5 - 0.1, e) == pytest.approx(value, rel=1e-9)

    def test_stays_within_sixty_decibels(self) -> None:
        s = tone(440)
        assert metrics.si_sdr(s, s.copy()) == 60.0
        assert metrics.si_sdr(s, np.zeros_like(s)) == -60.0
        assert metrics.si_sdr(s, tone(880)) == -60.0

    def test_skips_a_silent_reference(self) -> None:
        assert math.isnan(metrics.si_sdr(np.zeros(100), noise(100)))
        assert math.isnan(metrics.si_sdr(np.full(100, 0.5), noise(100)))


class TestMultiScaleMel:
    def test_agrees_with_torch_and_a_filter_bank_built_by_hand(self) -> None:
        torch = pytest.importorskip("torch")
        a, b = noise(6000, 1), noise(6000, 2)
        total = 0.0
        for window, bands in zip(
            (32, 64, 128, 256, 512, 1024, 2048), (5, 10, 20, 40, 80, 160, 320), strict=True
        ):
            filters = torch.from_numpy(slaney_filters(window, bands))
            logs = []
            for x in (a, b):
                spectrum = torch.stft(
                    torch.from_numpy(x),
                    window,
                    window // 4,
                    window=torch.hann_window(window, dtype=torch.float64),
                    return_complex=True,
                )
                logs.append((filters @ spectrum.abs()).clamp(min=1e-5).log10())
            total += (logs[0] - logs[1]).abs().mean().item()
        assert metrics.ms_mel(a, b, RATE) == pytest.approx(total, rel=1e-9)

    def test_of_a_tenfold_level_is_one_a_scale(self) -> None:
        x = noise(RATE)
        # log10(10) in every band that no clamp reaches: only empty filters fall short of it.
        assert metrics.ms_mel(x, 10 * x, RATE) == pytest.approx(7.0, abs=0.35)

    def test_is_zero_for_equal_signals_and_symmetric(self) -> None:
        a, b = noise(3000, 1), noise(3000, 2)
        assert metrics.ms_mel(a, a, RATE) == 0.0
        assert metrics.ms_mel(a, b, RATE) == pytest.approx(metrics.ms_mel(b, a, RATE))

    @pytest.mark.parametrize("samples", [1, 2, 31, 1000])
    def test_takes_signals_shorter_than_its_windows(self, samples: int) -> None:
        assert np.isfinite(metrics.ms_mel(noise(samples, 1), noise(samples, 2), RATE))


def slaney_filters(n_fft: int, bands: int) -> np.ndarray:
    """librosa.filters.mel, written out: Slaney scale, area-normalised triangles, up to Nyquist."""

    def hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top = 15 + math.log(RATE / 2 / 1000) * 27 / math.log(6.4)
    edges = [hz(top * i / (bands + 1)) for i in range(bands + 2)]
    filters = np.zeros((bands, n_fft // 2 + 1))
    for m in range(bands):
        low, mid, high = edges[m : m + 3]
        for k in range(n_fft // 2 + 1):
            f = k * RATE / n_fft
            height = min((f - low) / (mid - low), (high - f) / (high - mid))
            filters[m, k] = max(0.0, height) * 2 / (high - low)
    return filters


class TestLoudness:
    def test_is_the_level_difference_in_decibels(self) -> None:
        x = noise(1000)
        assert metrics.loudness_error_db(x, 0.5 * x) == pytest.approx(20 * math.log10(0.5))
        assert metrics.loudness_error_db(x, -x) == pytest.approx(0.0, abs=1e-12)

    def test_is_undefined_for_silence(self) -> None:
        assert math.isnan(metrics.loudness_error_db(np.zeros(10), noise(10)))
        assert math.isnan(metrics.loudness_error_db(noise(10), np.zeros(10)))


class TestCentroid:
    def test_of_a_tone_an_octave_higher_is_one(self) -> None:
        value = metrics.centroid_error_octaves(tone(1500), tone(3000))
        assert value == pytest.approx(1.0, abs=1e-3)

    def test_ignores_level(self) -> None:
        a, b = noise(RATE, 1), noise(RATE, 2)
        assert metrics.centroid_error_octaves(a, 0.01 * b) == pytest.approx(
            metrics.centroid_error_octaves(a, b), abs=1e-9
        )

    def test_is_undefined_for_silence(self) -> None:
        assert math.isnan(metrics.centroid_error_octaves(noise(100), np.zeros(100)))


class TestFineStructure:
    @staticmethod
    def value(reference: np.ndarray, estimate: np.ndarray) -> float:
        details = (metrics.fine_detail(x, RATE) for x in (reference, estimate))
        return metrics.fine_structure(*details)

    def test_of_a_sound_with_itself_is_one_at_any_level_and_tilt(self) -> None:
        sound = tone(700) + tone(1730, level=0.1) + noise(RATE, 3, 0.01)
        tilted = np.diff(sound, prepend=0.0)
        assert self.value(sound, sound) == pytest.approx(1.0)
        assert self.value(sound, 0.01 * sound) == pytest.approx(1.0)
        assert self.value(sound, tilted) > 0.95

    def test_of_a_tone_needs_its_pitch_but_not_its_phase(self) -> None:
        sound = tone(700) + noise(RATE, 3, 0.01)
        assert self.value(sound, np.roll(tone(700), 17) + noise(RATE, 4, 0.01)) > 0.3
        assert abs(self.value(sound, tone(1100) + noise(RATE, 4, 0.01))) < 0.1

    def test_of_noise_of_the_same_spectrum_is_about_zero(self) -> None:
        harmonics = sum(tone(220 * k, level=0.3 / k) for k in range(1, 20))
        spectrum = np.abs(np.fft.rfft(harmonics + noise(RATE, 5, 1e-3)))
        smooth = np.convolve(spectrum, np.hanning(2001) / 1000, "same")
        imitation = np.fft.irfft(smooth * np.fft.rfft(noise(RATE, 6)), RATE)
        assert abs(self.value(harmonics, imitation)) < 0.1
        assert abs(self.value(noise(RATE, 1), noise(RATE, 2))) < 0.05

    def test_agrees_with_the_definition(self) -> None:
        """Frames of 4096, half of them new; 12 bins on either side; 50 Hz to 8 kHz; 60 dB."""
        fade = np.geomspace(1.0, 1e-5, 12_000)
        tilted = np.cumsum(noise(12_000, 1)) * fade + noise(12_000, 3) * fade
        signals = [tilted, noise(12_000, 2)]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(4096) / 4096)
        details, levels = [], []
        for x in signals:
            padded = np.pad(x, 2048, mode="reflect")
            frames = [padded[i * 2048 : i * 2048 + 4096] * window for i in range(6)]
            detail, level = [], []
            for spectrum in (np.abs(np.fft.rfft(frame)) for frame in frames):
                for k in range(4, 683):  # 50 Hz and 8 kHz in bins of 11.7 Hz
                    around = [spectrum[max(0, i)] for i in range(k - 12, k + 13)]
                    level.append(max(np.mean(around), 1e-5))
                    detail.append(spectrum[k] / level[-1] - 1.0)
            details.append(np.array(detail))
            levels.append(np.array(level))
        heard = levels[0] > levels[0].max() / 1000
        assert 0.2 < heard.mean() < 0.9
        a, b = details[0][heard], details[1][heard]
        expected = a @ b / math.sqrt((a @ a) * (b @ b))
        assert self.value(*signals) == pytest.approx(expected, rel=1e-9)

    def test_of_silence_is_zero_and_against_silence_undefined(self) -> None:
        assert self.value(tone(700), np.zeros(RATE)) == 0.0
        assert math.isnan(self.value(np.zeros(RATE), tone(700)))


class TestHighBand:
    def test_is_the_level_difference_above_8_khz_only(self) -> None:
        low, high = tone(1000), tone(12_000)
        assert metrics.high_band_error_db(low + high, low + 0.1 * high, RATE) == pytest.approx(
            -20.0, abs=0.05
        )
        assert metrics.high_band_error_db(low + high, 0.1 * low + high, RATE) == pytest.approx(
            0.0, abs=0.05
        )

    def test_of_two_empty_bands_is_zero(self) -> None:
        quiet = tone(1000, level=1e-3)
        assert metrics.high_band_error_db(quiet, np.zeros_like(quiet), RATE) == 0.0

    def test_of_a_lost_band_stops_at_the_floor(self) -> None:
        s = tone(1000) + tone(12_000, level=math.sqrt(2) * 0.1)  # -20 dB above 8 kHz
        value = metrics.high_band_error_db(s, np.zeros_like(s), RATE)
        assert value == pytest.approx(-70.0, abs=0.1)


class TestDefects:
    def test_finds_samples_that_are_not_finite(self) -> None:
        assert metrics.defect(noise(10), np.array([0.0, np.nan])) == "non-finite"
        assert metrics.defect(noise(10), np.array([0.0, np.inf])) == "non-finite"

    def test_finds_silence_only_where_there_was_sound(self) -> None:
        assert metrics.defect(noise(10), np.zeros(10)) == "silent"
        assert metrics.defect(np.zeros(10), np.zeros(10)) is None
        assert metrics.defect(noise(10), noise(10, 1)) is None


def test_signals_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="signals"):
        metrics.si_sdr(np.zeros(10), np.zeros(11))
