"""Asking a `Service` in process, as a client would."""

from __future__ import annotations

from typing import Any

import orjson

from mynamo.gateway.service import Answer, Service


def ask(service: Service, operation: str, /, **request: Any) -> dict[str, Any]:
    """The answer of an operation that succeeds."""
    answer = service.call(operation, orjson.dumps(request), {})
    assert answer.status == 200, answer
    body: dict[str, Any] = orjson.loads(answer.body)
    return body


def refused(service: Service, operation: str, /, **request: Any) -> tuple[str, str]:
    """The exception and the message of an operation that does not."""
    return error_of(service.call(operation, orjson.dumps(request), {}))


def error_of(answer: Answer) -> tuple[str, str]:
    """The exception (without its namespace) and the message of an answer."""
    assert answer.status >= 400, answer
    body = orjson.loads(answer.body)
    return body["__type"].partition("#")[2], body.get("message", body.get("Message", ""))


def keyed(*names: str) -> list[dict[str, str]]:
    """A KeySchema: "a" or "a:RANGE"."""
    parts = [name.partition(":") for name in names]
    return [{"AttributeName": name, "KeyType": kind or "HASH"} for name, _, kind in parts]


def defined(*names: str) -> list[dict[str, str]]:
    """AttributeDefinitions: "a" or "a:N"."""
    parts = [name.partition(":") for name in names]
    return [{"AttributeName": name, "AttributeType": kind or "S"} for name, _, kind in parts]


def index(name: str, *keys: str, **more: Any) -> dict[str, Any]:
    """A GSI or LSI that projects everything."""
    projection = {"ProjectionType": "ALL"}
    return {"IndexName": name, "KeySchema": keyed(*keys), "Projection": projection} | more


def on_demand(name: str, *keys: str, **more: Any) -> dict[str, Any]:
    """A CreateTable request without capacity; the keys "a" and "a:RANGE" are strings."""
    return {
        "TableName": name,
        "KeySchema": keyed(*keys),
        "AttributeDefinitions": defined(*(key.partition(":")[0] for key in keys)),
        "BillingMode": "PAY_PER_REQUEST",
    } | more
