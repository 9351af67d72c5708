"""A run: its time box, its checkpoints, its log; what a resumed run shares with an unbroken one."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from spresso_cli.errors import UsageError
from spresso_cli.training import run as run_module
from spresso_cli.training.lock import alone
from spresso_cli.training.run import Run, cosine_rate
from spresso_cli.training.stored import averages, checkpoints, ema_weights, keep, older, part

from .conftest import curve


class Toy:
    """A network that learns noise, with everything a stage can have."""

    def __init__(self, folder: Path, steps: int = 60, second: float = 0.2, **settings: object):
        torch.manual_seed(0)
        self.net, self.judge = nn.Linear(3, 2), nn.Linear(2, 1)
        self.used = torch.zeros(4, dtype=torch.bool)
        self.optimizers = [torch.optim.AdamW(m.parameters(), 0.01) for m in (self.net, self.judge)]
        self.run = Run(
            folder,
            {"net": self.net},
            self.optimizers[0],
            steps=steps,
            more_emas={"second_ema_sigma": second},
            companions={"judge": self.judge},
            more_optimizers={"judge": self.optimizers[1]},
            state={"used": self.used},
            **settings,
        )

    def train(self) -> list[float]:
        """Returns the progress at every step."""
        run, seen = self.run, []
        while run.wants_more():
            seen.append(run.progress)
            x = torch.randn(4, 3, generator=run.generator)
            self.used[run.step % 4] = True
            loss = self.judge(self.net(x)).square().mean() + self.used.sum() * self.net.weight.sum()
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            run.finish_step({"loss": loss.detach()})
        return seen


def logged(folder: Path) -> list[list[str]]:
    """The log without its times."""
    rows = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]
    return [[step, name, value] for step, _, name, value in rows]


def same(a: Path, b: Path) -> bool:
    """Whether two runs' newest checkpoints hold the same tensors."""
    from safetensors.torch import load_file

    first, second = (load_file(checkpoints(folder)[-1]) for folder in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_an_interrupted_run_ends_bit_for_bit_like_an_unbroken_one(
    tmp_path: Path, clock: Callable[[], None]
) -> None:
    Toy(tmp_path / "whole").train()
    clock()
    calls = 0
    while not checkpoints(tmp_path / "cut") or "60" not in checkpoints(tmp_path / "cut")[-1].name:
        Toy(tmp_path / "cut", minutes=0.5).train()
        calls += 1
    assert calls > 2
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert logged(tmp_path / "whole") == logged(tmp_path / "cut")


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    Toy(tmp_path / "whole").train()
    toy = Toy(tmp_path / "killed")

    def kill(numbers: dict[str, float]) -> None:
        if numbers["step"] == 50:
            raise KeyboardInterrupt
        toy.run.save()

    toy.run.report = kill
    with pytest.raises(KeyboardInterrupt):
        toy.train()
    assert logged(tmp_path / "killed")[-1][0] == "50"
    Toy(tmp_path / "killed").train()
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert logged(tmp_path / "whole") == logged(tmp_path / "killed")


def test_a_resumed_run_lets_go_of_its_checkpoint(tmp_path: Path, maps_hold: None) -> None:
    """Or on Windows nobody could delete it when two newer ones are there."""
    Toy(tmp_path, steps=10).train()
    toy = Toy(tmp_path, steps=60)
    toy.run.report = lambda numbers: toy.run.save()
    toy.train()
    assert "checkpoint-00000010.safetensors" not in [path.name for path in checkpoints(tmp_path)]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    Toy(tmp_path).train()
    before = checkpoints(tmp_path)[-1].read_bytes()
    again = Toy(tmp_path)
    assert not again.run.wants_more()
    assert checkpoints(tmp_path)[-1].read_bytes() == before


def test_few_checkpoints_are_kept_and_half_written_ones_are_ignored(tmp_path: Path) -> None:
    toy = Toy(tmp_path, save_minutes=0.0)
    toy.train()
    assert len(checkpoints(tmp_path)) == 2
    (tmp_path / "checkpoint-00009999.tmp").write_bytes(b"half")
    assert Toy(tmp_path).run.step == 60


class TestADamagedCheckpoint:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A run's, with a newest checkpoint that was cut short."""
        Toy(tmp_path, save_minutes=0.0).train()
        whole = checkpoints(tmp_path)[-1]
        whole.write_bytes(whole.read_bytes()[:-5])
        return tmp_path

    def test_gives_way_to_its_predecessor(self, folder: Path) -> None:
        assert Toy(folder).run.step == 59
        notes: list[str] = []
        assert ema_weights(folder, note=notes.append)
        assert keep(folder, folder / "kept", 1 << 20, notes.append)
        damaged = folder / "checkpoint-00000060.safetensors"
        said = f"{damaged} is damaged: its predecessor checkpoint-00000059.safetensors is used"
        assert notes == [said, said]

    def test_is_dropped_when_the_run_has_gone_on(self, folder: Path) -> None:
        toy = Toy(folder, steps=59)
        assert not toy.run.wants_more()
        assert [path.name for path in checkpoints(folder)] == ["checkpoint-00000059.safetensors"]

    def test_is_named_where_there_is_no_other(self, folder: Path) -> None:
        checkpoints(folder)[0].unlink()
        for use in (Toy, ema_weights):
            with pytest.raises(UsageError, match="60.safetensors damaged .* delete what is"):
                use(folder)


def test_a_run_of_other_sizes_is_refused_in_one_line(tmp_path: Path) -> None:
    Toy(tmp_path, minutes=0.0).train()
    other = nn.Linear(4, 2)
    with pytest.raises(UsageError) as caught:
        Run(tmp_path, {"net": other}, torch.optim.SGD(other.parameters(), 0.1), steps=60)
    assert str(caught.value) == f"{tmp_path} was trained with other sizes: is --config as before?"


def test_another_width_of_an_average_is_refused_by_the_name_of_its_setting(tmp_path: Path) -> None:
    Toy(tmp_path, minutes=0.0).train()
    with pytest.raises(UsageError) as caught:
        Toy(tmp_path, second=0.25)
    assert str(caught.value) == (
        f"{tmp_path} was trained with second_ema_sigma = 0.2, not 0.25: set it back, or delete this"
        " folder and train it again"
    )


class TestWhatIsNotFinite:
    @pytest.fixture
    def good(self, tmp_path: Path) -> Path:
        """A run's folder, with checkpoints up to step 30."""
        Toy(tmp_path, steps=30, save_minutes=0.0).train()
        return tmp_path

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_ends_a_run_before_it_is_logged_or_saved(self, good: Path, value: float) -> None:
        toy, before = Toy(good), logged(good)
        for step in range(31, 50):
            toy.run.finish_step({"loss": value if step > 45 else 1.0})
        ended = pytest.raises(
            UsageError, match=r"at step \d+ loss is not finite.* from checkpoint-00000030\.saf"
        )
        with ended:
            toy.run.save()  # at a time box's end
        with ended:
            toy.run.finish_step({"loss": value})  # the 50th, which is logged
        assert logged(good) == before
        assert checkpoints(good)[-1].name == "checkpoint-00000030.safetensors"

    def test_is_looked_for_in_weights_before_they_are_saved(self, good: Path) -> None:
        toy = Toy(good)
        with torch.no_grad():
            toy.net.weight[0, 0] = math.nan
        with pytest.raises(UsageError, match="at step 30 .*net.weight is not finite"):
            toy.run.save()
        assert Toy(good).net.weight.isfinite().all()

    def test_a_run_without_a_checkpoint_says_so(self, tmp_path: Path) -> None:
        toy = Toy(tmp_path, save_minutes=0.0)
        toy.net.bias.data.fill_(math.inf)
        with pytest.raises(UsageError, match="goes on from where this one began"):
            toy.train()
        assert not checkpoints(tmp_path)

    def test_in_a_single_batch_ends_no_run(self, good: Path) -> None:
        """Its gradients are replaced; and the same batch would come again."""
        run = Toy(good, save_minutes=0.0).run
        for step in range(31, 51):
            run.finish_step({"loss": math.nan if step in (40, 49, 50) else 1.0})
        assert checkpoints(good)[-1].name == "checkpoint-00000050.safetensors"


@pytest.mark.parametrize(
    "left",
    ["step,time,name,value\n25,0.0,loss,9\n50,0.0,loss,9\n", "", "25,0.0,loss,9\n", "step,ti"],
    ids=["killed before its first checkpoint", "empty", "without a head", "torn"],
)
def test_a_log_that_belongs_to_no_checkpoint_is_begun_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / "log.csv").write_text(left)
    Toy(tmp_path, steps=25).train()
    steps, names, values = zip(*logged(tmp_path), strict=True)
    assert (steps, names) == (("step", "25"), ("name", "loss"))
    assert values[1] != "9"


def test_a_line_of_the_log_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    Toy(tmp_path).train()
    whole = logged(tmp_path)
    with open(tmp_path / "log.csv", "a") as log:
        log.write("50,0.0,lo")
    Toy(tmp_path)
    assert logged(tmp_path) == whole


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    refused = pytest.raises(UsageError, match="another process is training in .*clap")
    with alone(tmp_path / "clap"), alone(tmp_path / "dit"), refused, alone(tmp_path / "clap"):
        pass
    with alone(tmp_path / "clap"):
        pass


def test_a_refused_stage_leaves_no_folder_that_it_made(tmp_path: Path) -> None:
    for folder in (tmp_path / "run" / "dit", tmp_path / "kept" / "quantizer" / "11hz"):
        (tmp_path / "kept").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="refused"), alone(folder):
            raise UsageError("refused")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]
    with alone(tmp_path / "run" / "dit"):
        (tmp_path / "run" / "dit" / "log.csv").touch()
    with pytest.raises(UsageError), alone(tmp_path / "run" / "dit"):
        raise UsageError("refused")
    assert (tmp_path / "run" / "dit" / "log.csv").exists()


class TestCtrlC:
    @pytest.fixture(autouse=True)
    def usual(self) -> object:
        """As in a foreground process, whatever the tests are started by."""
        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, former)

    def test_ends_a_run_between_two_steps_with_a_checkpoint(self, tmp_path: Path) -> None:
        Toy(tmp_path / "whole").train()
        toy = Toy(tmp_path / "cut")
        toy.run.report = lambda numbers: signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            toy.train()
        assert [path.name for path in checkpoints(tmp_path / "cut")] == [
            "checkpoint-00000025.safetensors"
        ]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        Toy(tmp_path / "cut").train()
        assert same(tmp_path / "whole", tmp_path / "cut")

    def test_a_second_one_does_not_wait(self, tmp_path: Path) -> None:
        toy = Toy(tmp_path)
        assert toy.run.wants_more()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not checkpoints(tmp_path)

    def test_a_run_that_failed_does_not_swallow_it(self, tmp_path: Path) -> None:
        assert Toy(tmp_path).run.wants_more()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_stage_is_older_than_what_it_came_from_if_that_was_trained_further(
    tmp_path: Path,
) -> None:
    origin, stage = tmp_path / "autoencoder", tmp_path / "finetune"
    for folder in (origin, stage):
        Toy(folder, minutes=0.0).train()
    assert not older(stage, origin)
    before = checkpoints(origin)[0].stat().st_mtime - 600
    for path in (*checkpoints(stage), *checkpoints(origin)):
        os.utime(path, (before, before))
    Toy(origin, minutes=0.0).train()  # nothing is: it keeps its time
    assert not older(stage, origin)
    Toy(origin, steps=1).train()
    assert older(stage, origin)
    keep(origin, tmp_path / "kept", 1 << 20)
    assert not older(stage, tmp_path / "kept")  # it may have been copied here any time


def test_a_time_box_ends_a_run_and_leaves_a_checkpoint(
    tmp_path: Path, clock: Callable[[], None]
) -> None:
    clock()
    toy = Toy(tmp_path, minutes=0.5)
    toy.train()
    assert 0 < toy.run.step < 60
    assert checkpoints(tmp_path)[-1].name == f"checkpoint-{toy.run.step:08d}.safetensors"


def test_a_box_that_is_to_finish_brings_the_schedule_to_its_end(
    tmp_path: Path, clock: Callable[[], None]
) -> None:
    clock()
    Toy(tmp_path, steps=1000, minutes=1.0).train()
    done = Toy(tmp_path, steps=1000).run.progress
    clock()
    toy = Toy(tmp_path, steps=1000, minutes=0.5, finish=True)
    seen = toy.train()
    # Two looks at the clock a step. The first step's three ticks do not count.
    elapsed = [max(0, (2 * step + 1 - 3) / (30 - 3)) for step in range(15)]
    assert seen == pytest.approx([done + (1 - done) * share for share in elapsed], abs=2e-3)
    assert toy.run.progress == 1.0
    for more in ({}, {"finish": True}):  # the schedule is over
        assert not Toy(tmp_path, steps=1000, minutes=1.0, **more).train()
    # Until it is made longer.
    assert Toy(tmp_path, steps=2000).run.progress == 0.5


def test_a_schedule_that_ends_within_its_box_is_not_hurried(tmp_path: Path) -> None:
    Toy(tmp_path / "free").train()
    Toy(tmp_path / "box", minutes=60.0, finish=True).train()
    assert same(tmp_path / "free", tmp_path / "box")


def test_what_a_box_has_no_time_for_is_not_finished(
    tmp_path: Path, clock: Callable[[], None]
) -> None:
    """Preparation may have used it up, and a network that nobody trained passes for trained."""
    for begun in (0, 7):
        folder = tmp_path / f"{begun}"
        if begun:
            Toy(folder, steps=begun).train()
        toy = Toy(folder, steps=1000, minutes=0.0, finish=True)
        assert not toy.train()
        assert (toy.run.step, toy.run.skipped) == (begun, 0)
        clock()
        assert Toy(folder, steps=1000, minutes=0.5, finish=True).train()  # goes on from there


def test_a_first_step_that_waits_for_a_compiler_is_no_share_of_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    fake = SimpleNamespace(monotonic=lambda: now, time=lambda: now)
    monkeypatch.setattr(run_module, "time", fake)
    toy = Toy(tmp_path, steps=1000, minutes=2.0, finish=True)
    seen = []
    while toy.run.wants_more():
        seen.append(toy.run.progress)
        toy.run.finish_step({"loss": 0.0})
        now += 80.0 if len(seen) == 1 else 10.0
    assert seen == pytest.approx([0, 0.001, 0.25, 0.5, 0.75], abs=2e-3)
    assert toy.run.progress == 1.0


def test_a_run_that_is_killed_while_it_finishes_does_not_go_back(
    tmp_path: Path, clock: Callable[[], None]
) -> None:
    clock()
    toy = Toy(tmp_path, steps=1000, minutes=1.0, finish=True)

    def kill(numbers: dict[str, float]) -> None:
        toy.run.save()
        raise KeyboardInterrupt

    toy.run.report = kill
    with pytest.raises(KeyboardInterrupt):
        toy.train()
    reached = toy.run.progress
    assert reached > 0.3 > toy.run.step / 1000
    clock()
    seen = Toy(tmp_path, steps=1000, minutes=0.5, finish=True).train()
    assert reached <= seen[0] < reached + 0.05
    assert seen == sorted(seen)


def test_no_time_at_all_is_no_step(tmp_path: Path) -> None:
    assert not Toy(tmp_path, minutes=0.0).train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000000.safetensors"]


def test_logged_numbers_are_means_over_the_steps_since_the_last(tmp_path: Path) -> None:
    run = Toy(tmp_path, steps=50, log_every=5).run
    for value in range(10):
        run.finish_step({"loss": float(value)})
    assert curve(tmp_path / "log.csv", "loss") == [2.0, 7.0]


def test_other_stages_read_the_averaged_weights(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.train()
    averaged = part(ema_weights(tmp_path), "net")
    assert averaged.keys() == toy.net.state_dict().keys()
    assert torch.equal(averaged["weight"], toy.run.ema.average["net.weight"])
    assert not torch.equal(averaged["weight"], toy.net.weight)


def test_of_several_averages_they_read_the_preferred_one(tmp_path: Path) -> None:
    toy = Toy(tmp_path, steps=30)
    toy.train()
    toy.run.prefer({"ema": 0.3, "ema-0.2": 0.2})  # said when the last checkpoint is written
    wider = toy.run.emas["ema-0.2"].average["net.weight"]
    assert not torch.equal(wider, toy.run.ema.average["net.weight"])
    assert torch.equal(ema_weights(tmp_path)["net.weight"], wider)
    keep(tmp_path, tmp_path / "kept", 1 << 20)
    torch.testing.assert_close(ema_weights(tmp_path / "kept")["net.weight"], wider.half().float())
    later = Toy(tmp_path, steps=60).run
    assert later.preferred == "ema-0.2"
    later.prefer({"ema": 0.1, "ema-0.2": 0.2})
    assert torch.equal(ema_weights(tmp_path)["net.weight"], later.ema.average["net.weight"])


def test_networks_that_serve_the_training_alone_are_not_averaged(tmp_path: Path) -> None:
    Toy(tmp_path).train()
    assert not part(ema_weights(tmp_path), "judge")


def test_a_stage_that_was_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run this stage first"):
        ema_weights(tmp_path)


def test_learning_rates_warm_up_and_fall_along_half_a_cosine() -> None:
    assert cosine_rate(0.01, 0.02) == pytest.approx(0.5)
    assert cosine_rate(0.02, 0.02) == pytest.approx(1.0)
    assert cosine_rate(0.51, 0.02, floor=0.0) == pytest.approx(0.5)
    assert cosine_rate(1.0, 0.02, floor=0.1) == pytest.approx(0.1)
    assert cosine_rate(0.0, 0.0) == 1.0


class TestWhatIsKept:
    @pytest.fixture
    def kept(self, tmp_path: Path) -> Path:
        Toy(tmp_path / "whole", steps=30).train()
        keep(tmp_path / "whole", tmp_path / "kept", 1 << 20)
        return tmp_path / "kept"

    def test_serves_later_stages_like_the_checkpoint(self, tmp_path: Path, kept: Path) -> None:
        found, wanted = ema_weights(kept), ema_weights(tmp_path / "whole")
        assert found.keys() == wanted.keys()
        for name, value in found.items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-6)

    def test_is_where_a_run_goes_on_in_its_schedule(self, kept: Path) -> None:
        toy = Toy(kept, steps=60)
        averaged = part(ema_weights(kept), "net")
        assert torch.equal(toy.net.weight, averaged["weight"])
        assert toy.train()[0] == 0.5
        assert checkpoints(kept)[-1].name == "checkpoint-00000060.safetensors"

    def test_companions_go_on_too(self, tmp_path: Path, kept: Path) -> None:
        judge = Toy(tmp_path / "whole", steps=30).judge
        torch.testing.assert_close(Toy(kept).judge.weight, judge.weight, rtol=1e-3, atol=1e-6)

    def test_has_with_it_what_was_fitted_beside_the_networks(self, tmp_path: Path) -> None:
        Toy(tmp_path, minutes=0.0).train()
        for name in ("whitening.safetensors", "envelope.safetensors"):
            (tmp_path / name).write_text(name)
        paths = keep(tmp_path, tmp_path / "kept", 1 << 20)
        assert {path.name: path.read_bytes() for path in paths[1:]} == {
            name: name.encode() for name in ("whitening.safetensors", "envelope.safetensors")
        }
        assert averages(tmp_path / "kept") == paths[:1]

    def test_fits_files_of_a_given_size(self, tmp_path: Path, kept: Path) -> None:
        paths = keep(tmp_path / "whole", tmp_path / "small", 12)
        assert len(paths) > 1 and paths == averages(tmp_path / "small")
        first, second = ema_weights(kept), ema_weights(tmp_path / "small")
        assert all(torch.equal(first[name], second[name]) for name in first)
        paths[1].unlink()
        with pytest.raises(UsageError, match="files of averages are there"):
            ema_weights(tmp_path / "small")
