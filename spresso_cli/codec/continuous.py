"""The codec without its quantiser: sounds to z of step 1 and back, as files of safetensors.

This is what table 1 of S-PRESSO measures: how much is lost before any code is chosen. A file holds
`z` float32 `[coded channels, frames, 64]` and, as metadata, the header that a `.spr` would have.
"""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from spresso_cli.audio.files import AudioSource
from spresso_cli.codec.codec import Codec
from spresso_cli.codec.decoder import LatentDecoder, Solver
from spresso_cli.codec.encoder import EncoderModels, Sound, SoundEncoder
from spresso_cli.codec.packs import tag_of
from spresso_cli.codec.performance import Silence
from spresso_cli.codec.protocol import Decoded, DecodeOptions
from spresso_cli.container.profile import Profile
from spresso_cli.container.stream import Header
from spresso_cli.errors import CorruptStream, MissingPack, SpressoError

FORMAT = "spresso latents 2"
# One entry has it all: safetensors orders entries by chance, and the same sound is the same file.
ENTRY = "latents"
# What a file of something else raises while it is taken apart.
_NOT_OURS = (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError)
# Of what stands in their header.
_KINDS = {
    "frame_rate": int, "weights": str, "gain": int, "source_rate": int, "samples": int,
    "channels": int, "dual_mono": bool,
}  # fmt: skip


@dataclass(frozen=True)
class Latents:
    """z of one sound `[coded, frames, 64]` (frames is 0 for silence), and what decodes it."""

    header: Header
    z: np.ndarray
    digest: str  # of the weights, 64 hex digits

    def to_bytes(self) -> bytes:
        """The file."""
        header = self.header
        about = {
            "format": FORMAT,
            "frame_rate": header.profile.frame_rate,
            "weights": self.digest,
            "gain": header.gain,
            "levels": header.levels,
            "source_rate": header.source_rate,
            "samples": header.samples,
            "channels": header.channels,
            "dual_mono": header.dual_mono,
        }
        return save({"z": self.z}, {ENTRY: json.dumps(about)})

    @classmethod
    def read(cls, path: Path) -> Latents:
        """What `to_bytes` wrote.

        Raises:
            CorruptStream: it is no such file, or its parts contradict each other.
        """
        try:
            with safe_open(path, "np") as file:
                about = json.loads((file.metadata() or {})[ENTRY])
                z = file.get_tensor("z")
            if about.pop("format") != FORMAT:
                raise ValueError("unknown format")
            for name, kind in _KINDS.items():
                if type(about[name]) is not kind:  # True is an int, and 48000.0 is equal to one
                    raise ValueError(f"{name} is {about[name]!r}")
            digest = about.pop("weights")
            levels = about.pop("levels")
            header = Header(
                profile=Profile.of(about.pop("frame_rate"), 1),
                weights_tag=tag_of(digest),
                levels=None if levels is None else tuple(map(operator.index, levels)),
                **about,
            )
            if z.ndim != 3 or z.shape[:2] != (header.coded_channels, header.frames):
                raise ValueError(f"z of shape {z.shape}")
            if z.dtype != np.float32 or not np.isfinite(z).all():
                raise ValueError("z is not finite float32")
        except _NOT_OURS as error:
            raise CorruptStream(f"not a file of spresso latents ({error})") from None
        return cls(header, z, digest)


class _ToLatents(SoundEncoder):
    """An encoder that ends at z."""

    def __init__(self, models: EncoderModels, profile: Profile, digest: str):
        super().__init__(models, profile)
        self._digest = digest

    def result(self, sound: Sound) -> Latents:
        header, config = self.header(sound), self.models.encoder.config
        z = torch.zeros(header.coded_channels, 0, config.channels)
        z = z if header.silent else self.latents(sound)
        return Latents(header, z.numpy(), self._digest)


class _FromLatents(LatentDecoder):
    """A decoder whose pieces hold z instead of codes."""

    def z(self, codes: np.ndarray, begin: int, stop: int) -> Tensor:
        return torch.from_numpy(codes[begin:stop]).to(self.models.device)


class ContinuousCodec(Codec):
    """A codec that also stops short of the quantiser."""

    def encode(self, source: AudioSource, frame_rate: int, downmix: bool = False) -> Latents:
        """z of one sound at one of the pack's frame rates.

        Raises:
            AudioError, UsageError: the sound cannot be used; the pack has no such rate.
        """
        profile = self.pack.choose(frame_rate=frame_rate, codebooks=1)
        family = self.pack.families[frame_rate]
        models = self._networks.encoder(self.pack, family, heard=False)
        encoder = _ToLatents(models, profile, family.digest)
        ((_, result),) = encoder.run([(None, source)], downmix)
        if isinstance(result, SpressoError):
            raise result
        return result

    def decode(self, latents: Latents, options: DecodeOptions) -> Decoded:
        """One take of a sound.

        Raises:
            MissingPack: no pack has the weights that made it.
            UsageError: there is no such sampler, or as many steps.
            OutOfMemory: the device's memory ends.
        """
        header = latents.header
        rate = header.profile.frame_rate
        pack = self._pack_of(header)
        family = pack.families[rate]
        if family.digest != latents.digest or latents.z.shape[2] != family.adapter["channels"]:
            raise MissingPack(f"made with weights {latents.digest[:8]}, which are not installed")
        solver = Solver.of(options, family)
        if header.silent:
            return Silence(header)
        decoder = _FromLatents(self._networks.decoder(pack, family))
        text = self._networks.text(pack, options.prompt)
        run = decoder.whole(latents.z, options.seed, solver, text)
        held = options.envelope and decoder.models.envelope is not None
        z = decoder.excerpts(latents.z) if held else None
        return self._performance(header, pack, decoder, run, options.seed, z)
