"""The one place where the command line meets the networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spresso_cli.codec.protocol import CodecProtocol


def codec_factory(pack: str | None, device: str) -> Callable[[], CodecProtocol]:
    """A function that loads the codec: called when there is work, and not before.

    `pack` is a name, a folder or None for the default; `device` is auto, cpu, cuda or cuda:N.
    """

    def load() -> CodecProtocol:
        from spresso_cli.codec.codec import Codec

        return Codec.load(pack, device)

    return load
