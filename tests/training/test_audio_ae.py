"""The AudioAE stage: it learns within seconds, starts where it is told, keeps its bypass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spresso_cli.models.audio_ae import LEVEL_SPREAD, AudioAE, AudioAEConfig
from spresso_cli.training import audio_ae
from spresso_cli.training.audio_ae import AudioAETraining, Stage, warm_start
from spresso_cli.training.config import Settings
from spresso_cli.training.corpus import find_clips
from spresso_cli.training.run import Run
from spresso_cli.training.stored import checkpoints, ema_weights, part
from spresso_cli.training.streaming import CorpusWindows
from spresso_cli.training.workspace import Workspace

from .conftest import curve, losses

SMALL = AudioAEConfig(dim=8, encoder_blocks=1, decoder_blocks=1, kernel=3, expansion=2)


def test_a_tiny_run_lowers_its_loss_in_seconds(
    spresso: Callable, sounds: Path, tiny: Settings, tmp_path: Path
) -> None:
    picture = tmp_path / "curves.png"
    result = spresso(
        "train", "audio-ae", sounds, "--run", tmp_path / "m", "--config", "tiny", "--device", "cpu",
        "--plot", picture,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    first, last = curve(tmp_path / "m" / "audio-ae" / "log.csv", "mel")
    assert last < 0.75 * first
    assert "step 50 of 50" in result.stderr
    assert picture.stat().st_size > 1000

    # Its latents, with the averaged weights, have zero mean and unit deviation.
    network = AudioAE(tiny.audio_ae)
    network.load_state_dict(part(ema_weights(tmp_path / "m" / "audio-ae"), "audio_ae"))
    assert network.latent_std.min() > 0
    assert not torch.equal(network.latent_std, torch.ones(128))


def test_a_killed_run_is_measured_before_other_stages_build_on_it(
    spresso: Callable, sounds: Path, tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(run: Run, numbers: dict[str, float]) -> None:
        run.save()
        raise KeyboardInterrupt

    options = (sounds, "--run", tmp_path, "--config", "tiny", "--device", "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", kill)
        assert spresso("train", "audio-ae", *options).code == 130
    result = spresso("train", "dit", *options)
    assert result.code == 2
    assert "killed before its latents were measured" in result.stderr
    assert f"train audio-ae {sounds} --run {tmp_path} --minutes 0" in " ".join(
        result.stderr.split()
    )

    assert spresso("train", "audio-ae", *options, "--minutes", 0).code == 0
    (checkpoint,) = checkpoints(tmp_path / "audio-ae")
    assert checkpoint.name == "checkpoint-00000025.safetensors"
    assert not (Workspace(tmp_path, tiny, torch.device("cpu")).audio_ae().latent_std == 1).any()
    assert "clap: no checkpoint" in spresso("train", "dit", *options).stderr  # the next obstacle


def test_a_box_that_is_to_finish_gets_to_the_adversary(
    sounds: Path, tiny: Settings, tmp_path: Path, clock: Callable[[], None]
) -> None:
    training = dataclasses.replace(
        tiny.audio_ae_training, steps=10_000, adversarial_from=5_000, latent_frames=100, batch=2,
        adversarial_batch=2, seconds=0.05, adversarial_seconds=0.05,
    )  # fmt: skip
    clock()
    windows = CorpusWindows(find_clips(sounds))
    audio_ae.train(windows, network(), tmp_path, training, 0.2, finish=True)
    assert losses(tmp_path)["discriminator"]


def noise(samples: int = 4800, batch: int = 2) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0, **changes: object) -> AudioAE:
    torch.manual_seed(seed)
    return AudioAE(dataclasses.replace(SMALL, **changes))


def output(model: AudioAE) -> torch.Tensor:
    with torch.no_grad():
        return model.decode(model.encode(noise()))


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_warm_start_into_as_many_blocks_or_more_changes_nothing(blocks: int) -> None:
    given = network(seed=1)
    fresh = network(encoder_blocks=blocks, decoder_blocks=blocks)
    assert warm_start(fresh, given) == "all weights"
    torch.testing.assert_close(output(fresh), output(given))
    fresh.decode_raw(fresh.encode_raw(noise())).square().sum().backward()
    assert all(block.gamma.grad.any() for block in fresh.dec.blocks)  # new blocks can learn


def test_a_warm_start_into_another_width_takes_the_bypass() -> None:
    given = network(seed=1)
    with torch.no_grad():
        given.ana.add_(0.01)
    fresh = network(dim=12)
    assert warm_start(fresh, given) == "the linear bypass"
    assert torch.equal(fresh.ana, given.ana)
    assert warm_start(network(dim=12, bypass="none"), given) == "nothing"


def test_a_warm_start_gives_high_bands_their_latents_and_keeps_the_others() -> None:
    given = network(seed=1)
    with torch.no_grad():
        given.latent_mean.normal_()
        given.latent_std.uniform_(0.5, 2.0)
    fresh = network(high_bands=8)
    assert warm_start(fresh, given) == "all weights"
    with torch.no_grad():
        latents, before = fresh.encode(noise()), given.encode(noise())
        assert torch.equal(latents[..., :120], before[..., :120])
        # Of high bands, latents are their levels alone, and the decoder starts from these.
        levels = LEVEL_SPREAD * fresh.encode_raw(noise())[..., 120:]
        torch.testing.assert_close(latents[..., 120:], levels)
        louder = latents.clone()
        louder[..., 120:] += LEVEL_SPREAD
        low, high = (
            torch.fft.rfft(y)[:, cut].abs().mean()
            for cut in (slice(0, 550), slice(700, None))
            for y in (fresh.decode(louder) - fresh.decode(latents),)
        )
    assert high > 10 * low


def test_both_losses_of_a_competing_step_reach_their_own_weights_only(tiny: Settings) -> None:
    training = dataclasses.replace(tiny.audio_ae_training, mel_weight=0.0, stft_weight=0.0,
                                   waveform_weight=0.0)  # fmt: skip
    stage = Stage(network(), training)
    for optimizer in (stage.optimizer, stage.judging):
        optimizer.param_groups[0]["lr"] = 0.0
    stage.compete(noise(), ramp=0.0)
    judged = [p.grad.clone() for p in stage.judges.parameters()]
    assert any(gradient.any() for gradient in judged)
    # At ramp 0 the discriminators have no say in the AudioAE.
    assert not any(p.grad.any() for p in stage.audio_ae.parameters())
    stage.compete(noise(), ramp=1.0)
    for before, parameter in zip(judged, stage.judges.parameters(), strict=True):
        torch.testing.assert_close(before, parameter.grad)
    assert any(p.grad.any() for p in stage.audio_ae.parameters())


def test_the_bypass_is_frozen_first_and_then_learns_slowly() -> None:
    training = AudioAETraining(steps=100, adversarial_from=100, bypass_frozen_steps=10)
    stage = Stage(network(), training)
    start = stage.audio_ae.ana.clone()
    stage.set_rates(5)
    stage.reconstruct(noise())
    assert torch.equal(stage.audio_ae.ana, start)
    stage.set_rates(10)
    fast, slow = (group["lr"] for group in stage.optimizer.param_groups)
    assert slow == pytest.approx(0.1 * fast)
    stage.reconstruct(noise())
    assert not torch.equal(stage.audio_ae.ana, start)


@pytest.mark.parametrize(("heard_by", "learns"), [("mel", True), ("waveform", False)])
def test_noise_learns_its_level_from_what_has_no_phase(heard_by: str, learns: bool) -> None:
    """Any noise is further from a waveform than silence is."""
    weights = {"mel_weight": 0.0, "stft_weight": 0.0, "waveform_weight": 0.0}
    training = AudioAETraining(**weights | {f"{heard_by}_weight": 1.0})
    stage = Stage(network(noise_from=300), training)
    stage.set_rates(0)
    stage.reconstruct(noise(), torch.rand(2, 10, stage.audio_ae.config.phases))
    loudness = stage.audio_ae.head.bias.grad[:481]
    assert loudness[:300].any()
    assert bool(loudness[300:].any()) == learns


@pytest.mark.parametrize(("warmup", "rate"), [(0.0, 1e-4), (0.5, 0.0)])
def test_adversaries_from_the_first_step_on_warm_up_as_asked(warmup: float, rate: float) -> None:
    stage = Stage(network(), AudioAETraining(steps=100, adversarial_from=0, warmup=warmup))
    stage.set_rates(0)
    for optimizer in (stage.optimizer, stage.judging):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_a_frozen_encoder_keeps_its_latents_while_the_decoder_learns(tiny: Settings) -> None:
    training = dataclasses.replace(
        tiny.audio_ae_training,
        steps=10, adversarial_from=5, encoder_frozen=True, bypass_frozen_steps=0,
    )  # fmt: skip
    stage = Stage(network(), training)
    latents = stage.audio_ae.encode(noise())
    before = stage.audio_ae.decode(latents)
    stage.set_rates(2)
    stage.reconstruct(noise())
    stage.set_rates(7)
    stage.compete(noise(), ramp=1.0)
    assert torch.equal(stage.audio_ae.encode(noise()), latents)
    assert not torch.equal(stage.audio_ae.decode(latents), before)


def test_training_sounds_keep_quiet_passages_quiet_and_never_clip(
    sounds: Path, tiny: Settings
) -> None:
    corpus = CorpusWindows(find_clips(sounds)).at(0)
    generator = torch.Generator().manual_seed(0)
    x = audio_ae.sounds(corpus, 64, 4800, (-24.0, -0.5), tiny.audio_ae_training, generator)
    peaks = x.abs().amax(1)
    assert x.shape == (64, 4800)
    assert 0.3 < peaks.max() <= 1.0
    assert peaks.min() < 0.01


@pytest.mark.parametrize(
    ("form", "last"), [({"bypass": "none"}, 1.0), ({}, 1.0), ({"high_bands": 8}, LEVEL_SPREAD)]
)
def test_measured_latents_are_standardised(
    sounds: Path, tiny: Settings, tmp_path: Path, form: dict, last: float
) -> None:
    training = dataclasses.replace(
        tiny.audio_ae_training, steps=1, adversarial_from=1, latent_frames=3000
    )
    windows = CorpusWindows(find_clips(sounds))
    model = network(**form)
    audio_ae.train(windows, model, tmp_path, training, None)
    averaged = network(**form)
    averaged.load_state_dict(part(ema_weights(tmp_path), "audio_ae"))
    generator = torch.Generator().manual_seed(9)
    x = audio_ae.sounds(windows.at(0), 64, 48_000, (-9.0, -3.0), training, generator)
    with torch.no_grad():
        z = averaged.encode(x).flatten(0, 1)
    z[:, 120:] /= last  # levels, where there are any
    waveform = z if last == 1.0 else z[:, :120]  # three sounds do not fix the mean of a level
    assert float(waveform.mean(0).abs().max()) < 0.3
    assert float(z.mean(0).abs().mean()) < 0.1
    assert 0.6 < float(z.std(0)[:120].mean()) < 1.4
    assert 0.6 < float(z.std(0)[120:].mean()) < 1.4
