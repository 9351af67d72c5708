"""The networks of packs on a device, each loaded when it is first needed and kept."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TypeVar

import torch

from spresso_cli.codec.decoder import DecoderModels
from spresso_cli.codec.device import Batches, within_memory
from spresso_cli.codec.encoder import EncoderModels
from spresso_cli.codec.packs import FamilyInfo, PackInfo
from spresso_cli.codec.weights import (
    config_of,
    family_digest,
    load_audio_ae,
    load_clap,
    load_dit,
    load_encoder,
    load_envelope,
    load_quantizer,
)
from spresso_cli.errors import BadPack
from spresso_cli.models.audibility import Audibility
from spresso_cli.models.audio_ae import AudioAE, AudioAEConfig
from spresso_cli.models.clap import TextTower
from spresso_cli.models.dit import AudioDown, DiT, TextCondition
from spresso_cli.models.envelope import EnvelopeFilter
from spresso_cli.models.latent_encoder import LatentEncoderConfig
from spresso_cli.models.sequence_quantizer import SequenceQuantizer

Network = TypeVar("Network")  # or several of them, loaded together


def text_condition(tower: TextTower, text: str) -> TextCondition:
    """What one text says to the DiT, a batch of one row."""
    tokens, mask, pooled = tower([text])
    present = torch.ones(1, dtype=torch.bool, device=tokens.device)
    return TextCondition(tokens, mask, pooled, present)


class Networks:
    """What one codec has loaded; threads may ask at once."""

    def __init__(self, device: torch.device):
        self.device = device
        self.batches = Batches(device)
        self._loaded: dict[tuple[object, ...], object] = {}
        self._loading = Lock()

    def audio_ae(self, pack: PackInfo) -> AudioAE:
        """The autoencoder between sound and latents; raises BadPack, OutOfMemory."""
        return self._kept("audio_ae", pack.path, lambda: load_audio_ae(pack).to(self.device))

    def encoder(self, pack: PackInfo, family: FamilyInfo, heard: bool = True) -> EncoderModels:
        """All that codes sounds at one frame rate; raises BadPack, OutOfMemory.

        Args:
            heard: code what can be heard, where the pack allows it; False: z as the encoder gives
                it.
        """
        encoder = self._kept(
            "encoder",
            (pack.path, family.frame_rate),
            lambda: load_encoder(pack, family).to(self.device),
        )
        audibility = self._audibility(pack, family, encoder.config) if heard else None
        # Wherever it begins, the search for what is heard ends at the same z, or as good as.
        mel_alone = encoder.bypass_alone or audibility is not None
        return EncoderModels(
            None if mel_alone else self.audio_ae(pack),
            config_of(AudioAEConfig, pack.audio_ae, "audio_ae").context,
            encoder,
            self._quantizer(pack, family),
            audibility,
            family.tag,
            self.batches,
        )

    def decoder(self, pack: PackInfo, family: FamilyInfo) -> DecoderModels:
        """All that makes latents of codes; raises BadPack, OutOfMemory."""

        def build() -> tuple[DiT, AudioDown]:
            dit, adapter = load_dit(pack, family)
            return dit.to(self.device), adapter.to(self.device)

        dit, adapter = self._kept("dit", (pack.path, family.frame_rate), build)
        return DecoderModels(
            dit,
            adapter,
            self._quantizer(pack, family),
            self._envelope(pack, family),
            pack.sigma_min,
            pack.sigma_max,
            self.batches,
        )

    def text(self, pack: PackInfo, prompt: str | None) -> TextCondition | None:
        """The text condition of a prompt; None: the learned null. Raises BadPack, OutOfMemory."""
        if prompt is None:
            return None
        tower = self._kept("text", pack.path, lambda: load_clap(pack).text.to(self.device))
        with torch.inference_mode(), within_memory(self.device):
            return text_condition(tower, prompt)

    def _quantizer(self, pack: PackInfo, family: FamilyInfo) -> SequenceQuantizer:
        def build() -> SequenceQuantizer:
            if family_digest(pack.path, family.folder) != family.digest:
                raise BadPack(
                    f"{pack.path}: the weights at {family.frame_rate} Hz are not the ones that "
                    f"pack.json describes; reinstall the pack"
                )
            return load_quantizer(pack, family).to(self.device)

        return self._kept("quantizer", (pack.path, family.frame_rate), build)

    def _envelope(self, pack: PackInfo, family: FamilyInfo) -> EnvelopeFilter | None:
        if family.envelope is None:
            return None
        where = (pack.path, family.frame_rate)
        return self._kept("envelope", where, lambda: load_envelope(pack, family).to(self.device))

    def _audibility(
        self, pack: PackInfo, family: FamilyInfo, config: LatentEncoderConfig
    ) -> Audibility | None:
        """Where windows are coded one by one and an envelope is what z says."""
        if family.envelope is None or family.whitening is not None or not config.says_envelope:
            return None

        def build() -> Audibility:
            # Not the decoder's filter: what that computes when it is loaded depends to the last
            # bits on how many threads compute it, and here these are all, there one.
            envelope = load_envelope(pack, family).to(self.device)
            return Audibility.of(envelope)

        return self._kept("audibility", (pack.path, family.frame_rate), build)

    def _kept(self, kind: str, where: object, build: Callable[[], Network]) -> Network:
        with self._loading:
            if (kind, where) not in self._loaded:
                with within_memory(self.device):
                    self._loaded[kind, where] = build()
            return self._loaded[kind, where]
