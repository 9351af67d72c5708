"""Two processes compute what one would: shares, gradients, whole stages, the command itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch

from spresso_cli.errors import UsageError
from spresso_cli.models.dit import TextCondition
from spresso_cli.training import acceleration, distributed
from spresso_cli.training.config import Settings
from spresso_cli.training.stored import checkpoints
from tests.training.conftest import curve, four_captions, four_patterns
from tests.training.test_stages import Bench, run_autoencoder, run_clap, run_quantizer

ROOT = Path(__file__).parents[2]
STAGES = {"autoencoder": run_autoencoder, "clap": run_clap, "quantizer": run_quantizer}
NUMBERS = {
    "autoencoder": ("loss_t9", "envelope_t9"),
    "clap": ("loss",),
    "quantizer": ("loss", "mse_all"),
}

SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.training.test_distributed import bench, run_all
from spresso_cli.training import distributed
with distributed.group(torch.device("cpu")):
    assert distributed.size() == 2
    run_all(bench(Path(sys.argv[1])), Path(sys.argv[2]))
print(*(Path(thread, "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir()))
"""


def bench(sounds: Path) -> Bench:
    from spresso_cli.training import config

    settings: Settings = config.load("tiny")
    return Bench(settings, sounds, four_patterns(), four_captions(settings.dit.text_width))


def run_all(some: Bench, folder: Path) -> None:
    """All stages in float32: in bfloat16, half a batch is not rounded as the whole is."""
    with mock.patch.object(acceleration, "multiplies_tiles", lambda: False):
        for name, stage in STAGES.items():
            stage(some, folder / name, None)


def in_two_processes(*arguments: object) -> list[subprocess.CompletedProcess[str]]:
    """Run `python ARGUMENTS...` twice, with the environment that torchrun gives."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ
            | {
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    done = [process.communicate(timeout=300) for process in started]
    return [
        subprocess.CompletedProcess(arguments, process.returncode, out, error)
        for process, (out, error) in zip(started, done, strict=True)
    ]


def test_two_processes_have_the_losses_of_one(sounds: Path, tmp_path: Path) -> None:
    for process in in_two_processes("-c", SCRIPT, sounds, tmp_path / "two"):
        assert process.returncode == 0, process.stderr
        assert "gloo" not in process.stdout  # a thread of the group left behind can abort the exit
    run_all(bench(sounds), tmp_path / "one")
    for stage, names in NUMBERS.items():
        for name in names:
            one, two = (curve(tmp_path / n / stage / "log.csv", name) for n in ("one", "two"))
            assert one
            assert one == pytest.approx(two, rel=2e-3), (stage, name)


def test_the_same_command_trains_in_two_processes(sounds: Path, tmp_path: Path) -> None:
    command = ("-m", "spresso_cli", "train", "clap", sounds, "--run", tmp_path, "--config", "tiny")
    first, second = in_two_processes(*command, "--device", "cpu")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "step 50 of 50" in first.stderr
    assert second.stderr == ""  # one of them speaks
    assert [path.name for path in checkpoints(tmp_path / "clap")] == [
        "checkpoint-00000050.safetensors"
    ]


def as_process(rank: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "size", lambda: count)
    monkeypatch.setattr(distributed, "rank", lambda: rank)


WAITING = """
import sys, time
from pathlib import Path
import torch
from torch import nn
from spresso_cli.training import distributed, run
written = run.save_file
def slow(*arguments, **named):
    time.sleep(1.0)
    written(*arguments, **named)
run.save_file = slow
with distributed.group(torch.device("cpu")):
    model = nn.Linear(2, 2)
    one = run.Run(Path(sys.argv[1]), {"m": model}, torch.optim.SGD(model.parameters(), 0.1), steps=1,
                  minutes=None, seed=0, ema_sigma=0.05)
    while one.wants_more():
        one.finish_step({"loss": 0.0})
    assert run.checkpoints(Path(sys.argv[1]))
"""


FINISHING = """
import sys
from pathlib import Path
from types import SimpleNamespace
import torch
from torch import nn
from spresso_cli.training import distributed, run
with distributed.group(torch.device("cpu")):
    now = iter(range(0, 1_000_000, 1 + distributed.rank()))  # one clock is twice as fast
    run.time = SimpleNamespace(monotonic=lambda: float(next(now)), time=lambda: 0.0)
    model = nn.Linear(2, 2)
    one = run.Run(Path(sys.argv[1]), {"m": model}, torch.optim.SGD(model.parameters(), 0.1),
                  steps=1000, minutes=0.5, finish=True, log_every=5)
    while one.wants_more():
        print(one.progress)
        one.finish_step({"loss": 0.0})
    print(one.step, one.progress)
"""


def test_processes_that_finish_a_schedule_agree_on_its_progress(tmp_path: Path) -> None:
    """Or their learning rates, and with them their weights, would drift apart."""
    first, second = in_two_processes("-c", FINISHING, tmp_path)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert len(first.stdout.splitlines()) > 10
    assert first.stdout.endswith(" 1.0\n")


def test_nobody_goes_on_before_the_last_checkpoint_is_there(tmp_path: Path) -> None:
    """A stage's next step reads it, in every process."""
    for process in in_two_processes("-c", WAITING, tmp_path):
        assert process.returncode == 0, process.stderr


def test_shares_are_the_rows_of_the_batch_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = torch.arange(8)
    text = TextCondition(batch[:, None], batch[:, None] > 2, batch, batch > 4)
    shares = []
    for rank in range(4):
        as_process(rank, 4, monkeypatch)
        shares.append(distributed.share(batch))
        assert torch.equal(distributed.share(text).pooled, shares[-1])
        assert distributed.share(None) is None
    assert torch.equal(torch.cat(shares), batch)


def test_a_batch_that_does_not_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed.check_batch(7)
    as_process(0, 2, monkeypatch)
    with pytest.raises(UsageError, match="7 does not divide over 2"):
        distributed.check_batch(7)


def test_a_single_process_does_none_of_it() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    calls: list[Callable[[], object]] = [
        lambda: distributed.average_gradients([parameter]),
        lambda: distributed.align([parameter]),
        distributed.wait,
    ]
    for call in calls:
        call()
    assert distributed.size() == 1
    assert distributed.rank() == 0
    assert torch.equal(distributed.everyones(parameter), parameter)
    assert distributed.agreed(0.5, torch.device("cpu")) == 0.5
