"""The folder in which one model is trained stage by stage, and the networks found in it.

    DIR/audio-ae  DIR/clap  DIR/dit            one run each
    DIR/autoencoder/1-11hz                     step 1 of the rates that share a trunk
    DIR/quantizer/11hz                         step 2 of one rate
    DIR/finetune/1-11hz                        step 3
    DIR/latents                                cached latents of the corpus
    DIR/pack                                   what was exported

A network of an earlier stage that was not trained here comes from a pack, if one is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spresso_cli.codec.packs import PackInfo
from spresso_cli.codec.weights import load_audio_ae, load_clap, load_dit
from spresso_cli.errors import UsageError
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.clap import CLAP
from spresso_cli.models.dit import AudioDown, DiT
from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.lora import add_lora
from spresso_cli.models.qinco2 import QINCo2
from spresso_cli.training import distributed
from spresso_cli.training.autoencoder import StepOne
from spresso_cli.training.config import Settings
from spresso_cli.training.run import checkpoints, ema_weights, part

Network = TypeVar("Network", bound=nn.Module)


def group_name(rates: Sequence[int]) -> str:
    """The folder of rates that share a trunk: `1-11hz`."""
    return "-".join(map(str, sorted(rates))) + "hz"


@dataclass(frozen=True)
class Workspace:
    """One model's folder, its configuration, where it computes, and the pack it may build on."""

    folder: Path
    settings: Settings
    device: torch.device
    pack: PackInfo | None = None

    def trained(self, stage: str) -> bool:
        """Whether a stage, such as `quantizer/11hz`, has a checkpoint."""
        return bool(checkpoints(self.folder / stage))

    def weights(self, stage: str, module: str) -> dict[str, Tensor]:
        """The averaged weights of a stage's network.

        Raises:
            UsageError: the stage was not trained here.
        """
        try:
            return part(ema_weights(self.folder / stage), module)
        except FileNotFoundError as error:
            raise UsageError(str(error)) from None

    def audio_ae(self) -> AudioAE:
        """The AudioAE, frozen."""
        if self._from_pack("audio-ae"):
            return self._frozen(load_audio_ae(self.pack))
        network = AudioAE(self.settings.audio_ae)
        return self._frozen(network, self.weights("audio-ae", "audio_ae"))

    def clap(self) -> CLAP:
        """Both CLAP towers, frozen."""
        if self._from_pack("clap"):
            return self._frozen(load_clap(self.pack))
        return self._frozen(CLAP(self.settings.clap), self.weights("clap", "clap"))

    def base_dit(self) -> DiT:
        """The DiT that was pretrained on text and audio alone, frozen."""
        if self._from_pack("dit"):
            return self._frozen(load_dit(self.pack, None)[0])
        return self._frozen(DiT(self.settings.dit), self.weights("dit", "dit"))

    def fresh_step_one(self, rates: Sequence[int]) -> StepOne:
        """Untrained encoders and adapters of some rates, on the pretrained trunk if there is one."""
        chosen = [self.settings.rates[rate] for rate in rates]
        if self.settings.lora_rank:
            dit = self.base_dit()
            add_lora(dit, self.settings.lora_rank, chosen[0].adapter.lora_alpha)
        else:
            dit = DiT(self.settings.dit)
        adapters = {c.adapter.pool: AudioDown(c.adapter, dit.config) for c in chosen}
        encoders = {c.encoder.pool: LatentEncoder(c.encoder) for c in chosen}
        return StepOne(dit, adapters, encoders).to(self.device)

    def step_one(self, rates: Sequence[int], stage: str) -> StepOne:
        """The networks of `autoencoder` or `finetune` for rates that were trained together."""
        model = self.fresh_step_one(rates)
        model.load_state_dict(self.weights(f"{stage}/{group_name(rates)}", "model"))
        return model.eval()

    def groups(self) -> list[tuple[int, ...]]:
        """The groups of rates that step 1 has trained, the latest first."""
        found = []
        for folder in (self.folder / "autoencoder").glob("*hz"):
            rates = tuple(int(text) for text in folder.name.removesuffix("hz").split("-"))
            if checkpoints(folder):
                found.append((checkpoints(folder)[-1].stat().st_mtime, rates))
        return [rates for _, rates in sorted(found, reverse=True)]

    def group_of(self, rate: int) -> tuple[int, ...]:
        """The rates that step 1 trained together with this one; the latest group, if several.

        Raises:
            UsageError: step 1 has not trained this rate.
        """
        for rates in self.groups():
            if rate in rates:
                return rates
        raise UsageError(f"{self.folder}: no autoencoder at {rate} Hz; train it first")

    def rates(self, asked: Sequence[int], step_one_done: bool) -> tuple[int, ...]:
        """The frame rates that a stage works on, ascending.

        Args:
            asked: by the user; if none, all that step 1 has trained, or all of the configuration.
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
        if not trained:
            raise UsageError(f"{self.folder}: no autoencoder; train it first")
        return tuple(sorted(trained))

    def qinco2(self, rate: int) -> QINCo2:
        """One rate's quantiser, frozen."""
        network = QINCo2(self.settings.rates[rate].qinco2)
        return self._frozen(network, self.weights(f"quantizer/{rate}hz", "qinco2"))

    def envelope(self, rate: int) -> EnvelopeFilter | None:
        """One rate's envelope filter; None where none was fitted."""
        path = self._envelope_path(rate)
        if not path.exists():
            return None
        own = self.settings.rates[rate]
        sizes = own.encoder.pool, own.encoder.channels, own.qinco2.codebooks
        network = EnvelopeFilter(EnvelopeConfig(*sizes))
        return self._frozen(network, load_file(path))

    def keep_envelope(self, rate: int, envelope: EnvelopeFilter) -> None:
        """Store what was fitted beside the rate's quantiser."""
        if distributed.rank() == 0:
            path = self._envelope_path(rate)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({k: v.cpu() for k, v in envelope.state_dict().items()}, path)

    def _envelope_path(self, rate: int) -> Path:
        return self.folder / "quantizer" / f"{rate}hz" / "envelope.safetensors"

    def _from_pack(self, stage: str) -> bool:
        return self.pack is not None and not self.trained(stage)

    def _frozen(self, network: Network, weights: Mapping[str, Tensor] | None = None) -> Network:
        if weights is not None:
            network.load_state_dict(dict(weights))
        return network.eval().requires_grad_(False).to(self.device)
