"""The folder in which one model is trained stage by stage, and the networks found in it.

    DIR/audio-ae  DIR/clap  DIR/dit            one run each
    DIR/autoencoder/1-11hz                     step 1 of the rates that share a trunk
    DIR/quantizer/11hz                         step 2 of one rate
    DIR/finetune/1-11hz                        step 3
    DIR/latents                                cached latents of the corpus, and z of crops of it
    DIR/pack                                   what was exported

If a pack is named, networks of earlier stages that were not trained here come from it, and so do
whole frame rates, from which step 2 and step 3 then continue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from spresso_cli.codec.packs import FamilyInfo, PackInfo
from spresso_cli.codec.weights import (
    audio_ae_is_int8,
    load_audio_ae,
    load_clap,
    load_dit,
    load_encoder,
    load_envelope,
    load_lora_tensors,
    load_quantizer,
)
from spresso_cli.errors import UsageError
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.clap import CLAP
from spresso_cli.models.dit import AudioDown, AudioDownConfig, DiT
from spresso_cli.models.envelope import EnvelopeFilter
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.lora import add_lora, load_lora
from spresso_cli.models.qinco2 import QINCo2
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.models.whitening import Whitening
from spresso_cli.training import distributed, stored
from spresso_cli.training.autoencoder import StepOne
from spresso_cli.training.config import Settings
from spresso_cli.training.stored import ema_weights, fill, older, part, trained_at, whole_file

Network = TypeVar("Network", bound=nn.Module)
# What an adapter may have and another of the same form may lack.
_EXTRAS = ("deviations", "fine_bands", "refiner")


def group_name(rates: Sequence[int]) -> str:
    """The folder of rates that share a trunk: `1-11hz`."""
    return "-".join(map(str, sorted(rates))) + "hz"


@dataclass(frozen=True)
class Workspace:
    """One model's folder, its configuration, where it computes, and the pack it may build on.

    `note` takes a line for people. What is asked for networks raises UsageError where their files
    are damaged, or do not fit the configuration.
    """

    folder: Path
    settings: Settings
    device: torch.device
    pack: PackInfo | None = None
    note: Callable[[str], None] | None = None

    def trained(self, stage: str) -> bool:
        """Whether a stage, such as `quantizer/11hz`, has left weights here."""
        return trained_at(self.folder / stage) is not None

    def weights(self, stage: str, module: str) -> dict[str, Tensor]:
        """The averaged weights of a stage's network.

        Raises:
            UsageError: the stage was not trained here.
        """
        try:
            return part(ema_weights(self.folder / stage, note=self.note), module)
        except FileNotFoundError as error:
            raise UsageError(str(error)) from None

    def audio_ae(self) -> AudioAE:
        """The AudioAE, frozen."""
        if self._from_pack("audio-ae"):
            return self._frozen(load_audio_ae(self.pack))
        return self._trained(AudioAE(self.settings.audio_ae), "audio-ae", "audio_ae")

    def audio_ae_int8(self) -> bool:
        """Whether the exported AudioAE's matrices become int8; a pack's stay as it stores them."""
        given = self._from_pack("audio-ae")
        return audio_ae_is_int8(self.pack) if given else self.settings.audio_ae_int8

    def clap(self) -> CLAP:
        """Both CLAP towers, frozen."""
        if self._from_pack("clap"):
            return self._frozen(load_clap(self.pack))
        return self._trained(CLAP(self.settings.clap), "clap", "clap")

    def base_dit(self) -> DiT:
        """The DiT that was pretrained on text and audio alone, frozen."""
        if self._from_pack("dit"):
            return self._frozen(load_dit(self.pack, None)[0])
        return self._trained(DiT(self.settings.dit), "dit", "dit")

    def fresh_step_one(self, rates: Sequence[int]) -> StepOne:
        """Untrained encoders and adapters of some rates, on the pretrained trunk if there is one.

        Only f_phi knows what a rate's z means; the other parts of an adapter on a pack's trunk
        start as those of the pack's nearest rate.
        """
        chosen = [self.settings.rates[rate] for rate in rates]
        dit = self.base_dit() if self.settings.lora_rank else DiT(self.settings.dit)
        adapters = {c.adapter.pool: _fresh_adapter(c.adapter, dit) for c in chosen}
        if self.settings.lora_rank:
            add_lora(dit, self.settings.lora_rank, chosen[0].adapter.lora_alpha)
        if self.settings.lora_rank and self._from_pack("dit"):
            for pool, adapter in adapters.items():
                self._start_adapter(adapter, pool)
        encoders = {c.encoder.pool: LatentEncoder(c.encoder) for c in chosen}
        return StepOne(dit, adapters, encoders).to(self.device)

    def step_one(self, rates: Sequence[int], stage: str) -> StepOne:
        """The networks of `autoencoder` or `finetune` for rates that were trained together."""
        if stage == "autoencoder" and len(rates) == 1 and (family := self.family_of_pack(rates[0])):
            return self._step_one_of_pack(family).eval()
        model, where = self.fresh_step_one(rates), f"{stage}/{group_name(rates)}"
        fill(model, self.weights(where, "model"), self.folder / where)
        return model.eval()

    def family_of_pack(self, rate: int) -> FamilyInfo | None:
        """The pack's family of a frame rate whose step 1 was not trained here."""
        if self.pack is None or any(rate in rates for rates in self.groups()):
            return None
        return self.pack.families.get(rate)

    def _start_adapter(self, adapter: AudioDown, pool: int) -> None:
        """All but what belongs to a rate's z from the pack's family of the nearest frame rate."""
        nearest = min(self.pack.families.values(), key=lambda f: abs(math.log(f.pool / pool)))
        given = load_dit(self.pack, nearest)[1].state_dict()
        own = adapter.state_dict()
        taken = {
            name: value
            for name, value in given.items()
            if not name.startswith(("f_phi", "deviations."))
            and name in own
            and own[name].shape == value.shape
        }
        adapter.load_state_dict(own | taken)

    def rates_of_pack(self) -> list[int]:
        """The configuration's frame rates that the pack has and step 1 was not trained for here."""
        return [rate for rate in sorted(self.settings.rates) if self.family_of_pack(rate)]

    def text_base(self) -> bool:
        """Whether `base_dit` has learnt from captions alone."""
        return self.pack.text_base if self._from_pack("dit") else bool(self.settings.lora_rank)

    def _step_one_of_pack(self, family: FamilyInfo) -> StepOne:
        """Encoder and adapter of a pack; LoRA that goes on from the pack's, or starts from nothing.

        Raises:
            UsageError: the configuration has no LoRA, or adapters of other sizes.
        """
        where, rate = f"pack {self.pack.name}, {family.frame_rate} Hz", family.frame_rate
        if not self.settings.lora_rank:
            raise UsageError(f"{where}: its DiT stays as it is; the configuration needs lora_rank")
        model = self.fresh_step_one((rate,))
        t = str(family.pool)
        encoder = load_encoder(self.pack, family)
        if encoder.config != self.settings.rates[rate].encoder:
            raise UsageError(f"{where}: another encoder than rates.{rate}.encoder")
        model.encoders[t] = encoder.to(self.device)
        adapter, lora = load_dit(self.pack, family)[1], load_lora_tensors(self.pack, family)
        # What it has in units of deviations is its own; step 3 may give it some.
        extras = {name: getattr(adapter.config, name) for name in _EXTRAS}
        wanted = replace(self.settings.rates[rate].adapter, **extras)
        if adapter.config != wanted:  # its scale of LoRA above all
            raise UsageError(f"{where}: another adapter than rates.{rate}.adapter")
        model.adapters[t] = AudioDown(adapter.config, model.dit.config).to(self.device)
        try:
            model.adapters[t].load_state_dict(adapter.state_dict())
            if lora:
                load_lora(model.dit, lora)
        except (KeyError, RuntimeError):
            raise UsageError(f"{where}: other sizes than rates.{rate}.adapter") from None
        return model

    def extend_adapters(self, model: StepOne) -> None:
        """Give the adapters of a pack what those of the configuration have and they lack,
        untrained: deviations, a refiner.

        Raises:
            UsageError: an adapter has what that of the configuration lacks, or has otherwise.
        """
        for rate, settings in self.settings.rates.items():
            own, t = settings.adapter, str(settings.adapter.pool)
            if t not in model.adapters or model.adapters[t].config == own:
                continue
            given = model.adapters[t]
            if any(getattr(given.config, n) not in (0, getattr(own, n)) for n in _EXTRAS):
                raise UsageError(
                    f"pack {self.pack.name}, {rate} Hz: its adapter has more than"
                    f" rates.{rate}.adapter, or other sizes of {', '.join(_EXTRAS)}"
                )
            adapter = _fresh_adapter(own, self.base_dit()).to(self.device)
            adapter.load_state_dict(adapter.state_dict() | given.state_dict())
            model.adapters[t] = adapter

    def groups(self) -> list[tuple[int, ...]]:
        """The groups of rates that step 1 has trained, the latest first."""
        found = []
        for folder in (self.folder / "autoencoder").glob("*hz"):
            rates = tuple(int(text) for text in folder.name.removesuffix("hz").split("-"))
            if (when := trained_at(folder)) is not None:
                found.append((when, rates))
        return [rates for _, rates in sorted(found, reverse=True)]

    def group_of(self, rate: int) -> tuple[int, ...]:
        """The rates that step 1 trained together with this one; the latest group, if several.

        A rate of the pack is a group of its own.

        Raises:
            UsageError: step 1 has not trained this rate.
        """
        for rates in self.groups():
            if rate in rates:
                return rates
        if self.family_of_pack(rate):
            return (rate,)
        raise UsageError(f"{self.folder}: no autoencoder at {rate} Hz; train it first")

    def rates(self, asked: Sequence[int], step_one_done: bool) -> tuple[int, ...]:
        """The frame rates that a stage works on, ascending.

        Args:
            asked: by the user; if none, all that step 1 has trained here, else all of the pack; or
                all of the configuration.
            step_one_done: whether the stage builds on step 1.

        Raises:
            UsageError: the configuration lacks a rate, or step 1 has trained none.
        """
        known = self.settings.rates
        for rate in asked:
            if rate not in known:
                there = ", ".join(map(str, sorted(known)))
                raise UsageError(f"the configuration has no {rate} Hz: choose of {there}")
        if asked:
            return tuple(sorted(set(asked)))
        if not step_one_done:
            return tuple(sorted(known))
        trained = {rate for rates in self.groups() for rate in rates}
        trained = trained or set(self.rates_of_pack())
        if not trained:
            raise UsageError(f"{self.folder}: no autoencoder; train it first")
        return tuple(sorted(trained))

    def quantizer(self, rate: int) -> SequenceQuantizer:
        """One rate's quantiser with the filters around it, frozen.

        Raises:
            UsageError: none was trained here, or that of the pack is of another form.
        """
        own = self.settings.rates[rate]
        family = self.family_of_pack(rate)
        if family and not self.trained(f"quantizer/{rate}hz"):
            network = load_quantizer(self.pack, family)
            given = network.qinco2.config
            given = replace(given, shortlist=own.qinco2.shortlist, beam=own.qinco2.beam)
            if given != own.qinco2:
                raise UsageError(f"pack {self.pack.name}: other sizes than rates.{rate}.qinco2")
            if (network.whitening and network.whitening.config) != own.whitening:
                raise UsageError(f"pack {self.pack.name}: other filters than rates.{rate} names")
            return self._frozen(network)
        qinco2 = self._trained(QINCo2(own.qinco2), f"quantizer/{rate}hz", "qinco2")
        return self._frozen(SequenceQuantizer(qinco2, self.whitening(rate)))

    def whitening(self, rate: int) -> Whitening | None:
        """The filters around one rate's quantiser, as fitted here; None: there are none yet.

        Raises:
            UsageError: they are gone, and the quantiser that was trained with them is there.
        """
        config = self.settings.rates[rate].whitening
        path = self.beside_quantizer(rate, "whitening")
        if config is None:
            return None
        if path.exists():
            return self._stored(Whitening(config), path)
        if self.trained(f"quantizer/{rate}hz"):
            raise UsageError(
                f"{path}: missing, and its quantiser is of no use without it: copy it here, or"
                f" delete {path.parent} and train it again"
            )
        return None

    def has_step_two(self, rate: int) -> bool:
        """Whether anything of step 2, the quantiser or the read-out, was done here."""
        read_out = self.beside_quantizer(rate, "envelope")
        return self.trained(f"quantizer/{rate}hz") or read_out.exists()

    def unfitted(self, rate: int) -> str | None:
        """What was not fitted when the training of a quantiser ended here; None: all was."""
        filters = self.whitening(rate)
        if not self.trained(f"quantizer/{rate}hz"):
            return None
        if filters and torch.equal(filters.behind.cpu(), Whitening(filters.config).behind):
            return "filters were"
        wanted = self.settings.rates[rate].envelope_windows
        there = self.beside_quantizer(rate, "envelope").exists()
        return "envelope was" if wanted and not there else None

    def check_step_two(self, rate: int) -> None:
        """UsageError for a quantiser whose training here ended before all behind it was fitted, or
        where that is damaged."""
        if what := self.unfitted(rate):
            raise UsageError(
                f"{self.folder / f'quantizer/{rate}hz'}: killed before its {what} fitted; that is"
                f" done by spresso train quantizer CORPUS --run {self.folder} --minutes 0"
                " (--config, --from as before)"
            )
        if self.beside_quantizer(rate, "envelope").exists():
            self.envelope(rate)

    def envelope(self, rate: int) -> EnvelopeFilter | None:
        """One rate's envelope filter; None where none was to be fitted.

        Raises:
            UsageError: it was, but the training of the quantiser was killed before.
        """
        path, own = self.beside_quantizer(rate, "envelope"), self.settings.rates[rate]
        if not path.exists():
            self.check_step_two(rate)
            here, family = self.trained(f"quantizer/{rate}hz"), self.family_of_pack(rate)
            if family and family.envelope and not here:
                return self._frozen(load_envelope(self.pack, family))
            return None
        kept = whole_file(path)
        config = replace(
            own.encoder.envelope,
            codebooks=own.qinco2.codebooks,
            fluctuation=own.fluctuation,
            levels=len(kept.get("level_mean", ())) // own.encoder.pool,
        )
        return self._stored(EnvelopeFilter(config), path)

    def check_age(self, stage: str, rates: Sequence[int]) -> None:
        """Tell of a stage's weights that are older than step 1 of the rates they were made for."""
        origin = f"autoencoder/{group_name(rates)}"
        if self.note and older(self.folder / stage, self.folder / origin):
            self.note(f"{stage} is older than {origin}: delete it and train it again")

    def beside_quantizer(self, rate: int, what: str) -> Path:
        """The file of what is fitted beside a rate's quantiser: `whitening` or `envelope`."""
        return self.folder / "quantizer" / f"{rate}hz" / f"{what}.safetensors"

    def keep_beside_quantizer(
        self, rate: int, what: str, network: nn.Module, about: Mapping[str, str] | None = None
    ) -> None:
        """Store such a file, and what is to be known about it."""
        stored.write(self.beside_quantizer(rate, what), network.state_dict(), about)
        distributed.wait()  # all of them read it

    def _from_pack(self, stage: str) -> bool:
        return self.pack is not None and not self.trained(stage)

    def _trained(self, network: Network, stage: str, module: str) -> Network:
        fill(network, self.weights(stage, module), self.folder / stage)
        return self._frozen(network)

    def _stored(self, network: Network, path: Path) -> Network:
        fill(network, whole_file(path), path)
        return self._frozen(network)

    def _frozen(self, network: Network) -> Network:
        return network.eval().requires_grad_(False).to(self.device)


def _fresh_adapter(config: AudioDownConfig, dit: DiT) -> AudioDown:
    """An untrained adapter of a base."""
    adapter = AudioDown(config, dit.config)
    if adapter.tells:
        adapter.start_head(dit)
    return adapter
