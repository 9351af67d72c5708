"""A codec in a program: what that has set is its own and changes nothing of what is coded."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from spresso_cli.codec.codec import Codec
from spresso_cli.codec.protocol import CodecProtocol
from spresso_cli.errors import AudioError, UsageError


def coded(path: Path, sound: np.ndarray) -> tuple[bytes, np.ndarray]:
    """What a codec that has loaded nothing yet makes of a sound, both ways, and with a text."""
    codec = Codec.load(path, device="cpu")
    data = codec.compress(sound, 48_000, kbps=1.32)
    return data, codec.decompress(data, steps=1, prompt="rain")[0]


def test_random_numbers_are_left_alone(tiny_path: Path, sound: Callable[..., np.ndarray]) -> None:
    x = sound(10_000)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    coded(tiny_path, x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "setting", [lambda: torch.autocast("cpu", torch.bfloat16), lambda: torch.device("meta")]
)
def test_autocast_and_a_default_device_are_not_for_the_codec(
    tiny_path: Path,
    sound: Callable[..., np.ndarray],
    setting: Callable[[], AbstractContextManager[object]],
    threads: int,
) -> None:
    x, usual = sound(10_000), torch.get_num_threads()
    data, take = coded(tiny_path, x)
    torch.set_num_threads(threads)
    try:
        with setting():
            again, same = coded(tiny_path, x)
            where = torch.is_autocast_enabled("cpu"), torch.get_default_device()
        with setting():
            assert where == (torch.is_autocast_enabled("cpu"), torch.get_default_device())
    finally:
        torch.set_num_threads(usual)
    assert again == data
    np.testing.assert_array_equal(same, take)


def test_another_default_dtype_is_refused_by_name(
    codec: Codec, sound: Callable[..., np.ndarray]
) -> None:
    data = codec.compress(sound(2400), 48_000)
    torch.set_default_dtype(torch.float64)
    try:
        for call in (lambda: codec.compress(sound(2400), 48_000), lambda: codec.decompress(data)):
            with pytest.raises(UsageError, match=r"default dtype is torch\.float64: make it torch"):
                call()
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_dies_away_is_no_error_of_numpy(codec: Codec) -> None:
    x = np.exp(-0.01 * np.arange(20_000))  # beyond what float32 holds
    x[10_000:15_000] = 1.3e-38  # the least that it holds in full, until a gain is applied
    usual = codec.compress(x, 48_000)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with np.errstate(all="raise"):
            assert codec.compress(x, 48_000) == usual
            codec.decompress(usual, steps=1)
            with pytest.raises(AudioError, match="sample 3 of channel 1 is inf"):
                codec.compress(np.array([0.0, 0.0, 0.0, 1e300]), 48_000)
    finally:
        torch.set_num_threads(threads)


def test_what_is_no_array_is_refused_like_any_sound(codec: Codec) -> None:
    for value in (torch.zeros(9, requires_grad=True), [[0.5], [0.5, 0.5]]):
        with pytest.raises(AudioError, match=f"{type(value).__name__} is no array: "):
            codec.compress(value, 48_000)


@pytest.mark.parametrize("method", ["compress_many", "decompress_many"])
def test_a_codec_is_one_to_type_checkers(method: str) -> None:
    """Key for key, as the protocol promises those who annotate with it."""
    promised = inspect.signature(getattr(CodecProtocol, method))
    assert inspect.signature(getattr(Codec, method)) == promised
