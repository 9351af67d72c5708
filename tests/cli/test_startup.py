"""Instant commands load neither torch nor, where it can be avoided, numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VECTOR = min((Path(__file__).parents[1] / "vectors" / "valid").glob("*.spr"))

TINY_PACK = Path(__file__).parents[1] / "data" / "tiny_pack"

PROBE = """
import sys
from spresso_cli.cli.app import run
code = run(sys.argv[1:])
loaded = {"torch", "numpy", "soundfile", "bitarray"} & set(sys.modules)
print(code, *sorted(loaded), file=sys.stderr)
"""


def loaded_by(*arguments: str, **environment: str) -> list[str]:
    """Exit code and heavy modules that one command line leaves in `sys.modules`."""
    process = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return process.stderr.splitlines()[-1].split()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["compress", "--help"],
        ["decompress", "--help"],
        ["info", str(VECTOR)],
        ["info", "--json", str(VECTOR)],
        ["verify", str(VECTOR)],
    ],
    ids=" ".join,
)
def test_instant_commands_load_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_by(*arguments) == ["0"]


@pytest.mark.skipif(not TINY_PACK.is_dir(), reason="no tiny pack")
def test_models_reads_the_packs_without_loading_them() -> None:
    assert loaded_by("models", SPRESSO_PACK=str(TINY_PACK)) == ["0"]


def test_info_on_a_sound_loads_the_sound_library_but_not_torch(tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(100), 48_000)
    assert "torch" not in loaded_by("info", str(tmp_path / "a.wav"))


@pytest.mark.parametrize("line", ["spresso ", "spresso compress --", "spresso compress --pack "])
def test_completion_loads_nothing_heavy(line: str) -> None:
    probe = PROBE.replace("code = run(sys.argv[1:])", "code = run([])")
    process = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_SPRESSO_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        },
    )
    assert process.stderr.splitlines()[-1].split() == ["0"]


def test_completion_offers_the_commands() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "spresso_cli"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_SPRESSO_COMPLETE": "complete_bash",
            "COMP_WORDS": "spresso decom",
            "COMP_CWORD": "1",
        },
    )
    assert process.stdout.split() == ["decompress"]
