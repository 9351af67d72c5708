"""The example scripts, run as they are against a `spresso` whose codec has no networks."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spresso_cli.container import spr
from spresso_cli.container.profile import Profile
from spresso_cli.library.resume import StreamParameters
from tests.library.conftest import TAG, FakeCodec

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NAMES = ["a.wav", "x/-b c.flac", "x/y/two\nlines.wav"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def library(tmp_path: Path, make_sound) -> Path:
    for number, name in enumerate(NAMES):
        make_sound(tmp_path / "in" / name, samples=200, seed=number)
    return tmp_path / "in"


@pytest.fixture
def run(tmp_path: Path):
    """Runs an example with the stand-in for `spresso` first on the PATH."""
    command = tmp_path / "bin/spresso"
    command.parent.mkdir()
    program = Path(__file__).with_name("fake_spresso.py")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    command.chmod(0o755)

    def call(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", str(EXAMPLES / script), *map(str, arguments)],
            env=os.environ
            | {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
            | environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=600,
        )

    return call


def expected() -> set[str]:
    return {name.rsplit(".", 1)[0] + ".spr" for name in NAMES}


def made(folder: Path) -> set[str]:
    for path in folder.rglob("*.spr"):
        spr.read(path.read_bytes())
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.spr")}


def test_the_loop_outlives_a_bad_file_and_goes_on_where_it_stopped(
    tmp_path: Path, library: Path, run
) -> None:
    good = (library / "a.wav").read_bytes()
    (library / "a.wav").write_bytes(b"no sound")
    result = run("loop.sh", library, tmp_path / "out")
    assert result.returncode == 1
    assert "a.wav: not a sound file" in result.stderr
    assert made(tmp_path / "out") == expected() - {"a.spr"}
    (library / "a.wav").write_bytes(good)
    assert run("loop.sh", library, tmp_path / "out").returncode == 0
    assert made(tmp_path / "out") == expected()


def test_xargs_runs_all_shards_and_sums_up_their_reports(
    tmp_path: Path, library: Path, run
) -> None:
    result = run("xargs.sh", library, tmp_path / "out", 2)
    assert result.returncode == 0, result.stderr
    assert made(tmp_path / "out") == expected()
    assert "3 done" in result.stdout


def test_the_tasks_of_a_slurm_array_share_a_library(tmp_path: Path, library: Path, run) -> None:
    for task in (10, 11):
        result = run(
            "slurm_array.sh",
            library,
            tmp_path / "out",
            SLURM_ARRAY_TASK_ID=str(task),
            SLURM_ARRAY_TASK_MIN="10",
            SLURM_ARRAY_TASK_COUNT="2",
        )
        assert result.returncode == 0, result.stderr
    assert made(tmp_path / "out") == expected()
    lines = [
        line
        for path in (tmp_path / "out").glob("report.*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len(lines) == len(NAMES)


@pytest.mark.parametrize("script", ["loop.sh", "xargs.sh", "slurm_array.sh"])
def test_a_script_without_arguments_says_how_it_is_used(run, script: str) -> None:
    result = run(script)
    assert result.returncode != 0
    assert f"usage: {script} IN OUT" in result.stderr


def test_ray_data_compresses_a_library_with_warm_actors(tmp_path: Path, library: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra [ray]")
    pytest.importorskip("pyarrow", reason="needs the extra [ray]")
    spec = importlib.util.spec_from_file_location("ray_data", EXAMPLES / "ray_data.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    # The actors unpickle the stand-in codec, so they must be able to import it.
    ray.init(
        num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": f"{ROOT}"}}
    )
    try:
        rows = example.compress_folder(
            str(library),
            str(tmp_path / "out"),
            FakeCodec,
            StreamParameters(Profile.of(1, 8), TAG),
            actors=1,
        )
    finally:
        ray.shutdown()
    assert [row["status"] for row in rows] == ["done"] * len(NAMES)
    assert made(tmp_path / "out") == expected()
