"""HTTP requests as they came in, and answers as they go out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus


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
        headers: without Content-Length, Date and Connection, which `encode` adds.
        last: the connection ends after it.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    last: bool = False


def encode(response: Response, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """The bytes of an answer.

    Args:
        keep_alive: whether the connection stays open.
        with_body: false for the answer to HEAD, which announces a body and has none.
    """
    lines = [_STATUS_LINES[response.status], _date_line()]
    lines += [f"{name}: {value}\r\n" for name, value in response.headers.items()]
    lines.append(f"content-length: {len(response.body)}\r\n")
    lines.append("\r\n" if keep_alive else "connection: close\r\n\r\n")
    head = "".join(lines).encode("latin-1", "replace")
    return head + response.body if with_body else head


_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
_date: tuple[int, str] = (0, "")


def _date_line() -> str:
    """SDKs correct their clock by the answer's date; it is formatted once a second."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, f"date: {formatdate(now, usegmt=True)}\r\n")
    return _date[1]
