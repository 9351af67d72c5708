"""Shards: a partition that every machine agrees on, also when it finds its place by itself."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from spresso_cli.errors import UsageError
from spresso_cli.library.plan import Job
from spresso_cli.library.shards import Shard

NAMES = [f"kick/{number}.wav" for number in range(1000)]


def test_every_file_is_in_exactly_one_shard() -> None:
    shards = [Shard(index, 7) for index in range(7)]
    assert all(sum(shard.holds(name) for shard in shards) == 1 for name in NAMES)


def test_shards_are_of_about_equal_size() -> None:
    sizes = [sum(Shard(index, 4).holds(name) for name in NAMES) for index in range(4)]
    assert min(sizes) > 200


def test_the_hash_is_fixed_for_ever() -> None:
    assert [Shard(0, 2).holds(name) for name in ("a.wav", "b.wav", "ü.wav", "\udcff.wav")] == [
        True,
        False,
        True,
        False,
    ]


def test_a_name_is_one_however_its_accents_are_composed() -> None:
    """macOS may list decomposed what Linux lists composed."""
    for name in ("é.wav", "ü.wav", "Å.wav"):
        pair = (name, unicodedata.normalize("NFD", name))
        first, other = ([Shard(i, 64).holds(one) for i in range(64)] for one in pair)
        assert first == other


def test_one_shard_holds_everything() -> None:
    assert all(map(Shard().holds, NAMES))


def test_all_takes_of_a_file_are_in_one_shard() -> None:
    jobs = [
        Job(Path(name), Path(f"{name}.seed{seed}.wav"), name, seed)
        for name in NAMES[:20]
        for seed in (0, 1)
    ]
    chosen = Shard(1, 3).select(jobs)
    assert {job.seed for job in chosen} == {0, 1}
    assert len(chosen) == 2 * len({job.relative for job in chosen})


def test_a_shard_is_written_as_i_of_n_counted_from_zero() -> None:
    assert Shard.parse("0/4", {}) == Shard(0, 4)
    assert Shard.parse("3/4", {}) == Shard(3, 4)


@pytest.mark.parametrize("text", ["4/4", "-1/4", "1", "a/b", "1/0", "", "1/4/2", "٣/٤", "1 / 4"])
def test_what_is_no_shard_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        Shard.parse(text, {})


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}, Shard(2, 4)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "13",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "10",
            },
            Shard(3, 4),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            Shard(2, 3),
        ),
        ({"RANK": "1", "WORLD_SIZE": "8"}, Shard(1, 8)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "1",
                "SLURM_ARRAY_TASK_COUNT": "2",
                "RANK": "3",
                "WORLD_SIZE": "4",
            },
            Shard(7, 8),
        ),
    ],
)
def test_auto_finds_its_place_in_a_farm(environment: dict[str, str], shard: Shard) -> None:
    assert Shard.parse("auto", environment) == shard


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_ARRAY_TASK_ID": "2"},
        {"RANK": "0"},
        {"RANK": "x", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"},
        {
            "SLURM_ARRAY_TASK_ID": "4",  # none of 1, 3, 5
            "SLURM_ARRAY_TASK_COUNT": "3",
            "SLURM_ARRAY_TASK_MIN": "1",
            "SLURM_ARRAY_TASK_STEP": "2",
        },
    ],
)
def test_auto_without_a_place_is_a_usage_error(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        Shard.parse("auto", environment)
