"""Runs random operations against a server and the model, and compares every answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from random import Random
from typing import Any, Protocol

from tests.gateway.generating import Generator
from tests.gateway.model import Model
from tests.gateway.model_capacity import reported
from tests.gateway.model_expressions import Unsure
from tests.gateway.model_indexes import sort_value
from tests.gateway.model_operations import (
    BatchGet,
    BatchWrite,
    Get,
    Operation,
    Read,
    Table,
    Transact,
    TransactGet,
    Write,
)
from tests.gateway.model_reads import Found, find
from tests.gateway.model_requests import Refused
from tests.gateway.model_transactions import reading, transact, transact_get
from tests.gateway.model_values import Item, item_from_wire
from tests.gateway.requesting import Request, request_of

_PAUSE = 0.02
_MOST_TOKENS = 400
"""What fits into a header."""


class Call(Protocol):
    """Sends operations, such as `tests.gateway.calling.Caller`."""

    tokens: list[str]

    def __call__(
        self, operation: str, request: Request, after: Sequence[str] = ()
    ) -> tuple[int, dict[str, Any]]:
        """The HTTP status and the answer."""


class Difference(AssertionError):  # noqa: N818
    """The server does not answer as the model does."""


class NotYet(Difference):
    """The server asks for patience."""


class Comparison:
    """One client's operations, on a server and on the model.

    Args:
        call: asks the server.
        wait: how long a global index may take to show a write, in seconds.
    """

    def __init__(self, call: Call, seed: int, client: int, wait: float) -> None:
        self.call = call
        self.seed = seed
        self.client = client
        self.wait = wait
        self.model = Model()
        self.generator = Generator(seed, client, self.model.peek)
        self.done = 0
        self.skipped = 0
        self.shown: dict[str, int] = {}  # how many of call.tokens an index has shown

    def run(self, operations: int) -> None:
        """Raises Difference, which says how to see it again."""
        for _ in range(operations):
            self.step(self.generator.operation())

    def step(self, operation: Operation) -> None:
        self.done += 1
        choices = Random(f"{self.seed}/{self.client}/{self.done}")
        name, request = request_of(operation, choices)
        request["ReturnConsumedCapacity"] = choices.choice(("NONE", "TOTAL", "INDEXES"))
        try:
            expected = self._expected(operation)
        except Unsure:
            self.skipped += 1
            return  # nothing was changed or asked
        try:
            if isinstance(operation, Read):
                self._compare_read(operation, name, request, expected)
            else:
                self._compare(operation, request, self.call(name, request), expected)
        except Difference as difference:
            raise Difference(
                f"seed {self.seed}, client {self.client}, operation {self.done}: {name}\n"
                f"{json.dumps(request, ensure_ascii=False)}\n{difference}"
            ) from None

    def _expected(self, operation: Operation) -> Any:
        """The model's answer; Refused is returned, not raised."""
        try:
            match operation:
                case Write():
                    return self.model.write(operation)
                case Get():
                    return self.model.get(operation)
                case BatchGet():
                    return self.model.batch_get(operation)
                case BatchWrite():
                    return self.model.batch_write(operation)
                case Transact():
                    return transact(self.model, operation)
                case TransactGet():
                    return transact_get(self.model, operation)
            return find(self.model, operation)
        except Refused as refused:
            return refused

    def _compare(
        self, operation: Operation, request: Request, got: tuple[int, Any], expected: Any
    ) -> None:
        status, answer = got
        if isinstance(expected, Refused) or status != 200:
            return compare_error(status, answer, expected)
        kind = request["ReturnConsumedCapacity"]
        consumed = answer.get("ConsumedCapacity")
        match operation:
            case Write() | Get():
                member = "Attributes" if isinstance(operation, Write) else "Item"
                same(member, _item(answer.get(member)), expected)
                units = self.model.consumed[operation.table.name]
                same("ConsumedCapacity", consumed, reported(operation.table, units, kind))
            case BatchGet():
                same("UnprocessedKeys", answer["UnprocessedKeys"], {})
                for table, items in expected.items():
                    found = answer["Responses"].get(table, [])
                    same_members(f"items of {table}", list(map(item_from_wire, found)), items)
                self._compare_consumed([table for table, _, _ in operation.wanted], kind, consumed)
            case BatchWrite():
                same("UnprocessedItems", answer["UnprocessedItems"], {})
                self._compare_consumed([table for table, _, _ in operation.writes], kind, consumed)
            case Transact():
                tables = [write.table for write in operation.writes]
                self._compare_consumed(tables, kind, consumed, "WriteCapacityUnits")
                self._send_again(operation, request)
            case TransactGet():
                items = [_item(each.get("Item")) for each in answer["Responses"]]
                same("Responses", items, expected)
                tables = [get.table for get in operation.gets]
                self._compare_consumed(tables, kind, consumed, "ReadCapacityUnits")
        return None

    def _send_again(self, transaction: Transact, request: Request) -> None:
        """With the same token it does not happen again, and costs what reading costs."""
        status, answer = self.call("TransactWriteItems", request)
        same("status of the repeated request", (status, answer.get("__type")), (200, None))
        places = [(write.table, write.item) for write in transaction.writes]
        self.model.consumed = reading(self.model, places)
        kind = request["ReturnConsumedCapacity"]
        self._compare_consumed(
            [table for table, _ in places], kind, answer.get("ConsumedCapacity"),
            "ReadCapacityUnits",
        )  # fmt: skip

    def _compare_consumed(
        self, tables: list[Table], kind: str, got: Any, also: str | None = None
    ) -> None:
        """A batch's or a transaction's: one entry for each table."""
        by_name = {table.name: table for table in tables}
        expected = [
            reported(table, self.model.consumed[name], kind, also)
            for name, table in by_name.items()
        ]
        if kind == "NONE":
            return same("ConsumedCapacity", got, None)
        return same_members("ConsumedCapacity", got or [], expected)

    def _compare_read(self, read: Read, name: str, request: Request, expected: Any) -> None:
        """Global indexes are asked again until they agree or time is up; if the request has
        the tokens of the client's writes, they must agree at once."""
        index = read.index if read.index and not read.index.is_local else None
        tokens: list[str] = []
        if index:
            tokens = [*dict.fromkeys(self.call.tokens[self.shown.get(index.name, 0) :])]
            if len(tokens) > _MOST_TOKENS or self.done % 2:
                tokens = []
        deadline = time.monotonic() + (self.wait if index else 0)
        while True:
            try:
                self._compare_pages(read, name, request, expected, tokens)
                break
            except Difference as difference:
                patient = not tokens or isinstance(difference, NotYet)
                if not patient or time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE)
        if index and tokens and not isinstance(expected, Refused):
            self.shown[index.name] = len(self.call.tokens)

    def _compare_pages(
        self, read: Read, name: str, request: Request, found: Found | Refused, after: list[str]
    ) -> None:
        if isinstance(found, Refused):
            return compare_error(*self.call(name, request, after), found)
        pages = []
        for segment in range(read.segments or 1):
            if read.segments:
                request = {**request, "Segment": segment, "TotalSegments": read.segments}
            for page in self._pages(name, request, after):
                _check_page(read, page)
                pages.append(page)
        if len(pages) == 1 and found.units is not None and not read.limit:
            kind = request["ReturnConsumedCapacity"]
            consumed = reported(read.table, found.units, kind)
            same("ConsumedCapacity", pages[0].get("ConsumedCapacity"), consumed)
        shown = [item for item in found.shown if item is not None]
        same("Count of all pages", sum(page["Count"] for page in pages), len(shown))
        if read.conditions is not None:
            scanned = sum(page["ScannedCount"] for page in pages)
            same("ScannedCount of all pages", scanned, len(found.rows))
        if not found.counted:
            items = [item_from_wire(item) for page in pages for item in page["Items"]]
            _compare_order(read, items, found)
        return None

    def _pages(self, name: str, request: Request, after: list[str]) -> Iterator[dict[str, Any]]:
        start = None
        while True:
            started = request | ({"ExclusiveStartKey": start} if start else {})
            status, page = self.call(name, started, after)
            if status == 503:
                raise NotYet(f"not in time: {page}")
            if status != 200:
                raise Difference(f"expected a page, got {status} {page}")
            yield page
            if "LastEvaluatedKey" not in page:
                return
            if page["LastEvaluatedKey"] == start:
                raise Difference(f"a page ends where it began: {page}")
            start = page["LastEvaluatedKey"]


def compare_error(status: int, answer: dict[str, Any], expected: Any) -> None:
    if not isinstance(expected, Refused):
        raise Difference(f"expected {expected}, got {status} {answer}")
    same(
        "status and error", (status, answer.get("__type", "").split("#")[-1]), (400, expected.code)
    )
    if expected.message is not None:
        same("message", answer.get("message", answer.get("Message")), expected.message)
    same("Item", _item(answer.get("Item")), expected.item)
    reasons = answer.get("CancellationReasons")
    if expected.reasons is None or reasons is None:
        return same("reasons", reasons, expected.reasons)
    same("codes", [each["Code"] for each in reasons], [code for code, _, _ in expected.reasons])
    for got, (_, message, item) in zip(reasons, expected.reasons, strict=True):
        if message is not None:
            same("message of a reason", got.get("Message"), message)
        same("item of a reason", _item(got.get("Item")), item)
    return None


def _check_page(read: Read, page: dict[str, Any]) -> None:
    if read.select == "COUNT":
        same("Items of a count", page.get("Items"), None)
    else:
        same("Count", page["Count"], len(page["Items"]))
    last = page.get("LastEvaluatedKey")
    if read.limit and last:
        same("ScannedCount of a page that is not the last", page["ScannedCount"], read.limit)
    if read.limit and page["ScannedCount"] > read.limit:
        raise Difference(f"{page['ScannedCount']} items read, Limit is {read.limit}")
    if last:
        names = {*read.table.keys, *(read.index.keys if read.index else ())}
        same("names in LastEvaluatedKey", set(last), names)
        if read.filter is None and read.paths is None and read.select != "COUNT":
            end = page["Items"][-1]
            same("LastEvaluatedKey", last, {name: end[name] for name in names})


def _compare_order(read: Read, items: list[Item], found: Found) -> None:
    """Rows with equal index keys may come in any order, and all rows of a scan."""
    rows = [(row, shown) for row, shown in zip(found.rows, found.shown, strict=True)]

    def position(row: tuple[Item, Item | None]) -> Any:
        if read.conditions is None:
            return 0
        return sort_value(read.table, read.index, row[0])

    start = 0
    for _, group in groupby(rows, position):
        expected = [shown for _, shown in group if shown is not None]
        same_members("items", items[start : start + len(expected)], expected)
        start += len(expected)
    same("number of items", len(items), start)


def _item(wire: dict[str, Any] | None) -> Item | None:
    return None if wire is None else item_from_wire(wire)


def same(what: str, got: Any, expected: Any) -> None:
    if got != expected:
        raise Difference(f"{what}:\n  got      {got}\n  expected {expected}")


def same_members(what: str, got: Sequence[Any], expected: Sequence[Any]) -> None:
    """The same ones as often, in any order."""
    left = list(expected)
    for member in got:
        if member not in left:
            raise Difference(
                f"{what}:\n  unexpected {member}\n  of       {got}\n  expected {expected}"
            )
        left.remove(member)
    same(f"{what}: missing", left, [])
