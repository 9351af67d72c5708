"""A listening test after ITU-R BS.1534-3 as a webMUSHRA configuration with all its sounds.

webMUSHRA needs all files of a page to have one sample rate, length and channel count, so conditions
are rendered here: at 48 kHz and at the loudness of their reference, including the anchors
(webMUSHRA's own exist at five sample rates only). S-PRESSO, section 4, used only the 3.5 kHz anchor
and asked for quality and for similarity.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spresso_cli.audio.sink import AudioFormat, AudioSink
from spresso_cli.errors import OutputError, UsageError, reason

TEST_RATE = 48_000
MAX_SECONDS = 12
MAX_CONDITIONS = 12  # on a page, with the hidden reference and the anchors
PEAK = 0.89  # -1 dB of full scale
ANCHORS = {"anchor35": 3500.0, "anchor70": 7000.0}
TRAINING = "training"
SEPARATOR = "__"
CONFIGURATION = "test.yaml"

QUESTIONS = {
    "quality": "How good is the sound quality of each version, with the reference as 100?",
    "similarity": "How similar is each version to the reference, whatever its sound quality?",
}

_WELCOME = (
    "<p>You will hear short sounds. On each page, compare the versions with the reference and rate "
    "each from 0 (bad) to 100 (excellent). One version is the reference itself: find it and rate "
    "it 100.</p><p>Please use headphones in a quiet room. The first page is for practice.</p>"
)

Yaml = str | int | float | bool | Sequence["Yaml"] | Mapping[str, "Yaml"]


@dataclass(frozen=True)
class Item:
    """One sound of the test: float32 [n, C] at 48 kHz, and [m, C] for every system's name."""

    name: str
    reference: np.ndarray
    systems: Mapping[str, np.ndarray]


def export(
    folder: Path,
    items: Iterable[Item],
    title: str,
    test_id: str,
    questions: Sequence[str] = ("quality",),
) -> Path:
    """Write sounds and `test.yaml` into `folder`; returns the configuration's path.

    The folder belongs at `configs/<test_id>` of a webMUSHRA installation and is filled only when
    the test is complete. The first item also is the practice page. Raises UsageError for more
    conditions or seconds than BS.1534 allows, names that collide, and systems that differ between
    items; OutputError, by the folder's name, where it cannot be written.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]+", test_id) is None:
        raise UsageError(f"{test_id!r}: a test's id takes letters, digits, - and _ only")
    beside = folder.resolve().parent
    try:
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{test_id}.", dir=beside) as temporary:
            made = Path(temporary)
            _write(made, items, title, test_id, questions)
            folder.mkdir(exist_ok=True)
            for part in sorted(made.iterdir(), key=Path.is_file):  # the configuration comes last
                part.rename(folder / part.name)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {reason(error)}") from error
    return folder / CONFIGURATION


def _write(
    folder: Path, items: Iterable[Item], title: str, test_id: str, questions: Sequence[str]
) -> None:
    """Write the test's sounds and its configuration into a folder."""
    pages: list[Yaml] = []
    names = {CONFIGURATION}  # in lower case, as some file systems tell files apart
    systems: list[str] = []
    for item in items:
        name = identifier(item.name)
        if name.lower() in names or name == TRAINING or SEPARATOR in name:
            raise UsageError(f"{item.name}: rename this sound, its name is taken")
        names.add(name.lower())
        systems = systems or list(item.systems)
        if list(item.systems) != systems:
            raise UsageError(f"{item.name}: every sound needs the same systems: {systems}")
        stimuli = _render(folder / name, item)
        paths = {key: f"configs/{test_id}/{name}/{file}" for key, file in stimuli.items()}
        reference = paths.pop("reference")
        if not pages:
            pages.append(_page(f"{TRAINING}{SEPARATOR}{questions[0]}", reference, paths))
        pages += [_page(f"{name}{SEPARATOR}{q}", reference, paths) for q in questions]
    if not pages:
        raise UsageError("a listening test needs at least one sound")
    practice, *rest = pages
    config: Yaml = {
        "testname": title,
        "testId": test_id,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": True,
        "remoteService": "service/write.php",
        "pages": [
            {"type": "generic", "id": "welcome", "name": "Welcome", "content": _WELCOME},
            {
                "type": "volume",
                "id": "volume",
                "name": "Level",
                "content": "Set a comfortable level, then leave it.",
                "stimulus": practice["reference"],
                "defaultVolume": 0.5,
            },
            practice,
            ["random", *rest],
            {
                "type": "finish",
                "name": "Thank you",
                "content": "Please send your ratings.",
                "showResults": False,
                "writeResults": True,
            },
        ],
    }
    (folder / CONFIGURATION).write_text("\n".join(_yaml(config)) + "\n", encoding="utf-8")


def identifier(name: str) -> str:
    """A name as it may stand in file names, page ids and a results table.

    It neither begins nor ends with a dot: `..` is a folder, and `.a` is hidden.
    """
    return re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9.-]", "_", name)).strip("._") or "sound"


def anchor(x: np.ndarray, cutoff: float) -> np.ndarray:
    """A signal [n, C] low-passed as BS.1534-3 asks of anchors, in place and of the same length.

    Flat within 0.1 dB up to the cutoff, at least 25 dB down 0.5 kHz above it and 50 dB 1 kHz above.
    """
    taps, beta = 511, 5.65  # Kaiser window for 60 dB of stop band
    middle = cutoff + 220.0
    t = np.arange(taps) - taps // 2
    kernel = 2 * middle / TEST_RATE * np.sinc(2 * middle / TEST_RATE * t) * np.kaiser(taps, beta)
    kernel /= kernel.sum()
    size = len(x) + taps - 1
    spectrum = np.fft.rfft(x, size, axis=0) * np.fft.rfft(kernel, size)[:, None]
    filtered = np.fft.irfft(spectrum, size, axis=0)
    return filtered[taps // 2 : taps // 2 + len(x)].astype(np.float32)


def check_length(seconds: float) -> None:
    """Raises UsageError for a sound that is too long for a listening test."""
    if seconds > MAX_SECONDS:
        raise UsageError(f"longer than {MAX_SECONDS} s; cut it for a listening test")


def _render(folder: Path, item: Item) -> dict[str, str]:
    """Write an item's conditions; returns their file names by condition, reference first."""
    frames, channels = item.reference.shape
    try:
        check_length(frames / TEST_RATE)
    except UsageError as error:
        raise UsageError(f"{item.name}: {error}") from None
    conditions = {"reference": item.reference}
    conditions |= {name: anchor(item.reference, hz) for name, hz in ANCHORS.items()}
    taken = {name.lower() for name in conditions}
    for system, samples in item.systems.items():
        name = identifier(system)
        if name.lower() in taken:
            raise UsageError(f"{system}: rename this system, its name is taken")
        if samples.shape[1] != channels:
            raise UsageError(f"{item.name}: {system} has another number of channels")
        taken.add(name.lower())
        padded = np.zeros((frames, channels), np.float32)
        padded[: len(samples)] = samples[:frames]
        conditions[name] = padded
    if len(conditions) > MAX_CONDITIONS:
        raise UsageError(f"{len(conditions)} conditions on a page; BS.1534 allows {MAX_CONDITIONS}")
    level = _rms(item.reference)
    matched = {}
    for name, x in conditions.items():
        # A low-pass takes energy away: anchors keep the gain of the reference, as in BS.1534.
        own = level if name in ANCHORS else _rms(x)
        matched[name] = x * (level / own) if own > 0 else x
    peak = max(float(np.max(np.abs(x))) for x in matched.values())
    gain = min(1.0, PEAK / peak) if peak > 0 else 1.0
    folder.mkdir(parents=True, exist_ok=True)
    for name, x in matched.items():
        with (
            open(folder / f"{name}.wav", "wb") as file,
            AudioSink(
                file, AudioFormat(), rate=TEST_RATE, channels=channels, samples=frames
            ) as sink,
        ):
            sink.write(x * gain)
    return {name: f"{name}.wav" for name in matched}


def _page(page_id: str, reference: str, stimuli: Mapping[str, str]) -> dict[str, Yaml]:
    name, _, question = page_id.partition(SEPARATOR)
    return {
        "type": "mushra",
        "id": page_id,
        "name": "Practice" if name == TRAINING else question.capitalize(),
        "content": QUESTIONS[question],
        "showWaveform": True,
        "enableLooping": True,
        "switchBack": False,
        "randomize": True,
        "showConditionNames": False,
        "strict": True,
        "reference": reference,
        "createAnchor35": False,
        "createAnchor70": False,
        "stimuli": dict(stimuli),
    }


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _yaml(value: Yaml) -> list[str]:
    """Block-style YAML lines; strings are quoted as JSON, which YAML 1.2 contains."""
    if isinstance(value, Mapping):
        lines = []
        for key, entry in value.items():
            if isinstance(entry, str | int | float):
                lines.append(f"{_plain(key)}: {json.dumps(entry)}")
            else:
                lines += [f"{_plain(key)}:", *(f"  {line}" for line in _yaml(entry))]
        return lines
    lines = []
    for entry in value:
        if isinstance(entry, str | int | float):
            lines.append(f"- {json.dumps(entry)}")
        else:
            first, *rest = _yaml(entry)
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _plain(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", key) else json.dumps(key)
