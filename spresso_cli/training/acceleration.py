"""What speeds up training on devices that support it: bfloat16 and compiled blocks.

Networks keep float32 weights. Whole diffusion networks run under bfloat16 autocast, as EDM2 runs
its F; of the AudioAE only the ConvNeXt blocks do, because the phases that its head predicts and
the linear bypass need more than eight bits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from spresso_cli.models.audio_ae import AudioAE, ConvNeXtBlock
from spresso_cli.models.dit import Stream
from spresso_cli.models.latent_encoder import EncoderBlock
from spresso_cli.models.layers import QKV
from spresso_cli.models.qinco2 import Step
from spresso_cli.models.refiner import Refiner

# What is compiled, and its method. Blocks share code and differ in weights alone, so that one
# compilation serves all blocks of a kind.
_COMPILED = ((ConvNeXtBlock, "forward"), (EncoderBlock, "forward"), (QKV, "forward"),
             (Stream, "finish"), (Refiner, "forward"), (Step, "forward"))  # fmt: skip
_EAGER = "joint_text"  # a few tokens, of any number: not worth compilations of their own


def prepare(device: torch.device) -> None:
    """Let CUDA use TF32 for float32 products and look for the fastest convolutions."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def worth_compiling(device: torch.device) -> bool:
    """Whether blocks go through torch.compile where nobody says: on CUDA it needs Triton, which
    torch brings along on Linux alone."""
    return device.type == "cuda" and find_spec("triton") is not None


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the device has fast bfloat16: CUDA, and processors that multiply tiles."""
    if device.type == "cuda" or (device.type == "cpu" and multiplies_tiles()):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


@lru_cache
def multiplies_tiles() -> bool:
    """Whether this processor has AMX for bfloat16; where torch cannot tell, it does without."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def in_bfloat16(forward: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    """`forward` under bfloat16 autocast on `device`, its result back in float32."""

    def cast(*inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return forward(*inputs).float()

    return cast


def accelerate(network: nn.Module, device: torch.device, compiled: bool) -> None:
    """Prepare a network that already lies on `device` for training, in place.

    State dicts do not change: methods of instances are replaced, never modules.

    Args:
        compiled: whether blocks go through torch.compile (a minute at the start; shapes should
            be few).
    """
    by_block = isinstance(network, AudioAE) and device.type == "cuda"
    for name, module in network.named_modules():
        for kind, method in _COMPILED:
            if isinstance(module, kind) and compiled and _EAGER not in name.split("."):
                setattr(module, method, torch.compile(getattr(module, method)))
        if by_block and isinstance(module, ConvNeXtBlock):
            module.forward = in_bfloat16(module.forward, device)
