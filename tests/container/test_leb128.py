"""Integers have one form, the shortest; anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spresso_cli.container import leb128
from spresso_cli.errors import CorruptStream


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (240_000, "80d30e"),
        (2**21 - 1, "ffff7f"),
        (2**63 - 1, "ffffffffffffffff7f"),
    ],
)
def test_known_forms(value: int, form: str) -> None:
    assert leb128.encode(value).hex() == form
    assert leb128.decode(bytes.fromhex(form), 0) == (value, len(form) // 2)


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_an_integer_comes_back_wherever_it_stands(value: int, before: bytes, after: bytes) -> None:
    form = leb128.encode(value)
    data = before + form + after
    assert leb128.decode(data, len(before)) == (value, len(before) + len(form))


@given(st.binary(max_size=12))
def test_what_can_be_read_is_written_the_same(data: bytes) -> None:
    try:
        value, end = leb128.decode(data, 0)
    except CorruptStream:
        return
    assert leb128.encode(value) == data[:end]


@pytest.mark.parametrize("form", ["", "80", "ffff", "8000", "ff8000", "ff" * 9, "ff" * 9 + "01"])
def test_cut_overlong_and_oversized_integers_are_refused(form: str) -> None:
    with pytest.raises(CorruptStream):
        leb128.decode(bytes.fromhex(form), 0)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_integers_beyond_63_bits_cannot_be_written(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        leb128.encode(value)
