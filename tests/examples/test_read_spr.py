"""A reader written in C from the specification alone agrees with ours on every vector."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from spresso_cli import errors
from spresso_cli.container import spr

ROOT = Path(__file__).resolve().parent.parent.parent
VECTORS = ROOT / "tests" / "vectors"
FILES = [
    pytest.param(entry, id=entry["file"])
    for entry in json.loads((VECTORS / "manifest.json").read_text(encoding="utf-8"))
    if entry["file"].endswith(".spr")
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    program = tmp_path_factory.mktemp("c") / "read_spr"
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror"]
    source = ROOT / "examples" / "read_spr.c"
    subprocess.run([compiler, *flags, "-o", program, source], check=True)
    return program


@pytest.mark.parametrize("entry", FILES)
def test_c_and_python_read_the_same(reader: Path, entry: dict) -> None:
    data = (VECTORS / entry["file"]).read_bytes()
    run = subprocess.run([reader], input=data, capture_output=True, check=False)
    if "error" in entry:
        assert run.returncode == getattr(errors, entry["error"]).exit_code
        assert run.stdout == b""
        return
    stream = spr.read(data)
    expected = [
        f"profile {stream.profile.id}",
        f"weights_tag {stream.weights_tag.hex()}",
        f"gain {stream.gain}",
        f"source_rate {stream.source_rate}",
        f"samples {stream.samples}",
        f"channels {stream.channels}",
        f"dual_mono {int(stream.dual_mono)}",
    ]
    if stream.levels:
        expected.append(f"levels {stream.levels[0]} {stream.levels[1]}")
    for channel, frames in enumerate(stream.codes().tolist()):
        for frame, codes in enumerate(frames):
            expected.append(f"codes {channel} {frame} {' '.join(map(str, codes))}")
    assert run.returncode == 0
    assert run.stdout.decode().splitlines() == expected
