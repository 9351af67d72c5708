"""Settings of all tests, and the device of those that need one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from hypothesis import settings

# A busy machine is no counterexample.
settings.register_profile("spresso", deadline=None)
settings.load_profile("spresso")


@pytest.fixture
def cuda() -> Iterator[None]:
    """There is a CUDA device: where there is none, one made of memory of the CPU."""
    import torch

    from tests.cuda_stand_in import cuda_stand_in

    # What training allows CUDA is the whole process's.
    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    allowed = cudnn.allow_tf32, cudnn.benchmark
    with nullcontext() if torch.cuda.is_available() else cuda_stand_in():
        yield
    cudnn.allow_tf32, cudnn.benchmark = allowed
    torch.set_float32_matmul_precision(precision)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device by its name; it is there."""
    if request.param == "cuda":
        request.getfixturevalue("cuda")
    return request.param
