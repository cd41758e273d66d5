"""Races of transactions on running servers of DynamoDB's API: what each of them lets happen.

    python benchmarks/transaction_races.py
    python benchmarks/transaction_races.py --contenders mynamo --shards 4 --races 100

Each race has eight clients that begin at the same moment, over HTTP:

create      eight transactions put one and the same absent key on condition that it is absent, each
            with an item of its own. One must win.
halves      transactions set two items to the same number; others read both by TransactGetItems
            meanwhile. No answer may have two numbers.
opposite    transactions over the same two items, half of them in opposite order. Each must happen
            or be refused with TransactionConflict; no answer may be a 5xx.
puts        plain puts of one item without a condition. None may be refused.

Servers that do not have transactions are left out of the tables. mynamo has `--shards` shards;
each hash key has a shard by its hash, so nearly all of these transactions span shards.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
from http_requests import HEADERS, Body, call
from peers import Contender, contender_name, contenders, say

CLIENTS = 8
READS = 100
"""Of each reading client in a race of halves."""
TABLE = "races"
DEFAULT = ("mynamo", "dynoxide")

Answer = tuple[int, Body]
"""Status and body; status 0: no answer."""


class Client:
    """One connection to a server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, target: str, body: Body) -> Answer:
        """Call an operation."""
        headers = {"X-Amz-Target": f"DynamoDB_20120810.{target}", **HEADERS}
        try:
            self._connection.request("POST", "/", orjson.dumps(body), headers)
            response = self._connection.getresponse()
            return response.status, orjson.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0, {}


def _item(key: str, number: int = 0) -> Body:
    return {"id": {"S": key}, "n": {"N": str(number)}}


def _put(key: str, number: int = 0, condition: str | None = None) -> Body:
    put: Body = {"TableName": TABLE, "Item": _item(key, number)}
    if condition:
        put["ConditionExpression"] = condition
    return {"Put": put}


def _add(key: str) -> Body:
    return {
        "Update": {
            "TableName": TABLE,
            "Key": {"id": {"S": key}},
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    }


def _kind(answer: Answer) -> str:
    status, body = answer
    if status == 200:
        return "done"
    name = str(body.get("__type", "")).rpartition("#")[2]
    if status >= 500 or not status:
        return f"{status} {name}".strip() if status else "no answer"
    codes = {reason.get("Code") for reason in body.get("CancellationReasons", ())} - {"None"}
    return "+".join(sorted(codes)) or name or str(status)


def race(port: int, works: Sequence[Callable[[Client], Any]]) -> list[Any]:
    """Do all works at the same moment, each with a connection of its own."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[Client], Any]) -> Any:
        client = Client(port)
        start.wait()
        return work(client)

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


def create(port: int, number: int) -> Counter[str]:
    """One race of eight transactions for one key."""
    key = f"unique-{number}"

    def write(own: int) -> Callable[[Client], Answer]:
        items = [_put(key, own, "attribute_not_exists(id)"), _put(f"{key}-of-{own}")]
        return lambda client: client.ask("TransactWriteItems", {"TransactItems": items})

    answers = race(port, [write(own) for own in range(CLIENTS)])
    winners = sum(status == 200 for status, _ in answers)
    found = Counter(_kind(answer) for answer in answers if answer[0] >= 500 or not answer[0])
    found["races"] = 1
    found["several winners"] = winners > 1
    found["no winner"] = winners == 0
    return found


def halves(port: int, number: int) -> Counter[str]:
    """Four writers of two items and four readers of both."""
    keys = [f"half-{number}-{side}" for side in "ab"]
    over = threading.Event()

    def write(own: int) -> Callable[[Client], Counter[str]]:
        def work(client: Client) -> Counter[str]:
            found: Counter[str] = Counter()
            step = own
            while not over.is_set():
                step += CLIENTS
                body = {"TransactItems": [_put(key, step) for key in keys]}
                found[f"writes: {_kind(client.ask('TransactWriteItems', body))}"] += 1
            return found

        return work

    def read(client: Client) -> Counter[str]:
        found: Counter[str] = Counter()
        gets = [{"Get": {"TableName": TABLE, "Key": {"id": {"S": key}}}} for key in keys]
        for _ in range(READS):
            answer = client.ask("TransactGetItems", {"TransactItems": gets})
            found[f"reads: {_kind(answer)}"] += 1
            if answer[0] == 200:
                numbers = {str(got.get("Item", {}).get("n")) for got in answer[1]["Responses"]}
                found["reads of half a transaction"] += len(numbers) > 1
        over.set()
        return found

    half = CLIENTS // 2
    return sum(race(port, [write(own) for own in range(half)] + [read] * half), Counter())


def opposite(port: int, number: int) -> Counter[str]:
    """Eight transactions over two items, by turns in either order."""
    keys = [f"opposite-{number}-{side}" for side in "ab"]

    def write(own: int) -> Callable[[Client], Answer]:
        items = [_add(key) for key in (keys if own % 2 else keys[::-1])]
        return lambda client: client.ask("TransactWriteItems", {"TransactItems": items})

    answers = race(port, [write(own) for own in range(CLIENTS)])
    found = Counter(_kind(answer) for answer in answers)
    client = Client(port)
    sums = [
        client.ask("GetItem", {"TableName": TABLE, "Key": {"id": {"S": key}},
                               "ConsistentRead": True})[1].get("Item", {}).get("n", {}).get("N")
        for key in keys
    ]  # fmt: skip
    found["lost or doubled"] = sums != [str(found["done"])] * 2 and found["done"] > 0
    return found


def puts(port: int, number: int) -> Counter[str]:
    """Eight plain puts of one item."""

    def write(own: int) -> Callable[[Client], Answer]:
        return lambda client: client.ask(
            "PutItem", {"TableName": TABLE, "Item": _item(f"put-{number}", own)}
        )

    return Counter(_kind(answer) for answer in race(port, [write(own) for own in range(CLIENTS)]))


RACES = {"create": create, "halves": halves, "opposite": opposite, "puts": puts}


def measure(contender: Contender, races: int) -> dict[str, Counter[str]]:
    """All races with one server; of halves a tenth as many, as each has hundreds of requests."""
    definition = {
        "TableName": TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    }
    call(contender.port, "CreateTable", definition)
    found = {}
    for name, run in RACES.items():
        count = max(1, races // 10) if run is halves else races
        say(f"{contender.name}: {count} races of {name}")
        found[name] = sum((run(contender.port, number) for number in range(count)), Counter())
    return found


def main() -> None:
    """Run the races and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contenders", nargs="+", type=contender_name, default=DEFAULT)
    parser.add_argument("--races", type=int, default=40)
    parser.add_argument("--shards", type=int, default=2)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="mynamo-races-") as folder,
        contenders(options.contenders, Path(folder), options.shards) as running,
    ):
        found = {}
        for contender in running:
            try:
                found[contender.title] = measure(contender, options.races)
            except RuntimeError as failure:
                print(f"{contender.title}: left out: {failure}", file=sys.stderr)
    for name in RACES:
        print(f"\n{name}\n")
        for title, by_race in found.items():
            counts = ", ".join(f"{kind}: {count}" for kind, count in sorted(by_race[name].items()))
            print(f"    {title}: {counts}")


if __name__ == "__main__":
    main()
