"""The one place where the command line meets the networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spresso_cli.codec.protocol import CodecProtocol
    from spresso_cli.container.profile import Profile


def choose_profile(
    pack: str | None, kbps: float | None, frame_rate: int | None, codebooks: int | None
) -> tuple[Profile, bytes]:
    """The profile that a request means in a pack, and the tag of the weights that decode it.

    Raises:
        UsageError: no operating point fits; the text names the lowest rate.
        MissingPack, BadPack: there is no such pack, or it is damaged.
    """
    from spresso_cli.codec.packs import find_pack

    info = find_pack(pack)
    profile = info.choose(kbps, frame_rate, codebooks)
    return profile, info.families[profile.frame_rate].tag


def better_points(pack: str | None, profile: Profile) -> tuple[tuple[Profile, bytes], ...]:
    """What a pack ranks before a profile, best first, with the tags of the weights.

    Raises:
        MissingPack, BadPack: there is no such pack, or it is damaged.
    """
    from spresso_cli.codec.packs import find_pack

    info = find_pack(pack)
    return tuple((p, info.families[p.frame_rate].tag) for p in info.better_than(profile))


def codec_factory(pack: str | None, device: str) -> Callable[[], CodecProtocol]:
    """A function that loads the codec: called when there is work, and not before.

    `pack` is a name, a folder or None for the default; `device` is auto, cpu, cuda or cuda:N.
    """

    def load() -> CodecProtocol:
        from spresso_cli.codec.codec import Codec

        return Codec.load(pack, device)

    return load
