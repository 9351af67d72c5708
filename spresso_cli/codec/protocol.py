"""The interface of a codec for programs that run it on whole libraries; value types, no torch.

A codec takes and returns iterators, so it can fill its device batches with windows of different
files while the caller reads the next inputs and writes finished outputs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from spresso_cli.audio.files import AudioSource
    from spresso_cli.container.profile import Profile
    from spresso_cli.container.stream import Stream
    from spresso_cli.errors import SpressoError

Key = TypeVar("Key", bound=Hashable)

# The share that a seed fills in of what the codes leave open. At 1, takes would differ from each
# other as much as from the source.
VARIETY = 0.5

# Limits on the options of decoding, in `DecodeOptions` and elsewhere.
MAX_STEPS = 1000
MAX_GUIDANCE = 100  # far beyond it, samples overflow


@dataclass(frozen=True)
class DecodeOptions:
    """How one stream is decoded; None leaves the choice to the pack."""

    seed: int = 0  # of the noise, 0 .. 2^64 - 1
    steps: int | None = None  # of the solver
    sampler: str | None = None
    guidance: float | None = None  # how strongly to follow z; 1 = no guidance
    prompt: str | None = None
    envelope: bool = True  # hold the sound to the envelope of its codes, if the pack can
    variety: float = VARIETY  # how far the held envelope of a take follows its seed; 0: not at all


class Decoded(Protocol):
    """One decoded sound of exactly `samples` samples per channel; long ones are kept on disk."""

    @property
    def rate(self) -> int:
        """Hz; the source rate of the stream."""
        ...

    @property
    def channels(self) -> int:
        """1 or 2."""
        ...

    @property
    def samples(self) -> int:
        """Samples in each channel, at `rate`."""
        ...

    def blocks(self, size: int = ...) -> Iterator[np.ndarray]:
        """Yields float32 [n <= size, channels] in -1..1; every call begins at sample 0."""
        ...

    def close(self) -> None:
        """Frees the memory or the temporary file; there are no more blocks afterwards."""
        ...


class CodecProtocol(Protocol):
    """A loaded codec.

    Both methods keep the order of their items, take the next item only when there is room for it,
    and yield an error in place of a result, so that one bad item does not stop the rest.
    """

    def compress_many(
        self,
        items: Iterable[tuple[Key, AudioSource]],
        profile: Profile,
        *,
        better: Sequence[Profile] = (),
        downmix: bool = False,
        metadata: bool = False,
    ) -> Iterator[tuple[Key, Stream | SpressoError]]:
        """Codes sounds of one or two channels (of any number with `downmix`, which mixes to mono).
        Each gets the first profile of `better` that fits (`profile.best_fit`), else `profile`.

        A codec reads a source only between taking it and yielding its result; `metadata` puts
        `source.metadata()` into the stream.
        """
        ...

    def decompress_many(
        self, items: Iterable[tuple[Key, Stream, DecodeOptions]]
    ) -> Iterator[tuple[Key, Decoded | SpressoError]]:
        """Decodes streams at their source rate and level; the caller closes every result."""
        ...
