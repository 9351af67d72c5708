"""Settings of all tests, and the device of those that need one."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no counterexample.
settings.register_profile("spresso", deadline=None)
settings.load_profile("spresso")


def changeable_copy(source: Path, folder: Path) -> Path:
    """A copy of a folder that a test may change, also where nobody may change the sources."""
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o700)
    return folder


def symlink(path: Path, target: Path | str) -> None:
    """Makes a symbolic link, or skips the test: on Windows that is a right few have."""
    try:
        path.symlink_to(target, target_is_directory=(path.parent / target).is_dir())
    except OSError:
        pytest.skip("may not make symbolic links")
    if not path.is_symlink():  # as under Wine
        pytest.skip("there are no symbolic links")


def named_in_bytes(path: Path, stem: str = "") -> Path:
    """A file under another name that is not UTF-8, or skips the test where none can have one."""
    other = path.with_name(f"{stem}\udcff{path.suffix}")  # how Python writes the byte FF
    try:
        return path.rename(other)
    except OSError:
        pytest.skip("this file system wants UTF-8 names")


@pytest.fixture
def cuda() -> Iterator[None]:
    """There is a CUDA device: where there is none, one made of memory of the CPU."""
    import torch

    from tests.cuda_stand_in import cuda_stand_in

    # What training allows CUDA is the whole process's.
    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    allowed = cudnn.allow_tf32, cudnn.benchmark
    with nullcontext() if torch.cuda.is_available() else cuda_stand_in():
        yield
    cudnn.allow_tf32, cudnn.benchmark = allowed
    torch.set_float32_matmul_precision(precision)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device by its name; it is there."""
    if request.param == "cuda":
        request.getfixturevalue("cuda")
    return request.param


@pytest.fixture
def interrupted_in() -> Iterator[Callable[[str], None]]:
    """Ctrl-C lands once: where a function of this name returns next, whoever has it."""

    def land(name: str) -> None:
        def profile(frame: object, event: str, _: object) -> None:
            if event == "return" and frame.f_code.co_name == name:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

        sys.setprofile(profile)

    profiler = sys.getprofile()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield land
    signal.signal(signal.SIGINT, handler)
    sys.setprofile(profiler)


@pytest.fixture
def nothing_ignored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python has no exception that nobody can catch, of which it would print a traceback."""
    lost: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: lost.append(f"{raised.err_msg}"))
    yield
    assert lost == []
