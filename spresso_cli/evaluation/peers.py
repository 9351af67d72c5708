"""Other codecs by their command-line tools, for tables that compare on the same clips in one run.

A peer takes a mono clip at 48 kHz and returns the decoded clip at 48 kHz, of the same length and
aligned with it (known delays removed), and the number of bytes it took. Tools run with their
default options unless a comment says why not. Neural peers are in `neural_peers`.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import soundfile

from spresso_cli.audio.resample import resample
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation.clips import CLIP_RATE

CODEC2_MODES = {
    3.2: ("3200", 160),
    2.4: ("2400", 160),
    1.6: ("1600", 160),
    1.4: ("1400", 160),
    1.3: ("1300", 160),
    1.2: ("1200", 160),
    0.7: ("700C", 232),
    0.45: ("450", 232),
}
"""kbps: mode, and its delay in samples at 8 kHz (measured; see the peers' tests)."""


@dataclass(frozen=True)
class Coded:
    """A clip after a codec: float32 [n] at 48 kHz, bytes of the file and of the codes in it.

    The byte counts are None for codecs whose latents are continuous.
    """

    samples: np.ndarray
    file_bytes: int | None
    payload_bytes: int | None


class PeerUnavailable(UsageError):
    """A peer's program, package or weights are not on this machine; the message says which."""


class Peer(Protocol):
    """A codec to compare with."""

    @property
    def name(self) -> str:
        """How tables call it, with its nominal rate in kbps where it has one."""

    def code(self, clip: np.ndarray) -> Coded:
        """Encode and decode float32 [n] at 48 kHz; raises SpressoError when the codec fails."""


class Opus:
    """opusenc and opusdec (mono, VBR) at 6 kbps and above."""

    def __init__(self, kbps: float) -> None:
        _need("opusenc", "opus-tools")
        self.name = f"Opus {kbps:g}"
        # Below 10 kbps the long frame is Opus's best case: less side information, smaller pages.
        frame = "60" if kbps < 10 else "20"
        self._options = ("--bitrate", f"{kbps:g}", "--framesize", frame, "--padding", "0")

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`; opusdec takes the pre-skip out."""
        with TemporaryDirectory() as folder:
            sound, stream, back = (Path(folder, name) for name in ("a.wav", "a.opus", "b.wav"))
            _write(sound, clip, CLIP_RATE)
            _run("opusenc", "--quiet", *self._options, "--discard-comments", sound, stream)
            _run("opusdec", "--quiet", "--rate", str(CLIP_RATE), stream, back)
            data = stream.read_bytes()
            packets = ogg_packet_sizes(data)
            return Coded(_read(back, clip.size), len(data), sum(packets[2:]))


class Vorbis:
    """oggenc and oggdec (mono, nominal bitrate, resampled below 48 kbps as the format requires)."""

    _rates = ((16, 8000), (32, 16_000), (48, 32_000))  # below this many kbps: this sample rate

    def __init__(self, kbps: float) -> None:
        _need("oggenc", "vorbis-tools")
        self.name = f"Vorbis {kbps:g}"
        self._kbps = kbps
        self._rate = next((rate for below, rate in self._rates if kbps < below), CLIP_RATE)

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`; the payload leaves the three header packets out."""
        with TemporaryDirectory() as folder:
            sound, stream, back = (Path(folder, name) for name in ("a.wav", "a.ogg", "b.wav"))
            _write(sound, clip, self._rate)
            _run("oggenc", "--quiet", "-b", f"{self._kbps:g}", "-o", stream, sound)
            _run("oggdec", "--quiet", "-o", back, stream)
            data = stream.read_bytes()
            return Coded(_read(back, clip.size), len(data), sum(ogg_packet_sizes(data)[3:]))


class Mp3:
    """lame (mono, CBR), at the sample rate lame itself picks for the bitrate."""

    _rates = ((16, 8000), (32, 16_000), (48, 22_050), (64, 32_000))
    _delay = 576  # samples of the encoder; `lame --decode` removes the decoder's own 529

    def __init__(self, kbps: float) -> None:
        _need("lame", "lame")
        self.name = f"MP3 {kbps:g}"
        self._kbps = kbps
        # Resampled here, because lame's resampler adds a delay that it does not report.
        self._rate = next((rate for below, rate in self._rates if kbps < below), CLIP_RATE)

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`; without lame's tag the file is all payload."""
        with TemporaryDirectory() as folder:
            sound, stream, back = (Path(folder, name) for name in ("a.wav", "a.mp3", "b.wav"))
            _write(sound, clip, self._rate)
            _run("lame", "--quiet", "-t", "-m", "m", "-b", f"{self._kbps:g}", sound, stream)
            _run("lame", "--quiet", "--decode", stream, back)
            size = stream.stat().st_size
            return Coded(_read(back, clip.size, skip=self._delay), size, size)


class Codec2:
    """c2enc and c2dec: 8 kHz speech models at 3.2 to 0.45 kbps."""

    _frame = 320  # the longest frame of any mode: every other divides it
    _header = 7

    def __init__(self, kbps: float) -> None:
        if kbps not in CODEC2_MODES:
            rates = ", ".join(f"{rate:g}" for rate in CODEC2_MODES)
            raise UsageError(f"Codec2 has no mode of {kbps:g} kbps: choose from {rates}")
        _need("c2enc", "codec2")
        self.name = f"Codec2 {kbps:g}"
        self._mode, self._delay = CODEC2_MODES[kbps]

    def code(self, clip: np.ndarray) -> Coded:
        """See `Peer`; the payload leaves the 7 bytes of header out."""
        narrow = resample(clip[:, None], CLIP_RATE, 8000)[:, 0]
        # c2enc drops an incomplete last frame, and the delay must not cost the clip its end.
        length = -(-(narrow.size + self._delay) // self._frame) * self._frame
        pcm = np.zeros(length, dtype="<i2")
        pcm[: narrow.size] = np.clip(np.rint(narrow * 32767), -32768, 32767)
        with TemporaryDirectory() as folder:
            sound, stream, back = (Path(folder, name) for name in ("a.raw", "a.c2", "b.raw"))
            pcm.tofile(sound)
            _run("c2enc", self._mode, sound, stream)
            _run("c2dec", self._mode, stream, back)
            decoded = np.fromfile(back, dtype="<i2")[self._delay :].astype(np.float32) / 32768
            size = stream.stat().st_size
            wide = resample(decoded[:, None], 8000, CLIP_RATE)[:, 0]
            return Coded(fitted(wide, clip.size), size, size - self._header)


PEERS: dict[str, Callable[[float], Peer]] = {
    "opus": Opus,
    "vorbis": Vorbis,
    "mp3": Mp3,
    "codec2": Codec2,
}


def peer(spec: str, weights: Path | None = None) -> Peer:
    """The peer of a spec such as `opus:6`, `codec2:1.3`, `encodec:6` or `music2latent`.

    `weights` is the folder of the neural peers' checkpoints. Raises PeerUnavailable when it cannot
    run here, UsageError when there is no such peer or rate.
    """
    kind, _, rate = spec.partition(":")
    if kind in PEERS:
        try:
            kbps = float(rate)
        except ValueError:
            kbps = math.nan
        if not 0 < kbps < math.inf:
            raise UsageError(f"{spec}: give the rate in kbps, above 0, such as {kind}:12")
        return PEERS[kind](kbps)
    from spresso_cli.evaluation.neural_peers import neural_peer

    return neural_peer(kind, rate, weights)


def ogg_packet_sizes(data: bytes) -> list[int]:
    """Sizes in bytes of the packets of a one-stream Ogg file (RFC 3533, section 6).

    Raises SpressoError for anything that is not whole Ogg pages.
    """
    sizes: list[int] = []
    pending = 0
    at = 0
    while at < len(data):
        if data[at : at + 4] != b"OggS" or at + 27 > len(data):
            raise SpressoError("not an Ogg file")
        lacing = data[at + 27 : at + 27 + data[at + 26]]
        for value in lacing:
            pending += value
            if value < 255:
                sizes.append(pending)
                pending = 0
        at += 27 + len(lacing) + sum(lacing)
    return sizes


def fitted(samples: np.ndarray, length: int) -> np.ndarray:
    """A decoded signal [m] cut or zero-padded to [length], float32."""
    return np.pad(samples[:length], (0, max(0, length - samples.size))).astype(np.float32)


def _need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        raise PeerUnavailable(f"{program} is not installed (Debian package {package})")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n")
        reason = next((line.strip() for line in lines if line.strip()), "no message")
        raise SpressoError(f"{command[0]} failed: {reason}")


def _write(path: Path, clip: np.ndarray, rate: int) -> None:
    if rate != CLIP_RATE:
        clip = resample(clip[:, None], CLIP_RATE, rate)[:, 0]
    soundfile.write(path, np.clip(clip, -1.0, 1.0), rate, subtype="PCM_16")


def _read(path: Path, length: int, skip: int = 0) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return fitted(resample(samples[skip:], rate, CLIP_RATE)[:, 0], length)
