"""The weights tag sees every name, type, shape and value, and nothing else."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from spresso_cli.codec.tags import weights_digest


def tensors() -> dict[str, np.ndarray]:
    return {
        "qinco2.codebooks": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        "dit.blocks.0.weight": np.arange(-6, 6, dtype=np.int8).reshape(3, 4),
        "dit.blocks.0.scale": np.array([0.5, 0.25, 0.125], dtype=np.float32),
        "audio_ae.std": np.array(1, dtype=np.float32),
    }


def by_hand(data: bytes) -> bytes:
    """The canonical form made from the bytes of a safetensors file, without NumPy."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    canonical = b""
    for name in sorted((name for name in header if name != "__metadata__"), key=str.encode):
        entry = header[name]
        begin, end = entry["data_offsets"]
        canonical += len(name.encode()).to_bytes(4, "little") + name.encode()
        canonical += bytes([len(entry["dtype"])]) + entry["dtype"].encode()
        canonical += bytes([len(entry["shape"])])
        for size_ in entry["shape"]:
            canonical += size_.to_bytes(4, "little")
        canonical += data[8 + size + begin : 8 + size + end]
    return hashlib.sha256(canonical).digest()


def test_the_tag_agrees_with_a_reading_of_the_file_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(tensors(), path, metadata={"ignored": "yes"})
    assert weights_digest(tensors()) == by_hand(path.read_bytes())


def test_a_tag_written_down_once_stays() -> None:
    small = {"dit.b": np.array([1, 2], dtype=np.int8), "dit.a": np.array(0.5, dtype=np.float16)}
    canonical = (
        b"\x05\0\0\0dit.a\x03F16\x00\x00\x38" + b"\x05\0\0\0dit.b\x02I8\x01\x02\0\0\0\x01\x02"
    )
    assert weights_digest(small) == hashlib.sha256(canonical).digest()


def test_order_layout_and_byte_order_in_memory_do_not_matter() -> None:
    expected = weights_digest(tensors())
    assert weights_digest(dict(reversed(tensors().items()))) == expected
    assert weights_digest({k: v.copy(order="F") for k, v in tensors().items()}) == expected
    big = {k: v.astype(v.dtype.newbyteorder(">")) for k, v in tensors().items()}
    assert weights_digest(big) == expected


@pytest.mark.parametrize("name", tensors())
def test_any_change_changes_it(name: str) -> None:
    expected = weights_digest(tensors())
    value = tensors()[name]
    changed = [
        {**tensors(), name: np.add(value, 1, dtype=value.dtype)},
        {**tensors(), name: value.astype(np.float64)},
        {**tensors(), name: value.reshape(1, -1)},
        {**{k: v for k, v in tensors().items() if k != name}, name + "x": value},
        {k: v for k, v in tensors().items() if k != name},
    ]
    assert expected not in [weights_digest(other) for other in changed]


def test_names_and_values_cannot_trade_places() -> None:
    one = {"ab": np.frombuffer(b"cd", np.uint8)}
    other = {"a": np.frombuffer(b"bcd", np.uint8)}
    assert weights_digest(one) != weights_digest(other)


def test_a_type_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="complex64"):
        weights_digest({"dit.a": np.zeros(1, np.complex64)})
