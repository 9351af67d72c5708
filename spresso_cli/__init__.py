"""spresso: a neural sound-effect codec (S-PRESSO); `Codec` is the API, `spresso` the command.

    from spresso_cli import Codec

    codec = Codec.load()
    data = codec.compress(sound, 48_000, kbps=0.096)  # sound: float array [n] or [n, channels]
    take, rate = codec.decompress(data, seed=3)  # float32 [n, channels], Hz

Importing this package imports neither torch nor numpy: `Codec` is resolved on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spresso_cli.codec.codec import Codec

__version__ = "0.1.0"
__all__ = ["Codec", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Codec":
        from spresso_cli.codec.codec import Codec

        return Codec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
