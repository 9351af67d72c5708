"""The stand-in for a CUDA device refuses what CUDA refuses, and nothing that it takes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from tests.cuda_stand_in import DeviceMismatch, cuda_stand_in


@pytest.fixture(autouse=True)
def stand_in():
    with cuda_stand_in():
        yield


def there(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, device="cuda")


@pytest.mark.parametrize(
    "act",
    [
        lambda: there(3) + torch.ones(3),
        lambda: torch.cat((there(3), torch.ones(()).reshape(1))),
        lambda: torch.stack((there(), torch.ones(()))),
        lambda: there(3) @ torch.ones(3),
        lambda: nn.Linear(3, 2)(there(3)),
        lambda: torch.ones(3).add_(there(3)),
        lambda: torch.zeros(3)[torch.tensor([0], device="cuda")],
        lambda: there(3).__setitem__(torch.tensor([0, 1], device="cuda"), torch.ones(2)),
        lambda: torch.randn(3, generator=torch.Generator(), device="cuda"),
        lambda: there(3).normal_(generator=torch.Generator()),
        lambda: torch.randn(3, generator=torch.Generator("cuda")),
    ],
)
def test_operands_on_two_devices_are_refused(act: Callable[[], object]) -> None:
    with pytest.raises(DeviceMismatch):
        act()


@pytest.mark.parametrize("read", [torch.Tensor.numpy, np.asarray])
def test_a_tensor_of_the_device_is_no_array(read: Callable[[torch.Tensor], object]) -> None:
    with pytest.raises(TypeError, match="copy it to the CPU"):
        read(there(3))
    assert read(there(3).cpu()).tolist() == [0, 0, 0]


def test_integers_have_no_products_there() -> None:
    with pytest.raises(NotImplementedError, match="int64"):
        there(2, 2).long() @ there(2, 2).long()


def test_scalars_indices_and_blocks_of_the_cpu_are_taken() -> None:
    x = there(4) + torch.tensor(1.0)
    x[:2] = torch.tensor([5.0, 6.0])
    x[torch.tensor([3])] = 7.0
    assert x[torch.tensor([0, 1, 3])].tolist() == [5, 6, 7]
    assert x.device == torch.device("cuda", 0) and x.is_cuda and x.get_device() == 0
    here = torch.zeros(4)
    here.copy_(x)
    here[:1] = x[3:]
    assert here.device.type == "cpu" and here.tolist() == [7, 6, 1, 7]


@pytest.mark.parametrize(
    "moved",
    [
        lambda x: x.to("cuda"),
        lambda x: x.cuda(),
        lambda x: x.to(there(1)),
        lambda x: x.to(device="cuda", dtype=torch.float16),
        lambda x: torch.as_tensor(x, device="cuda"),
        lambda x: torch.zeros_like(x, device="cuda"),
        lambda x: there(1).new_tensor([0.0, 1.0]),
    ],
)
def test_what_is_moved_is_a_copy(moved: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.zeros(2)
    y = moved(x)
    assert y.is_cuda and not x.is_cuda
    y += 1
    assert x.tolist() == [0, 0]
    assert not y.cpu().is_cuda and y.view(-1)[:1].is_cuda


def test_a_network_that_was_moved_learns_there() -> None:
    network = nn.Linear(3, 1).to("cuda")
    before = network.weight.detach().cpu()
    optimizer = torch.optim.AdamW(network.parameters(), 0.1)
    network(torch.ones(3, device="cuda")).sum().backward()
    assert network.weight.grad.is_cuda
    optimizer.step()
    assert network.weight.is_cuda and not torch.equal(network.weight.cpu(), before)


def test_threads_of_pools_have_it_too() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: there(3)).result().is_cuda


def test_autocast_of_the_device_is_one() -> None:
    with torch.autocast("cuda", torch.bfloat16):
        assert (there(2, 2) @ there(2, 2)).dtype == torch.bfloat16
