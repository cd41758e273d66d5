"""Page tokens: they carry a position, and belong to one reading."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.errors import InvalidToken
from mynamo.reader.page_tokens import Order, Reading, dump_page_token, fingerprint, parse_page_token
from tests.strategies import binaries

READING = Reading(7, 3, Order.ASCENDING, fingerprint(1, b"hash", (("=", b"x"),)))
POSITIONS = st.lists(binaries(max_size=40), min_size=1, max_size=4).map(tuple)


@given(POSITIONS)
def test_a_token_gives_its_position_back(position: tuple[bytes, ...]) -> None:
    token = dump_page_token(READING, position)
    assert token.isascii()
    assert not set(token) & set("=+/")
    assert parse_page_token(token, READING, len(position)) == position


def test_the_longest_position_fits() -> None:
    position = (b"h" * 16, b"\xff" * 1024, b"m" * 16, b"\x00" * 1024)
    token = dump_page_token(READING, position)
    assert parse_page_token(token, READING, 4) == position


@given(POSITIONS, st.data())
def test_a_damaged_token_is_refused(position: tuple[bytes, ...], data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(_padded(dump_page_token(READING, position))))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidToken):
        parse_page_token(base64.urlsafe_b64encode(raw).decode(), READING, len(position))


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda b: b.hex())))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        parse_page_token(text, READING, 2)


def test_a_token_that_is_cut_off_is_refused() -> None:
    token = dump_page_token(READING, (b"a" * 16, b"b"))
    for length in range(len(token)):
        with pytest.raises(InvalidToken):
            parse_page_token(token[:length], READING, 2)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (replace(READING, table_id=8), "table"),
        (replace(READING, index_id=4), "index"),
        (replace(READING, order=Order.DESCENDING), "order"),
        (replace(READING, order=Order.SCAN), "order"),
        (replace(READING, conditions=fingerprint(1, b"hash", (("=", b"y"),))), "conditions"),
        (replace(READING, conditions=fingerprint(2, b"hash", (("=", b"x"),))), "conditions"),
    ],
)
def test_a_token_of_another_reading_is_refused(other: Reading, word: str) -> None:
    token = dump_page_token(READING, (b"a" * 16, b"b"))
    with pytest.raises(InvalidToken, match=f"another .*{word}|other {word}"):
        parse_page_token(token, other, 2)


def test_a_position_of_other_columns_is_refused() -> None:
    token = dump_page_token(READING, (b"a" * 16, b"b"))
    with pytest.raises(InvalidToken):
        parse_page_token(token, READING, 3)


def _padded(token: str) -> str:
    return token + "=" * (-len(token) % 4)
