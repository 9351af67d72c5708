"""A run: its time box, its checkpoints, its log; what a resumed run shares with an unbroken one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from spresso_cli.errors import UsageError
from spresso_cli.training.run import Run, cosine_rate
from spresso_cli.training.stored import averages, checkpoints, ema_weights, keep, part

from .conftest import curve


class Toy:
    """A network that learns noise, with everything a stage can have."""

    def __init__(self, folder: Path, steps: int = 60, **settings: object):
        torch.manual_seed(0)
        self.net, self.judge = nn.Linear(3, 2), nn.Linear(2, 1)
        self.used = torch.zeros(4, dtype=torch.bool)
        self.optimizers = [torch.optim.AdamW(m.parameters(), 0.01) for m in (self.net, self.judge)]
        self.run = Run(
            folder,
            {"net": self.net},
            self.optimizers[0],
            steps=steps,
            more_emas=(0.2,),
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
    elapsed = [(2 * step + 1) / 30 for step in range(15)]  # two looks at every step
    assert seen == pytest.approx([done + (1 - done) * share for share in elapsed], abs=1e-3)
    assert toy.run.progress == 1.0
    for more in ({}, {"finish": True}):  # the schedule is over
        assert not Toy(tmp_path, steps=1000, minutes=1.0, **more).train()
    # Until it is made longer.
    assert Toy(tmp_path, steps=2000).run.progress == 0.5


def test_a_schedule_that_ends_within_its_box_is_not_hurried(tmp_path: Path) -> None:
    Toy(tmp_path / "free").train()
    Toy(tmp_path / "box", minutes=60.0, finish=True).train()
    assert same(tmp_path / "free", tmp_path / "box")


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
    assert reached < seen[0] < reached + 0.05
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
    wider = part(ema_weights(tmp_path, sigma=0.2), "net")
    assert not torch.equal(wider["weight"], averaged["weight"])


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

    def test_fits_files_of_a_given_size(self, tmp_path: Path, kept: Path) -> None:
        paths = keep(tmp_path / "whole", tmp_path / "small", 12)
        assert len(paths) > 1 and paths == averages(tmp_path / "small")
        first, second = ema_weights(kept), ema_weights(tmp_path / "small")
        assert all(torch.equal(first[name], second[name]) for name in first)
        paths[1].unlink()
        with pytest.raises(UsageError, match="files of averages are there"):
            ema_weights(tmp_path / "small")
