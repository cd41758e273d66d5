"""Messages as Kafka stores them in a batch (records of format 2), many written or read at a time.

kafka-python writes and reads each message by itself, which costs more than all else that a relay
does for an event, and as much as half of what an indexer does. The format:
https://kafka.apache.org/documentation/#record
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


class Record:
    """A message that was read.

    Attributes:
        timestamp: when it was written, Unix milliseconds; negative: not known.
        headers: are read when they are asked for.
    """

    __slots__ = ("_rest", "key", "offset", "partition", "timestamp", "topic", "value")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        rest: bytes,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self._rest = rest

    def header(self, name: str) -> bytes | None:
        """What one header says; None: there is none of that name.

        Raises:
            ValueError: they are damaged.
        """
        if name.encode() not in self._rest:
            return None
        return dict(self.headers).get(name)

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """In their order.

        Raises:
            ValueError: they are damaged.
        """
        found = []
        count, at = _number(self._rest, 0)
        for _ in range(count):
            name, at = _bytes(self._rest, at)
            content, at = _bytes(self._rest, at)
            found.append(((name or b"").decode(), content))
        if at != len(self._rest):
            raise ValueError("there is something behind the headers")
        return found


def read_records(
    data: bytes, count: int, topic: str, partition: int, base_offset: int, first_timestamp: int
) -> list[Record]:
    """Read the records of a batch.

    Args:
        base_offset, first_timestamp: to which each record's own numbers are added.

    Raises:
        ValueError: they are damaged.
    """
    records = []
    at = 0
    for _ in range(count):
        length, at = _number(data, at)
        end = at + length
        later, at = _number(data, at + 1)  # behind the attributes
        number, at = _number(data, at)
        size, at = _number(data, at)
        key = None
        if size >= 0:
            key = data[at : at + size]
            at += size
        size, at = _number(data, at)
        value = None
        if size >= 0:
            value = data[at : at + size]
            at += size
        if at >= end or end > len(data):
            raise ValueError("a record is longer than it says")
        records.append(
            Record(
                topic, partition, base_offset + number, first_timestamp + later, key, value,
                data[at:end],
            )
        )  # fmt: skip
        at = end
    if at != len(data):
        raise ValueError("there is something behind the records")
    return records


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _number(data, at)
    if length < 0:
        return None, at
    end = at + length
    return data[at:end], end


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next one is; see `_varint`."""
    try:
        number = data[at]
        if number < 0x80:
            return (number >> 1) ^ -(number & 1), at + 1
        byte = data[at + 1]
        if byte < 0x80:
            number = number & 0x7F | byte << 7
            return (number >> 1) ^ -(number & 1), at + 2
        number &= 0x7F
        shift = 7
        while byte > 0x7F:
            number |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            byte = data[at + 1]
    except IndexError:
        raise ValueError("a record ends too early") from None
    number |= byte << shift
    return (number >> 1) ^ -(number & 1), at + 2


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
