"""What the `spresso` command does before anything else."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from spresso_cli.__main__ import main
from spresso_cli.cli.app import INTERRUPTED

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


def test_an_interruption_while_the_command_is_loaded_leaves_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "spresso_cli.cli.app", Loading("app"))
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == INTERRUPTED


def test_an_interruption_ends_the_process_also_where_stdout_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spresso_cli.cli.app.run", lambda: INTERRUPTED)
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("os._exit", sys.exit)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == INTERRUPTED
