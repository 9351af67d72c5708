"""Training configurations: TOML files that name every size and hyper-parameter of all stages.

`tiny` is for tests, `preview` and `adapt` (which builds on a pack) are for a CPU, `base` is for
weights to be shipped, and `paper` has S-PRESSO's own sizes and durations. A user's file may leave
out whatever has a default, but keys that no stage knows are refused.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from spresso_cli.codec.packs import KNOWN_FAMILIES, PACK_NAME, OperatingPoint
from spresso_cli.diffusion.samplers import SAMPLERS
from spresso_cli.errors import UsageError
from spresso_cli.models.audio_ae import AudioAEConfig
from spresso_cli.models.clap import CLAPConfig
from spresso_cli.models.dit import AudioDownConfig, DiTConfig
from spresso_cli.models.latent_encoder import LatentEncoderConfig
from spresso_cli.models.qinco2 import QINCo2Config
from spresso_cli.models.whitening import WhiteningConfig
from spresso_cli.training.audio_ae import AudioAETraining
from spresso_cli.training.autoencoder import StepOneTraining
from spresso_cli.training.clap import CLAPTraining
from spresso_cli.training.dit import DiTTraining
from spresso_cli.training.ema import WIDEST
from spresso_cli.training.export import Description
from spresso_cli.training.finetune import StepThreeTraining
from spresso_cli.training.quantizer import QuantizerTraining

FOLDER = Path(__file__).parent / "configs"

Value = TypeVar("Value")

# Every number is finite, a whole one at least 1, another at least 0; but for these keys. A whole
# one may be 0 where that means none of it. Shares and odds end at 1: one in per cent would train to
# the end, on nothing but captions or without any z.
_OF_EITHER_SIGN = {"level", "p_mean"}
_ABOVE_ZERO = {
    "adversarial_rate", "adversarial_seconds", "clip_norm", "clip_value", "crops", "default_kbps",
    "discriminator_clip_norm", "discriminator_rate", "ema_sigma", "hours", "level_floor", "rate",
    "second_ema_sigma", "seconds", "sigma_max", "sigma_min", "z_distortion",
}  # fmt: skip
_FROM_ZERO = {
    "adversarial_from", "bypass_frozen_steps", "deviations", "envelope_windows", "fine_bands",
    "fluctuation", "high_bands", "initial_iterations", "lora_rank", "ramp_steps", "rank", "refiner",
    "steps", "synthetic", "warmup_steps", "whitening_reach", "whitening_steps",
}  # fmt: skip
_AT_MOST_ONE = {
    "eq_probability", "keep_z", "mix_probability", "reset_until", "speed_probability", "text_keep",
    "warmup", "z_distortion", "z_drop",
}  # fmt: skip
_BELOW = {"betas": 1.0, "ema_sigma": WIDEST, "second_ema_sigma": WIDEST}


@dataclass(frozen=True)
class CorpusSettings:
    """How sound reaches the stages; see streaming.py and latents.py."""

    hours: float = 8.0  # of sound in memory at once
    window_steps: int = 2000  # training steps for each such window
    synthetic: int = 0  # procedural effects beside each window's recordings
    # Over the corpus in the pool of latents, the first not augmented; where it has more `hours`
    # than that, over as many parts of it.
    passes: int = 4


@dataclass(frozen=True)
class RateSettings:
    """The networks of one frame rate."""

    encoder: LatentEncoderConfig
    adapter: AudioDownConfig
    qinco2: QINCo2Config
    quantizer_training: QuantizerTraining = field(default_factory=QuantizerTraining)
    vector_frames: int = 500  # latent frames of the crops that the quantiser's vectors come from
    sampler: str = "heun"  # default of the exported pack
    sampler_steps: int = 16
    guidance: float = 1.0  # on z, likewise
    # Windows on either side that the filters around the quantiser take in (models/whitening.py; 0:
    # there are none), the number of codebooks that the one before it is best for, and the gradient
    # steps that find it.
    whitening_reach: int = 0
    whitening_codebooks: int = 8
    whitening_steps: int = 400
    envelope_windows: int = 20_000  # code frames that the read-out is fitted to; 0: none is
    fluctuation: int = 0  # width of the network beside it (models/envelope.py); 0: there is none
    fluctuation_steps: int = 6_000

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler {self.sampler!r}: use {', '.join(SAMPLERS)}")
        longest, most = max(self.quantizer_training.codebooks, default=1), self.qinco2.codebooks
        if longest > most:
            raise ValueError(
                f"quantizer_training.codebooks: {longest} codebooks, and qinco2 has {most}"
            )

    @property
    def fits_behind(self) -> bool:
        """Whether step 2 fits anything behind its QINCo2."""
        filtered = self.whitening_reach and self.quantizer_training.steps
        return bool(self.envelope_windows or filtered)

    @property
    def weighs(self) -> bool:
        """Whether encoders of this rate weigh what can be heard (models/audibility.py)."""
        return bool(self.encoder.says_envelope and self.envelope_windows and not self.whitening)

    @property
    def whitening(self) -> WhiteningConfig | None:
        """The filters around the quantiser; None: there are none."""
        if not self.whitening_reach:
            return None
        return WhiteningConfig(self.qinco2.dim, self.qinco2.codebooks, self.whitening_reach)


@dataclass(frozen=True)
class Settings:
    """Everything a configuration file says."""

    pack: Description
    rates: Mapping[int, RateSettings]  # by nominal frame rate, Hz
    points: tuple[OperatingPoint, ...]
    audio_ae_int8: bool = False  # of the exported AudioAE; else float16
    corpus: CorpusSettings = field(default_factory=CorpusSettings)
    audio_ae: AudioAEConfig = field(default_factory=AudioAEConfig)
    audio_ae_training: AudioAETraining = field(default_factory=AudioAETraining)
    clap: CLAPConfig = field(default_factory=CLAPConfig)
    clap_training: CLAPTraining = field(default_factory=CLAPTraining)
    dit: DiTConfig = field(default_factory=DiTConfig)
    dit_training: DiTTraining = field(default_factory=DiTTraining)
    autoencoder_training: StepOneTraining = field(default_factory=StepOneTraining)
    finetune_training: StepThreeTraining = field(default_factory=StepThreeTraining)

    def __post_init__(self) -> None:
        if self.dit.text_width != self.clap.text_width:
            raise ValueError("dit.text_width and clap.text_width differ")
        if not self.rates:
            raise ValueError("no frame rate")
        for frame_rate, rate in self.rates.items():
            known = KNOWN_FAMILIES.get(rate.encoder.pool)
            if known is None or known.frame_rate != frame_rate or rate.adapter.pool != known.pool:
                raise ValueError(f"rates.{frame_rate}: the pooling factors belong to another rate")
            if rate.qinco2.codebook_bits != known.bits:
                raise ValueError(f"rates.{frame_rate}: codes have {known.bits} bits at this rate")
            if not rate.encoder.channels == rate.adapter.channels == rate.qinco2.dim:
                raise ValueError(f"rates.{frame_rate}: the networks disagree on the channels of z")
            deviations = rate.adapter.deviations
            if deviations and rate.adapter.fine_bands != rate.encoder.fine_bands:
                raise ValueError(f"rates.{frame_rate}: encoder and adapter differ in fine_bands")
            if not 0 <= deviations <= self.dit.latent:
                raise ValueError(f"rates.{frame_rate}: there are {self.dit.latent} latents")
        adapters = [rate.adapter for rate in self.rates.values()]
        for name in ("lora_rank", "lora_alpha"):
            if len({getattr(adapter, name) for adapter in adapters}) > 1:
                raise ValueError(f"rates on one trunk have one {name}")
        self._check_codebooks()
        if len({rate.encoder.fine_bands for rate in self.rates.values()} - {0}) > 1:
            raise ValueError("all rates with fine_bands have the same")  # one pool serves them
        self._check_pack()

    def _check_pack(self) -> None:
        """What would otherwise be found out when somebody uses the pack."""
        pack = self.pack
        if not PACK_NAME.fullmatch(pack.name):
            raise ValueError(
                f"pack.name {pack.name!r}: use letters, digits, and . - _ behind the first of them"
            )
        if pack.sigma_min >= pack.sigma_max:
            raise ValueError(
                f"pack.sigma_min {pack.sigma_min:g} is not below sigma_max {pack.sigma_max:g}"
            )
        rates = sorted({point.kbps for point in self.points})
        if not any(math.isclose(pack.default_kbps, kbps) for kbps in rates):
            there = ", ".join(f"{kbps:g}" for kbps in rates)
            raise ValueError(f"pack.default_kbps {pack.default_kbps:g}: the points have {there}")

    def _check_codebooks(self) -> None:
        """Nobody may ask a quantiser for more codebooks than it has."""
        have = {rate: own.qinco2.codebooks for rate, own in self.rates.items()}
        for point in self.points:  # some may be of rates that this file leaves to others
            try:
                _ = point.profile
            except UsageError as error:
                raise ValueError(f"points: {error}") from None
        asked = [(f"points: {p.frame_rate} Hz", p.frame_rate, p.codebooks) for p in self.points]
        for pool, numbers in (self.finetune_training.codebooks or {}).items():
            where = f"finetune_training.codebooks.{pool}"
            if pool not in KNOWN_FAMILIES:
                raise ValueError(f"{where}: no frame rate has this pooling factor")
            asked += [(where, KNOWN_FAMILIES[pool].frame_rate, number) for number in numbers]
        for where, rate, number in asked:
            if rate in have and not 1 <= number <= have[rate]:
                raise ValueError(f"{where}: {number} codebooks, and rates.{rate} has {have[rate]}")

    @property
    def fine_bands(self) -> int:
        """How many fine bands the log-mels need to have; 0: no rate uses any."""
        return max(rate.encoder.fine_bands for rate in self.rates.values())

    @property
    def lora_rank(self) -> int:
        """Of the adapters on the pretrained DiT; 0: there is no pretrained DiT, all learns."""
        return next(iter(self.rates.values())).adapter.lora_rank


def names() -> list[str]:
    """The configurations that come with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name_or_path: str) -> Settings:
    """A configuration by its name, or by the path of a TOML file.

    Raises:
        UsageError: there is none, or it names something unknown or impossible.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = FOLDER / f"{name_or_path}.toml"
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        known = ", ".join(names())
        raise UsageError(f"no configuration {name_or_path}: use {known} or a .toml file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: brackets within brackets, too deep to be read") from None
    return _built(Settings, data, str(path), "")


def _built(kind: type[Value], data: Any, file: str, where: str) -> Value:
    """A value of type `kind` from TOML data; UsageError names the file and the key."""

    def wrong(text: str) -> UsageError:
        return UsageError(f"{file}: {where or 'the file'}: {text}")

    def inner(kind: Any, data: Any, key: object) -> Any:
        return _built(kind, data, file, f"{where}.{key}" if where else str(key))

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        if not isinstance(data, dict):
            raise wrong("expected a table")
        hints = typing.get_type_hints(kind)
        if unknown := data.keys() - hints.keys():
            raise wrong(f"unknown keys: {', '.join(sorted(unknown))}")
        try:
            return kind(**{key: inner(hints[key], value, key) for key, value in data.items()})
        except (TypeError, ValueError) as error:
            raise wrong(str(error)) from None
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return _built(next(a for a in arguments if a is not type(None)), data, file, where)
    if origin is tuple:
        if not isinstance(data, list):
            raise wrong("expected a list")
        if not data:
            raise wrong("an empty list: at least one value")
        kinds = arguments[:1] * len(data) if arguments[1:] == (...,) else arguments
        if len(kinds) != len(data):
            raise wrong(f"expected {len(kinds)} values")
        return tuple(inner(k, v, i) for i, (k, v) in enumerate(zip(kinds, data, strict=True)))
    if origin is Mapping:
        if not isinstance(data, dict):
            raise wrong("expected a table")
        if arguments[0] is int and not all(key.isdecimal() for key in data):
            raise wrong("its keys are whole numbers")
        return {arguments[0](key): inner(arguments[1], value, key) for key, value in data.items()}
    whole = kind is float and type(data) is int
    if type(data) is not kind and not whole:
        raise wrong(f"expected {kind.__name__}, got {data!r}")
    if kind in (int, float) and (rule := _broken_rule(kind, data, where)):
        raise UsageError(f"{file}: {where} = {data}: {rule}")
    return float(data) if whole else data


def _broken_rule(kind: type, number: float, where: str) -> str | None:
    """What a number of this kind has to be at its place in the file, if it is not."""
    # The key itself: entries of lists and of tables by rate follow it.
    key = next(part for part in reversed(where.split(".")) if not part.isdecimal())
    if not math.isfinite(number):
        return "a finite number"
    if key in _OF_EITHER_SIGN:
        return None
    if kind is int:
        least = 0 if key in _FROM_ZERO else 1
        return f"at least {least}" if number < least else None
    if key in _AT_MOST_ONE and number > 1:
        return "at most 1"
    if number >= _BELOW.get(key, math.inf):
        return f"below {_BELOW[key]:.4g}"
    if key in _ABOVE_ZERO:
        return "above 0" if number <= 0 else None
    return "at least 0" if number < 0 else None
