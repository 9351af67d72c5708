"""Levels among the latents that z tells are not left to the diffusion network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spresso_cli import Codec
from spresso_cli.codec.decoder import LatentDecoder, Piece, Solver
from spresso_cli.codec.generator import Generator
from spresso_cli.codec.packs import find_pack
from spresso_cli.diffusion.samplers import SAMPLERS
from spresso_cli.models.envelope import EnvelopeConfig, EnvelopeFilter

LEVELS = 8


@pytest.fixture
def decoder(tiny_path) -> LatentDecoder:
    """Of 1 Hz, where the one number of z tells that levels rise within its second."""
    codec = Codec.load(tiny_path, device="cpu")
    models = codec._networks.decoder(codec.pack, codec.pack.families[1])
    config = EnvelopeConfig(100, models.adapter.config.channels, levels=LEVELS)
    envelope = EnvelopeFilter(config)
    rise = torch.arange(100.0)[:, None].expand(100, LEVELS).flatten()
    read_out = torch.cat((torch.zeros(config.inputs), rise))[None]
    mean = torch.cat((torch.zeros(config.inputs), torch.ones(100 * LEVELS)))
    return LatentDecoder(replace(models, envelope=envelope.fill(read_out, mean)))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("seconds", [1, 12])
def test_what_z_tells_is_decoded_as_told(decoder, sampler, guidance, seconds) -> None:
    """One window or several, whatever the solver and the weight of z."""
    codes = np.random.default_rng(0).integers(0, 4096, (seconds, 8)).astype(np.uint16)
    (latents,) = decoder.sample([Piece(codes, seed=1)], Solver(sampler, 2, guidance))
    told = decoder.models.envelope.levels(decoder.z(codes, 0, seconds)[None])[0]
    torch.testing.assert_close(latents[:, -LEVELS:], told, rtol=1e-4, atol=1e-3)
    assert latents[:, :-LEVELS].std() > 0.01


def test_without_levels_every_latent_is_sampled(decoder) -> None:
    codes = np.zeros((1, 8), np.uint16)
    solver = Solver("heun", 2)
    config = replace(decoder.models.envelope.config, levels=0)
    silent = [replace(decoder.models, envelope=e) for e in (None, EnvelopeFilter(config))]
    one, other = (LatentDecoder(m).sample([Piece(codes, seed=1)], solver)[0] for m in silent)
    assert torch.equal(one, other)
    assert not torch.equal(one, decoder.sample([Piece(codes, seed=1)], solver)[0])


def test_without_codes_levels_are_sampled_but_not_let_go_anywhere(tiny_path) -> None:
    free = Generator.load(find_pack(str(tiny_path)), "cpu")
    bound = replace(free, highest=torch.full((LEVELS,), -0.5))
    x = 5 * torch.randn(1, 40, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        any_, held = (g._denoiser(g._windows(40), None)(x, torch.ones(1)) for g in (free, bound))
    assert torch.equal(held[..., :-LEVELS], any_[..., :-LEVELS])
    assert torch.equal(held[..., -LEVELS:], any_[..., -LEVELS:].clamp(max=-0.5))
    assert any_[..., -LEVELS:].max() > -0.5
