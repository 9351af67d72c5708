"""Step 2 in parts: a time box ends them, what is done is kept, and nothing is done twice."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from spresso_cli.codec.packs import read_pack
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.training import collection, quantizer, read_out, step_two, whitening
from spresso_cli.training.config import Settings
from spresso_cli.training.preparation import Call, TimeIsOver
from spresso_cli.training.run import Run
from spresso_cli.training.step_two import START, StepTwo
from spresso_cli.training.stored import checkpoints, write
from spresso_cli.training.workspace import Workspace

from .conftest import four_patterns

TINY_PACK = Path(__file__).parents[1] / "data" / "tiny_pack"
STAGE = Path("quantizer", "11hz")
# What takes long, how often: 64 crops and 96 held-out ones by 32, a filter, four codebooks.
PARTS = {
    (LatentEncoder, "forward"): 5,
    (whitening, "fit"): 1,
    (step_two, "residual_stage"): 4,
    (read_out, "left_open"): 1,
}
HELD_OUT, BEHIND = 3, 1  # of these, what is fitted behind QINCo2 takes


def step(workspace: Workspace, minutes: float | None = None, rate: int = 11) -> StepTwo:
    call = Call(
        workspace=workspace, corpus=workspace.folder, minutes=minutes, seed=0, rates=(rate,),
        compiled=False, report=lambda numbers: None, note=lambda text: None,
        began=time.monotonic(),
    )  # fmt: skip
    return StepTwo(call, rate, four_patterns(), four_patterns())


def with_encoder(folder: Path, tiny: Settings, rate: int) -> Workspace:
    """A model's folder with an encoder of a frame rate."""
    workspace = Workspace(folder, tiny, torch.device("cpu"), read_pack(TINY_PACK))
    torch.manual_seed(0)
    model = workspace.fresh_step_one((rate,))
    model.fit_envelopes(four_patterns(), torch.Generator().manual_seed(0), 500)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Run(folder / "autoencoder" / f"{rate}hz", {"model": model}, optimizer, steps=1).save()
    return workspace


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each of `PARTS` has run since the test began."""
    seen = {name: 0 for _, name in PARTS}

    def count(owner: object, name: str) -> None:
        function = getattr(owner, name)

        def counted(*arguments: object) -> object:
            seen[name] += 1
            return function(*arguments)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in PARTS:
        count(owner, name)
    return seen


@pytest.fixture(scope="module")
def begun(tiny: Settings, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return with_encoder(tmp_path_factory.mktemp("begun"), tiny, 11)


def copied(workspace: Workspace, folder: Path) -> Workspace:
    shutil.copytree(workspace.folder, folder)
    return dataclasses.replace(workspace, folder=folder)


@pytest.fixture(scope="module")
def unbroken(begun: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """That with all of step 2, in a single call."""
    workspace = copied(begun, tmp_path_factory.mktemp("unbroken") / "model")
    step(workspace).train()
    return workspace


@pytest.fixture
def done(unbroken: Workspace, tmp_path: Path) -> Workspace:
    """The same for a test to change."""
    return copied(unbroken, tmp_path / "done")


def test_a_box_ends_every_part_and_the_next_call_goes_on_from_there(
    begun: Workspace,
    unbroken: Workspace,
    tmp_path: Path,
    counts: dict[str, int],
    maps_hold: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace, said = copied(begun, tmp_path / "cut"), []
    monkeypatch.setattr(collection, "_SECONDS", 0.0)
    while not workspace.trained(STAGE.as_posix()):
        looks = iter((False,))  # there is time for one part
        monkeypatch.setattr(Call, "over", lambda *_, looks=looks: next(looks, True))
        try:
            step(workspace).train()
        except TimeIsOver as over:
            said.append(str(over))
    assert said == [
        f"the time is over: {done}; the same command goes on from there"
        for done in (
            "32 of 64 crops are encoded",
            "the filters before QINCo2 are next",
            *(f"k-means has found {count} of 4 codebooks" for count in range(4)),
            "QINCo2 itself is next",
        )
    ]
    assert list(counts.values()) == list(PARTS.values())
    first, second = unbroken.folder / STAGE, workspace.folder / STAGE
    names = [path.name for path in sorted(first.glob("*.safetensors"))]
    assert len(names) == 3  # checkpoint, envelope, whitening
    for name in names:
        one, other = load_file(first / name), load_file(second / name)
        assert [key for key in one if not torch.equal(one[key], other[key])] == []
    assert not (second / START).exists()


def test_what_is_done_is_not_done_again(done: Workspace, counts: dict[str, int]) -> None:
    step(done, minutes=1.0).train()
    assert not any(counts.values())


def test_a_quantiser_that_has_learnt_more_has_all_behind_it_fitted_anew(
    done: Workspace, counts: dict[str, int]
) -> None:
    own = done.settings.rates[11]
    training = dataclasses.replace(own.quantizer_training, steps=26)
    rates = {11: dataclasses.replace(own, quantizer_training=training)}
    settings = dataclasses.replace(done.settings, rates=rates)
    before = done.whitening(11).behind
    step(dataclasses.replace(done, settings=settings)).train()
    assert list(counts.values()) == [HELD_OUT, 0, 0, BEHIND]
    assert not torch.equal(done.whitening(11).behind, before)


def test_a_killed_quantiser_is_completed_within_no_time_whatever_is_missing(
    done: Workspace, counts: dict[str, int]
) -> None:
    (done.folder / STAGE / "envelope.safetensors").unlink()
    shutil.rmtree(done.folder / "latents")
    assert done.unfitted(11) == "envelope was"
    step(done, minutes=0.0).train()
    assert done.unfitted(11) is None
    assert counts["forward"] == PARTS[LatentEncoder, "forward"]
    assert len(checkpoints(done.folder / STAGE)) == 1


@pytest.mark.parametrize(
    ("took", "box", "spared"), [(None, 100, 15), (120, 100, 15), (1200, 100, 20), (1200, 20, 10)]
)
def test_a_box_spares_what_is_fitted_behind_qinco2_as_much_as_it_took(
    begun: Workspace, tmp_path: Path, took: int | None, box: float, spared: float
) -> None:
    """Half of the box at most: it would come to nothing else."""
    workspace = dataclasses.replace(begun, folder=tmp_path)
    if took is not None:
        path = workspace.beside_quantizer(11, "envelope")
        write(path, {"any": torch.zeros(1)}, {"seconds": str(took)})
    assert step(workspace).spared(box) == pytest.approx(spared)


def test_qinco2_has_what_is_left_of_the_box(
    done: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = []
    monkeypatch.setattr(quantizer, "train", lambda *arguments: boxes.append(arguments[4]))
    for minutes in (100.0, None):
        step(done, minutes).train()
    assert boxes == [pytest.approx(85, abs=1.0), None]
