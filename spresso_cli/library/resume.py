"""Which outputs `--resume` may skip: those that a run with these parameters would write again.

Outputs appear whole (see outputs.py), so one that verifies, fits its source and is not older is the
result of an earlier run. One that does not is never replaced without `-f`: it is somebody's file.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import soundfile

from spresso_cli.audio.files import blocks_of, open_audio
from spresso_cli.audio.level import measure, rms_of
from spresso_cli.audio.libsndfile import Reader
from spresso_cli.audio.sink import AudioFormat
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile, best_fit
from spresso_cli.errors import SpressoError
from spresso_cli.library import outputs

_BLOCK = 1 << 16  # samples that are read at a time
_AUDIBLE = 0.01  # RMS from which on no sample type rounds a whole sound to zeros


@dataclass(frozen=True)
class StreamParameters:
    """What decides the bytes of a `.spr` file besides its source."""

    profile: Profile
    weights_tag: bytes
    downmix: bool = False
    metadata: bool = False
    # Profiles and their tags, best first: what a sound takes instead that they cost no more bits.
    better: tuple[tuple[Profile, bytes], ...] = ()

    def of(self, samples: int, rate: int) -> tuple[Profile, bytes]:
        """The profile of a sound of this length, and the tag of its weights."""
        tags = {self.profile: self.weights_tag, **dict(self.better)}
        profile = best_fit(self.profile, dict(self.better), samples, rate)
        return profile, tags[profile]


@dataclass(frozen=True)
class Existing:
    """An output that is there already."""

    fault: str | None  # why a run would write something else; None: it would write this again
    duration: float = 0.0  # seconds of sound, if there is no fault


def compare_stream(source: Path, output: Path, parameters: StreamParameters) -> Existing:
    """Judges a `.spr` file as the result of compressing `source`.

    Raises:
        AudioError: the source cannot be read.
        OSError: one of them has gone.
    """
    if _older(output, source):
        return Existing("is older than its source")
    try:
        with open(output, "rb") as file:
            stream = spr.load(file, max_seconds=None)
    except SpressoError as error:
        return Existing(f"does not verify ({error})")
    profile, tag = parameters.of(stream.samples, stream.source_rate)
    if stream.profile != profile:
        return Existing(f"was made at {stream.profile.kbps:g} kbps")
    if stream.weights_tag != tag:
        return Existing("was made by another pack")
    with open_audio(source) as sound:
        channels = 1 if parameters.downmix else sound.channels
        if (stream.source_rate, stream.channels) != (sound.rate, channels):
            return Existing(f"has {stream.channels} channels at {stream.source_rate} Hz")
        if stream.samples != sound.samples:
            return Existing("has another length")
        if stream.metadata != (sound.metadata() if parameters.metadata else ()):
            return Existing("carries other metadata")
        if _touched(source, output):
            level = measure(blocks_of(sound, parameters.downmix))
            if level.gains != (stream.gain, stream.levels):
                return Existing("was made of a sound of another level")
    return Existing(None, stream.seconds)


def compare_sound(source: Path, output: Path, format: AudioFormat) -> Existing:
    """Judges a sound file as the result of decompressing the `.spr` file `source`.

    Format, length, rate, channels and silence are compared. Seed, steps and prompt leave no trace
    in a sound file and cannot be.

    Raises:
        CorruptStream, UnsupportedStream: the source cannot be read.
        OSError: one of them has gone.
    """
    if _older(output, source):
        return Existing("is older than its source")
    with open(source, "rb") as file:
        stream = spr.load(file, max_seconds=None)
    try:
        with open(output, "rb") as file, closing(Reader(file)) as sound:
            form = sound.format.lower() if sound.format in ("FLAC", "OGG") else "wav"
            # The headers of FLAC and Ogg say nothing of where the file ends.
            samples, silent = _heard(sound, to_the_end=form != "wav")
            found = (form, sound.subtype, samples, sound.rate, sound.channels)
    except soundfile.SoundFileError:
        return Existing("is no whole sound file")
    wanted = (format.name, format.subtype, stream.samples, stream.source_rate, stream.channels)
    if found != wanted:
        return Existing("has another format, length, rate or number of channels")
    if silent and rms_of(stream.gain) > _AUDIBLE:
        return Existing("is silent, and its source is not")
    return Existing(None, stream.seconds)


def _touched(source: Path, output: Path) -> bool:
    """Whether a source was renamed, copied or given its age since an output was made: what is
    under its name now may be another sound, however old it is. On Windows, whose ctime is a file's
    birth, nobody can tell."""
    return outputs.WINDOWS or os.stat(source).st_ctime_ns > os.stat(output).st_mtime_ns


def _heard(sound: Reader, *, to_the_end: bool) -> tuple[int, bool]:
    """Samples in each channel, and whether all are zero; reads no further than it has to."""
    samples, silent = 0, True
    while len(block := sound.read(_BLOCK)):
        samples, silent = samples + len(block), silent and not block.any()
        if not silent and not to_the_end:
            return sound.frames, False
    return samples, silent


def _older(output: Path, source: Path) -> bool:
    return os.stat(output).st_mtime_ns < os.stat(source).st_mtime_ns
