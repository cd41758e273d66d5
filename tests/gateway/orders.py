"""A table with every kind of index, and calls of the data plane on it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from mynamo.gateway.operations.consistency import TOKEN_HEADER
from mynamo.gateway.service import Answer, Service
from tests.gateway.asking import ask, defined, error_of, index, keyed
from tests.waiting import eventually


def key(h: str = "p", r: int | str = 1) -> dict[str, Any]:
    """A key of the table."""
    return {"h": {"S": h}, "r": {"N": str(r)}}


@dataclass
class Orders:
    """The table: key (h, r:N), LSI `local` on l (keys only), GSI `global` on (g, s:N) with the
    attribute a, GSI `whole` on g with everything.

    Attributes:
        tokens: of all writes so far.
    """

    service: Service
    name: str
    tokens: list[str]

    def call(self, operation: str, token: str | None = None, /, **request: Any) -> Answer:
        """Call an operation on the table, whatever comes of it."""
        body = orjson.dumps({"TableName": self.name} | request)
        answer = self.service.call(operation, body, {TOKEN_HEADER: token} if token else {})
        if TOKEN_HEADER in answer.headers:
            self.tokens.append(answer.headers[TOKEN_HEADER])
        return answer

    def ask(self, operation: str, token: str | None = None, /, **request: Any) -> dict[str, Any]:
        """The answer of an operation that succeeds."""
        answer = self.call(operation, token, **request)
        assert answer.status == 200, answer
        body: dict[str, Any] = orjson.loads(answer.body)
        return body

    def refusal(self, operation: str, /, **request: Any) -> str:
        """The message of a ValidationException."""
        kind, message = error_of(self.call(operation, **request))
        assert kind == "ValidationException", (kind, message)
        return message

    def put(self, **item: Any) -> dict[str, Any]:
        """Put an item; h and r are "p" and 1 unless given."""
        return self.ask("PutItem", Item=key() | item)

    def get(self, h: str = "p", r: int | str = 1) -> dict[str, Any] | None:
        """An item, or None."""
        found: dict[str, Any] | None
        found = self.ask("GetItem", Key=key(h, r), ConsistentRead=True).get("Item")
        return found

    def caught_up(self) -> None:
        """Wait until the indexes have all writes so far, and the workers have started."""

        def answered() -> bool:
            return self.call("Scan", self.written(), IndexName="global").status == 200

        eventually(answered)

    def written(self) -> str:
        """All tokens so far, as a request sends them."""
        return ",".join(self.tokens)


def orders(service: Service, **other: Any) -> Orders:
    """Create the table, empty, under a name of its own.

    Args:
        other: members of the CreateTable request in place of the usual ones.
    """
    name = f"orders-{uuid.uuid4().hex[:10]}"
    usual: dict[str, Any] = {
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": keyed("h", "r:RANGE"),
        "AttributeDefinitions": defined("h", "r:N", "l", "g", "s:N"),
        "LocalSecondaryIndexes": [
            index("local", "h", "l:RANGE", Projection={"ProjectionType": "KEYS_ONLY"}),
        ],
        "GlobalSecondaryIndexes": [
            index(
                "global", "g", "s:RANGE",
                Projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a"]},
            ),
            index("whole", "g"),
        ],
    }  # fmt: skip
    ask(service, "CreateTable", TableName=name, **usual | other)

    def active() -> bool:
        status: str = ask(service, "DescribeTable", TableName=name)["Table"]["TableStatus"]
        return status == "ACTIVE"

    eventually(active)
    return Orders(service, name, [])
