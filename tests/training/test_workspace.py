"""A model's folder: which networks are found in it, what is encoded once, what a pack credits."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import time
from pathlib import Path

import pytest
import torch

from spresso_cli.codec.packs import read_pack
from spresso_cli.errors import UsageError
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.envelope import EnvelopeFilter
from spresso_cli.models.qinco2 import QINCo2
from spresso_cli.models.whitening import Whitening
from spresso_cli.training.config import Settings
from spresso_cli.training.corpus import Clip, find_clips
from spresso_cli.training.curves import draw_curves, logs_under
from spresso_cli.training.packing import _of_manifest, _write_credits, pack_workspace
from spresso_cli.training.preparation import Call, TimeIsOver, fingerprint, latents
from spresso_cli.training.run import Run
from spresso_cli.training.workspace import Workspace, group_name
from tests.conftest import changeable_copy

from .conftest import broken_in_the_middle

TINY = Path(__file__).parents[1] / "data" / "tiny_pack"


@pytest.fixture
def call(tmp_path: Path, sounds: Path, tiny: Settings) -> Call:
    """A command in an empty folder that takes everything from the tests' pack."""
    workspace = Workspace(tmp_path, tiny, torch.device("cpu"), read_pack(TINY))
    return Call(
        workspace=workspace, corpus=sounds, minutes=None, seed=0, rates=(), compiled=False,
        report=lambda numbers: None, note=lambda text: None, began=time.monotonic(),
    )  # fmt: skip


def test_rates_that_share_a_trunk_share_a_folder() -> None:
    assert group_name((11, 1)) == "1-11hz"
    assert group_name([25]) == "25hz"


def test_what_was_not_trained_comes_from_the_pack(call: Call) -> None:
    assert call.workspace.audio_ae().config.dim == 4
    assert call.workspace.base_dit().config.width == 16
    assert not any(p.requires_grad for p in call.workspace.clap().parameters())


def test_without_a_pack_the_missing_stage_is_named(tmp_path: Path, tiny: Settings) -> None:
    workspace = Workspace(tmp_path, tiny, torch.device("cpu"))
    with pytest.raises(UsageError, match="audio-ae: no checkpoint; run this stage first"):
        workspace.audio_ae()
    with pytest.raises(UsageError, match="no autoencoder at 11 Hz; train it first"):
        workspace.group_of(11)


def test_a_stage_works_on_the_rates_asked_for_or_trained_or_configured(
    tmp_path: Path, tiny: Settings
) -> None:
    workspace = Workspace(tmp_path, tiny, torch.device("cpu"))
    assert workspace.rates((11, 1, 11), step_one_done=True) == (1, 11)
    assert workspace.rates((), step_one_done=False) == (1, 11)
    with pytest.raises(UsageError, match="no autoencoder; train it first"):
        workspace.rates((), step_one_done=True)
    with pytest.raises(UsageError, match="no 25 Hz: choose of 1, 11"):
        workspace.rates((25,), step_one_done=False)
    for group in ("1hz", "1-11hz"):
        folder = tmp_path / "autoencoder" / group
        folder.mkdir(parents=True)
        (folder / "checkpoint-00000001.safetensors").touch()
    (tmp_path / "autoencoder" / "5hz").mkdir()  # begun, nothing saved
    assert workspace.rates((), step_one_done=True) == (1, 11)
    assert workspace.group_of(11) == (1, 11)


def test_latents_are_encoded_once(call: Call) -> None:
    told: list[str] = []
    object.__setattr__(call, "note", told.append)
    clips = find_clips(call.corpus)
    pool, bank = latents(call, clips, passes=2)
    assert len(told) == 2
    again, _ = latents(call, clips, passes=2)
    assert len(told) == 2
    assert torch.equal(pool.latents, again.latents)
    assert len(pool.clip) == 2 * len(clips)
    # Both passes of a clip have its one caption.
    assert torch.equal(pool.clip[: len(clips)], pool.clip[len(clips) :])
    assert len(bank.pooled) == len(clips)


def test_a_stage_is_alone_in_its_folder_and_says_what_is_damaged_there(call: Call) -> None:
    pytest.importorskip("fcntl")
    told: list[str] = []
    object.__setattr__(call, "note", told.append)
    network = torch.nn.Linear(2, 2)
    with call.training("clap") as folder:
        run = Run(folder, {"net": network}, torch.optim.SGD(network.parameters(), 0.1), steps=1)
        run.save()
        (folder / "checkpoint-00000001.safetensors").write_bytes(b"half")
        refused = pytest.raises(UsageError, match="another process is training")
        with refused, call.training("clap"):
            pass
    assert not told
    with call.training("clap"):
        assert "00000001.safetensors is damaged" in told[-1]


def test_damaged_latents_are_encoded_again(call: Call) -> None:
    told: list[str] = []
    object.__setattr__(call, "note", told.append)
    clips = find_clips(call.corpus)
    pool, _ = latents(call, clips, passes=1)
    (path,) = (call.workspace.folder / "latents").iterdir()
    whole = pool.latents.clone()  # of its file, which cannot be changed on Windows while it is read
    del pool
    path.write_bytes(path.read_bytes()[:-100])
    again, _ = latents(call, clips, passes=1)
    assert len(told) == 2
    assert torch.equal(whole, again.latents)


def test_parts_of_a_corpus_that_no_pass_comes_to_are_told(call: Call) -> None:
    clips, notes = find_clips(call.corpus), []
    few = replace_corpus(call, hours=0.3 / 3600)
    told = dataclasses.replace(few, note=notes.append)
    parts = told.windows(clips).count
    assert parts > 2
    latents(told, clips, passes=2)
    assert notes[0].startswith(f"2 of {parts} parts of the corpus are learnt from")
    notes.clear()
    latents(dataclasses.replace(call, note=notes.append), clips, passes=1)
    assert not any("parts" in note for note in notes)


def replace_corpus(call: Call, **changes: object) -> Call:
    settings = call.workspace.settings
    corpus = dataclasses.replace(settings.corpus, **changes)
    workspace = dataclasses.replace(
        call.workspace, settings=dataclasses.replace(settings, corpus=corpus)
    )
    return dataclasses.replace(call, workspace=workspace)


def test_a_sound_with_a_broken_body_is_told_and_has_no_latents(call: Call, tmp_path: Path) -> None:
    told: list[str] = []
    object.__setattr__(call, "note", told.append)
    good = find_clips(call.corpus)[:2]
    bad = broken_in_the_middle(tmp_path / "a.flac")
    pool, _ = latents(call, [good[0], Clip(bad, "bad"), good[1]], passes=1)
    assert [text.startswith(f"left out: {bad}: ") for text in told] == [False, True]
    assert pool.clip.tolist() == [0, 2]
    assert len(pool.offsets) == 3


def test_a_box_that_is_over_after_a_pass_leaves_the_next_to_the_next_call(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "over", lambda *_: True)
    clips = find_clips(call.corpus)
    for done in (1, 2):
        with pytest.raises(TimeIsOver, match=f"pass {done + 1} of 3 over the sounds is next"):
            latents(call, clips, passes=3)
        assert len(list((call.workspace.folder / "latents").iterdir())) == done
    pool, _ = latents(call, clips, passes=3)
    assert len(pool.clip) == 3 * len(clips)


def test_latents_are_not_encoded_for_a_stage_that_will_be_refused(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: Workspace) -> None:
        raise UsageError("no CLAP")

    monkeypatch.setattr(Workspace, "clap", missing)
    with pytest.raises(UsageError, match="no CLAP"):
        latents(call, find_clips(call.corpus), passes=1)
    assert not (call.workspace.folder / "latents").exists()


def test_the_second_pass_is_augmented_and_the_first_is_not(call: Call) -> None:
    clips = find_clips(call.corpus)
    plain, _ = latents(call, clips, passes=1)
    both, _ = latents(call, clips, passes=2)
    count = len(plain.latents)
    assert torch.equal(both.latents[:count], plain.latents)
    lengths = both.offsets.diff()
    assert lengths[: len(clips)].tolist() != lengths[len(clips) :].tolist()  # other speeds


def test_latents_of_other_weights_have_another_mark(call: Call) -> None:
    first = call.workspace.audio_ae()
    second = AudioAE(first.config)
    assert fingerprint(first, 1) != fingerprint(second, 1)
    assert fingerprint(first, 1) != fingerprint(first, 2)
    assert fingerprint(first, 1) == fingerprint(call.workspace.audio_ae(), 1)


def test_a_time_box_counts_from_the_start_of_the_command(call: Call) -> None:
    assert call.minutes_left() is None
    object.__setattr__(call, "minutes", 10.0)
    object.__setattr__(call, "began", time.monotonic() - 240)
    assert call.minutes_left() == pytest.approx(6.0, abs=0.1)
    assert call.minutes_left(0.5) == pytest.approx(3.0, abs=0.1)
    object.__setattr__(call, "began", time.monotonic() - 10_000)
    assert call.minutes_left() == 0.0


def test_a_part_of_a_command_has_its_share_of_the_time_that_is_left(call: Call) -> None:
    assert call.part(0.5) is call
    call = dataclasses.replace(call, minutes=10.0, began=time.monotonic() - 240)
    part = call.part(0.25)
    assert part.minutes_left() == pytest.approx(1.5, abs=0.1)
    later = dataclasses.replace(part, began=part.began - 60)  # a minute has passed
    assert later.minutes_left() == pytest.approx(0.5, abs=0.1)


def test_credits_name_every_training_sound(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(  # with the mark that spreadsheets put in front
        b"\xef\xbb\xbf"
        b"file,split,seconds,caption,source_repo,source_path,author,licence\n"
        b'a.ogg,train,1,door,x/y,a.wav,"Ann, Bo",CC0-1.0\nb.ogg,dev,1,cat,x/y,b.wav,Cy,CC0-1.0\n'
    )
    _write_credits(_of_manifest(manifest), tmp_path / "ATTRIBUTION.csv")
    rows = list(csv.DictReader((tmp_path / "ATTRIBUTION.csv").open()))
    assert rows == [
        {
            "file": "a.ogg",
            "source_repo": "x/y",
            "source_path": "a.wav",
            "author": "Ann, Bo",
            "licence": "CC0-1.0",
        }
    ]


def test_credits_of_the_pack_that_was_built_on_stay(call: Call, tmp_path: Path) -> None:
    origin, corpus = tmp_path / "origin", tmp_path / "corpus"
    changeable_copy(TINY, origin)
    (origin / "ATTRIBUTION.csv").write_text("sound,author,licence\nb.opus,Bo,CC0\na.wav,Ann,CC0\n")
    corpus.mkdir()
    (corpus / "manifest.csv").write_text("file,licence,author\na.wav,CC0,Ann\nc.wav,CC0,Cy\n")
    workspace = dataclasses.replace(call.workspace, pack=read_pack(origin), folder=tmp_path / "run")
    pack_workspace(workspace, [1, 11], tmp_path / "made", corpus)
    assert (tmp_path / "made" / "ATTRIBUTION.csv").read_text().splitlines() == [
        "file,author,licence", "b.opus,Bo,CC0", "a.wav,Ann,CC0", "c.wav,Cy,CC0",
    ]  # fmt: skip


def test_what_authors_wrote_goes_along_with_their_names(call: Call, tmp_path: Path) -> None:
    origin, corpus = tmp_path / "origin", tmp_path / "corpus"
    changeable_copy(TINY, origin)
    for folder, texts in (
        (origin, {"ann.txt": "by Ann", "bo.txt": "by Bo"}),
        (corpus, {"ann.txt": "by Ann", "bo.txt": "also by Bo's cat", "cy.txt": "by Cy"}),
    ):
        (folder / "credits").mkdir(parents=True)
        for name, text in texts.items():
            (folder / "credits" / name).write_text(text)
    workspace = dataclasses.replace(call.workspace, pack=read_pack(origin), folder=tmp_path / "run")
    pack_workspace(workspace, [1, 11], tmp_path / "made", corpus)
    made = {path.name: path.read_text() for path in (tmp_path / "made" / "credits").iterdir()}
    assert made == {
        "ann.txt": "by Ann", "bo.txt": "by Bo\n\nalso by Bo's cat", "cy.txt": "by Cy",
    }  # fmt: skip


class TestAQuantiserWhoseTrainingWasKilled:
    @pytest.fixture
    def workspace(self, tmp_path: Path, tiny: Settings) -> Workspace:
        """With checkpoints of a quantiser and all that is fitted behind it."""
        workspace = Workspace(tmp_path, tiny, torch.device("cpu"))
        folder, own = tmp_path / "quantizer" / "11hz", tiny.rates[11]
        network = QINCo2(own.qinco2)
        Run(folder, {"qinco2": network}, torch.optim.SGD(network.parameters(), 0.1), steps=1).save()
        whitening = Whitening(own.whitening)
        whitening.behind += 0.1
        workspace.keep_beside_quantizer(11, "whitening", whitening)
        config = dataclasses.replace(own.encoder.envelope, codebooks=own.qinco2.codebooks)
        workspace.keep_beside_quantizer(11, "envelope", EnvelopeFilter(config))
        return workspace

    def test_is_refused_without_its_envelope(self, workspace: Workspace) -> None:
        workspace.check_step_two(11)
        (workspace.folder / "quantizer" / "11hz" / "envelope.safetensors").unlink()
        with pytest.raises(UsageError, match="before its envelope was fitted.*--minutes 0"):
            workspace.check_step_two(11)

    def test_is_refused_with_half_its_filters(self, workspace: Workspace) -> None:
        workspace.keep_beside_quantizer(
            11, "whitening", Whitening(workspace.settings.rates[11].whitening)
        )
        with pytest.raises(UsageError, match="before its filters were fitted.*--minutes 0"):
            workspace.check_step_two(11)

    def test_is_refused_without_its_filters(self, workspace: Workspace) -> None:
        (workspace.folder / "quantizer" / "11hz" / "whitening.safetensors").unlink()
        for use in (workspace.check_step_two, workspace.quantizer):
            with pytest.raises(UsageError, match="whitening.safetensors: missing"):
                use(11)

    def test_is_refused_with_another_configuration(self, workspace: Workspace) -> None:
        own = workspace.settings.rates[11]
        other = dataclasses.replace(own, qinco2=dataclasses.replace(own.qinco2, embed=6))
        settings = dataclasses.replace(workspace.settings, rates={11: other})
        with pytest.raises(UsageError, match="11hz was trained with other sizes: is --config"):
            dataclasses.replace(workspace, settings=settings).quantizer(11)


def test_a_stage_that_is_older_than_step_one_is_told_of(tmp_path: Path, tiny: Settings) -> None:
    notes: list[str] = []
    workspace = Workspace(tmp_path, tiny, torch.device("cpu"), note=notes.append)
    for name, age in (("finetune/1-11hz", 600), ("autoencoder/1-11hz", 0), ("quantizer/1hz", 0)):
        (tmp_path / name).mkdir(parents=True)
        path = tmp_path / name / "checkpoint-00000001.safetensors"
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    for stage in ("finetune/1-11hz", "quantizer/1hz", "quantizer/11hz"):
        workspace.check_age(stage, (1, 11))
    assert notes == [
        "finetune/1-11hz is older than autoencoder/1-11hz: delete it and train it again"
    ]


def test_curves_are_drawn_from_the_logs_of_all_runs(tmp_path: Path) -> None:
    for run in ("1hz", "11hz"):
        (tmp_path / run).mkdir()
        lines = [f"{step},0.0,loss,{1 / step}" for step in range(25, 2025, 25)]
        (tmp_path / run / "log.csv").write_text("step,time,name,value\n" + "\n".join(lines))
    runs = logs_under(tmp_path)
    assert list(runs) == ["11hz", "1hz"]
    assert runs["1hz"]["loss"][0][:2] == [25, 50]
    picture = io.BytesIO()
    draw_curves(picture, "png", runs)
    assert picture.getvalue().startswith(b"\x89PNG")
    assert logs_under(tmp_path / "none") == {}
