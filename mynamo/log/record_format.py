"""Messages as Kafka stores them in a batch (records of format 2), many written at a time.

kafka-python writes each message by itself, which costs more than all else that a relay does for
an event. The format: https://kafka.apache.org/documentation/#record
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

Content = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Key, value, headers of a message."""

_LENGTH_BYTES = 5
"""Of a record's length and of its number, together at the most, for what fits into a batch."""


@dataclass(frozen=True, slots=True)
class Records:
    """The messages of one batch.

    Attributes:
        count: how many.
        largest: bytes of the largest one, without its length.
        data: all of them.
    """

    count: int
    largest: int
    data: bytes


def records_of(messages: Iterable[Content], limit: int) -> Iterator[Records]:
    """Write messages as records of batches, in their order. All have the time of their batch.

    Args:
        limit: bytes of a batch, if it has more than one message.
    """
    parts: list[bytes] = []
    count = size = largest = 0
    for key, value, headers in messages:
        body = _body(key, value, headers)
        length = len(body)
        if count and size + length + 2 * _LENGTH_BYTES > limit:
            yield Records(count, largest, b"".join(parts))
            parts, count, size, largest = [], 0, 0, 0
        number = _varint(count)
        # Length; attributes and time since the batch's, none of which it has; number; the rest.
        parts += (_varint(length + len(number) + 2), b"\0\0", number, body)
        count += 1
        size += length + 2 * _LENGTH_BYTES
        largest = max(largest, length)
    if count:
        yield Records(count, largest, b"".join(parts))


def _body(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> bytes:
    parts = [
        _ABSENT if key is None else _varint(len(key)),
        key or b"",
        _ABSENT if value is None else _varint(len(value)),
        value or b"",
        _varint(len(headers)),
    ]
    for name, content in headers:
        parts += (_name(name), _varint(len(content)), content)
    return b"".join(parts)


@lru_cache(256)
def _name(text: str) -> bytes:
    name = text.encode()
    return _varint(len(name)) + name


@lru_cache(8192)
def _varint(number: int) -> bytes:
    """A number that is not negative, in zigzag form, seven bits a byte, the lowest first."""
    number *= 2
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


_ABSENT = b"\1"
"""In place of the length: minus one."""
