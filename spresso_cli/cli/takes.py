"""Decodes of a sound at several rates and seeds, and by other codecs, for pages and tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from spresso_cli.cli import loading
from spresso_cli.cli.inputs import blamed_on
from spresso_cli.cli.terminal import Terminal
from spresso_cli.cli.text import shown
from spresso_cli.codec.protocol import MAX_STEPS
from spresso_cli.container import spr
from spresso_cli.errors import AudioError, SpressoError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from spresso_cli.codec.protocol import CodecProtocol, DecodeOptions
    from spresso_cli.container.profile import Profile
    from spresso_cli.container.stream import Stream
    from spresso_cli.evaluation.peers import Peer

SYSTEMS = "What to hear"
Result = TypeVar("Result")

Rates = Annotated[
    list[float] | None,
    typer.Option(
        "-b",
        "--kbps",
        metavar="KBPS",
        help="A rate; repeat for more. Default, without --peer and --with: all points of the pack.",
        rich_help_panel=SYSTEMS,
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        max=2**64 - 1,
        help="A seed; repeat for more takes. Default: 0.",
        rich_help_panel=SYSTEMS,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        min=1,
        max=MAX_STEPS,
        help="Solver steps of every decode.",
        rich_help_panel=SYSTEMS,
    ),
]
Peers = Annotated[
    list[str] | None,
    typer.Option(
        "--peer",
        metavar="CODEC:KBPS",
        help="Another codec, such as opus:6 or codec2:1.3; repeat for more.",
        rich_help_panel=SYSTEMS,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="DIR", help="Weights of neural peers.", rich_help_panel=SYSTEMS
    ),
]
Others = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="LABEL=DIR",
        help="Add files of the same names from DIR, or takes of them; repeat for more.",
        rich_help_panel=SYSTEMS,
    ),
]


@dataclass(frozen=True)
class Take:
    """One decoded version: float32 [n, C] at `rate` Hz; sizes in bytes where they are known."""

    label: str
    detail: str
    samples: np.ndarray
    rate: int
    file_bytes: int | None = None
    payload_bytes: int | None = None


@dataclass(frozen=True)
class OtherFiles:
    """Files of a folder as versions: those that are named like each sound."""

    label: str
    folder: Path
    files: Mapping[Path, Sequence[Path]]

    def takes(self, sound: Path) -> Iterator[Take]:
        """The versions of a sound; raises UsageError when there is none."""
        from spresso_cli.evaluation.clips import seed_of

        if not self.files[sound]:
            raise UsageError(f"{shown(self.folder)}: no sound named {sound.stem} in this folder")
        for path in self.files[sound]:
            with blamed_on(path):
                samples, rate = read_sound(path)
            seed = None if path.stem == sound.stem else seed_of(path)
            yield Take(self.label, "" if seed is None else f"seed {seed}", samples, rate)


@dataclass(frozen=True)
class Plan:
    """The versions wanted of every sound; our codec is loaded when the first one needs it."""

    load_codec: Callable[[], CodecProtocol]
    profiles: Sequence[Profile]
    decoding: Sequence[DecodeOptions]
    peers: Sequence[Peer]
    others: Sequence[OtherFiles]
    ours: str = ""  # what our labels begin with

    @cached_property
    def codec(self) -> CodecProtocol:
        """Our codec."""
        return self.load_codec()

    def takes(self, sound: Path, samples: np.ndarray, rate: int) -> Iterator[Take]:
        """All versions of a sound, float32 [n, C <= 2]: ours by rate and seed, peers, files."""
        from spresso_cli.audio.files import ArraySource

        for profile in self.profiles:
            source = [(sound, ArraySource(samples, rate))]
            for _, stream in self.codec.compress_many(source, profile):
                yield from self.decodes(_checked(stream))
        for peer in self.peers:
            yield _peer_take(peer, samples, rate)
        for others in self.others:
            yield from others.takes(sound)

    def decodes(self, stream: Stream) -> Iterator[Take]:
        """One take of a stream for every seed."""
        import numpy as np

        from spresso_cli.audio.files import refuse_large

        refuse_large(stream)
        wanted = ((options.seed, stream, options) for options in self.decoding)
        for seed, result in self.codec.decompress_many(wanted):
            decoded = _checked(result)
            samples = np.concatenate(list(decoded.blocks()))
            decoded.close()
            yield Take(
                _label(stream.profile, self.ours),
                f"seed {seed}",
                samples,
                decoded.rate,
                len(spr.write(stream)),
                stream.payload_bytes,
            )


def plan(
    terminal: Terminal,
    names: Mapping[Path, str],
    *,
    rates: list[float] | None,
    seeds: list[int] | None,
    steps: int | None,
    peers: list[str] | None,
    weights: Path | None,
    others: list[str] | None,
    pack: str | None,
    device: str,
    ours: str = "",
) -> Plan:
    """What the options ask for; a peer that cannot run here is skipped with a line.

    `names` are those of the sounds, without suffixes, with their folders: other files go by them.
    `rates` None means all points of the pack, unless there is something else to hear; `ours` is
    what labels of our codec begin with. Raises UsageError when two versions would have one label.
    """
    from spresso_cli.codec.packs import find_pack
    from spresso_cli.codec.protocol import DecodeOptions
    from spresso_cli.evaluation.clips import counterparts
    from spresso_cli.evaluation.peers import PeerUnavailable, peer

    profiles = []
    if rates or (rates is None and not (peers or others)):
        info = find_pack(pack)
        wanted = rates or [point.kbps for point in info.points]
        profiles = sorted({info.choose(kbps) for kbps in wanted}, key=lambda p: p.kbps)
    ready = []
    for spec in peers or ():
        try:
            ready.append(peer(spec, weights))
        except PeerUnavailable as error:
            terminal.note(f"{spec}: skipped, {error}")
    folders = [_labelled_folder(text) for text in others or ()]
    labels = [_label(profile, ours) for profile in profiles]
    labels += [*(peer.name for peer in ready), *(label for label, _ in folders)]
    for label, count in Counter(labels).items():
        if count > 1:
            raise UsageError(f"{label}: {count} versions of this name: each can be given once")
    found = [
        OtherFiles(label, folder, counterparts(names, folder) if names else {})
        for label, folder in folders
    ]
    decoding = [DecodeOptions(seed=seed, steps=steps) for seed in dict.fromkeys(seeds or [0])]
    return Plan(loading.codec_factory(pack, device), profiles, decoding, ready, found, ours)


def read_sound(
    path: Path,
    terminal: Terminal | None = None,
    check: Callable[[float], None] = lambda seconds: None,
) -> tuple[np.ndarray, int]:
    """A sound file as float32 [n, C] and its rate; AudioError for more than two channels.

    What is odd about it is told on the terminal. `check` may refuse its length, by the header and
    before all is read, as what memory is too small for is; a pipe is read only once.
    """
    from spresso_cli.audio.files import open_audio, whole

    with open_audio(path) as source:
        check(source.samples / source.rate)
        if source.channels > 2:
            raise AudioError(f"{source.channels} channels: mix it down to two first")
        if terminal is not None:
            for note in source.notes:
                terminal.note(f"{shown(path)}: {note}")
        return whole(source), source.rate


def _label(profile: Profile, ours: str) -> str:
    return f"{ours}{profile.kbps:g} kbps"


def _peer_take(peer: Peer, samples: np.ndarray, rate: int) -> Take:
    """Peers are mono at 48 kHz: they get the mean of the channels."""
    from spresso_cli.audio.resample import resample
    from spresso_cli.evaluation.clips import CLIP_RATE

    mono = resample(samples.mean(axis=1, keepdims=True), rate, CLIP_RATE)[:, 0]
    coded = peer.code(mono)
    detail = "mono" if samples.shape[1] > 1 else ""
    return Take(
        peer.name, detail, coded.samples[:, None], CLIP_RATE, coded.file_bytes, coded.payload_bytes
    )


def _labelled_folder(text: str) -> tuple[str, Path]:
    label, separator, folder = text.partition("=")
    if not (label and separator and Path(folder).is_dir()):
        raise UsageError(f"--with {text}: give LABEL=DIR, with a folder that exists")
    return label, Path(folder)


def _checked(result: Result | SpressoError) -> Result:
    if isinstance(result, SpressoError):
        raise result
    return result
