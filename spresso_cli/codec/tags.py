"""The digest of a set of weights, whose first bytes are their tag (format_spec.md, 4.5).

SHA-256 over a canonical form. It covers names, types, shapes and stored values, and nothing of the
files that hold them: the same tensors spread over other files, in another order, have the same tag.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import numpy as np

# NumPy's kind and size -> the name in a safetensors file.
_DTYPE_NAMES = {
    "b1": "BOOL",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
}


def weights_digest(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Returns the digest of the tensors that decode one frame-rate family; 32 bytes.

    Args:
        tensors: as stored (quantised values and scales, not dequantised), each name prefixed by
            its component: `audio_ae.`, `dit.`, `adapter.`, `qinco2.`, `whitening.` or `envelope.`.

    Raises:
        ValueError: a tensor's type has no safetensors name, or a name is over 2^32 - 1 bytes.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted((name.encode(), tensor) for name, tensor in tensors.items()):
        dtype = dtype_name(tensor.dtype).encode()
        digest.update(struct.pack("<I", len(name)) + name)
        digest.update(struct.pack("<B", len(dtype)) + dtype)
        digest.update(struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape))
        little = tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False)
        digest.update(little.tobytes())
    return digest.digest()


def dtype_name(dtype: np.dtype) -> str:
    """Returns the name that safetensors gives a NumPy type, such as F16 or I8.

    Raises:
        ValueError: it has none.
    """
    name = _DTYPE_NAMES.get(f"{dtype.kind}{dtype.itemsize}")
    if name is None:
        raise ValueError(f"{dtype} has no name in safetensors")
    return name
