"""On CUDA: everything lies where it is used, batches have its sizes, results are the CPU's."""

from __future__ import annotations

import numpy as np
import pytest

from spresso_cli.audio.files import ArraySource
from spresso_cli.codec.codec import Codec
from spresso_cli.codec.continuous import ContinuousCodec
from spresso_cli.codec.decoder import Solver
from spresso_cli.codec.generator import Generator
from spresso_cli.codec.packs import read_pack
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr


def decibels(x: np.ndarray, y: np.ndarray) -> float:
    """By how much y is nearer to x than silence."""
    noise = np.square(x - y, dtype=np.float64).sum()
    return 10 * np.log10(np.square(x, dtype=np.float64).sum() / max(noise, 1e-30))


def check_agreement(here: Codec, there: Codec, x: np.ndarray, kbps: float, steps: int) -> None:
    """Both codecs find the same codes, and decode them to the same sound."""
    data = here.compress(x, 48_000, kbps=kbps)
    codes, same = (spr.read(part).codes() for part in (data, there.compress(x, 48_000, kbps=kbps)))
    assert (codes == same).mean() >= 0.999
    a, b = (each.decompress(data, seed=1, steps=steps)[0] for each in (here, there))
    assert decibels(a, b) >= 40


@pytest.mark.parametrize("kbps", [0.096, 1.32])
def test_codes_and_sounds_are_the_cpus(codec, tiny_path, sound, cuda, kbps):
    x = sound(250_000)  # more than one window
    check_agreement(codec, Codec.load(tiny_path, device="cuda"), x, kbps, steps=2)


def test_latents_without_quantisation_are_the_cpus(tiny_path, sound, cuda):
    pack, x = read_pack(tiny_path), sound(30_000)
    here, there = (ContinuousCodec.load(pack, device) for device in ("cpu", "cuda"))
    z, same = (each.encode(ArraySource(x, 48_000), 11) for each in (here, there))
    np.testing.assert_allclose(same.z, z.z, atol=1e-4)
    a, b = (
        np.concatenate(list(each.decode(z, DecodeOptions(steps=2)).blocks()))
        for each in (here, there)
    )
    assert decibels(a, b) >= 40


def test_generated_sounds_are_the_cpus(tiny_path, cuda):
    pack, solver = read_pack(tiny_path), Solver("heun", 2, 2.0)
    a, b = (
        Generator.load(pack, device).generate("rain", 0.5, seed=1, solver=solver)
        for device in ("cpu", "cuda")
    )
    assert decibels(a, b) >= 40


@pytest.mark.gpu
def test_64_steps_on_a_gpu_agree_with_the_cpu(codec, tiny_path, sound):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    there = Codec.load(tiny_path, device="cuda")
    check_agreement(codec, there, sound(400_000), 1.32, steps=64)
