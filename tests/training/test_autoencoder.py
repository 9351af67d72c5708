"""Step 1: z matters, its noise and its weights are what they are said to be."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spresso_cli.diffusion.edm import precondition
from spresso_cli.diffusion.samplers import SAMPLERS
from spresso_cli.models.deviations import Told
from spresso_cli.models.dit import AudioDown, AudioDownConfig, DiT, DiTConfig, DownCondition
from spresso_cli.models.latent_encoder import LatentEncoder, LatentEncoderConfig
from spresso_cli.training import autoencoder, distributed
from spresso_cli.training.autoencoder import (
    StepOne,
    StepOneTraining,
    crop_frames,
    diffusion_loss,
    effective_dimensions,
    level_weights,
    mean_of,
)
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.latents import LatentPool

from .conftest import curve, four_captions, losses

CLIPS, FRAMES = 60, 40


def many_patterns() -> LatentPool:
    """Clips that are a constant, each another one: at high noise only z can tell which."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(128, 4, generator=generator))[0]
    patterns = torch.randn(CLIPS, 1, 4, generator=generator) @ basis.T * 32**0.5
    frames = patterns + 0.1 * torch.randn(CLIPS, FRAMES, 128, generator=generator)
    mel = (patterns @ torch.randn(128, 64, generator=generator) / 8).expand(-1, FRAMES, -1)
    mel = mel + 0.1 * torch.randn(CLIPS, FRAMES, 64, generator=generator)
    return LatentPool(
        frames.flatten(0, 1).half(),
        mel.flatten(0, 1).half(),
        torch.arange(CLIPS + 1) * FRAMES,
        torch.arange(CLIPS) % 4,
        torch.zeros(128),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[StepOne, Path]:
    """A tiny step 1 at high noise, and its log."""
    folder = tmp_path_factory.mktemp("step_one")
    torch.manual_seed(0)
    config = DiTConfig(width=32, heads=2, joint_blocks=1, audio_blocks=1, text_width=8, patch=4)
    model = StepOne(
        DiT(config),
        {20: AudioDown(AudioDownConfig(20, channels=8), config)},
        {20: LatentEncoder(LatentEncoderConfig(20, 1, width=32, heads=2, channels=8, stride=4))},
    )
    training = StepOneTraining(
        steps=150, batch=16, crops=((FRAMES, 1.0),), rate=8e-3, p_mean=3.0, p_std=0.5, z_drop=0.3,
        text_keep=0.0, envelope_weight=0.1, warmup_steps=10, component_windows=500,
    )  # fmt: skip
    autoencoder.train(many_patterns(), four_captions(8), model, folder, training, None)
    return model.eval(), folder / "log.csv"


def test_the_loss_with_z_falls_below_the_loss_without_it(trained: tuple[StepOne, Path]) -> None:
    _, log = trained
    with_z, without = (curve(log, name)[-1] for name in ("loss_t20", "dropped_t20"))
    assert with_z < 0.5 * without


@torch.no_grad()
def test_samples_are_nearer_to_their_own_clip_than_to_others(trained: tuple[StepOne, Path]) -> None:
    model, _ = trained
    clips = many_patterns().latents.float().unflatten(0, (CLIPS, FRAMES))
    tokens = model.adapters["20"].tokens(model.encoders["20"](clips))
    noise = torch.randn(1, FRAMES, 128, generator=torch.Generator().manual_seed(3))

    def network(x: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        return model.dit(x, c_noise, None, DownCondition(model.adapters["20"], tokens))

    solve, schedule = SAMPLERS["heun"]
    samples = solve(precondition(network, 1.0), noise.expand(CLIPS, -1, -1), schedule(6, 1.0, 80.0))
    distance = torch.cdist(samples.mean(1), clips.mean(1))  # [sample, clip]
    nearer = (distance < distance.diagonal()[:, None]).sum(1).float()  # other clips; chance: 30
    assert nearer.mean() < 3


def test_dropping_nothing_logs_no_dropped_loss(
    trained: tuple[StepOne, Path], pool: LatentPool, tmp_path: Path
) -> None:
    model, bank = copy.deepcopy(trained[0]), four_captions(8)
    training = StepOneTraining(steps=3, batch=2, crops=((20, 1.0),), z_drop=0.0)
    autoencoder.train(pool, bank, model, tmp_path, training, None)
    assert losses(tmp_path).keys() == {"dimensions_t20", "loss_t20"}


def test_a_batch_without_z_logs_no_loss_with_it(
    trained: tuple[StepOne, Path], pool: LatentPool, tmp_path: Path
) -> None:
    model, bank = copy.deepcopy(trained[0]), four_captions(8)
    training = StepOneTraining(steps=3, batch=2, crops=((20, 1.0),), z_drop=1.0)
    autoencoder.train(pool, bank, model, tmp_path, training, None)
    assert losses(tmp_path).keys() == {"dimensions_t20", "dropped_t20"}


def test_logged_means_are_over_the_rows_asked_for() -> None:
    values = torch.tensor([1.0, 2.0, 6.0])
    means = mean_of("loss", values, torch.tensor([True, False, True]))
    assert {name: float(mean) for name, mean in means.items()} == {"loss": 3.5}
    assert mean_of("loss", values, torch.zeros(3, dtype=torch.bool)) == {}


def test_silent_frames_count_the_same_whichever_process_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    config = DiTConfig(width=16, heads=2, joint_blocks=1, audio_blocks=0, text_width=8, patch=4)
    dit, adapter = DiT(config), AudioDown(AudioDownConfig(20, 8, deviations=120), config)
    adapter.deviations.to_size.fill_(1 / 64)
    x0, noise, sigma = torch.randn(4, 20, 128), torch.randn(4, 20, 128), torch.ones(4)
    down = adapter.condition(torch.randn(4, 1, 8))
    heard = torch.tensor([0.0, 0.0, 0.0, 1.0])[:, None].expand(-1, 20)

    def loss(rows: slice) -> torch.Tensor:
        told = Told(down.told.mean[rows], down.told.size[rows], heard[rows])
        own = adapter.down(down.tokens[rows], told)
        return diffusion_loss(dit, x0[rows], sigma[rows], noise[rows], None, own)

    whole = loss(slice(0, 4))
    counts = heard.clamp(min=autoencoder.SILENT).mean()
    monkeypatch.setattr(distributed, "mean", lambda value: counts)  # of two processes
    halves = torch.cat([loss(slice(0, 2)), loss(slice(2, 4))])
    torch.testing.assert_close(halves, whole)


def test_text_is_as_long_as_the_longest_caption_of_its_batch() -> None:
    bank = four_captions(8)
    mask = torch.arange(3) < torch.tensor([[1], [3], [2], [2]])
    bank = TextBank(bank.tokens, mask, bank.pooled)
    for clips, length in (([0, 2], 2), ([0, 1], 3), ([0], 1)):
        text = bank.condition(torch.tensor(clips), 1.0, torch.Generator())
        assert text.tokens.shape == (len(clips), length, 8)
        assert torch.equal(text.mask, mask[clips, :length])


def test_a_crop_holds_whole_windows_and_whole_patches() -> None:
    assert crop_frames(500, 9, 4) == 468
    assert crop_frames(500, 100, 1) == 500
    assert crop_frames(10, 9, 4) == 36  # at least one


def test_the_diffusion_loss_is_the_preconditioned_denoisers_weighted_error() -> None:
    torch.manual_seed(0)
    dit = DiT(DiTConfig(width=16, heads=2, joint_blocks=1, audio_blocks=0, text_width=8))
    torch.nn.init.normal_(dit.out.weight, std=0.1)
    x0, noise = torch.randn(3, 8, 128), torch.randn(3, 8, 128)
    sigma = torch.tensor([0.1, 1.0, 20.0])
    with torch.no_grad():
        loss = diffusion_loss(dit, x0, sigma, noise, None, None)
        denoise = precondition(lambda x, c: dit(x, c), 1.0)
        error = (denoise(x0 + sigma[:, None, None] * noise, sigma) - x0).square().mean((1, 2))
    torch.testing.assert_close(loss, error * (sigma**2 + 1) / sigma**2, rtol=1e-3, atol=1e-4)


def test_the_levels_of_high_bands_do_not_count_as_power() -> None:
    pool = LatentPool(*[torch.zeros(1)] * 5, levels=torch.tensor(8))
    assert pool.waveform(torch.zeros(2, 5, 128)).shape == (2, 5, 120)


def test_level_weights_are_inverse_to_power_and_one_on_average() -> None:
    x0 = torch.ones(3, 4, 5) * torch.tensor([0.1, 1.0, 10.0])[:, None, None]
    weights = level_weights(x0, floor=0.01)
    assert float(weights.mean()) == pytest.approx(1.0)
    torch.testing.assert_close(weights * torch.tensor([0.02, 1.01, 100.01]), weights[1] * 1.01 *
                               torch.ones(3))  # fmt: skip
    assert level_weights(x0, floor=None).tolist() == [1.0, 1.0, 1.0]


def young(deviations: int = 0) -> StepOne:
    """Of short windows, whose few numbers have their principal components at once."""
    torch.manual_seed(0)
    config = DiTConfig(width=16, heads=2, joint_blocks=1, audio_blocks=0, text_width=8, patch=4)
    adapter = AudioDown(AudioDownConfig(4, channels=8, deviations=deviations), config)
    encoder = LatentEncoder(LatentEncoderConfig(4, 1, width=16, heads=2, channels=8, stride=4))
    return StepOne(DiT(config), {4: adapter}, {4: encoder})


def test_frozen_encoders_learn_in_the_warm_up_alone(tmp_path: Path) -> None:
    model = young()
    encoder = model.encoders["4"]
    seen = []
    for steps in (2, 4):
        training = StepOneTraining(
            steps=4, warmup_steps=2, encoders_frozen=True, batch=2, crops=((20, 1.0),),
            z_distortion={4: (0.01, 0.5)}, align_weight=0.3, component_windows=500,
        )  # fmt: skip
        before = [p.clone() for p in encoder.parameters()]
        torch.manual_seed(0)
        stopped = dataclasses.replace(training, steps=steps)
        autoencoder.train(many_patterns(), four_captions(8), model, tmp_path, stopped, None)
        pairs = zip(encoder.parameters(), before, strict=True)
        seen.append(any(not torch.equal(now, then) for now, then in pairs))
    assert seen == [True, False]


def test_what_z_tells_of_latents_is_found_when_the_encoders_are_warm(tmp_path: Path) -> None:
    model = young(deviations=120)
    training = StepOneTraining(
        steps=4, warmup_steps=2, batch=2, crops=((20, 1.0),), told_windows=64, component_windows=500
    )
    found = []
    for steps in (2, 4):
        stopped = dataclasses.replace(training, steps=steps)
        autoencoder.train(many_patterns(), four_captions(8), model, tmp_path, stopped, None)
        found.append(model.adapters["4"].deviations.fitted)
    assert found == [False, True]


def test_a_box_that_is_to_finish_hurries_the_warm_up_and_leaves_nothing_out(
    tmp_path: Path, clock: Callable[[], None]
) -> None:
    model = young(deviations=120)
    start = model.adapters["4"].f_phi.weight.clone()
    training = StepOneTraining(
        steps=1000,
        warmup_steps=501,
        batch=2,
        crops=((20, 1.0),),
        told_windows=64,
        component_windows=500,
    )
    clock()
    pool, bank = many_patterns(), four_captions(8)
    autoencoder.train(pool, bank, model, tmp_path, training, 0.2, finish=True)
    assert model.adapters["4"].deviations.fitted
    assert not torch.equal(model.adapters["4"].f_phi.weight, start)


@pytest.mark.parametrize("directions", [1, 4, 16])
def test_effective_dimensions_count_the_directions_that_z_uses(directions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(64, directions, generator=generator))[0]
    z = torch.randn(40, 50, directions, generator=generator) @ basis.T + 3.0
    loud = z * torch.logspace(0, 3, 64)  # scale says nothing about independence
    assert effective_dimensions(loud).item() == pytest.approx(directions, rel=0.1)


def test_effective_dimensions_are_those_of_all_processes_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    z = torch.randn(4, 3, 64, generator=torch.Generator().manual_seed(0))
    together = effective_dimensions(z)
    monkeypatch.setattr(distributed, "everyones", lambda rows: torch.cat((rows, z[2:])))
    torch.testing.assert_close(effective_dimensions(z[:2]), together)


def test_text_is_kept_as_often_as_asked(bank: TextBank) -> None:
    generator = torch.Generator().manual_seed(0)
    clips = torch.zeros(20, dtype=torch.int64)
    kept = 0
    for _ in range(400):
        text = bank.condition(clips, 0.2, generator)
        kept += 0 if text is None else int(text.present.sum())
    assert kept / (400 * 20) == pytest.approx(0.2, abs=0.03)
