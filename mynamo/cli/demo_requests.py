"""The load of `mynamo demo-watch`: requests of DynamoDB's API, from several threads."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mynamo.cli.demo_load import quantile
from mynamo.cli.demo_orders import TABLE, order, order_key
from mynamo.cli.demo_threads import WhileInside
from mynamo.errors import MynamoError
from mynamo.local.ports import LOOPBACK
from mynamo.schemas.items import to_stored

THREADS = 4
PAUSE = 0.012
"""Seconds between two requests of a thread: the machine has other work."""
TIMEOUT = 30.0
EXPIRE_SECONDS = 45
EXPIRY = "expires_at"
SHARES = {"GetItem": 40, "UpdateItem": 30, "Query": 15, "PutItem": 10, "TransactWriteItems": 5}
"""Of a hundred requests."""
UNSIGNED = {
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host;x-amz-date;x-amz-target, Signature=any",
}
"""A signature, whatever it is: `mynamo serve --no-auth` wants one and looks at none."""


class Api:
    """DynamoDB's API on a port of this machine, for one thread; signatures are not looked at."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT)

    def call(self, operation: str, request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send a request.

        Returns:
            The status of HTTP, 0 if nothing was answered; and the answer.
        """
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            **UNSIGNED,
        }
        try:
            self._connection.request("POST", "/", json.dumps(request), headers)
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()  # the next request opens it again
            return 0, {"message": f"{type(error).__name__}: {error}"}

    def must(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request that has to succeed.

        Raises:
            MynamoError: it did not.
        """
        self._connection.close()  # the server ends connections that nobody uses for a while
        status, answer = self.call(operation, request)
        if status != 200:
            reason = answer.get("message") or answer.get("Message") or answer
            raise MynamoError(f"{operation} was answered with {status}: {reason}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(slots=True)
class Changes:
    """How often an item was changed.

    Attributes:
        least: changes that were acknowledged.
        most: these, and those of which the answer does not say whether they were made.
    """

    least: int = 0
    most: int = 0


class RequestLoad(WhileInside):
    """Sends requests until the block ends. Each thread changes orders of its own.

    Args:
        port: of the API.
        count: of orders that are there.

    Attributes:
        requests, failed: how many were answered, and how many of these with 5xx or not at all.
    """

    def __init__(self, port: int, count: int) -> None:
        self.requests = self.failed = 0
        self._port = port
        self._count = count
        self._changed: list[dict[int, Changes]] = [{} for _ in range(THREADS)]
        self._recent: list[float] = []
        self._recent_failed = 0
        self._lock = threading.Lock()
        super().__init__(*(partial(self._work, number) for number in range(THREADS)))

    def recent(self) -> tuple[int, int, float]:
        """Since the last call: requests, failed ones, and their p99 in seconds."""
        with self._lock:
            taken, failed = sorted(self._recent), self._recent_failed
            self._recent, self._recent_failed = [], 0
        return len(taken), failed, quantile(taken, 0.99)

    def lost(self) -> tuple[int, int]:
        """Read back all orders that were changed, once the block has ended.

        Returns:
            How many there are, and how many of them have fewer changes than were acknowledged, or
            more than were asked for.
        """
        wanted = {n: changes for each in self._changed for n, changes in each.items()}
        api, wrong = Api(self._port), 0
        for numbers in (list(wanted)[at : at + 100] for at in range(0, len(wanted), 100)):
            found: dict[str, int] = {}
            keys = [to_stored(order_key(n)) for n in numbers]
            while keys:
                request = {TABLE: {"Keys": keys, "ConsistentRead": True}}
                answer = api.must("BatchGetItem", {"RequestItems": request})
                for item in answer["Responses"].get(TABLE, []):
                    found[item["order_id"]["S"]] = int(item.get("changes", {"N": "0"})["N"])
                keys = answer.get("UnprocessedKeys", {}).get(TABLE, {}).get("Keys", [])
            for n in numbers:
                there = found.get(order_key(n)["order_id"], -1)
                wrong += not wanted[n].least <= there <= wanted[n].most
        api.close()
        return len(wanted), wrong

    def _work(self, thread: int) -> None:
        chosen = random.Random(thread)  # noqa: S311 - which orders
        api, new = Api(self._port), self._count + thread
        while not self._stop.wait(PAUSE):
            (operation,) = chosen.choices(list(SHARES), list(SHARES.values()))
            number = chosen.randrange(self._count // THREADS) * THREADS + thread
            changed: tuple[int, ...] = ()
            if operation == "PutItem":
                new += THREADS
                request = _put(new)
            elif operation == "TransactWriteItems":
                changed = tuple(
                    {number, chosen.randrange(self._count // THREADS) * THREADS + thread}
                )
                request = {"TransactItems": [{"Update": _update(n)} for n in changed]}
            elif operation == "UpdateItem":
                changed = (number,)
                request = _update(number)
            else:
                request = _read(operation, number)
            began = time.monotonic()
            status, _ = api.call(operation, request)
            self._count_in(time.monotonic() - began, status)
            for n in changed:
                changes = self._changed[thread].setdefault(n, Changes())
                changes.least += status == 200
                changes.most += status == 200 or status == 0 or status >= 500
        api.close()

    def _count_in(self, seconds: float, status: int) -> None:
        failed = status == 0 or status >= 500
        with self._lock:
            self.requests += 1
            self.failed += failed
            self._recent.append(seconds)
            self._recent_failed += failed


def _put(number: int) -> dict[str, Any]:
    expires = {EXPIRY: int(time.time()) + EXPIRE_SECONDS}
    return {"TableName": TABLE, "Item": to_stored({**order(number), **expires})}


def _update(number: int) -> dict[str, Any]:
    return {
        "TableName": TABLE, "Key": to_stored(order_key(number)),
        "UpdateExpression": "ADD changes :one", "ExpressionAttributeValues": {":one": {"N": "1"}},
    }  # fmt: skip


def _read(operation: str, number: int) -> dict[str, Any]:
    if operation == "GetItem":
        return {"TableName": TABLE, "Key": to_stored(order_key(number))}
    wanted = order(number)
    return {
        "TableName": TABLE, "IndexName": "by_status", "Limit": 10,
        "KeyConditionExpression": "#status = :status AND customer_id = :customer",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": to_stored(
            {":status": wanted["status"], ":customer": wanted["customer_id"]}
        ),
    }  # fmt: skip
