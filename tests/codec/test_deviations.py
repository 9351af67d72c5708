"""A family whose z tells how large latents are: sampled in units of that, returned as they are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spresso_cli import Codec
from spresso_cli.codec.decoder import LatentDecoder, Piece, Solver
from spresso_cli.codec.generator import Generator
from spresso_cli.codec.packs import read_pack
from spresso_cli.codec.weights import load_dit, quantise, write_tensors
from spresso_cli.diffusion.samplers import SAMPLERS
from spresso_cli.errors import BadPack
from spresso_cli.models.dit import AudioDown
from tests.conftest import changeable_copy

TOLD = 120


def telling(given: AudioDown, codec: Codec) -> AudioDown:
    """An adapter of 1 Hz that knows more: sound gets louder and softer with the one number of z."""
    torch.manual_seed(0)
    dit, _ = load_dit(codec.pack, None)
    adapter = AudioDown(replace(given.config, deviations=TOLD), dit.config)
    adapter.load_state_dict(adapter.state_dict() | given.state_dict())
    adapter.start_head(dit)
    own = adapter.deviations
    own.read_out.copy_(torch.ones_like(own.read_out))
    own.to_size.fill_(1 / 64)
    return adapter.requires_grad_(False)


@pytest.fixture
def decoder(tiny_path: Path) -> LatentDecoder:
    codec = Codec.load(tiny_path, device="cpu")
    models = codec._networks.decoder(codec.pack, codec.pack.families[1])
    return LatentDecoder(replace(models, adapter=telling(models.adapter, codec)))


def drawn_codes(seconds: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (seconds, 8)).astype(np.uint16)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("seconds", [1, 12])
def test_latents_are_as_large_as_z_tells(decoder, sampler, seconds) -> None:
    """One window or several, whatever the solver."""
    codes = drawn_codes(seconds)
    (latents,) = decoder.sample([Piece(codes, seed=1)], Solver(sampler, 16))
    told = decoder.models.adapter.deviations(decoder.z(codes, 0, seconds)[None])
    units = told.scaled(latents[None])[0, :, :TOLD]
    for second in units.split(100):
        assert float(second.std()) == pytest.approx(1.0, abs=0.15)


def test_a_piece_is_the_same_alone_and_beside_others(decoder) -> None:
    codes, solver = drawn_codes(3), Solver("heun", 2)
    others = [Piece(drawn_codes(5), seed=2), Piece(codes, seed=1), Piece(codes, seed=3, start=1)]
    alone = decoder.sample([Piece(codes, seed=1)], solver)[0]
    together = decoder.sample(others, solver)[1]
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_guidance_away_from_no_codes_keeps_the_told_size(decoder) -> None:
    codes = drawn_codes(2)
    plain, guided = (
        decoder.sample([Piece(codes, seed=1)], Solver("heun", 4, weight))[0] for weight in (1, 2)
    )
    assert torch.isfinite(guided).all()
    assert not torch.equal(plain, guided)


@pytest.fixture
def pack(tiny_path: Path, tmp_path: Path) -> Path:
    """The tests' pack, whose 1 Hz tells deviations."""
    codec, folder = Codec.load(tiny_path, device="cpu"), tmp_path / "pack"
    adapter = telling(load_dit(codec.pack, codec.pack.families[1])[1], codec)
    changeable_copy(tiny_path, folder)
    stored = folder / "1hz" / "adapter.safetensors"
    tensors = quantise(adapter.state_dict(), lambda name: False)
    write_tensors(tensors, stored)
    about = json.loads((folder / "pack.json").read_text())
    about["families"]["1hz"]["adapter"] |= {"deviations": TOLD}
    (folder / "pack.json").write_text(json.dumps(about))
    return folder


def test_a_pack_brings_what_z_tells(pack: Path, decoder) -> None:
    stored = load_dit(read_pack(pack), read_pack(pack).families[1])[1]
    given = decoder.models.adapter.state_dict()
    for name, value in stored.state_dict().items():
        torch.testing.assert_close(value, given[name], atol=1e-3, rtol=1e-3)


def test_an_adapter_without_the_maps_that_its_pack_names_is_no_pack(pack: Path) -> None:
    shutil.copy(pack / "11hz" / "adapter.safetensors", pack / "1hz" / "adapter.safetensors")
    with pytest.raises(BadPack, match="adapter"):
        load_dit(read_pack(pack), read_pack(pack).families[1])


def test_words_alone_decode_without_any_rate(pack: Path, tiny_path: Path) -> None:
    sounds = [
        Generator.load(read_pack(path), "cpu").generate("rain", 0.3, solver=Solver("heun", 2))
        for path in (pack, tiny_path)
    ]
    assert np.isfinite(sounds[0]).all()
    np.testing.assert_array_equal(*sounds)
