"""Where networks run, and what is set up there."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest
import torch

from spresso_cli.codec.device import resolve_device, undisturbed
from spresso_cli.errors import UsageError


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has one CUDA device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_float32_is_float32_however_a_gpu_was_chosen(gpu: None, name: str) -> None:
    assert resolve_device(name).type == "cuda"
    assert not torch.backends.cudnn.allow_tf32


def test_a_gpu_that_is_not_there_is_refused(gpu: None) -> None:
    with pytest.raises(UsageError, match="only cuda:0 to cuda:0"):
        resolve_device("cuda:1")


@pytest.mark.parametrize("name", ["mps", "meta", "nonsense", None])
def test_other_devices_are_refused(name: str | None) -> None:
    with pytest.raises(UsageError, match="use auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_a_result_that_nobody_keeps_is_gone_before_the_next_is_made() -> None:
    """A long sound takes 16 MiB, or a temporary file."""
    made: list[weakref.ref[Result]] = []

    class Result:
        pass

    class Codec:
        device = torch.device("cpu")

        @undisturbed
        def results(self) -> Iterator[Result]:
            for _ in range(3):
                assert not any(result() for result in made)
                yield Result()

    for result in Codec().results():
        made.append(weakref.ref(result))
        del result
    assert len(made) == 3
