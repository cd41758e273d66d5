"""What the items of the workload can be, what each kind of operation does, and what it saw.

| kind | what it does to the item |
| --- | --- |
| put, queued_put | replaces it |
| put_if_absent | replaces it, if there is none |
| put_if_version | replaces it, if the write whose version it names was the last one |
| put_if_op | replaces it, if it still has the `op` that it names |
| update_add, queued_add | adds to `counter`, which is 0 where there is none; sets `op` |
| update_set | sets `op`, `status` and `grade`, or removes those two where they are None |
| delete, queued_delete | removes it |
| batch_put, batch_delete | as put and delete, some of them in one request |
| get, batch_get | nothing |
| check_absent, check_op | nothing: as the conditions of puts, in transactions |

Queries see many items, each of which counts as read alone (`reads_of_queries`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.history import Key, Operation, load

READS = frozenset({"get", "batch_get"})
CHECKS = frozenset({"check_absent", "check_op"})
QUERIES = frozenset({"query_index", "query_local"})
PUTS = frozenset({"put", "put_if_absent", "put_if_version", "put_if_op", "queued_put", "batch_put"})
ADDS = frozenset({"update_add", "queued_add"})
DELETES = frozenset({"delete", "queued_delete", "batch_delete"})
QUEUED = frozenset({"queued_put", "queued_add", "queued_delete"})
WRITES = PUTS | ADDS | DELETES | {"update_set"}

NEVER = "unavailable"
"""`result["reason"]` of a refused write that failed before anything was written."""


def has_written(history: Path, since: int) -> bool:
    """Whether a client was told of a write that it began after a time, by `time.monotonic_ns`."""
    return history.exists() and any(
        operation.outcome == "ok" and operation.kind in WRITES and operation.start > since
        for operation in load([history])
    )


class State(NamedTuple):
    """An item, as far as the workload changes it."""

    op: str
    counter: int | None
    status: str | None
    grade: int | None


Item = State | None
"""None: there is no item."""


@dataclass(frozen=True)
class IndexDefinition:
    """How an index follows from the table.

    Attributes:
        hash_key: name of an attribute of `State`.
        sort_key: likewise; an item that lacks either is not in the index.
    """

    name: str
    hash_key: str
    sort_key: str | None = None

    def value_of(self, item: Item) -> Any:
        """Under which value of the hash key the item is in the index; None: it is not."""
        if item is None or (self.sort_key and getattr(item, self.sort_key) is None):
            return None
        return getattr(item, self.hash_key)


INDEXES = {
    "by_status": IndexDefinition("by_status", "status", "grade"),
    "by_grade": IndexDefinition("by_grade", "grade"),
}
"""The workload's global indexes."""
LOCAL_INDEX = "local_grade"
TABLE = "faults"
SCHEMA = {
    "name": TABLE,
    "hash_key": "h",
    "sort_key": "n:N",
    "local_indexes": [{"name": LOCAL_INDEX, "sort_key": "grade:N"}],
    "global_indexes": [
        {"name": "by_status", "hash_key": "status", "sort_key": "grade:N"},
        {
            "name": "by_grade",
            "hash_key": "grade:N",
            "projection": {"type": "INCLUDE", "attributes": ["op", "counter", "status"]},
        },
    ],
}
"""The workload's table: what of an item the checkers look at is in every index."""


def state_of(seen: Mapping[str, Any] | None) -> Item:
    """An item as a history has it."""
    if seen is None:
        return None
    return State(seen["op"], seen.get("counter"), seen.get("status"), seen.get("grade"))


@dataclass(slots=True)
class Step:
    """One operation on one item, as the search for an order takes it.

    Attributes:
        change: from the item before to the item after; None: it only looks.
        fits: whether what it saw and decided fits with the item before.
        must: it has to be somewhere in the order; otherwise it may never have happened.
        start, end: between which it has to be; `end` None: at any time after `start`.
        version: of the change, as far as known.
        before: positions of steps that must come before it, of queued writes.
        needs: the `op` of the item that it must have found, if that is known; no other write
            ever makes that item again.
    """

    operation: Operation
    change: Callable[[Item], Item] | None
    fits: Callable[[Item], bool]
    must: bool
    start: int
    end: int | None
    version: int | None = None
    before: tuple[int, ...] = ()
    needs: str | None = None


def change_of(operation: Operation) -> Callable[[Item], Item] | None:
    """What an operation does to its item; None if it only looks."""
    argument = operation.argument
    if operation.kind in PUTS:
        item = state_of(argument)
        return lambda before: item
    if operation.kind in ADDS:
        amount = argument["add"]
        return lambda before: State(
            argument["op"],
            ((before.counter if before else None) or 0) + amount,
            before.status if before else None,
            before.grade if before else None,
        )
    if operation.kind == "update_set":
        return lambda before: State(
            argument["op"],
            before.counter if before else None,
            argument["status"],
            argument["grade"],
        )
    if operation.kind in DELETES:
        return lambda before: None
    return None


def steps_of(
    operations: Sequence[Operation],
    givers: Mapping[int, str | None],
    versions: Mapping[str, int],
    horizon: int | None = None,
    wiped_at: int = 0,
) -> list[Step]:
    """The steps of one item's operations.

    Args:
        givers: by version, the `op` of the write that had it, for `put_if_version`.
        versions: what is known of them beside receipts, by `op`.
        horizon: when all queued writes had been applied.
        wiped_at: queued writes from before that may be lost, as the broker lost everything.
    """
    steps = []
    for operation in operations:
        step = _step_of(operation, givers, horizon)
        if step is not None:
            if operation.kind in QUEUED and operation.start < wiped_at:
                step.must, step.end = False, None
            if step.must:
                step.needs = _found_by(operation, givers)
            if step.change is not None and step.version is None and operation.op is not None:
                step.version = versions.get(operation.op)
            steps.append(step)
    steps.sort(key=lambda step: step.start)
    _keep_queue_order(steps)
    return steps


def _step_of(
    operation: Operation, givers: Mapping[int, str | None], horizon: int | None
) -> Step | None:
    kind, outcome = operation.kind, operation.outcome
    looks = kind in READS
    if looks and outcome != "ok":
        return None
    result = operation.result if isinstance(operation.result, Mapping) else {}
    condition = _condition_of(operation, givers)
    if kind in CHECKS and outcome != "refused":
        return _looking(operation, lambda i: _holds(condition, i)) if outcome == "ok" else None
    if looks:
        return _looking(operation, _sees(result, "item"))
    if outcome == "refused":
        if result.get("reason") != "condition":
            return None
        found = _sees(result, "item")
        return _looking(operation, lambda item: found(item) and not _holds(condition, item))
    if outcome == "ok" and kind not in QUEUED:
        if kind in DELETES and operation.version == 0:
            return _looking(operation, lambda item: item is None)
        return _writing(operation, condition, result)
    change = change_of(operation)
    must = outcome == "ok"
    return Step(
        operation,
        change,
        lambda item: _holds(condition, item),
        must,
        operation.start,
        horizon if must else None,
        operation.version or None,
    )


def _writing(
    operation: Operation, condition: Callable[[Item], bool] | None, result: Mapping[str, Any]
) -> Step:
    change = change_of(operation)
    assert change is not None
    old, new = _sees(result, "old"), _sees(result, "new")
    return Step(
        operation,
        change,
        lambda item: old(item) and _holds(condition, item) and new(change(item)),
        True,
        operation.start,
        operation.end,
        operation.version,
    )


def _looking(operation: Operation, fits: Callable[[Item], bool]) -> Step:
    return Step(operation, None, fits, True, operation.start, operation.end)


def _holds(condition: Callable[[Item], bool] | None, item: Item) -> bool:
    return condition is None or condition(item)


def _found_by(operation: Operation, givers: Mapping[int, str | None]) -> str | None:
    result = operation.result if isinstance(operation.result, Mapping) else {}
    found = result.get("old") or result.get("item")
    if found is not None:
        return str(found["op"])
    if operation.outcome == "ok" and operation.kind == "put_if_version":
        return givers[operation.argument["expected"]]
    if operation.outcome == "ok" and operation.kind in ("put_if_op", "check_op"):
        return str(operation.argument["expected"])
    return None


def _sees(result: Mapping[str, Any], name: str) -> Callable[[Item], bool]:
    """What fits with the item that an answer shows; anything, if it shows none."""
    if name not in result:
        return lambda item: True
    if result.get("sparse") and result[name] is None:
        return lambda item: item is None or item.grade is None
    wanted = state_of(result[name])
    return lambda item: item == wanted


def _condition_of(
    operation: Operation, givers: Mapping[int, str | None]
) -> Callable[[Item], bool] | None:
    if operation.kind in ("put_if_absent", "check_absent"):
        return lambda item: item is None
    if operation.kind == "put_if_version":
        # Every version comes from a receipt; without it there is no telling which write's.
        giver = givers[operation.argument["expected"]]
        return lambda item: item is not None and item.op == giver
    if operation.kind in ("put_if_op", "check_op"):
        expected = operation.argument["expected"]
        return lambda item: item is not None and item.op == expected
    return None


def _keep_queue_order(steps: Sequence[Step]) -> None:
    """Of one client's acknowledged queued writes, the later ones come later."""
    last: dict[int, int] = {}
    for position, step in enumerate(steps):
        operation = step.operation
        if operation.kind in QUEUED and operation.outcome == "ok" and step.must:
            if operation.client in last:
                step.before = (last[operation.client],)
            last[operation.client] = position


def reads_of_queries(
    operations: Sequence[Operation], keys: Mapping[str, set[Key]]
) -> list[Operation]:
    """Consistent queries by hash key, as one read for each item with that hash key.

    Args:
        keys: known ones, by hash key.
    """
    reads = []
    for query in operations:
        if query.kind != "query_local" or query.outcome != "ok":
            continue
        found = {(row["h"], row["n"]): row for row in query.result["items"]}
        for key in keys.get(query.key[0], set()) | set(found):
            result = {"item": found.get(key), "sparse": True}
            reads.append(
                Operation(
                    query.client, "get", query.table, key, None, query.start, query.end, "ok",
                    result,
                )
            )  # fmt: skip
    return reads
