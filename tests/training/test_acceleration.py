"""bfloat16 and compiled blocks change how fast a network is, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from spresso_cli.models.audio_ae import AudioAE, AudioAEConfig, ConvNeXtBlock
from spresso_cli.models.dit import AudioDown, AudioDownConfig, DiT, DiTConfig, TextCondition
from spresso_cli.training import acceleration
from spresso_cli.training.acceleration import accelerate, autocast, in_bfloat16, prepare
from spresso_cli.training.randomness import chance, normal

CPU = torch.device("cpu")
CONFIG = DiTConfig(width=16, heads=2, joint_blocks=1, audio_blocks=1, text_width=8)


def dit() -> DiT:
    torch.manual_seed(0)
    network = DiT(CONFIG)
    torch.nn.init.normal_(network.out.weight, std=0.1)
    return network


@pytest.mark.parametrize(("fast", "kind"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_cpu_computes_in_float32_unless_it_is_fast_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, fast: bool, kind: torch.dtype
) -> None:
    monkeypatch.setattr(acceleration, "multiplies_tiles", lambda: fast)
    prepare(CPU)
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kind


def test_a_torch_that_cannot_tell_what_a_processor_has_does_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not acceleration.multiplies_tiles.__wrapped__()


def test_a_whole_dit_runs_in_bfloat16() -> None:
    network, x = dit(), torch.randn(2, 12, 128)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x, torch.zeros(2)).float()
    exact = network(x, torch.zeros(2))
    assert ((y - exact).norm() / exact.norm()).item() < 0.03
    y.square().mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in network.parameters() if p.grad is not None)


def test_blocks_of_an_audio_ae_run_in_bfloat16_between_float32_sums() -> None:
    torch.manual_seed(0)
    model = AudioAE(AudioAEConfig(dim=16, encoder_blocks=2, decoder_blocks=2))
    x = 0.1 * torch.randn(1, 4800)
    exact = model.decode_raw(model.encode_raw(x))
    for module in model.modules():
        if isinstance(module, ConvNeXtBlock):
            module.forward = in_bfloat16(module.forward, CPU)
    y = model.decode_raw(model.encode_raw(x))
    assert y.dtype == torch.float32
    assert 0 < ((y - exact).norm() / exact.norm()).item() < 0.01
    assert list(model.state_dict()) == list(AudioAE(model.config).state_dict())


@pytest.mark.parametrize("there", [True, False])
def test_blocks_are_compiled_on_cuda_where_triton_is(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is not on Windows, where the first step would fail."""
    monkeypatch.setattr(acceleration, "find_spec", lambda name: there or None)
    assert acceleration.worth_compiling(torch.device("cuda")) is there
    assert not acceleration.worth_compiling(CPU)


def test_nothing_is_compiled_unless_asked_for() -> None:
    network = dit()
    accelerate(network, CPU, compiled=False)
    assert all("forward" not in vars(module) for module in network.modules())


@pytest.mark.slow
def test_compiled_blocks_compute_the_same_and_keep_the_state_dict() -> None:
    network, x = dit(), torch.randn(2, 12, 128)
    before, names = network(x, torch.zeros(2)), list(network.state_dict())
    accelerate(network, CPU, compiled=True)
    torch.testing.assert_close(network(x, torch.zeros(2)), before, atol=1e-5, rtol=1e-4)
    assert list(network.state_dict()) == names


def test_blocks_are_compiled_once_a_kind_whatever_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 as well; sounds of other lengths and what has another form take one more each."""
    torch.compiler.reset()
    backend, compiled = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda method: compiled(method, backend=backend))
    config = dataclasses.replace(CONFIG, joint_blocks=3, audio_blocks=2)
    network = DiT(config)
    accelerate(network, CPU, compiled=True)
    for words in (0, 1, 3, 2):
        text = None if not words else TextCondition(
            torch.randn(2, words, 8), torch.ones(2, words, dtype=torch.bool), torch.randn(2, 8),
            torch.tensor([True, False]),
        )  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16):
            network(torch.randn(2, 12, 128), torch.zeros(2), text).sum().backward()
    assert backend.frame_count == 2  # QKV.forward and Stream.finish

    adapter = AudioDown(AudioDownConfig(3, channels=2, deviations=120, refiner=8), config)
    accelerate(adapter, CPU, compiled=True)
    for frames in (12, 24):
        down = adapter.condition(torch.randn(2, frames // 3, 2))
        with torch.autocast("cpu", torch.bfloat16):
            network(torch.randn(2, frames, 128), torch.zeros(2), None, down).sum().backward()
    assert backend.frame_count <= 2 + 5


def test_noise_on_a_gpu_follows_from_the_cpu_generator(cuda: None) -> None:
    def draw() -> torch.Tensor:
        return normal((3, 4), torch.Generator().manual_seed(5), "cuda")

    assert torch.equal(draw(), draw())


def test_noise_on_a_cpu_is_the_generators_own() -> None:
    generator = torch.Generator().manual_seed(5)
    expected = torch.randn(3, 4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(normal((3, 4), generator, "cpu"), expected)


def test_coin_tosses_come_as_often_as_asked() -> None:
    tosses = chance(0.3, 20_000, torch.Generator().manual_seed(0))
    assert float(tosses.double().mean()) == pytest.approx(0.3, abs=0.01)
