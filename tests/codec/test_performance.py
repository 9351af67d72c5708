"""From latents to what is heard: chunks without seams, the source's rate, peaks and levels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from spresso_cli.audio.expander import raised, shortfall
from spresso_cli.audio.level import fit_level, rms_of
from spresso_cli.audio.resample import resampled_length
from spresso_cli.audio.spool import Spool
from spresso_cli.codec import performance
from spresso_cli.codec.performance import Performance, Silence, at_source_rate, sound_of
from spresso_cli.container.profile import Profile
from spresso_cli.container.stream import Header
from spresso_cli.diffusion.noise import phase_noise
from spresso_cli.errors import OutputError
from spresso_cli.models.audio_ae import AudioAE, AudioAEConfig

RATE = 8_000


def header(samples: int, rate: int = RATE, **fields) -> Header:
    known = {"profile": Profile.of(1, 8), "weights_tag": b"\0\1", "source_rate": rate}
    return Header(**known, samples=samples, **({"gain": 200, "channels": 1} | fields))


def loud_and_low(samples: int = 3 * RATE) -> np.ndarray:
    """One channel that reaches half of full scale and one whose peak is too low."""
    x = np.random.default_rng(0).uniform(-1, 1, (samples, 2)) * [0.6, 0.05]
    x[samples // 3 : samples // 2] *= 0.2
    return x.astype(np.float32)


def heard(performance: Performance | Silence, size: int = 1000) -> np.ndarray:
    blocks = list(performance.blocks(size))
    assert {len(block) for block in blocks[:-1]} <= {size} and len(blocks[-1]) <= size
    return np.concatenate(blocks)


def in_blocks(x: np.ndarray, size: int = 700) -> Iterator[np.ndarray]:
    return (x[start : start + size] for start in range(0, len(x), size))


def test_low_peaks_are_raised_and_every_channel_gets_its_level() -> None:
    x, levels = loud_and_low(), (150, 210)
    take = Performance(header(len(x), channels=2, levels=levels), in_blocks(x))
    missing = shortfall(np.abs(x).max(0), 0.5)
    assert missing[0] == 0 and missing[1] > 15
    louder = np.concatenate(list(raised(lambda: [x], len(x), RATE, missing)))
    expected = fit_level(louder, [rms_of(level) for level in levels])
    assert np.array_equal(heard(take), expected)
    assert np.array_equal(heard(take, 333), expected)  # from its beginning again
    assert (take.rate, take.channels, take.samples) == (RATE, 2, len(x))


def test_a_sound_that_reaches_its_peak_is_levelled_alone() -> None:
    x = loud_and_low()[:, :1]
    mono = heard(Performance(header(len(x), gain=190), in_blocks(x)))
    assert np.array_equal(mono, fit_level(x, [rms_of(190)]))
    dual = heard(Performance(header(len(x), gain=190, channels=2, dual_mono=True), in_blocks(x)))
    assert np.array_equal(dual, np.repeat(mono, 2, axis=1))


@pytest.mark.parametrize("room", [2 * RATE, 5 * RATE])  # for a part of it, or of it once raised
def test_what_fails_leaves_nothing_on_the_disk(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long somebody keeps the error, whose traceback keeps whatever it has seen."""
    spools: list[Spool] = []

    class Full(Spool):
        def append(self, block: np.ndarray) -> None:
            spools.extend({self} - set(spools))
            if sum(spool.samples for spool in spools) + len(block) > room:
                raise OutputError("no room")
            super().append(block)

    monkeypatch.setattr(performance, "Spool", Full)
    x = loud_and_low()
    with pytest.raises(OutputError) as kept:
        Performance(header(len(x), channels=2, levels=(150, 210)), in_blocks(x))
    assert kept.tb is not None and len(spools) == 1 + (room > len(x))
    for spool in spools:
        with pytest.raises(ValueError, match="closed"):
            list(spool.blocks())


def test_silence_is_as_long_and_wide_as_its_source() -> None:
    for channels in (1, 2):
        silence = heard(Silence(header(2500, gain=0, channels=channels)))
        assert silence.shape == (2500, channels) and silence.dtype == np.float32
        assert not silence.any()


@pytest.fixture(params=[None, 400])
def audio_ae(request: pytest.FixtureRequest) -> AudioAE:
    """With phases of its own everywhere, or from noise in its upper bins."""
    torch.manual_seed(0)
    config = AudioAEConfig(dim=4, encoder_blocks=1, decoder_blocks=1, noise_from=request.param)
    return AudioAE(config).eval().requires_grad_(False)


@pytest.mark.parametrize("frames", [1, 60, 61, 200])
@pytest.mark.parametrize("step", [7, 500])
def test_chunks_leave_no_seam(
    audio_ae: AudioAE, monkeypatch: pytest.MonkeyPatch, frames: int, step: int
) -> None:
    """Nor do the pieces that latents arrive in; phases are those of their frames."""
    monkeypatch.setattr(performance, "CHUNK_FRAMES", 50)
    latents = torch.randn(2, frames, 128, generator=torch.Generator().manual_seed(0))
    pieces = [latents[:, start : start + step] for start in range(0, frames, step)]
    chunks = list(sound_of(pieces, audio_ae, seed=5))
    assert max(chunk.shape[1] for chunk in chunks) <= (50 + audio_ae.config.context) * 480
    phases = None
    if audio_ae.config.phases:
        phases = torch.from_numpy(phase_noise(5, 0, frames, audio_ae.config.phases))
    whole = audio_ae.decode(latents, phases)
    torch.testing.assert_close(torch.cat(chunks, 1), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_what_lies_behind_the_sound_is_not_heard_in_it(rate: int) -> None:
    """Latent frames are whole, sounds are not: the rest is cut off before the rate is changed."""
    samples = rate // 3 + 1
    needed = resampled_length(samples, rate, 48_000)
    x = torch.randn(1, 480 * (needed // 480 + 1), generator=torch.Generator().manual_seed(0))
    louder = x.clone()
    louder[:, needed:] *= 100
    results = []
    for sound in (x, louder):
        blocks = at_source_rate(sound.split(4_000, 1), header(samples, rate))
        results.append(np.concatenate(list(blocks)))
    assert results[0].shape == (samples, 1) and results[0].dtype == np.float32
    assert np.array_equal(*results)
