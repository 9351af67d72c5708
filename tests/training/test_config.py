"""Configuration files: what they name, and what they refuse."""

from __future__ import annotations

import dataclasses
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
        ("9 = [2, 4]", "7 = [2]", "finetune_training.codebooks.7: no frame rate has this"),
    ],
)
def test_mistakes_are_refused_and_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.load(written(tmp_path, old, new))
    assert complaint in str(caught.value)


def test_a_rate_that_the_format_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rates\.12: the pooling factors belong to another rate"):
        config.load(written(tmp_path, "[rates.11", "[rates.12", times=-1))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="base, paper, preview, tiny"):
        config.load("huge")


def test_whole_numbers_stand_for_floats(tmp_path: Path) -> None:
    settings = config.load(written(tmp_path, "clip_norm = 1e3", "clip_norm = 7"))
    assert settings.audio_ae_training.clip_norm == 7.0
