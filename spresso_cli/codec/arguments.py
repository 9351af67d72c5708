"""Arguments of the Python API, checked by name: what the command line's parser does for options."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Integral, Real

import numpy as np

from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr
from spresso_cli.container.stream import Stream
from spresso_cli.errors import AudioError, UsageError


def whole(name: str, value: object) -> int:
    """A whole number of any type, 44100.0 too; raises UsageError."""
    if isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer()):
        return int(value)
    raise UsageError(f"{name} {value!r}: use a whole number")


def number(name: str, value: object) -> float:
    """A number that is not nan; raises UsageError."""
    if not isinstance(value, Real) or math.isnan(value):
        raise UsageError(f"{name} {value!r}: use a number")
    return float(value)


def request(
    kbps: object, frame_rate: object, codebooks: object
) -> tuple[float | None, int | None, int | None]:
    """What `PackInfo.choose` takes; None stays; raises UsageError."""
    return (
        None if kbps is None else number("kbps", kbps),
        None if frame_rate is None else whole("frame_rate", frame_rate),
        None if codebooks is None else whole("codebooks", codebooks),
    )


def checked(options: DecodeOptions) -> DecodeOptions:
    """The same options with numbers of Python's own types; raises UsageError."""
    if not isinstance(options.prompt, str | None):
        raise UsageError(f"prompt {options.prompt!r}: use a text")
    return replace(
        options,
        seed=whole("seed", options.seed),
        steps=None if options.steps is None else whole("steps", options.steps),
        guidance=None if options.guidance is None else number("guidance", options.guidance),
        variety=number("variety", options.variety),
    )


def sound_of(value: object) -> np.ndarray:
    """The value as an array; raises AudioError if its shape has channels before samples."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU, rows of two lengths
        raise AudioError(f"{type(value).__name__} is no array: {error}") from None
    if array.ndim == 2 and array.shape[0] <= 8 < array.shape[1]:  # [C, n], as others have it
        raise AudioError(f"shape {list(array.shape)}: pass [n, channels], the transpose of it")
    return array


def stream_of(data: object) -> Stream:
    """A stream, or what the bytes of a `.spr` file say.

    Raises CorruptStream, UnsupportedStream, and UsageError for anything else.
    """
    if isinstance(data, Stream):
        return data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return spr.read(bytes(data))
    raise UsageError(
        f"{type(data).__name__} is no sound: pass the bytes of a .spr file, or a Stream"
    )
