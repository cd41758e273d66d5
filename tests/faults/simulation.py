"""A store that is linearizable by construction, with clients, a queue, indexes and a stream.

Everything happens in simulated time, drawn from a seed: when a client asks, when the store
acts, when the client hears of it. The checkers must find nothing wrong with what comes out,
and whatever a test then damages.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

from mynamo.schemas.events import ChangeEvent
from mynamo.schemas.items import to_stored
from tests.faults.checking import Final
from tests.faults.history import Key, Operation
from tests.faults.model import INDEXES, QUEUED, TABLE, Item, State, change_of

KINDS = {
    "put": 14, "put_if_absent": 8, "put_if_version": 10, "put_if_op": 4, "update_add": 18,
    "update_set": 12, "delete": 8, "get": 16, "queued_put": 4, "queued_add": 8,
    "queued_delete": 1, "query_index": 14, "query_local": 5,
}  # fmt: skip
FLAWS = {
    "lost write": "linearizable",
    "lost update": "linearizable",
    "stale read": "linearizable",
    "write of another time": "linearizable",
    "resurrected delete": "linearizable",
    "refused and done": "refused absent",
    "queued write lost": "linearizable",
    "queued write twice": "stream",
    "index row back": "index never back",
    "index row comes again": "index never back",
    "own write missed": "own writes seen",
}
"""What the store can do wrong, and which check must find it."""
_MS = 1_000_000
_LOST = 0.04
"""Share of the writes whose client never hears of them."""


class Simulation:
    """Runs in full when it is made.

    Attributes:
        operations: what clients did and saw, by start.
        events: in the order of arrival, some of them more than once.
        final: what is there in the end.
        flaws: how often the store did what it must not.
    """

    def __init__(
        self,
        seed: int,
        operations: int = 400,
        flaw: str = "",
        clients: int = 6,
        keys: int = 4,
        queued: bool = True,
    ) -> None:
        """Run.

        Args:
            flaw: what the store does wrong now and then, one of `FLAWS`.
            queued: whether there are queued writes.
        """
        self._choice = random.Random(seed)
        self._flaw = flaw
        self._kinds = {k: n for k, n in KINDS.items() if queued or k not in QUEUED}
        self._before: dict[Key, tuple[int, State]] = {}
        self.flaws = 0
        self._keys: list[Key] = [(f"h{n // 2}", n % 2) for n in range(keys)]
        self._now = 0
        self._agenda: list[tuple[int, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._version = 0
        self._left = operations
        self._table: dict[Key, tuple[int, State]] = {}
        self._index: dict[Key, tuple[int, State]] = {}
        self._applied = 0
        self._applying = 0
        self._queue_free = 0
        self._known: dict[Key, tuple[str, int]] = {}
        self._versions: dict[str, int] = {}
        self.operations: list[Operation] = []
        self.events: list[ChangeEvent] = []
        for client in range(1, clients + 1):
            self._at(self._some(0, 5), lambda client=client: self._next(client))  # type: ignore[misc]
        while self._agenda:
            self._now, _, action = heapq.heappop(self._agenda)
            action()
        self._read_all()
        self.final = Final(dict(self._table))
        for name, index in INDEXES.items():
            self.final.rows[name] = [
                (key, version, item)
                for key, (version, item) in self._table.items()
                if index.value_of(item) is not None
            ]

    def _errs(self, flaw: str, share: float = 0.1) -> bool:
        """Whether it does that wrong now."""
        if flaw != self._flaw or self._choice.random() > share:
            return False
        self.flaws += 1
        return True

    def _some(self, low: float, high: float) -> int:
        """Milliseconds, in nanoseconds; often few, now and then many."""
        most = high if self._choice.random() < 0.2 else low + (high - low) / 5
        return round(self._choice.uniform(low, most) * _MS) + 1

    def _at(self, later: int, action: Callable[[], object]) -> None:
        heapq.heappush(self._agenda, (self._now + later, next(self._numbers), action))

    def _next(self, client: int) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        kind = self._choice.choices(list(self._kinds), list(self._kinds.values()))[0]
        key = self._choice.choice(self._keys)
        operation = Operation(client, kind, TABLE, key, {}, self._now)
        self.operations.append(operation)
        self._describe(operation)
        self._at(self._some(0.2, 20), lambda: self._act(operation))

    def _describe(self, operation: Operation) -> None:
        kind, argument = operation.kind, operation.argument
        if kind == "query_local":
            operation.key = (operation.key[0], 0)
        if kind == "query_index":
            index = self._choice.choice(list(INDEXES.values()))
            known = self._known.get(operation.key)
            item = self._table.get(operation.key)
            value = index.value_of(item[1]) if item else None
            wait = known is not None and self._choice.random() < 0.5
            argument |= {
                "index": index.name,
                "value": self._choice.choice("abc") if index.hash_key == "status" else 1,
                "after": [known[0]] if known and wait else [],
            }
            if value is not None:
                argument["value"] = value
            operation.key = (str(argument["value"]), 0)
        if kind.startswith("query") or kind == "get":
            return
        argument["op"] = f"{operation.client}-{len(self.operations)}"
        if kind in ("put_if_version", "put_if_op"):
            if operation.key in self._known:
                op, version = self._known[operation.key]
                argument["expected"] = op if kind == "put_if_op" else version
            else:
                kind = operation.kind = "put"
        if kind in ("update_add", "queued_add"):
            argument["add"] = self._choice.randint(1, 5)
        elif kind not in ("delete", "queued_delete"):
            argument |= {
                "counter": self._choice.choice((0, 10)),
                "status": self._choice.choice(["a", "b", "c", None]),
                "grade": self._choice.choice([1, 2, None]),
            }

    def _act(self, operation: Operation) -> None:
        kind = operation.kind
        if kind in QUEUED:
            # One partition: commands are applied in the order in which they were published.
            self._queue_free = max(self._queue_free, self._now) + self._some(1, 300)
            if not self._errs("queued write lost"):
                self._at(self._queue_free - self._now, lambda: self._write(operation))
            if self._errs("queued write twice"):
                self._at(self._queue_free - self._now + 5 * _MS, lambda: self._write(operation))
            self._end(operation, "ok", {}, None)
        elif kind.startswith("query"):
            self._query(operation)
        elif kind == "get":
            item = self._seen(operation.key)
            if operation.key in self._before and self._errs("stale read", 0.3):
                item = self._before[operation.key][1]._asdict()
            self._end(operation, "ok", {"item": item}, None)
        elif self._choice.random() < _LOST:
            if self._choice.random() < 0.5:
                self._at(self._some(1, 500), lambda: self._write(operation))
            self._at(self._some(1, 20), lambda: self._next(operation.client))
        elif not self._allowed(operation):
            found = {"reason": "condition", "item": self._seen(operation.key)}
            if self._errs("refused and done", 0.3):
                self._commit(operation, self._table.get(operation.key))
            self._end(operation, "refused", found, None)
        else:
            self._write_and_answer(operation)

    def _allowed(self, operation: Operation) -> bool:
        there = self._table.get(operation.key)
        match operation.kind:
            case "put_if_absent":
                return there is None
            case "put_if_version":
                return there is not None and there[0] == operation.argument["expected"]
            case "put_if_op":
                return there is not None and there[1].op == operation.argument["expected"]
        return True

    def _write_and_answer(self, operation: Operation) -> None:
        old = self._seen(operation.key)
        result: dict[str, Any] = {"old": old}
        if operation.kind.startswith("put") and self._errs("lost write"):
            self._version += 1
            self._end(operation, "ok", result, self._version)
            return
        version = self._write(operation)
        if operation.kind.startswith("update"):
            result["new"] = self._seen(operation.key)
        self._end(operation, "ok", result, version)
        if operation.kind == "put" and self._errs("write of another time"):
            operation.start = self._now + 30 * _MS
        if operation.kind == "delete" and version and self._errs("resurrected delete", 0.5):
            self._at(30 * _MS, lambda: self._resurrect(operation.key))

    def _resurrect(self, key: Key) -> None:
        if key not in self._table and key in self._before:
            self._table[key] = self._before[key]

    def _write(self, operation: Operation) -> int:
        if not self._allowed(operation):  # one whose client never hears of it
            return 0
        found = self._table.get(operation.key)
        if operation.kind == "update_add" and self._errs("lost update"):
            found = self._before.get(operation.key)
        return self._commit(operation, found)

    def _commit(self, operation: Operation, found: tuple[int, State] | None) -> int:
        """Commit the change of the item as the store has found it."""
        change = change_of(operation)
        assert change is not None
        old = self._table.get(operation.key)
        new = change(found[1] if found else None)
        if old is None and new is None:
            return 0
        self._version += 1
        if old is not None:
            self._before[operation.key] = old
        if new is None:
            del self._table[operation.key]
        else:
            self._table[operation.key] = (self._version, new)
        self._publish(operation.key, old[1] if old else None, new)
        return self._version

    def _publish(self, key: Key, old: Item, new: Item) -> None:
        version = self._version
        event = event_of(version, key, old, new)
        self.events.append(event)
        if self._choice.random() < 0.1:  # a relay's successor sends the last ones again
            self.events += self.events[-self._choice.randint(1, 5) :]
        self._applying = max(self._applying, self._now + self._some(1, 60)) + 1

        def apply() -> None:
            before = self._index.pop(key, None)
            self._applied = version
            if new is not None:
                self._index[key] = (version, new)
            if before is None:
                return
            if self._errs("index row back", 0.3) or self._errs("index row comes again", 0.3):
                wait = 15 if self._flaw == "index row back" else 40
                self._at(wait * _MS, lambda: self._index.update({key: before}))

        self._at(self._applying - self._now, apply)

    def _query(self, operation: Operation) -> None:
        argument = operation.argument
        if operation.kind == "query_local":
            items = [
                {"h": key[0], "n": key[1], **item._asdict()}
                for key, (_, item) in self._table.items()
                if key[0] == operation.key[0] and item.grade is not None
            ]
        else:
            late = any(self._versions[op] > self._applied for op in argument["after"])
            if late and not self._errs("own write missed", 0.5):
                self._at(5 * _MS, lambda: self._query(operation))
                return
            index = INDEXES[argument["index"]]
            items = [
                {"h": key[0], "n": key[1], **item._asdict()}
                for key, (_, item) in self._index.items()
                if index.value_of(item) == argument["value"]
            ]
        self._end(operation, "ok", {"items": items}, None)

    def _end(self, operation: Operation, outcome: Any, result: Any, version: int | None) -> None:
        def end() -> None:
            operation.end = self._now
            operation.outcome = outcome
            operation.result = result
            operation.version = version
            if version and operation.op:
                self._known[operation.key] = (operation.op, version)
                self._versions[operation.op] = version
            self._at(self._some(0.1, 10), lambda: self._next(operation.client))

        self._at(self._some(0.2, 20), end)

    def _seen(self, key: Key) -> dict[str, Any] | None:
        there = self._table.get(key)
        return None if there is None else there[1]._asdict()

    def _read_all(self) -> None:
        for key in self._keys:
            self._now += _MS
            read = Operation(0, "get", TABLE, key, {"final": True}, self._now)
            self._now += _MS
            read.end, read.outcome, read.result = self._now, "ok", {"item": self._seen(key)}
            self.operations.append(read)


def event_of(version: int, key: Key, old: Item, new: Item) -> ChangeEvent:
    """The event of a change, as the relay would publish it."""
    return ChangeEvent(
        format=1, event_id=f"1-{version}", table_id=1, table=TABLE, schema_version=1, shard=1,
        partition=0, sequence=version, previous=version - 1, feeds=True, version=version,
        operation="INSERT" if old is None else "REMOVE" if new is None else "MODIFY",
        keys=to_stored({"h": key[0], "n": key[1]}),
        old_image=_image(key, old), new_image=_image(key, new), committed_at=0,
    )  # fmt: skip


def _image(key: Key, item: Item) -> dict[str, dict[str, Any]] | None:
    if item is None:
        return None
    values = {name: value for name, value in item._asdict().items() if value is not None}
    return to_stored({"h": key[0], "n": key[1], **values})
