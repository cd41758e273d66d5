"""From the bytes of a request's body to a JSON object."""

from __future__ import annotations

from typing import Any

import orjson

from mynamo.gateway.errors import ServiceError


def parse(body: bytes) -> dict[str, Any]:
    """Read a request's JSON.

    The parser works without recursion to speak of: it refuses more than 1,024 levels of
    nesting. Of a name that appears twice the last value counts, as with DynamoDB.

    Raises:
        ServiceError: SerializationException; DynamoDB gives it no text for what is not JSON
            at all (or not UTF-8, or has NaN in it), and neither does this.
    """
    try:
        request = orjson.loads(body)
    except ValueError:
        raise ServiceError("SerializationException") from None
    if type(request) is dict:
        return request
    if type(request) is list:
        raise not_serializable("Start of list found where not expected")
    raise ServiceError("SerializationException")


def not_serializable(message: str) -> ServiceError:
    """The error for JSON of a wrong type."""
    return ServiceError("SerializationException", message)
