"""Every stage, interrupted and unbroken; all of them in a row, from sounds to a pack."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from spresso_cli.codec.packs import PackInfo, read_pack
from spresso_cli.codec.weights import family_digest, load_dit
from spresso_cli.errors import UsageError
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.dit import AudioDown, DiT
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.qinco2 import QINCo2
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.training import (
    audio_ae,
    autoencoder,
    clap,
    config,
    distributed,
    dit,
    finetune,
    quantizer,
)
from spresso_cli.training.autoencoder import StepOne
from spresso_cli.training.conditioning import TextBank
from spresso_cli.training.config import Settings
from spresso_cli.training.corpus import find_clips
from spresso_cli.training.latents import LatentPool
from spresso_cli.training.preparation import TimeIsOver
from spresso_cli.training.step_two import StepTwo
from spresso_cli.training.stored import checkpoints
from spresso_cli.training.streaming import CorpusWindows
from tests.conftest import changeable_copy

from .conftest import broken_in_the_middle

STEPS = 12  # enough for a second window of sounds, both phases of an AudioAE, a validation
TINY_PACK = Path(__file__).parents[1] / "data" / "tiny_pack"


@dataclasses.dataclass(frozen=True)
class Bench:
    """What the stages need."""

    settings: Settings
    sounds: Path
    pool: LatentPool
    bank: TextBank


@pytest.fixture
def bench(tiny: Settings, sounds: Path, pool: LatentPool, bank: TextBank) -> Bench:
    return Bench(tiny, sounds, pool, bank)


def step_one(settings: Settings) -> StepOne:
    torch.manual_seed(0)
    rate = settings.rates[11]
    network = DiT(settings.dit)
    return StepOne(
        network, {9: AudioDown(rate.adapter, network.config)}, {9: LatentEncoder(rate.encoder)}
    )


def short(training, **changes: object):
    return dataclasses.replace(training, steps=STEPS, batch=2, **changes)


def run_audio_ae(b: Bench, folder: Path, minutes: float | None) -> None:
    torch.manual_seed(0)
    small = dataclasses.replace(b.settings.audio_ae, dim=8)
    training = short(
        b.settings.audio_ae_training, adversarial_from=8, latent_frames=100, seconds=0.05,
        adversarial_seconds=0.05,
    )  # fmt: skip
    # Windows change during the run: what a step hears depends on the step alone.
    windows = CorpusWindows(find_clips(b.sounds), hours=3 / 3600, steps=7)
    audio_ae.train(windows, AudioAE(small), folder, training, minutes)


def run_clap(b: Bench, folder: Path, minutes: float | None) -> None:
    training = short(b.settings.clap_training, seconds=0.2)
    windows = CorpusWindows(find_clips(b.sounds), hours=3 / 3600, steps=7)
    clap.train(windows, torch.device("cpu"), folder, b.settings.clap, training, minutes)


def run_dit(b: Bench, folder: Path, minutes: float | None) -> None:
    torch.manual_seed(0)
    training = short(b.settings.dit_training, validate_every=10, text_keep=0.5)
    held_out = (b.pool, b.bank)
    dit.train(b.pool, b.bank, held_out, DiT(b.settings.dit), folder, training, minutes)


def run_autoencoder(b: Bench, folder: Path, minutes: float | None) -> None:
    training = short(b.settings.autoencoder_training, warmup_steps=3)
    autoencoder.train(b.pool, b.bank, step_one(b.settings), folder, training, minutes)


def run_quantizer(b: Bench, folder: Path, minutes: float | None) -> None:
    rate = b.settings.rates[11]
    z = torch.randn(200, rate.qinco2.dim, generator=torch.Generator().manual_seed(0))
    training = short(rate.quantizer_training, initial_vectors=200, reset_every=8)
    quantizer.train(z, folder, rate.qinco2, training, minutes)


def run_finetune(b: Bench, folder: Path, minutes: float | None) -> None:
    quantiser = SequenceQuantizer(QINCo2(b.settings.rates[11].qinco2)).requires_grad_(False)
    training = short(b.settings.finetune_training)
    finetune.train(b.pool, b.bank, step_one(b.settings), {9: quantiser}, folder, training, minutes)


STAGES = (run_audio_ae, run_clap, run_dit, run_autoencoder, run_quantizer, run_finetune)


def test_refiners_can_learn_alone(bench: Bench, tmp_path: Path) -> None:
    quantiser = SequenceQuantizer(QINCo2(bench.settings.rates[11].qinco2)).requires_grad_(False)
    training = short(bench.settings.finetune_training, refiner_alone=True)
    model = step_one(bench.settings)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    finetune.train(bench.pool, bench.bank, model, {9: quantiser}, tmp_path, training, None)
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert "adapters.9.refiner.out.weight" in changed
    assert all(name.startswith(("adapters.9.refiner", "adapters.9.deviations")) for name in changed)

    rate = bench.settings.rates[11]
    plain = dataclasses.replace(rate, adapter=dataclasses.replace(rate.adapter, refiner=0))
    model = step_one(dataclasses.replace(bench.settings, rates={11: plain}))
    with pytest.raises(UsageError, match="t = 9 has none"):
        finetune.train(
            bench.pool, bench.bank, model, {9: quantiser}, tmp_path / "b", training, None
        )


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_an_interrupted_stage_ends_bit_for_bit_like_an_unbroken_one(
    stage: Callable, bench: Bench, tmp_path: Path, clock: Callable[[], None]
) -> None:
    stage(bench, tmp_path / "whole", None)
    calls = 0
    while not (tmp_path / "cut" / f"checkpoint-{STEPS:08d}.safetensors").exists():
        clock()
        stage(bench, tmp_path / "cut", 0.2)
        calls += 1
    assert calls > 1
    whole, cut = (load_file(checkpoints(tmp_path / name)[-1]) for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert [name for name in whole if not torch.equal(whole[name], cut[name])] == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_one_broken_batch_breaks_no_weights(
    stage: Callable, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    average, calls = distributed.average_gradients, iter(range(1000))

    def spoilt(parameters: Iterable[torch.nn.Parameter]) -> None:
        parameters = list(parameters)
        average(parameters)
        if next(calls) == 5:
            next(p.grad for p in parameters if p.grad is not None).fill_(math.nan)

    monkeypatch.setattr(distributed, "average_gradients", spoilt)
    stage(bench, tmp_path, None)
    assert next(calls) > 5
    tensors = load_file(checkpoints(tmp_path)[-1])
    assert not [name for name, value in tensors.items() if not value.isfinite().all()]


def test_clap_reads_no_window_but_those_that_it_trains_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_clap(bench, tmp_path, None)
    asked = []
    monkeypatch.setattr(CorpusWindows, "window", lambda self, index: asked.append(index))
    run_clap(bench, tmp_path, None)  # it is done
    assert not asked


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny configuration with four steps a stage."""
    text = (config.FOLDER / "tiny.toml").read_text()
    for old, new in (
        ("\nsteps = 50", "\nsteps = 4"),
        ("\nsteps = 25", "\nsteps = 4"),
        ("adversarial_from = 40", "adversarial_from = 2"),
        ("validate_every = 50", "validate_every = 4"),
        ("latent_frames = 1000", "latent_frames = 100"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path_factory.mktemp("config") / "hurried.toml"
    path.write_text(text)
    return path


def test_the_first_stages_need_no_dev_and_leave_out_what_is_broken(
    spresso: Callable, sounds: Path, hurried: Path, tmp_path: Path
) -> None:
    bad = broken_in_the_middle(tmp_path / "bad.flac")
    rows = [f"{path},train\n" for path in (*sorted(sounds.iterdir()), bad)]
    (tmp_path / "manifest.csv").write_text("file,split\n" + "".join(rows))
    for stage in ("audio-ae", "clap"):
        common = (tmp_path, "--run", tmp_path / "model", "--config", hurried)
        result = spresso("train", stage, *common, "--device", "cpu")
        assert result.code == 0, result.stderr
        assert result.stderr.count("left out: ") == result.stderr.count("bad.flac") == 1


def test_all_stages_in_a_row_make_a_pack_that_codes_sounds(
    spresso: Callable, sounds: Path, hurried: Path, tmp_path: Path, device: str
) -> None:
    model, pack = tmp_path / "model", tmp_path / "pack"
    common = (sounds, "--run", model, "--config", hurried)
    early = spresso("train", "dit", *common)
    assert early.code == 2
    assert "run this stage first" in early.stderr
    assert not model.exists()
    for stage in ("audio-ae", "clap", "dit", "autoencoder", "quantizer", "finetune"):
        result = spresso("train", stage, *common, "--device", device, "--no-compile")
        assert result.code == 0, result.stderr
    result = spresso("train", "export", *common, "--output-dir", pack)
    assert result.code == 0, result.stderr
    assert spresso("train", "export", *common, "--output-dir", pack).code == 1  # exists

    sound, coded = sounds / "rain_2.wav", tmp_path / "rain.spr"
    for command in (
        ("compress", sound, "-o", coded),
        ("decompress", coded, "-o", tmp_path / "take.wav"),
        ("generate", "rain", "--seconds", 0.5, "--steps", 2, "-o", tmp_path / "words.wav"),
        ("encode-latents", sound, "--frame-rate", 11, "-o", tmp_path / "z.safetensors"),
        ("decode-latents", tmp_path / "z.safetensors", "-o", tmp_path / "back.wav"),
    ):
        result = spresso(*command, "--pack", pack, "--device", device)
        assert result.code == 0, result.stderr


@pytest.fixture(scope="module")
def like_tiny_pack(hurried: Path) -> Path:
    """The same with the sizes of the tests' pack, so that this gives the earlier stages."""
    text = hurried.read_text()
    for key, value in (("width = 32", "width = 16"), ("text_width = 16", "text_width = 8")):
        text = text.replace(key, value)
    path = hurried.with_name("like_tiny_pack.toml")
    path.write_text(text)
    return path


def test_rates_can_be_trained_apart_and_shipped_without_step_three(
    spresso: Callable, sounds: Path, like_tiny_pack: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    common = (sounds, "--run", model, "--config", like_tiny_pack, "--from", TINY_PACK)
    common += ("--frame-rate", 11)
    for stage in ("autoencoder", "quantizer"):
        result = spresso("train", stage, *common, "--device", "cpu")
        assert result.code == 0, result.stderr
    assert (model / "autoencoder" / "11hz").is_dir()
    result = spresso("train", "export", *common, "--no-finetuned")
    assert result.code == 0, result.stderr
    assert [p.name for p in (model / "pack").glob("*hz")] == ["11hz"]


def test_rates_share_the_time_of_step_two(
    spresso: Callable, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = {}

    def timed(self: StepTwo) -> None:
        boxes[self.rate] = self.call.minutes_left()
        if self.rate == 1:
            raise TimeIsOver("it is next")

    monkeypatch.setattr(StepTwo, "train", timed)
    result = spresso(
        "train", "quantizer", sounds, "--run", tmp_path, "--config", "tiny", "--from", TINY_PACK,
        "--device", "cpu", "--minutes", 100,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert boxes == pytest.approx({1: 50, 11: 100}, abs=1.0)
    assert "the time is over: it is next; the same command goes on from there" in result.stderr


def test_finishing_needs_a_time_box(spresso: Callable, sounds: Path, tmp_path: Path) -> None:
    result = spresso("train", "clap", sounds, "--run", tmp_path, "--config", "tiny", "--finish")
    assert result.code == 2
    assert "--minutes" in result.stderr


def test_a_pack_is_built_upon_rate_by_rate(
    spresso: Callable, sounds: Path, like_tiny_pack: Path, tmp_path: Path
) -> None:
    def built(name: str, origin: Path, *stages: str, configured: Path = like_tiny_pack) -> PackInfo:
        """What a fresh model's folder makes of a pack, training 11 Hz alone."""
        common = (sounds, "--run", tmp_path / name, "--config", configured, "--from", origin)
        for stage in stages:
            options = ("--frame-rate", 11, "--device", "cpu")
            result = spresso("train", stage, *common, *options)
            assert result.code == 0, result.stderr
        result = spresso("train", "export", *common)
        assert result.code == 0, result.stderr
        return read_pack(tmp_path / name / "pack")

    def weights(pack: PackInfo, part: str) -> bytes:
        return (pack.path / pack.families[11].folder / f"{part}.safetensors").read_bytes()

    plain = tmp_path / "plain.toml"  # whose z tells no deviations
    plain.write_text(
        like_tiny_pack.read_text()
        .replace("deviations = 120", "deviations = 0")
        .replace("refiner = 8", "refiner = 0")
    )
    given = read_pack(TINY_PACK)
    same = built("same", given.path)
    assert {r: f.digest for r, f in same.families.items()} == {
        r: f.digest for r, f in given.families.items()
    }
    fresh = built("fresh", given.path, "autoencoder", "quantizer", configured=plain)
    requantised = built("requantised", fresh.path, "quantizer")
    finetuned = built("finetuned", fresh.path, "finetune")
    # A quantiser of no steps: the read-out alone, and now with a network that tells fluctuation.
    head, mark, tail = like_tiny_pack.read_text().partition("[rates.11.quantizer_training]")
    alone = tmp_path / "alone.toml"
    alone.write_text(
        head.replace("fluctuation = 0", "fluctuation = 8")
        + mark
        + re.sub(r"^steps = .*", "steps = 0", tail, count=1, flags=re.MULTILINE)
    )
    reread = built("reread", fresh.path, "quantizer", configured=alone)
    for stage, old, new, named in (
        ("finetune", "embed = 8", "embed = 6", "rates.11.qinco2"),
        ("finetune", "depth = 1", "depth = 2", "rates.11.encoder"),
        ("quantizer", "embed = 8", "embed = 6", "rates.11.qinco2"),
    ):
        other = tmp_path / "other.toml"
        assert old in like_tiny_pack.read_text()
        other.write_text(like_tiny_pack.read_text().replace(old, new))
        result = spresso(
            "train", stage, sounds, "--run", tmp_path / "other", "--config", other,
            "--from", fresh.path, "--frame-rate", 11, "--device", "cpu",
        )  # fmt: skip
        assert (result.code, named in result.stderr) == (2, True), result.stderr
    result = spresso(
        "train", "finetune", sounds, "--run", tmp_path / "less", "--config", plain,
        "--from", finetuned.path, "--frame-rate", 11, "--device", "cpu",
    )  # fmt: skip
    assert (result.code, "rates.11.adapter" in result.stderr) == (2, True), result.stderr
    assert fresh.families[11].adapter["deviations"] == 0
    assert requantised.families[11].adapter["deviations"] == 0  # nobody has trained any
    assert finetuned.families[11].adapter["deviations"] == 120
    assert load_dit(finetuned, finetuned.families[11])[1].deviations.fitted
    assert (fresh.families[11].adapter["refiner"], finetuned.families[11].adapter["refiner"]) == (
        0,
        8,
    )
    assert load_dit(finetuned, finetuned.families[11])[1].refiner.out.weight.any()
    assert fresh.families[11].envelope["fluctuation"] == 0
    assert reread.families[11].envelope["fluctuation"] == 8
    for pack in (fresh, requantised, finetuned, reread):
        assert pack.families[1].digest == given.families[1].digest
        assert pack.text_base
    for pack, changed in ((requantised, "qinco2"), (finetuned, "adapter"), (reread, "envelope")):
        for part in ("encoder", "adapter", "qinco2"):
            assert (weights(pack, part) == weights(fresh, part)) is (part != changed), part


def test_what_was_not_touched_is_copied_to_the_bit(
    spresso: Callable, sounds: Path, like_tiny_pack: Path, tmp_path: Path
) -> None:
    """Also a row whose scale is so small that quantising it anew would give another."""
    origin = changeable_copy(TINY_PACK, tmp_path / "origin")
    where = origin / "11hz" / "adapter.safetensors"
    stored = load(where.read_bytes())
    name = next(name for name, tensor in stored.items() if tensor.dtype == torch.int8)
    stored[name][0] = stored[name][0].clamp(-3, 3)
    stored[f"{name}.scale"][0] = 2e-7
    save_file(stored, where)
    about = json.loads((origin / "pack.json").read_text())
    about["families"]["11hz"]["digest"] = family_digest(origin, "11hz")
    (origin / "pack.json").write_text(json.dumps(about))
    result = spresso(
        "train", "export", sounds, "--run", tmp_path / "run", "--config", like_tiny_pack,
        "--from", origin, "--output-dir", tmp_path / "copy",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    given, made = read_pack(origin), read_pack(tmp_path / "copy")
    for rate, family in given.families.items():
        assert made.families[rate].digest == family.digest
        assert dataclasses.replace(made.families[rate], digest="") == dataclasses.replace(
            family, digest=""
        )


def test_a_frame_rate_that_is_not_configured_is_refused(
    spresso: Callable, sounds: Path, tmp_path: Path
) -> None:
    result = spresso(
        "train", "autoencoder", sounds, "--run", tmp_path, "--config", "tiny", "--frame-rate", 25
    )
    assert result.code == 2
    assert "no 25 Hz: choose of 1, 11" in result.stderr
