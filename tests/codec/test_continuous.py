"""Files of latents: the same sound is the same file, and what is none is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from spresso_cli.audio.files import ArraySource
from spresso_cli.codec.continuous import ENTRY, ContinuousCodec, Latents
from spresso_cli.errors import CorruptStream


@pytest.fixture(scope="module")
def latents(tiny_path) -> Latents:
    codec = ContinuousCodec.load(tiny_path, device="cpu")
    x = 0.1 * np.random.default_rng(0).standard_normal((30_000, 2))
    return codec.encode(ArraySource(x.astype(np.float32), 48_000), 11)


def test_a_file_holds_everything_and_is_always_the_same(latents, tmp_path):
    assert len({latents.to_bytes() for _ in range(10)}) == 1
    path = tmp_path / "z.safetensors"
    path.write_bytes(latents.to_bytes())
    read = Latents.read(path)
    assert (read.header, read.digest) == (latents.header, latents.digest)
    assert np.array_equal(read.z, latents.z)


@pytest.mark.parametrize(
    "about",
    [
        None,
        {"other": "{}"},
        {ENTRY: "no json"},
        {ENTRY: "[" * 100_000},
        {ENTRY: "[]"},
        {ENTRY: '"format"'},
        {ENTRY: "{}"},
        {ENTRY: json.dumps({"format": "spresso latents 9"})},
        {ENTRY: json.dumps({"format": "spresso latents 2", "weights": 3})},
    ],
)
def test_what_is_no_file_of_latents_is_refused(latents, tmp_path, about):
    path = tmp_path / "z.safetensors"
    path.write_bytes(save({"z": latents.z}, about))
    with pytest.raises(CorruptStream, match="not a file of spresso latents"):
        Latents.read(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("source_rate", 48000.0), ("channels", True), ("dual_mono", 0), ("levels", [190.0, 190.0])],
)
def test_numbers_of_another_kind_are_refused(latents, tmp_path, name, value):
    path = tmp_path / "z.safetensors"
    path.write_bytes(latents.to_bytes())
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()[ENTRY])
    assert name in about
    path.write_bytes(save({"z": latents.z}, {ENTRY: json.dumps(about | {name: value})}))
    with pytest.raises(CorruptStream):
        Latents.read(path)


@pytest.mark.parametrize("change", [lambda z: z[:1], lambda z: z * np.nan, lambda z: z.astype(int)])
def test_latents_that_contradict_their_header_are_refused(latents, tmp_path, change):
    path = tmp_path / "z.safetensors"
    path.write_bytes(Latents(latents.header, change(latents.z), latents.digest).to_bytes())
    with pytest.raises(CorruptStream):
        Latents.read(path)
