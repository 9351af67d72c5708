"""Which clips of a bundle a command line means: by names, folders and patterns of the shell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate

from spresso_cli.errors import UsageError

SUFFIX = ".spr"  # which names of clips go without, and those of their files do not


def selected(names: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Those of the clips `names` that are wanted, in their order: each once.

    A clip's own name comes first, then that of its file, then that of a folder with all that is in
    it; whatever is none of these is a pattern, in which `*` stands for folders too, as in unzip and
    tar.

    Raises:
        UsageError: something that is wanted is not there.
    """
    there = frozenset(names)
    chosen: set[str] = set()
    for want in wanted:
        found = _exact(there, want) or _matching(names, want)
        if not found:
            raise UsageError(f"the bundle has no sound called {want!r}: list it to see its names")
        chosen.update(found)
    return [name for name in names if name in chosen]


def _exact(names: frozenset[str], want: str) -> list[str]:
    return [name for name in (want, want.removesuffix(SUFFIX)) if name in names][:1]


def _matching(names: Sequence[str], want: str) -> list[str]:
    folder = want.rstrip("/") + "/"
    inside = [name for name in names if name.startswith(folder)]
    if inside:
        return inside
    fits = re.compile(translate(want)).match
    return [name for name in names if fits(name) or fits(name + SUFFIX)]
