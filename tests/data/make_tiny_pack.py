"""Writes tests/data/tiny_pack: untrained networks of every kind at their smallest, for mechanics.

It is no codec: its sounds are noise. It has the real architecture, so that shapes, seams, batches,
tags and files can be tested in seconds. Run from the top of the repository:

    python tests/data/make_tiny_pack.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from spresso_cli.codec.packs import OperatingPoint
from spresso_cli.models.audio_ae import AudioAE, AudioAEConfig
from spresso_cli.models.clap import CLAP, CLAPConfig
from spresso_cli.models.dit import AudioDown, AudioDownConfig, DiT, DiTConfig
from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter
from spresso_cli.models.latent_encoder import LatentEncoder, LatentEncoderConfig
from spresso_cli.models.lora import add_lora, lora_tensors
from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.models.whitening import Whitening, WhiteningConfig
from spresso_cli.training.export import Description, Family, export_pack

CHANNELS = 1  # of z: the codebooks, K entries each, are most of the pack
POINTS = (
    OperatingPoint(frame_rate=11, codebooks=12, rank=1),
    OperatingPoint(frame_rate=1, codebooks=8, rank=2),
    OperatingPoint(frame_rate=1, codebooks=4, rank=3),
)


def randomised(qinco2: QINCo2) -> QINCo2:
    """Codebooks and step networks away from zero, later steps smaller."""
    with torch.no_grad():
        qinco2.first.normal_()
        for m, step in enumerate(qinco2.steps):
            step.codebook.normal_(std=0.5 ** (m + 1))
            step.shortlist.copy_(step.codebook)
            step.p_out.weight.normal_(std=0.02)
    return qinco2


def sharpening(codebooks: int) -> Whitening:
    """At 11 Hz, what neighbouring windows share counts less in the codes than in z."""
    whitening = Whitening(WhiteningConfig(CHANNELS, codebooks, reach=2))
    whitening.before.copy_(torch.tensor([[1.0, -0.2, -0.1]]))
    whitening.behind.copy_(torch.tensor([[1.0, 0.2, 0.15]]))
    return whitening


def encoder(pool: int, stride: int) -> LatentEncoder:
    """At 11 Hz, beside what the network says, z hears how bright the sound is (a bypass)."""
    bypass = "envelope" if pool == 9 else "none"
    network = LatentEncoder(
        LatentEncoderConfig(
            pool, 1, width=8, heads=1, channels=CHANNELS, stride=stride, unit_rms=False,
            bypass=bypass,
        )
    )  # fmt: skip
    if network.needs_mel:
        generator = torch.Generator().manual_seed(1)
        torch.nn.init.normal_(network.out.weight, std=0.1, generator=generator)
        inputs = network.envelope.inputs
        tilt = torch.linspace(-1, 1, 64).repeat(inputs // 64)[:, None].expand(-1, CHANNELS)
        network.fill_bypass(torch.zeros(inputs), tilt / 64)
    return network


def slanted() -> EnvelopeFilter:
    """At 1 Hz, the one number of z tilts the spectrum. 11 Hz does without an envelope."""
    envelope = EnvelopeFilter(EnvelopeConfig(100, CHANNELS, codebooks=8))
    envelope.spread.fill_(0.5)
    blocks = envelope.config.inputs // 64
    return envelope.fill(torch.linspace(-1, 1, 64).repeat(blocks)[None], envelope.mean)


def main() -> None:
    torch.manual_seed(0)
    folder = Path(__file__).parent / "tiny_pack"
    shutil.rmtree(folder, ignore_errors=True)
    audio_ae = AudioAE(
        AudioAEConfig(dim=4, encoder_blocks=1, decoder_blocks=1, kernel=3, bypass="none")
    )
    audio_ae.latent_std.fill_(0.1)
    dit_config = DiTConfig(width=16, heads=2, joint_blocks=2, audio_blocks=1, text_width=8, patch=4)
    dit = DiT(dit_config)
    torch.nn.init.normal_(dit.out.weight, std=0.05)
    torch.nn.init.normal_(dit.gate.weight, std=0.05)
    clap = CLAP(
        CLAPConfig(
            embedding=8, audio_dim=8, audio_blocks=1, mel_bands=16,
            text_width=8, text_heads=1, text_blocks=1, text_buckets=64,
        )
    )  # fmt: skip
    families = {}
    for pool, stride, bits, codebooks in ((9, 3, 10, 12), (100, 5, 12, 8)):
        wrapped = DiT(dit_config)
        wrapped.load_state_dict(dit.state_dict())
        add_lora(wrapped, 1, 1.0, lambda name: name.startswith("audio."))
        lora = {k: torch.randn_like(v) * 0.05 for k, v in lora_tensors(wrapped).items()}
        families[pool] = Family(
            encoder(pool, stride),
            AudioDown(
                AudioDownConfig(pool, channels=CHANNELS, lora_rank=1, lora_alpha=1.0), dit_config
            ),
            SequenceQuantizer(
                randomised(
                    QINCo2(
                        QINCo2Config(
                            dim=CHANNELS,
                            codebook_bits=bits,
                            codebooks=codebooks,
                            embed=8,
                            hidden=8,
                            blocks=1,
                            shortlist=2,
                            beam=2,
                        )
                    )
                ),
                sharpening(codebooks) if pool == 9 else None,
            ),
            slanted() if pool == 100 else None,
            lora,
            sampler="heun",
            steps=2,
        )
    description = Description(
        name="tiny", version="0", status="preview", licence="CC0-1.0",
        description="Untrained networks for tests of mechanics; not a codec.", default_kbps=0.096,
    )  # fmt: skip
    export_pack(folder, description, audio_ae, dit, clap, families, POINTS)


if __name__ == "__main__":
    main()
