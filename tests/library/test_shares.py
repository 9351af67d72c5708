"""Shares: a run's time is handed out to its files, all of it and only once."""

from __future__ import annotations

from spresso_cli.library.shares import Shares

from .conftest import Clock


def test_time_is_divided_by_length(clock: Clock) -> None:
    shares = Shares()
    clock.now += 6
    shares.divide({0: 1.0, 1: 2.0, 2: 3.0})
    assert [shares.take(number) for number in range(3)] == [1, 2, 3]


def test_what_has_no_length_shares_alike(clock: Clock) -> None:
    shares = Shares()
    clock.now += 6
    shares.divide({0: 0.0, 1: 0.0})
    assert [shares.take(number) for number in range(2)] == [3, 3]


def test_who_takes_his_share_takes_what_has_passed_since(clock: Clock) -> None:
    shares = Shares()
    shares.add(0, 5)
    clock.now += 1
    assert shares.take(0) == 6
    assert shares.take(0) == 0


def test_a_lap_is_nobodys(clock: Clock) -> None:
    shares = Shares()
    clock.now += 10
    assert shares.lap() == 10
    shares.divide({})
    clock.now += 1
    shares.divide({0: 1.0})
    assert shares.take(0) == 1
