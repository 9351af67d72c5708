"""A listening page: one HTML file with sounds, spectrograms, sizes and players, and no network.

Every version of a sound plays in step with the others, so that switching keeps the position. The
page's content policy forbids every request; styles and script come from `assets`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import BinaryIO, Literal

import numpy as np

from spresso_cli.audio.sink import AudioFormat, AudioSink
from spresso_cli.evaluation.pictures import height_of, level_map, spectrogram_png

Carried = Literal["flac", "wav", "ogg"]

PICTURE_WIDTH, PICTURE_HEIGHT = 720, 128

_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


@dataclass(frozen=True)
class Version:
    """One rendering of a sound: float32 [n, C] at `rate` Hz; sizes in bytes where there are any."""

    label: str
    samples: np.ndarray
    rate: int
    detail: str = ""
    file_bytes: int | None = None
    payload_bytes: int | None = None

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / self.rate

    @property
    def sizes(self) -> str:
        """Bytes and both bitrates as a line of text, '' without sizes."""
        if self.file_bytes is None:
            return ""
        text = f"{_grouped(self.file_bytes)} B · "
        if self.payload_bytes is not None:
            text += f"{_kbps(self.payload_bytes, self.seconds)} kbps payload, "
            return text + f"{_kbps(self.file_bytes, self.seconds)} file"
        return text + f"{_kbps(self.file_bytes, self.seconds)} kbps"


@dataclass(frozen=True)
class Sound:
    """A sound and its versions, in the order they are shown; the first usually is the source."""

    name: str
    versions: tuple[Version, ...]


def write_page(out: BinaryIO, title: str, sounds: Iterable[Sound], audio: Carried = "flac") -> None:
    """Write the page; sounds are taken one at a time, so that only one is held in memory.

    A sound whose rate `audio` cannot have is carried as WAV.
    """

    def put(text: str) -> None:
        out.write(text.encode("utf-8", "backslashreplace"))  # names need not be UTF-8

    assets = files("spresso_cli.evaluation") / "assets"
    style = (assets / "listen.css").read_text(encoding="utf-8")
    script = (assets / "listen.js").read_text(encoding="utf-8")
    put(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{escape(title)}</h1>\n{_KEYS}</header>\n<main>\n"
    )
    for number, sound in enumerate(sounds, 1):
        put(_section(number, sound, audio))
    put(f"</main>\n<script>\n{script}</script>\n</body>\n</html>\n")


_KEYS = (
    '<p class="keys"><span><kbd>Space</kbd> play</span> <span><kbd>1</kbd>–<kbd>9</kbd> '
    "switch</span> <span><kbd>←</kbd><kbd>→</kbd> seek</span> "
    "<span><kbd>↑</kbd><kbd>↓</kbd> sound</span> <span><kbd>L</kbd> loop</span></p>\n"
)


def _section(number: int, sound: Sound, audio: Carried) -> str:
    levels = [level_map(v.samples, v.rate, PICTURE_WIDTH, PICTURE_HEIGHT) for v in sound.versions]
    top = max(-60.0, float(levels[0].max()))  # one scale for all: differences of level show
    rows = "".join(
        _row(number, index, version, spectrogram_png(picture, top), audio)
        for index, (version, picture) in enumerate(zip(sound.versions, levels, strict=True))
    )
    heading = f"sound-{number}"
    return (
        f'<section class="sound" aria-labelledby="{heading}">\n<div class="bar">\n'
        f'<h2 id="{heading}">{escape(sound.name)}</h2>\n'
        '<span class="time" role="timer" aria-label="Position"></span>\n'
        '<button type="button" class="loop" aria-pressed="false" title="Loop (L)">Loop</button>\n'
        '<button type="button" class="play" title="Play or pause (Space)">Play</button>\n</div>\n'
        f'<div class="versions" role="radiogroup" aria-labelledby="{heading}">\n{rows}</div>\n'
        "</section>\n"
    )


def _row(number: int, index: int, version: Version, picture: bytes, audio: Carried) -> str:
    channels = version.samples.shape[1]
    if not AudioFormat.of(audio).holds(version.rate, channels):
        audio = "wav"
    data = io.BytesIO()
    with AudioSink(
        data,
        AudioFormat.of(audio),
        rate=version.rate,
        channels=channels,
        samples=len(version.samples),
    ) as sink:
        sink.write(version.samples)
    sound = _data_uri(f"audio/{audio}", data.getvalue())
    label = escape(version.label)
    detail = f' <span class="detail">{escape(version.detail)}</span>' if version.detail else ""
    key = f"<kbd>{index + 1}</kbd>" if index < 9 else "<kbd>·</kbd>"
    return (
        f'<div class="version">\n<label><input type="radio" name="s{number}" value="{index}">'
        f'{key}<span class="label">{label}{detail}</span>'
        f'<span class="sizes">{escape(version.sizes)}</span></label>\n'
        f'<div class="strip"><img alt="Spectrogram of {label}" width="{PICTURE_WIDTH}" '
        f'height="{PICTURE_HEIGHT}" src="{_data_uri("image/png", picture)}">'
        f'{_ticks(version.rate)}<span class="playhead"></span></div>\n'
        f'<audio controls preload="none" src="{sound}"></audio>\n'
        "</div>\n"
    )


def _ticks(rate: int) -> str:
    """Labels at 1, 4 and 10 kHz on the picture's mel axis."""
    return "".join(
        f'<span class="tick" style="bottom:{100 * height_of(hz, rate):.1f}%">'
        f"{hz // 1000} kHz</span>"
        for hz in (1000, 4000, 10_000)
        if hz < 0.45 * rate
    )


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _kbps(size: int, seconds: float) -> str:
    return f"{size * 8 / seconds / 1000:.3g}"


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")
