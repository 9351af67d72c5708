"""Codes are packed MSB first with nothing between them, at any width and length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spresso_cli.container import bits
from spresso_cli.container.bits import pack_codes, unpack_codes


def test_the_first_code_takes_the_most_significant_bits() -> None:
    codes = np.array([0x3FF, 0x000, 0x201], dtype=np.uint16)
    assert pack_codes(codes, 10) == bytes([0b11111111, 0b11000000, 0b00001000, 0b00000100])
    assert pack_codes(np.array([0xABC, 0x123]), 12).hex() == "abc123"


@given(st.integers(1, 16), st.data())
def test_codes_come_back_and_agree_with_a_bit_string(width: int, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=50))
    text = "".join(format(code, f"0{width}b") for code in codes)
    text += "0" * (-len(text) % 8)
    expected = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    packed = pack_codes(np.array(codes, dtype=np.uint16), width)
    assert packed == expected
    assert unpack_codes(packed, len(codes), width).tolist() == codes


@pytest.mark.parametrize("width", [1, 10, 12, 16])
@pytest.mark.parametrize("extra", [-1, 0, 1, 7])
def test_blocks_leave_no_seam(width: int, extra: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(width).integers(0, 2**width, 3 * 64 + extra).astype(np.uint16)
    whole = pack_codes(codes, width)
    monkeypatch.setattr(bits, "_BLOCK", 64)
    assert pack_codes(codes, width) == whole
    assert np.array_equal(unpack_codes(whole, len(codes), width), codes)


def test_codes_of_a_stream_go_channel_by_channel_frame_by_frame() -> None:
    codes = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert pack_codes(codes, 8) == bytes(range(24))
    assert pack_codes(np.asfortranarray(codes), 8) == bytes(range(24))


@pytest.mark.parametrize("codes", [[1024], [-1], [0, 5000]])
def test_codes_out_of_range_are_refused(codes: list[int]) -> None:
    with pytest.raises(ValueError, match="codes must be in 0..1023"):
        pack_codes(np.array(codes), 10)


def test_a_payload_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="do not hold exactly"):
        unpack_codes(bytes(3), 2, 10 + 2 * 3)


@pytest.mark.parametrize("width", [0, 17, 24])
def test_a_code_has_1_to_16_bits(width: int) -> None:
    with pytest.raises(ValueError, match="1 to 16"):
        pack_codes(np.array([0]), width)
    with pytest.raises(ValueError, match="1 to 16"):
        unpack_codes(bytes(-(-width // 8)), 1, width)
