"""HTTP requests as they came in, and answers as they go out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
