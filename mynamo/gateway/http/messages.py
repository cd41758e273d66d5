"""HTTP requests as they came in, answers as they go out, a bound on the bodies of all clients."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple, Protocol

LARGE_BODY = 64 * 1024


class Receiver(Protocol):
    """A connection that a body comes in on."""

    @property
    def receiving(self) -> bool:
        """Whether more of the body is to come."""

    def refuse(self, status: int) -> None:
        """Say no and end the connection."""


class BodyBudget:
    """How many bytes of large bodies the process holds; the slowest client goes first.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[Receiver, int] = {}  # in the order in which they began
        self._total = 0

    def hold(self, connection: Receiver, size: int) -> bool:
        """Count a body that grows; False if it is large and there is no room for it."""
        if size <= LARGE_BODY:
            return True
        self._total += size - self._held.get(connection, 0)
        self._held[connection] = size
        for other in list(self._held):
            if self._total <= self._limit:
                break
            if other is not connection and other.receiving:
                self.release(other)
                other.refuse(408)
        return self._total <= self._limit

    def release(self, connection: Receiver) -> None:
        """Forget a connection's body."""
        self._total -= self._held.pop(connection, 0)


STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Peer(NamedTuple):
    """The other end of a connection.

    Attributes:
        address: of IP; empty: it has none.
        secure: the connection has TLS.
    """

    address: str
    secure: bool


NOBODY = Peer("", False)


@dataclass(slots=True)
class Request:
    """One request, whole.

    Attributes:
        method: in upper case.
        target: path and query as they came, still encoded.
        headers: by name in lower case; several of one name are joined by commas.
        body: after HTTP's own chunking, before decompression.
        peer: who sent it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    peer: Peer = NOBODY
    _hashed: tuple[bytes, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def body_hash(self) -> str:
        """The body's SHA-256 in hexadecimal digits, computed once."""
        if self._hashed is None or self._hashed[0] is not self.body:
            self._hashed = self.body, hashlib.sha256(self.body).hexdigest()
        return self._hashed[1]


@dataclass(slots=True)
class Response:
    """An answer.

    Attributes:
        headers: without Content-Length, Date and Connection, which the server adds.
        last: the connection ends after it.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    last: bool = False


def head(first_line: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a request or an answer up to its body."""
    lines = [first_line, *(b"%s: %s" % header for header in headers), b"\r\n"]
    return b"\r\n".join(lines)


def refusal(status: int, date: bytes) -> bytes:
    """The bytes of an answer that says no; the connection ends after it.

    Args:
        date: the header's line, with its end.
    """
    return b"%s%scontent-length: 0\r\nconnection: close\r\n\r\n" % (STATUS_LINES[status], date)
