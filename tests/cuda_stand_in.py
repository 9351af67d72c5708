"""A CUDA device made of memory of the CPU, for machines that have none.

`cuda_stand_in()` makes torch believe in one device, `cuda:0`. What lies there are tensors of the
CPU whose storage is marked; every call of torch is looked at, and does what CUDA does: operands on
two devices are refused, a tensor of the device has no NumPy array, a generator draws for its own
device. So code that was written for CUDA shows where it forgot to move something, and batches have
the sizes that they have there. The numbers are the CPU's: what a GPU computes needs a GPU.

Threads of pools have it as well as the one that entered the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.thread import _WorkItem
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


class DeviceMismatch(RuntimeError):
    """As CUDA's error; a name of its own, so that no test takes it for another."""


class Generator(torch.Generator):
    """A generator that says it is the device's."""

    def __new__(cls, device: torch.device | str = "cpu") -> Self:
        self = super().__new__(cls)
        self.place = CUDA if torch.device(device).type == "cuda" else CPU
        return self

    @property
    def device(self) -> torch.device:
        return self.place


# Copies from device to device, wherever they begin.
_CROSSES = {Tensor.copy_, Tensor.to, Tensor.cpu, torch.as_tensor, torch.asarray,
            Tensor.data.__set__, Tensor.grad.__set__,
            torch._has_compatible_shallow_copy_type}  # fmt: skip
# Everything else takes scalars of the CPU; most of these have kernels for floating point alone.
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.einsum,
             torch.nn.functional.linear}  # fmt: skip
_JOINS = {torch.cat, torch.stack}
_INDEXES = {Tensor.__getitem__, Tensor.__setitem__}
_READS_MEMORY = {Tensor.numpy, Tensor.__array__}
_NAMES = {Tensor.device.__get__, Tensor.is_cuda.__get__, Tensor.is_cpu.__get__, Tensor.get_device}


class StandIn(TorchFunctionMode):
    """Looks at every call: refuses it, or makes it on the CPU and marks what comes out."""

    def on_device(self, tensor: Tensor) -> bool:
        return hasattr(tensor.untyped_storage(), "on_device")

    def _mark(self, tensor: Tensor) -> Tensor:
        # The storage keeps its Python object, so the mark is that of all views.
        tensor.untyped_storage().on_device = True
        return tensor

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = dict(kwargs or {})
        tensors = list(_tensors((args, kwargs)))
        if function in _NAMES:
            return self._named(function, tensors[0])
        if function is Tensor.cuda:
            function, args, kwargs = Tensor.to, (args[0], CUDA), {}
        here = [self.on_device(tensor) for tensor in tensors]
        self._check(function, args, tensors, here, kwargs)
        args, kwargs, wanted = self._without_device(function, args, kwargs)
        result = function(*args, **kwargs)
        if wanted is None and not any(here):
            return result
        storages = {t.untyped_storage()._cdata for t in tensors}

        def place(value: Tensor) -> Tensor:
            known = value.untyped_storage()._cdata in storages
            if wanted is None:
                return value if known else self._mark(value)
            if self.on_device(value) == (wanted.type == "cuda"):
                return value
            value = value.clone() if known else value
            return self._mark(value) if wanted.type == "cuda" else value

        return place(result) if type(result) is Tensor else tree_map_only(Tensor, place, result)

    def _named(self, function: Callable[..., Any], tensor: Tensor) -> object:
        there = self.on_device(tensor)
        if function == Tensor.device.__get__:
            return CUDA if there else function(tensor)
        if function == Tensor.get_device:
            return 0 if there else -1
        return there == (function == Tensor.is_cuda.__get__)

    def _check(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        tensors: list[Tensor],
        here: list[bool],
        kwargs: dict[str, Any],
    ) -> None:
        name = getattr(function, "__name__", str(function))
        if function in _READS_MEMORY and any(here):
            raise TypeError(f"{name}: a tensor of cuda:0 has no NumPy array; copy it to the CPU")
        generator = kwargs.get("generator")
        if generator is not None:
            device = kwargs.get("device") or (CUDA if any(here) else CPU)
            if generator.device.type != torch.device(device).type:
                raise DeviceMismatch(f"{name}: a generator of {generator.device} for {device}")
        if function in _CROSSES or not any(here):
            return
        if function in _INDEXES:
            self._check_index(name, args, here)
            return
        alone = function in _PRODUCTS or function in _JOINS
        strays = [t for t, there in zip(tensors, here, strict=True)
                  if not there and (t.dim() or alone)]  # fmt: skip
        if strays:
            shapes = [tuple(t.shape) for t in strays]
            raise DeviceMismatch(f"{name}: {shapes} on the CPU, others on cuda:0")
        if function in _PRODUCTS and not tensors[0].is_floating_point():
            raise NotImplementedError(f"{name}: not for {tensors[0].dtype} on cuda:0")
        if name.endswith("_") and not name.endswith("__") and not here[0]:
            raise DeviceMismatch(f"{name}: writes to the CPU what lies on cuda:0")

    def _check_index(self, name: str, args: tuple[Any, ...], here: list[bool]) -> None:
        """The CPU's numbers may choose from a tensor of the device, not the other way round; what
        is written where they chose has to be where it goes."""
        if name == "__setitem__" and _is_block(args[1]):
            return
        if not here[0]:
            raise DeviceMismatch(f"{name}: a tensor of the CPU, indices or values on cuda:0")
        value = args[2] if name == "__setitem__" else None
        if isinstance(value, Tensor) and value.dim() and not self.on_device(value):
            raise DeviceMismatch(f"{name}: a tensor of cuda:0, values on the CPU")

    def _without_device(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], torch.device | None]:
        """The call as the CPU can make it, and where its result is to lie; None: with its
        operands."""
        if function is Tensor.cpu:
            return args[:1], {}, CPU
        wanted = None
        if function is Tensor.to:
            other = args[1] if len(args) > 1 else kwargs.get("other")
            if isinstance(other, Tensor):
                wanted = CUDA if self.on_device(other) else CPU
            elif isinstance(other, str | torch.device):
                wanted, args = torch.device(other), (args[0], CPU, *args[2:])
        if kwargs.get("device") is not None:
            wanted = torch.device(kwargs["device"])
            kwargs["device"] = CPU
        elif wanted is None and function in (torch.tensor, torch.as_tensor, torch.asarray):
            wanted = None if isinstance(args[0], Tensor) else CPU
        return args, kwargs, wanted


def _tensors(value: object) -> Iterator[Tensor]:
    """All of a call's; pytree's walk would take most of the time."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


def _is_block(index: object) -> bool:
    """Whether an index takes a block of a tensor, which is filled by copying."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(part, int | slice | None) or part is Ellipsis for part in parts)


def _autocast(kind: str, *settings: object, **more: object) -> AbstractContextManager[object]:
    """Of the device: the CPU's, whose list of operations is nearly the same."""
    return torch.amp.autocast("cpu" if kind == "cuda" else kind, *settings, **more)


def _in_its_thread(mode: StandIn) -> Callable[[_WorkItem], None]:
    run = _WorkItem.run

    def with_mode(item: _WorkItem) -> None:
        with mode:
            run(item)

    return with_mode


@contextmanager
def cuda_stand_in() -> Iterator[StandIn]:
    """Within the block there is one CUDA device, `cuda:0`, as the module says."""
    # Where torch is built for CUDA, optimisers would ask the driver, which is not there: torch 2.11
    # whether a graph is being captured, later ones which accelerator there is.
    cuda = {"is_available": lambda: True, "device_count": lambda: 1, "empty_cache": lambda: None,
            "is_bf16_supported": lambda: True,
            "is_current_stream_capturing": lambda: False}  # fmt: skip
    with (
        mock.patch.multiple(torch.cuda, **cuda),
        mock.patch.object(torch.accelerator, "is_available", lambda: False),
        mock.patch.object(torch, "Generator", Generator),
        mock.patch.object(torch, "autocast", _autocast),
        StandIn() as mode,
        mock.patch.object(_WorkItem, "run", _in_its_thread(mode)),
    ):
        yield mode
