"""A device whose memory runs out: smaller batches first, then one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from spresso_cli.audio.files import ArraySource
from spresso_cli.codec.codec import Codec
from spresso_cli.codec.device import Batches, within_memory
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile
from spresso_cli.errors import OutOfMemory
from spresso_cli.models.clap import TextTower
from spresso_cli.models.dit import DiT
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.qinco2 import QINCo2


@pytest.fixture
def own(tiny_path) -> Codec:
    """A codec of this test alone, with batches of eight as if on a GPU."""
    codec = Codec.load(tiny_path, device="cpu")
    codec._networks.batches.size = 8
    return codec


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, int], list[int]]:
    """`room(network, rows)`: more rows than that at once no longer fit; returns the sizes tried."""

    def limit(network: type, rows: int) -> list[int]:
        forward, tried = network.forward, []

        def short(self, x, *others):
            tried.append(len(x))
            if len(x) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.9 GiB")
            return forward(self, x, *others)

        monkeypatch.setattr(network, "forward", short)
        return tried

    return limit


def test_encoding_goes_on_with_half_the_windows(own, codec, room, sound) -> None:
    x = sound(200_000, channels=2)
    expected = codec.compress(x, 48_000, kbps=1.32)
    tried = room(LatentEncoder, 1)
    assert own.compress(x, 48_000, kbps=1.32) == expected
    assert tried[:4] == [8, 4, 2, 1] and set(tried[3:]) == {1}
    own.compress(x, 48_000, kbps=1.32)
    assert tried.count(8) == 1  # what did not fit once is not tried again


def test_decoding_starts_its_trajectory_anew_with_half_the_windows(own, codec, room, sound) -> None:
    data = codec.compress(sound(600_000), 48_000)
    expected, _ = codec.decompress(data, seed=5)
    tried = room(DiT, 1)
    take, _ = own.decompress(data, seed=5)
    assert np.array_equal(take, expected)
    assert list(dict.fromkeys(tried)) == [8, 4, 2, 1]  # two batches at once may have tried 2


def test_a_sound_that_never_fits_gets_one_line_and_the_others_too(own, room, sound) -> None:
    streams = [spr.read(own.compress(sound(n), 48_000)) for n in (4800, 9600)]
    silent = spr.read(own.compress(np.zeros(4800, np.float32), 48_000))
    jobs = [(i, s, DecodeOptions()) for i, s in enumerate((*streams, silent))]
    room(DiT, 0)
    results = dict(own.decompress_many(jobs))
    for key in (0, 1):
        assert isinstance(results[key], OutOfMemory)
        assert results[key].exit_code == 1 and "\n" not in str(results[key])
    assert results[2].samples == 4800


def test_a_prompt_that_does_not_fit_costs_the_sounds_that_have_it_and_no_others(
    own, monkeypatch, sound
) -> None:
    stream = spr.read(own.compress(sound(4800), 48_000))
    monkeypatch.setattr(TextTower, "forward", _raise)
    options = (DecodeOptions(prompt="rain"), DecodeOptions())
    results = dict(own.decompress_many((i, stream, o) for i, o in enumerate(options)))
    assert isinstance(results[0], OutOfMemory)
    assert results[1].samples == 4800


@pytest.mark.parametrize("network", [LatentEncoder, QINCo2])
def test_compressing_tells_so_in_the_place_of_each_result(
    own, monkeypatch, room, sound, network: type
) -> None:
    if network is LatentEncoder:
        room(LatentEncoder, 0)
    else:
        monkeypatch.setattr(QINCo2, "encode", _raise)
    items = [(i, ArraySource(sound(n), 48_000)) for i, n in enumerate((4800, 300_000))]
    results = dict(own.compress_many(items, Profile.of(11, 12)))
    assert [type(results[i]) for i in (0, 1)] == [OutOfMemory, OutOfMemory]


def _raise(*_: object, **__: object) -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")


def test_the_advice_names_the_device_and_the_way_out() -> None:
    cuda = torch.device("cuda", 1)
    with pytest.raises(OutOfMemory, match=r"cuda:1: .* --device cpu"), within_memory(cuda):
        _raise()
    with (
        pytest.raises(OutOfMemory, match="^out of memory on cuda:1: a smaller batch$"),
        within_memory(cuda, "a smaller batch"),
    ):
        _raise()
    with (
        pytest.raises(OutOfMemory, match="close other programs"),
        within_memory(torch.device("cpu")),
    ):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")


def test_other_errors_pass_through_unchanged() -> None:
    def wrong(size: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        Batches(torch.device("cpu")).run(wrong)
