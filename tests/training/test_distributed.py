"""Two processes compute what one would: shares, gradients, whole stages, the command itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch.distributed.run import get_args_parser

from spresso_cli.cli.train import SEVERAL
from spresso_cli.errors import UsageError
from spresso_cli.models.dit import TextCondition
from spresso_cli.training import acceleration, distributed, run, stored
from spresso_cli.training.config import Settings
from spresso_cli.training.stored import checkpoints
from tests.training.conftest import four_captions, four_patterns, losses
from tests.training.test_stages import Bench, run_autoencoder, run_clap, run_quantizer

ROOT = Path(__file__).parents[2]
STAGES = {"autoencoder": run_autoencoder, "clap": run_clap, "quantizer": run_quantizer}

SCRIPT = """
import runpy
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.training.test_distributed import (
    bench, finish_by_clocks_of_its_own, interrupt_one, run_all, save_slowly
)
from spresso_cli.training import distributed
sounds, folder = map(Path, sys.argv[1:])
with distributed.group(torch.device("cpu")):
    assert distributed.size() == 2
    run_all(bench(sounds), folder)
    save_slowly(folder / "slow")
    finish_by_clocks_of_its_own(folder / "finished")
    interrupt_one(folder / "interrupted")
print(*(Path(thread, "comm").read_text().strip() for thread in Path("/proc/self/task").glob("*")))
options = ("--run", folder / "command", "--config", "tiny", "--device", "cpu")
sys.argv = ["spresso", *map(str, ("train", "clap", sounds, *options))]
runpy.run_module("spresso_cli", run_name="__main__")
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
    """Run `python ARGUMENTS...` twice, with the environment that torchrun gives.

    It takes ten seconds until torch is there: a single pair serves all tests.
    """
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


def one_step(folder: Path, **box: object) -> run.Run:
    model = torch.nn.Linear(2, 2)
    return run.Run(folder, {"m": model}, torch.optim.SGD(model.parameters(), 0.1), **box)


def save_slowly(folder: Path) -> None:
    """Train one step and print how many checkpoints there are then."""
    written = stored.save_file

    def slow(*arguments: object, **named: object) -> None:
        time.sleep(0.3)
        written(*arguments, **named)

    with mock.patch.object(stored, "save_file", slow):
        box = one_step(folder, steps=1, minutes=None)
        while box.wants_more():
            box.finish_step({"loss": 0.0})
    print("checkpoints", len(checkpoints(folder)))


def finish_by_clocks_of_its_own(folder: Path) -> None:
    """Print the progress of every step of a box that ends its schedule."""
    now = iter(range(0, 1_000_000, 1 + distributed.rank()))  # one clock is twice as fast
    clock = SimpleNamespace(monotonic=lambda: float(next(now)), time=lambda: 0.0)
    with mock.patch.object(run, "time", clock):
        left = 0.5 + 0.25 * distributed.rank()  # of a box that began earlier for one of them
        box = one_step(folder, steps=1000, minutes=left, finish=True, log_every=5)
        while box.wants_more():
            print("progress", box.progress)
            box.finish_step({"loss": 0.0})
        print("progress", box.step, box.progress)


def interrupt_one(folder: Path) -> None:
    """Send Ctrl-C to the second process alone, and print when which of them stops."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where tests run
    box = one_step(folder, steps=1000, log_every=5)
    try:
        while box.wants_more():
            box.finish_step({"loss": 0.0})
            if box.step == 7 and distributed.rank() == 1:
                signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted", box.step)


Pair = tuple[Path, list[subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def pair(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """What two processes wrote and said."""
    if os.name == "nt":
        pytest.skip("several processes are for Linux: torch on Windows has no NCCL")
    folder = tmp_path_factory.mktemp("two")
    processes = in_two_processes("-c", SCRIPT, sounds, folder)
    assert [process.returncode for process in processes] == [0, 0], processes[0].stderr
    return folder, processes


def test_two_processes_have_the_losses_of_one(pair: Pair, sounds: Path, tmp_path: Path) -> None:
    folder, _ = pair
    run_all(bench(sounds), tmp_path)
    for stage in STAGES:
        one, two = (losses(where / stage) for where in (tmp_path, folder))
        assert one.keys() == two.keys()
        for name, values in one.items():
            assert values == pytest.approx(two[name], rel=2e-3), (stage, name)
    names = {name for stage in STAGES for name in losses(folder / stage)}
    assert {"loss", "mse_all", "loss_t9", "envelope_t9"} <= names
    assert "mse_8" not in names  # the quantiser has four codebooks


def test_a_group_leaves_no_thread_behind(pair: Pair) -> None:
    """One of them can abort the exit."""
    for process in pair[1]:
        assert "python" in process.stdout
        assert "gloo" not in process.stdout


def test_processes_that_finish_a_schedule_agree_on_its_progress(pair: Pair) -> None:
    """Or their learning rates, and with them their weights, would drift apart."""
    first, second = (
        [line for line in process.stdout.splitlines() if line.startswith("progress")]
        for process in pair[1]
    )
    assert first == second
    assert len(first) > 10
    assert first[-1].endswith(" 1.0")


def test_nobody_goes_on_before_the_last_checkpoint_is_there(pair: Pair) -> None:
    """A stage's next step reads it, in every process."""
    for process in pair[1]:
        assert "checkpoints 1\n" in process.stdout


def test_ctrl_c_ends_all_processes_at_one_step_with_its_checkpoint(pair: Pair) -> None:
    folder, processes = pair
    for process in processes:
        assert "interrupted 10\n" in process.stdout
    (checkpoint,) = checkpoints(folder / "interrupted")
    assert checkpoint.name == "checkpoint-00000010.safetensors"


def test_the_same_command_trains_in_two_processes(pair: Pair) -> None:
    folder, (first, second) = pair
    assert "step 50 of 50" in first.stderr
    assert second.stderr == ""  # one of them speaks
    assert [path.name for path in checkpoints(folder / "command" / "clap")] == [
        "checkpoint-00000050.safetensors"
    ]


def test_the_command_in_the_help_is_one_for_torchrun() -> None:
    words = SEVERAL.split("torchrun ")[1].replace("...", "clap sounds --run DIR").split()
    parsed = get_args_parser().parse_args(words)
    assert (parsed.module, parsed.training_script) == (True, "spresso_cli")
    assert parsed.training_script_args == ["train", "clap", "sounds", "--run", "DIR"]


def as_process(rank: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "size", lambda: count)
    monkeypatch.setattr(distributed, "rank", lambda: rank)


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


@pytest.mark.parametrize("stored", [True, False])
def test_processes_meet_where_another_average_is_preferred_whoever_has_stored_the_step(
    stored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each saves by its own clock: one that met the others only after it would wait for ever."""
    box = one_step(tmp_path, steps=2, minutes=None, more_emas={"second_ema_sigma": 0.2})
    box.finish_step({"loss": 0.0})
    if stored:
        box.save()
    met: list[None] = []
    monkeypatch.setattr(distributed, "wait", lambda: met.append(None))
    box.prefer({"ema": 1.0, "ema-0.2": 0.5})
    assert len(met) == 1


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
