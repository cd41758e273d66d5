"""HTTP requests as they came in, and answers as they go out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


@dataclass(slots=True)
class Request:
    """One request, whole.

    Attributes:
        method: in upper case.
        target: path and query as they came, still encoded.
        headers: by name in lower case; several of one name are joined by commas.
        body: after HTTP's own chunking, before decompression.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


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


def refusal(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The bytes of an answer that says no; the connection ends after it."""
    first_line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()
    return head(first_line, [*headers, (b"content-length", b"0"), (b"connection", b"close")])
