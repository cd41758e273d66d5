"""Requests that a broken or hostile client might send, drawn from a seed.

Each begins as a request that AWS's own description of the API allows, in part with values
that mean something here (the table's name, its keys, expressions), and is then spoiled.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import botocore.session

TABLE = "fuzz"
VICTIM = "fuzz-victim"
"""The table that requests may drop or change."""
OPERATIONS = (
    "CreateTable", "UpdateTable", "DeleteTable", "DescribeTable", "ListTables", "PutItem",
    "GetItem", "UpdateItem", "DeleteItem", "Query", "Scan", "BatchGetItem", "BatchWriteItem",
    "TagResource", "UntagResource", "ListTagsOfResource", "DescribeLimits", "DescribeEndpoints",
    "DescribeTimeToLive", "UpdateTimeToLive", "DescribeContinuousBackups", "TransactGetItems",
    "TransactWriteItems",
)  # fmt: skip
CHANGES_TABLES = frozenset({"CreateTable", "UpdateTable", "DeleteTable", "UpdateTimeToLive"})
DEPTH = 6
"""Levels of a request before its generator stops adding optional members."""

WORDS = (
    "SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "BETWEEN", "IN", "(", ")", ",", "=",
    "<>", "<", "<=", ">", ">=", "+", "-", "[0]", "[99999999999]", "[", "]", ".", "#a", "#b", ":a",
    ":b", ":c", "a", "pk", "sk", "a.b", "a[1].b", "size(a)", "attribute_exists(a)",
    "begins_with(sk, :a)", "contains(a, :a)", "list_append(a, :b)", "if_not_exists(a, :c)",
    "attribute_type(a, :a)", "nonsense(a)", "name", "'", '"', "\\", "\u2028", "\u00e9", "\x00",
)  # fmt: skip
TEXTS = (
    "", " ", "a", "pk", "sk", "#a", ":a", "x" * 300, "x" * 3_000, "\u00e9\U0001f600", "\x00\x01",
    "1", "-0", "1e999", "1E-131", "NaN", "0x10", "9" * 39, "AA==", "AA", "====", "HASH", "RANGE",
    "ALL", "KEYS_ONLY", "INCLUDE", "S", "N", "B", "SS", "NULL", "EQ", "TOTAL", "ALL_OLD", TABLE,
    "by_a", "../etc", "arn:aws:dynamodb:us-east-1:000000000000:table/fuzz", "arn:::::", "None",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 99, 1_000_001, 2**31, 2**63, 2**64, -(2**63) - 1, 1.5, -0.0, 1e300)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request: what it was made from, how it was spoiled, and its bytes."""

    operation: str
    how: str
    body: bytes
    headers: dict[str, str]


def headers_of(operation: str) -> dict[str, str]:
    """The headers of a request whose signature nobody checks."""
    return {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": (
            "AWS4-HMAC-SHA256 Credential=anyone/20260101/us-east-1/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=0"
        ),
    }


class Fuzzer:
    """An endless supply of attempts.

    Args:
        seed: the same seed gives the same attempts.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        model = botocore.session.get_session().get_service_model("dynamodb")
        self._shapes = {name: model.operation_model(name).input_shape for name in OPERATIONS}
        self._spoilers: list[Callable[[Any], Any]] = [
            self._as_it_is, self._other_value, self._other_value, self._without, self._with_more,
            self._deep, self._huge, self._several,
        ]  # fmt: skip

    def attempt(self) -> Attempt:
        """The next one."""
        operation = self._random.choice(OPERATIONS)
        request = self._value(self._shapes[operation], "", 0, operation)
        spoil = self._random.choice(self._spoilers)
        spoiled = spoil(request)
        body = json.dumps({} if spoiled is _GONE else spoiled).encode()
        how = spoil.__name__.strip("_")
        headers = headers_of(operation)
        if self._random.random() < 0.15:
            how, body = "broken text", self._broken(body)
        elif self._random.random() < 0.03:
            how = "odd headers"
            headers[self._random.choice(list(headers))] = self._random.choice(TEXTS[:9]).strip(
                "\x00\x01\u00e9\U0001f600"
            )
        elif self._random.random() < 0.03:
            how, headers["Content-Encoding"] = "odd encoding", self._random.choice(["gzip", "br"])
        return Attempt(operation, how, body, headers)

    def _value(self, shape: Any, member: str, depth: int, operation: str) -> Any:
        if shape is None:
            return {}
        known = self._known(member, operation)
        if known is not None and self._random.random() < 0.8:
            return known
        if shape.name == "AttributeValue":
            return self._attribute(depth)
        if shape.type_name == "structure":
            chosen = [
                name for name in shape.members
                if name in shape.required_members
                or (depth < DEPTH and self._random.random() < 0.5 / (depth + 1))
            ]  # fmt: skip
            return {
                name: self._value(shape.members[name], name, depth + 1, operation)
                for name in chosen
            }
        if shape.type_name == "list":
            count = self._random.choice([0, 1, 1, 2, 3])
            return [self._value(shape.member, "", depth + 1, operation) for _ in range(count)]
        if shape.type_name == "map":
            names = self._random.sample(["pk", "sk", "a", "#a", ":a", ":b", TABLE], k=2)
            return {name: self._value(shape.value, "", depth + 1, operation) for name in names}
        if shape.type_name in ("integer", "long", "double", "float"):
            return self._random.choice(NUMBERS[:6])
        if shape.type_name == "boolean":
            return self._random.random() < 0.5
        if shape.type_name == "string" and shape.enum:
            return self._random.choice(shape.enum)
        return self._random.choice(TEXTS)

    def _known(self, member: str, operation: str) -> Any:
        if member == "TableName":
            return VICTIM if operation in CHANGES_TABLES else TABLE
        if member in ("Key", "ExclusiveStartKey"):
            return {"pk": {"S": "x"}, "sk": {"N": "1"}}
        if member == "Item":
            return {"pk": {"S": "x"}, "sk": {"N": "1"}, "a": self._attribute(1)}
        if member == "IndexName":
            return "by_a"
        if member.endswith("Expression"):
            return " ".join(self._random.choices(WORDS, k=self._random.randint(1, 12)))
        if member == "ExpressionAttributeNames":
            return {"#a": "a"}
        if member == "ResourceArn":
            return f"arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}"
        return None

    def _attribute(self, depth: int) -> Any:
        kind = self._random.choice(["S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"])
        if kind == "L" and depth < DEPTH:
            return {"L": [self._attribute(depth + 1) for _ in range(self._random.randint(0, 3))]}
        if kind == "M" and depth < DEPTH:
            return {"M": {"b": self._attribute(depth + 1)}}
        if kind in ("SS", "NS", "BS"):
            good = {"SS": ["x", "y"], "NS": ["1", "2"], "BS": ["AA==", "/w=="]}[kind]
            return {kind: self._random.choice([good, good, [], ["1", "1"], ["x"]])}
        if kind in ("BOOL", "NULL"):
            return {kind: self._random.choice([True, True, False])}
        good_one = {"N": "1.5", "B": "AA=="}.get(kind, "x")
        return {kind: self._random.choice([good_one, good_one, self._random.choice(TEXTS)])}

    def _as_it_is(self, request: Any) -> Any:
        return request

    def _several(self, request: Any) -> Any:
        for _ in range(3):
            spoil = self._random.choice([self._other_value, self._without, self._with_more])
            spoiled = spoil(request)
            request = {} if spoiled is _GONE else spoiled
        return request

    def _other_value(self, request: Any) -> Any:
        return self._at_some_place(request, lambda _: self._anything())

    def _without(self, request: Any) -> Any:
        return self._at_some_place(request, lambda _: _GONE)

    def _with_more(self, request: Any) -> Any:
        def more(value: Any) -> Any:
            if isinstance(value, dict):
                name = self._random.choice([*TEXTS, "Item", "Key", "S", "N", "M"])
                return {**value, name: self._anything()}
            return [value, value]

        return self._at_some_place(request, more)

    def _deep(self, request: Any) -> Any:
        def deep(value: Any) -> Any:
            levels = self._random.choice([30, 33, 200, 300])  # json.dumps copes with no more
            for _ in range(levels):
                value = self._random.choice([{"L": [value]}, {"M": {"a": value}}])
                if self._random.random() < 0.1:
                    value = [value]
            return value

        return self._at_some_place(request, deep)

    def _huge(self, request: Any) -> Any:
        def huge(value: Any) -> Any:
            size = self._random.choice([5_000, 70_000, 450_000])
            return self._random.choice(
                ["x" * size, ["x"] * (size // 20), {str(n): {"S": "x"} for n in range(size // 50)}]
            )

        return self._at_some_place(request, huge)

    def _anything(self) -> Any:
        return self._random.choice(
            [None, True, False, self._random.choice(NUMBERS), self._random.choice(TEXTS), [], {},
             [None], [[]], {"S": 1}, {"": ""}, {"S": "x", "N": "1"}, {"M": []}, {"L": {}}]
        )  # fmt: skip

    def _at_some_place(self, value: Any, change: Callable[[Any], Any]) -> Any:
        """Change one node of a tree, each with some chance on the way down."""
        if self._random.random() < 0.25 or not isinstance(value, dict | list) or not value:
            return change(value)
        if isinstance(value, dict):
            name = self._random.choice(list(value))
            new = self._at_some_place(value[name], change)
            rest = {k: v for k, v in value.items() if k != name}
            return rest if new is _GONE else {**rest, name: new}
        place = self._random.randrange(len(value))
        new = self._at_some_place(value[place], change)
        return [*value[:place], *([] if new is _GONE else [new]), *value[place + 1 :]]

    def _broken(self, body: bytes) -> bytes:
        place = self._random.randrange(len(body) + 1)
        return self._random.choice(
            [
                body[:place],
                body[:place] + bytes(self._random.choices(range(256), k=3)) + body[place:],
                body + b"}",
                b"\xef\xbb\xbf" + body,
                body.replace(b'"', b"'"),
                body.replace(b'"x"', b'"\\ud800"'),
                body.replace(b'"1"', b"NaN"),
                body.decode("utf-8", "replace").encode("utf-16"),
                b"",
                b"null",
                b"[" * 100_000,
                b'{"Item":' * 50_000,
                b"\x00" * 1_000,
            ]
        )


class _Gone:
    pass


_GONE: Any = _Gone()
