"""What the `spresso` command does before anything else."""

from __future__ import annotations

import os

import pytest

from spresso_cli.__main__ import main

POLICY = "OMP_WAIT_POLICY"


@pytest.mark.parametrize(("given", "used"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_leave_the_core_to_others_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None, used: str
) -> None:
    monkeypatch.setenv(POLICY, "")  # whatever it is, it comes back behind the test
    if given is None:
        monkeypatch.delenv(POLICY)
    else:
        monkeypatch.setenv(POLICY, given)
    monkeypatch.setattr("sys.argv", ["spresso", "--version"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)
    assert os.environ[POLICY] == used
