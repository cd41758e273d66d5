"""A client that costs little: JSON over one kept connection, signed in form only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http.client import HTTPConnection
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

TOKEN = "x-mynamo-consistency-token"
_TARGET = "DynamoDB_20120810."
_SIGNED_IN_FORM = (
    "AWS4-HMAC-SHA256 Credential=anyone/20260101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host;x-amz-target, Signature=abc"
)


class Caller:
    """Sends operations, one after another.

    Args:
        url: of a server that accepts any credentials.

    Attributes:
        tokens: that the server gave for writes, in their order.
    """

    def __init__(self, url: str) -> None:
        self.connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
        self.tokens: list[str] = []

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.connection.close()

    def __call__(
        self, operation: str, request: dict[str, Any], after: Sequence[str] = ()
    ) -> tuple[int, dict[str, Any]]:
        """The HTTP status and the answer.

        Args:
            after: tokens of writes that the answer must show.
        """
        headers = {
            "X-Amz-Target": _TARGET + operation,
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": _SIGNED_IN_FORM,
        }
        if after:
            headers[TOKEN] = ",".join(after)
        self.connection.request("POST", "/", json.dumps(request).encode(), headers)
        response = self.connection.getresponse()
        body = response.read()
        token = response.getheader(TOKEN)
        if token:
            self.tokens += token.split(",")
        return response.status, json.loads(body)
