"""How names, sizes, times and rates are written for people."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from os import PathLike

_GAP = "…"  # stands for what differs between texts of one kind
_NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:[.,]\d+)*")


def printable(text: str) -> str:
    """`text` on one line: control characters and broken encodings become escapes."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def shown(path: str | PathLike[str] | None) -> str:
    """A file name as printable text; None and the name `-` are stdin, a path `-` is a file."""
    return "stdin" if path is None or path == "-" else printable(os.fspath(path))


def size(count: int) -> str:
    """Bytes in decimal units, exact below 10 kB: `73 B`, `9,213 B`, `1.3 MB`."""
    if abs(count) < 10_000:
        return f"{count:,} B"
    value = count / 1000
    for unit in ("kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def clock(seconds: float) -> str:
    """A duration: `0.41 s`, `12.5 s`, `3:20`, `1:02:03`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(number: int, noun: str) -> str:
    """How many there are: `1 clip`, `1,234 clips`."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def kbps(rate: float) -> str:
    """A bitrate with the digits that tell 0.096 from 0.115: `0.096 kbps`, `12288 kbps`."""
    return f"{rate:.4g} kbps" if rate < 1000 else f"{rate:.0f} kbps"


def payload(total: float, coded_channels: int) -> str:
    """The payload rate, in total and, for stereo, per channel as `-b` counts it."""
    if coded_channels == 1:
        return kbps(total)
    return f"{kbps(total)} ({kbps(total / coded_channels)} per channel)"


def kind_of(text: str, *names: str | None) -> str:
    """A text with its numbers, and these names of files, left open: the same for all of one kind.

    `ends after 0.21 s` becomes `ends after … s`, and with its name `a.spr exists` `… exists`.
    """
    for name in sorted(filter(None, names), key=len, reverse=True):  # one may begin another
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _GAP, text)
    return _NUMBER.sub(_GAP, text)


def common(kind: str, texts: Iterable[str]) -> str:
    """One text for all of a kind: the text itself if all are the same, else the kind."""
    alike = set(texts)
    return alike.pop() if len(alike) == 1 else kind
