"""The page token: where a page ended, and of which query or scan.

A token has the whole key of the last row, so that it stays valid while rows are inserted and
deleted. It also identifies the query or scan, so that it cannot be used for another one. It is
not a secret: it has nothing that the page did not show.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from mynamo.errors import InvalidToken

_HEAD = struct.Struct(">BQQB8s")
_LENGTH = struct.Struct(">H")
_FORMAT = 1


class Order(IntEnum):
    """In which order a reading goes."""

    ASCENDING = 0
    DESCENDING = 1
    SCAN = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """What a token belongs to.

    Attributes:
        index_id: 0 for the table itself.
        conditions: see `fingerprint`.
    """

    table_id: int
    index_id: int
    order: Order
    conditions: bytes


def fingerprint(*conditions: object) -> bytes:
    """Eight bytes that stand for the conditions of a query: their hash key, their range."""
    return hashlib.blake2b(repr(conditions).encode(), digest_size=8).digest()


def dump_page_token(reading: Reading, position: Sequence[bytes]) -> str:
    """The text of a token."""
    body = _HEAD.pack(
        _FORMAT, reading.table_id, reading.index_id, reading.order, reading.conditions
    )
    body += b"".join(_LENGTH.pack(len(part)) + part for part in position)
    return base64.urlsafe_b64encode(body + _checksum(body)).rstrip(b"=").decode()


def parse_page_token(text: str, reading: Reading, parts: int) -> tuple[bytes, ...]:
    """The position that a token names.

    Args:
        text: the token.
        reading: what it is used for.
        parts: of how many columns the position is.

    Raises:
        InvalidToken: it is damaged, or belongs to another reading.
    """
    body = _body(text)
    table_id, index_id, order, conditions = _HEAD.unpack_from(body)[1:]
    if table_id != reading.table_id:
        raise InvalidToken("the page token belongs to another table; start again without it")
    if index_id != reading.index_id:
        raise InvalidToken("the page token belongs to another index; start again without it")
    if order != reading.order:
        raise InvalidToken(
            "the page token belongs to a reading in another order; start again without it"
        )
    if conditions != reading.conditions:
        raise InvalidToken(
            "the page token belongs to a query with other conditions; start again without it"
        )
    position = _position(body[_HEAD.size :])
    if position is None or len(position) != parts:
        raise InvalidToken("the page token is damaged; start again without it")
    return position


def _body(text: str) -> bytes:
    damaged = InvalidToken(f"{str(text)[:100]!r} is not a page token; start again without it")
    if not isinstance(text, str) or not text.isascii():
        raise damaged
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise damaged from None
    body, check = data[:-4], data[-4:]
    if len(body) < _HEAD.size or _checksum(body) != check or body[0] != _FORMAT:
        raise damaged
    return body


def _position(data: bytes) -> tuple[bytes, ...] | None:
    parts = []
    while data:
        if len(data) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(data)
        data = data[_LENGTH.size :]
        if len(data) < length:
            return None
        parts.append(data[:length])
        data = data[length:]
    return tuple(parts)


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")
