"""libsndfile on our files: what a callback meets, Ctrl-C above all, comes out behind the call."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import soundfile

from spresso_cli.audio.files import open_audio
from spresso_cli.audio.libsndfile import Reader
from spresso_cli.audio.sink import AudioFormat, AudioSink
from spresso_cli.errors import AudioError

READ = ["WAV", "FLAC", "OGG", "MP3", "AIFF"]
WRITTEN = ["flac", "ogg"]
CALLBACKS = ["vio_get_filelen", "vio_seek", "vio_tell", "vio_read"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def encoded(format: str, seconds: float = 5.0) -> bytes:
    file = io.BytesIO()
    x = 0.1 * np.random.default_rng(0).standard_normal((int(seconds * 48_000), 2))
    soundfile.write(file, x, 48_000, format=format)
    return file.getvalue()


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class Disk(io.BytesIO):
    """A file that does something at one of its accesses, counted from 0, and at all behind."""

    def __init__(self, data: bytes = b"", at: int = 0, what: Callable[[], None] = interrupt):
        super().__init__(data)
        self.accesses = 0
        self._at = at
        self._what = what

    def _access(self) -> None:
        self.accesses += 1
        if self.accesses > self._at:
            self._what()

    def read(self, size: int = -1) -> bytes:
        self._access()
        return super().read(size)

    def write(self, data) -> int:
        self._access()
        return super().write(data)


def fail() -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """Ctrl-C is what it usually is, and is so again behind every call."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, former) is signal.default_int_handler


@pytest.fixture
def handled_by() -> Iterator[Callable[[object], object]]:
    """Another handler of SIGINT for a test; called without one, the test's is taken out again."""
    yield lambda handler=signal.default_int_handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def written(format: str, file: io.BytesIO, seconds: float = 5.0) -> None:
    x = 0.1 * np.random.default_rng(0).standard_normal((int(seconds * 48_000), 1))
    format = AudioFormat.of(format)
    with AudioSink(file, format, rate=48_000, channels=1, samples=len(x)) as sink:
        for start in range(0, len(x), 4096):
            sink.write(x[start : start + 4096].astype(np.float32))


# Ctrl-C while reading.


@pytest.mark.parametrize("format", READ)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_an_interruption_while_the_file_is_read_is_not_lost(
    format: str, share: float, nothing_ignored
) -> None:
    data = encoded(format)
    whole = Disk(data, what=lambda: None)
    for _ in open_audio(whole).blocks(4096):
        pass
    with pytest.raises(KeyboardInterrupt):
        for _ in open_audio(Disk(data, at=int(share * whole.accesses))).blocks(4096):
            pass


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("callback", CALLBACKS)
def test_nor_is_one_in_the_callbacks_of_soundfile(
    format: str, callback: str, interrupted_in, nothing_ignored
) -> None:
    file = io.BytesIO(encoded(format))
    interrupted_in(callback)
    with pytest.raises(KeyboardInterrupt):
        Reader(file)


def test_nor_is_one_in_the_middle_of_an_mp3_of_which_nobody_knows_the_length(
    interrupted_in, nothing_ignored
) -> None:
    blocks = open_audio(encoded("MP3")).blocks(4096)
    next(blocks)
    interrupted_in("vio_read")
    with pytest.raises(KeyboardInterrupt):
        for _ in blocks:
            pass


def test_many_interruptions_are_one() -> None:
    source = open_audio(encoded("FLAC"))
    source._origin._file = Disk(encoded("FLAC"))  # every access
    with pytest.raises(KeyboardInterrupt):
        next(source.blocks())


def test_a_read_that_does_not_return_is_interrupted() -> None:
    asleep = threading.Event()

    def sleep() -> None:
        asleep.set()
        time.sleep(60)

    def press() -> None:
        asleep.wait()
        time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Reader(Disk(encoded("FLAC"), what=sleep))
    thread.join()
    assert time.monotonic() - begin < 30


# Ctrl-C while writing.


@pytest.mark.parametrize("format", WRITTEN)
@pytest.mark.parametrize("at", [0, 2, 5])
def test_an_interruption_while_the_file_is_written_is_not_lost_and_ends_the_writing(
    format: str, at: int, nothing_ignored
) -> None:
    file = Disk(at=at)
    with pytest.raises(KeyboardInterrupt):
        written(format, file)
    whole = io.BytesIO()
    written(format, whole)
    assert len(file.getvalue()) < len(whole.getvalue())


@pytest.mark.parametrize("format", WRITTEN)
def test_nor_is_one_in_the_callback_of_soundfile_that_writes(
    format: str, interrupted_in, nothing_ignored
) -> None:
    interrupted_in("vio_write")
    with pytest.raises(KeyboardInterrupt):
        written(format, io.BytesIO())


@pytest.mark.parametrize("format", WRITTEN)
def test_nor_is_one_while_the_last_of_a_file_is_written(
    format: str, interrupted_in, nothing_ignored
) -> None:
    sink = AudioSink(io.BytesIO(), AudioFormat.of(format), rate=48_000, channels=1, samples=5)
    sink.write(np.zeros((5, 1), np.float32))
    interrupted_in("vio_write")
    with pytest.raises(KeyboardInterrupt):
        sink.close()


# Handlers of SIGINT.


def test_a_handler_that_raises_nothing_is_asked_and_the_sound_is_whole(handled_by) -> None:
    asked = []
    handled_by(lambda number, _: asked.append(number))
    assert sum(map(len, open_audio(Disk(encoded("FLAC"), at=8)).blocks())) == 240_000
    assert set(asked) == {signal.SIGINT}


def test_what_a_handler_raises_is_raised_whatever_it_is(handled_by) -> None:
    def leave(*_: object) -> None:
        raise SystemExit(3)

    handled_by(leave)
    with pytest.raises(SystemExit):
        Reader(Disk(encoded("FLAC"), at=1))
    assert handled_by() is leave


def test_a_handler_that_puts_another_in_its_place_has_its_way(handled_by) -> None:
    def other(*_: object) -> None:
        pass

    handled_by(lambda *_: handled_by(other))
    Reader(Disk(encoded("FLAC"), at=1)).close()
    assert handled_by() is other


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, signal.SIG_DFL])
def test_where_python_takes_no_interruption_none_is_taken(handled_by, disposition) -> None:
    found = []
    handled_by(disposition)
    look = Disk(encoded("FLAC"), what=lambda: found.append(signal.getsignal(signal.SIGINT)))
    assert sum(map(len, open_audio(look).blocks())) == 240_000
    assert set(found) == {disposition}


def test_other_threads_read_and_write_too() -> None:
    found = []

    def work() -> None:
        file = io.BytesIO()
        written("flac", file)
        found.extend(map(len, open_audio(file.getvalue()).blocks()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert sum(found) == 240_000


# Disks that fail.


@pytest.mark.parametrize("format", READ)
def test_a_disk_that_cannot_be_read_is_an_error_in_every_format(
    format: str, nothing_ignored
) -> None:
    data = encoded(format)
    for at in (0, 2, 4, 8):
        with pytest.raises(AudioError, match="Input/output error"):
            for _ in open_audio(Disk(data, at, fail)).blocks(4096):
                pass


def test_a_disk_that_fails_in_the_middle_is_said_to_at_which_sample() -> None:
    data = encoded("MP3")
    source = open_audio(data)
    blocks = source.blocks(4096)
    next(blocks)
    source._origin._file.read = lambda *_: fail()
    with pytest.raises(AudioError, match=r"unreadable after sample \d{4,}: Input/output error"):
        for _ in blocks:
            pass


@pytest.mark.parametrize("format", READ)
def test_metadata_on_a_disk_that_fails_are_an_audio_error(format: str) -> None:
    source = open_audio(encoded(format))
    source._origin._file = Disk(encoded(format), what=fail)
    with pytest.raises(AudioError, match="Input/output error"):
        source.metadata()
