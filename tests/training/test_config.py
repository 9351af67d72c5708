"""Configuration files: what they name, and what they refuse."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from spresso_cli.errors import UsageError
from spresso_cli.training import config
from spresso_cli.training.config import Settings


def unnamed(kind: type, data: object, where: str) -> Iterator[str]:
    """Fields of a configuration that its file leaves to a default; None has no name in TOML."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        place = f"{where}.{field.name}"
        hint = hints[field.name]
        if field.name not in data:
            if field.default is not None:
                yield place
        elif dataclasses.is_dataclass(hint):
            yield from unnamed(hint, data[field.name], place)
        elif typing.get_origin(hint) is Mapping:
            inner = typing.get_args(hint)[1]
            for key, value in data[field.name].items():
                if dataclasses.is_dataclass(inner):
                    yield from unnamed(inner, value, f"{place}.{key}")


def written(tmp_path: Path, old: str, new: str, times: int = 1) -> str:
    """The tiny configuration with one change, as a file."""
    text = (config.FOLDER / "tiny.toml").read_text()
    assert old in text
    path = tmp_path / "changed.toml"
    path.write_text(text.replace(old, new, times))
    return str(path)


def test_the_mark_of_utf_8_that_editors_of_windows_write_is_no_statement(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (config.FOLDER / "tiny.toml").read_bytes())
    assert config.load(str(path)) == config.load("tiny")


def test_the_configurations_are_these() -> None:
    assert config.names() == ["adapt", "base", "paper", "preview", "tiny"]


@pytest.mark.parametrize("name", config.names())
def test_a_configuration_names_every_hyper_parameter(name: str) -> None:
    data = tomllib.loads((config.FOLDER / f"{name}.toml").read_text())
    assert not list(unnamed(Settings, data, name))
    assert isinstance(config.load(name), Settings)


def lines_of(name: str) -> dict[str, tuple[str, str]]:
    """Value and comment behind it, by section and key."""
    found, section = {}, ""
    for line in (config.FOLDER / f"{name}.toml").read_text().splitlines():
        if line.startswith("["):
            section = line
        elif " = " in line and not line.startswith("#"):
            setting, _, comment = line.partition(" #")
            key, _, value = setting.partition(" = ")
            found[f"{section} {key}"] = value.strip(), comment.strip()
    return found


@pytest.mark.parametrize("name", ["adapt", "base", "preview"])
def test_a_value_that_is_not_the_papers_has_the_papers_beside_it(name: str) -> None:
    ours, paper = lines_of(name), lines_of("paper")
    differing = {
        key
        for key, (value, _) in ours.items()
        # What is marked as ours in the paper's file is open in the paper.
        if key in paper and value != paper[key][0] and "ours" not in paper[key][1]
    }
    about_packs = ("[pack]", "[[points]]", "[corpus]")
    silent = {key for key in differing if not ours[key][1] and not key.startswith(about_packs)}
    assert not silent


def test_the_paper_configuration_has_the_papers_numbers() -> None:
    paper = config.load("paper")
    assert {rate: r.encoder.depth for rate, r in paper.rates.items()} == {
        25: 6,
        11: 10,
        5: 12,
        1: 12,
    }
    assert {r.qinco2.entries for r in paper.rates.values()} == {1 << 10, 1 << 12}
    assert paper.autoencoder_training.batch == 32
    assert paper.autoencoder_training.rate == paper.dit_training.rate == 1e-4
    assert paper.finetune_training.keep_z == 0.1
    assert paper.autoencoder_training.text_keep == pytest.approx(0.2)
    assert all(r.sampler_steps == 64 for r in paper.rates.values())
    assert all(r.quantizer_training.batch == 8000 for r in paper.rates.values())


def test_what_the_papers_leave_open_is_marked_in_their_configuration() -> None:
    paper = lines_of("paper")
    step_two = [key for key in paper if re.fullmatch(r".*qinco2] (embed|hidden|blocks)", key)]
    stages = ("dit", "autoencoder", "finetune")
    open_ones = [f"[{s}_training] {key}" for s in stages for key in ("weight_decay", "clip_norm")]
    assert len(step_two) == 12
    assert not [key for key in step_two if "QINCODEC" not in paper[key][1]]
    assert not [key for key in open_ones if "ours" not in paper[key][1]]


def test_brackets_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    path.write_text("x = " + "[" * 100_000)
    with pytest.raises(UsageError, match="deep.toml: brackets within brackets"):
        config.load(str(path))


def test_the_shipped_configuration_fits_the_default_install() -> None:
    from spresso_cli.models.audio_ae import AudioAE
    from spresso_cli.models.dit import DiT

    base = config.load("base")
    million = {
        "audio_ae": sum(p.numel() for p in AudioAE(base.audio_ae).parameters()) / 1e6,
        "dit": sum(p.numel() for p in DiT(base.dit).parameters()) / 1e6,
    }
    assert million["audio_ae"] < 19
    assert million["dit"] < 36


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[audio_ae]\n", "[audio_ae]\nwdith = 3\n", "audio_ae: unknown keys: wdith"),
        ("[clap]\n", "[clip]\nsteps = 1\n\n[clap]\n", "unknown keys: clip"),
        ("passes = 1", 'passes = "1"', "corpus.passes: expected int"),
        ("passes = 1", "passes = true", "corpus.passes: expected int"),
        ("betas = [0.8, 0.99]", "betas = [0.8]", "betas: expected 2 values"),
        ("codebook_bits = 10", "codebook_bits = 11", "rates.11: codes have 10 bits"),
        ('bypass = "mdct"', 'bypass = "pca"', "bypass must be"),
        ("kernel = 3", "kernel = 4", "audio_ae: kernel 4: an odd number"),
        ("n_fft = 960", "n_fft = 1024", "audio_ae: n_fft 1024 is not twice the hop of 480"),
        ("heads = 2", "heads = 3", "dit: 3 heads do not make a width of"),
        ("text_heads = 1", "text_heads = 5", "clap: 5 heads do not make a width of"),
        ("width = 16\nheads = 1", "width = 16\nheads = 16", "encoder: 16 heads do not"),
        ("[corpus]", "[corpus", "changed.toml"),
        ("lora_rank = 2", "lora_rank = 4", "one lora_rank"),
        ("lora_alpha = 2.0", "lora_alpha = 4.0", "one lora_alpha"),
        ("fine_bands = 0", "fine_bands = 64", "have the same"),
        ("codebooks = 4", "codebooks = 5", "Hz: 5 codebooks, and rates"),
        (
            "9 = [2, 4]",
            "9 = [2, 5]",
            "finetune_training.codebooks.9: 5 codebooks, and rates.11 has 4",
        ),
        (
            "codebooks = [2, 4]",
            "codebooks = [2, 5]",
            "rates.1: quantizer_training.codebooks: 5 codebooks, and qinco2 has 4",
        ),
        ("9 = [2, 4]", "7 = [2]", "finetune_training.codebooks.7: no frame rate has this"),
    ],
)
def test_mistakes_are_refused_and_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.load(written(tmp_path, old, new))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("hours = 0.5", "hours = 0", "corpus.hours = 0: above 0"),
        ("window_steps = 50", "window_steps = 0", "corpus.window_steps = 0: at least 1"),
        ("kernel = 3", "kernel = 0", "audio_ae.kernel = 0: at least 1"),
        ("\nsteps = 50", "\nsteps = -5", "audio_ae_training.steps = -5: at least 0"),
        ("rate = 4e-3", "rate = -1", "audio_ae_training.rate = -1: above 0"),
        ("ema_sigma = 0.05", "ema_sigma = 0.0", "audio_ae_training.ema_sigma = 0.0: above 0"),
        ("level = [-24.0,", "level = [nan,", "audio_ae_training.level.0 = nan: a finite number"),
        ("mel_weight = 2.14", "mel_weight = inf", "mel_weight = inf: a finite number"),
        ("weight_decay = 0.01", "weight_decay = -0.1", "weight_decay = -0.1: at least 0"),
        ("latent_frames = 1000", "latent_frames = 0", "latent_frames = 0: at least 1"),
        ("heads = 2", "heads = 0", "dit.heads = 0: at least 1"),
        ("crops = [[100, 1.0]]", "crops = []", "autoencoder_training.crops: an empty list"),
        ("crops = [[100, 1.0]]", "crops = [[100, 0]]", "crops.0.1 = 0: above 0"),
        ("[0.003, 0.02]", "[0.0, 0.02]", "autoencoder_training.z_distortion.9.0 = 0.0: above 0"),
        ("100 = [4]", "100 = []", "finetune_training.codebooks.100: an empty list"),
        ("fluctuation_steps = 20", "fluctuation_steps = -1", "rates.11.fluctuation_steps = -1"),
        ("beam = 2", "beam = 0", "finetune_training.beam = 0: at least 1"),
        ("ema_sigma = 0.05", "ema_sigma = 0.999", "ema_sigma = 0.999: below 0.2887"),
        ("second_ema_sigma = 0.10", "second_ema_sigma = 0.3", "ema_sigma = 0.3: below 0.2887"),
        ("betas = [0.8, 0.99]", "betas = [0.8, 1]", "audio_ae_training.betas.1 = 1: below 1"),
        ("text_keep = 0.2", "text_keep = 20", "autoencoder_training.text_keep = 20: at most 1"),
        ("z_drop = 0.1", "z_drop = 10", "autoencoder_training.z_drop = 10: at most 1"),
        ("[0.003, 0.02]", "[0.003, 2]", "autoencoder_training.z_distortion.9.1 = 2: at most 1"),
    ],
)
def test_a_number_that_no_stage_can_use_is_refused_by_its_key(
    tmp_path: Path, old: str, new: str, rule: str
) -> None:
    with pytest.raises(UsageError) as caught:
        config.load(written(tmp_path, old, new))
    assert rule in str(caught.value)
    assert "changed.toml: " in str(caught.value)


def test_none_of_something_and_a_level_below_zero_are_numbers_to_use(tmp_path: Path) -> None:
    read_out_alone = config.load(written(tmp_path, "\nsteps = 25", "\nsteps = 0"))
    assert read_out_alone.rates[11].quantizer_training.steps == 0
    assert config.load(written(tmp_path, "p_mean = 0.29", "p_mean = -1")).dit_training.p_mean == -1


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('sampler = "heun"', 'sampler = "euler9"', "rates.11: sampler 'euler9': use heun, ipndm3"),
        ("sampler_steps = 2", "sampler_steps = 0", "rates.11.sampler_steps = 0: at least 1"),
        ("sigma_min = 0.01", "sigma_min = 80", "pack.sigma_min 80 is not below sigma_max 80"),
        ("frame_rate = 1\n", "frame_rate = 7\n", "points: no profile has 7 frames a second"),
        ("default_kbps = 0.44", "default_kbps = 0.4", "default_kbps 0.4: the points have 0.048, "),
        ('name = "tiny"', 'name = "../x y"', "pack.name '../x y': use letters, digits"),
        ('name = "tiny"', 'name = ".tiny"', "pack.name '.tiny'"),
    ],
)
def test_what_only_the_packs_users_would_notice_is_refused_before_training(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        config.load(written(tmp_path, old, new))
    assert complaint in str(caught.value)


def test_points_may_be_of_rates_that_another_file_trains(tmp_path: Path) -> None:
    settings = config.load(written(tmp_path, "frame_rate = 1\n", "frame_rate = 25\n"))
    assert {point.frame_rate for point in settings.points} - set(settings.rates) == {25}


def test_a_rate_that_the_format_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rates\.12: the pooling factors belong to another rate"):
        config.load(written(tmp_path, "[rates.11", "[rates.12", times=-1))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="base, paper, preview, tiny"):
        config.load("huge")


def test_whole_numbers_stand_for_floats(tmp_path: Path) -> None:
    settings = config.load(written(tmp_path, "clip_norm = 1e3", "clip_norm = 7"))
    assert settings.audio_ae_training.clip_norm == 7.0
