"""Global indexes: what readers saw while everything ran, and what is there in the end."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.faults.history import Key, Operation
from tests.faults.model import (
    ADDS,
    DELETES,
    INDEXES,
    PUTS,
    QUEUED,
    WRITES,
    IndexDefinition,
    Item,
    State,
    state_of,
)


class Row(NamedTuple):
    """An index row as a query saw it; `op` None: there was none.

    Attributes:
        version: of the write that made it; None: not known.
    """

    start: int
    end: int
    op: str | None
    version: int | None
    reader: int


Place = tuple[str, Any, Key]
"""Index, value of its hash key, and the item. A row lives at such a place: an item that moves
to another value has another row there, on another shard perhaps, and no order between the two
is promised."""


def sightings(queries: Iterable[Operation], versions: Mapping[str, int]) -> dict[Place, list[Row]]:
    """What queries of global indexes saw of each row, absences between sightings included."""
    answered = [q for q in queries if q.kind == "query_index" and q.outcome == "ok"]
    places: dict[tuple[str, Any], set[Key]] = defaultdict(set)
    for query in answered:
        at = (query.argument["index"], query.argument["value"])
        places[at] |= {(row["h"], row["n"]) for row in query.result["items"]}
    found: dict[Place, list[Row]] = defaultdict(list)
    for query in answered:
        at = (query.argument["index"], query.argument["value"])
        rows = {(row["h"], row["n"]): row["op"] for row in query.result["items"]}
        assert query.end is not None
        for key in places[at]:
            op = rows.get(key)
            version = None if op is None else versions.get(op)
            found[*at, key].append(Row(query.start, query.end, op, version, query.client))
    return found


def never_back(places: Mapping[Place, Sequence[Row]]) -> tuple[int, list[str]]:
    """No row goes back to an older version, nor comes back in a version that was gone.

    That holds for any two queries one of which began when the other had ended, of whatever
    readers, since each row lives on one primary.

    Returns:
        How many sightings were compared, and what is wrong.
    """
    compared, found = 0, []
    for (index, value, key), rows in places.items():
        gone = _gone_after(rows)
        by_end = sorted((row for row in rows if row.version is not None), key=lambda row: row.end)
        ends = [row.end for row in by_end]
        newest = _running_newest(by_end)
        for row in rows:
            if row.op is None or row.version is None:
                continue
            at = bisect_left(ends, row.start)
            if not at:
                continue
            compared += 1
            before = newest[at - 1]
            assert before.version is not None
            if row.version < before.version:
                found.append(
                    f"index {index}, {value!r}, {key}: reader {row.reader} saw {row.op} "
                    f"(version {row.version}) {(row.start - before.end) / 1e6:.1f} ms after "
                    f"reader {before.reader} saw {before.op} (version {before.version})"
                )
            elif (absence := _between(gone.get(row.version), row)) is not None:
                found.append(
                    f"index {index}, {value!r}, {key}: reader {row.reader} saw {row.op} (version "
                    f"{row.version}) again after reader {absence.reader} saw that it was gone"
                )
    return compared, found


def _running_newest(rows: Sequence[Row]) -> list[Row]:
    newest: list[Row] = []
    for row in rows:
        if newest and (newest[-1].version or 0) >= (row.version or 0):
            newest.append(newest[-1])
        else:
            newest.append(row)
    return newest


def _gone_after(rows: Sequence[Row]) -> dict[int, Row]:
    """By version: the absence that ended first of those that began after a sighting of it."""
    first_seen: dict[int, int] = {}
    for row in rows:
        if row.version is not None:
            first_seen[row.version] = min(row.end, first_seen.get(row.version, row.end))
    absences = sorted((row for row in rows if row.op is None), key=lambda row: row.start)
    starts = [row.start for row in absences]
    earliest: list[Row] = []  # from each position on, the absence that ended first
    for row in reversed(absences):
        earliest.append(min(row, earliest[-1], key=lambda r: r.end) if earliest else row)
    earliest.reverse()
    gone = {}
    for version, seen in first_seen.items():
        at = bisect_left(starts, seen + 1)
        if at < len(absences):
            gone[version] = earliest[at]
    return gone


def _between(absence: Row | None, row: Row) -> Row | None:
    return absence if absence is not None and absence.end < row.start else None


def own_writes_seen(
    operations: Sequence[Operation], versions: Mapping[str, int]
) -> tuple[int, list[str]]:
    """A query that waits for a write never misses it, unless a later write took its place.

    Returns:
        How many waited-for writes were looked for, and what is wrong.
    """
    writes: dict[Key, list[Operation]] = defaultdict(list)
    by_op: dict[str, Operation] = {}
    for operation in operations:
        if operation.kind in WRITES:
            writes[operation.key].append(operation)
            if operation.op is not None:
                by_op[operation.op] = operation
    checked, found = 0, []
    for query in operations:
        if query.kind != "query_index" or query.outcome != "ok":
            continue
        rows = {(row["h"], row["n"]): row["op"] for row in query.result["items"]}
        for op in query.argument["after"]:
            write = by_op[op]
            checked += 1
            problem = _missed(query, write, rows.get(write.key), writes[write.key], versions)
            if problem:
                found.append(
                    f"index {query.argument['index']}, {query.argument['value']!r}: reader "
                    f"{query.client} waited for {op} of {write.key} (version {write.version}), "
                    f"and {problem}"
                )
    return checked, found


def _missed(
    query: Operation,
    write: Operation,
    seen: str | None,
    rivals: Sequence[Operation],
    versions: Mapping[str, int],
) -> str:
    if write.version is None or seen == write.op:
        return ""
    if seen is not None:
        version = versions.get(seen)
        if version is not None and version < write.version:
            return f"saw {seen} (version {version}), which is older"
        return ""
    index, value = INDEXES[query.argument["index"]], query.argument["value"]
    if index.value_of(_item_after(write)) != value:
        return ""
    if any(_may_have_removed(rival, write, query, index, versions) for rival in rivals):
        return ""
    return "did not see its item at all, and no later write took it away"


def _item_after(write: Operation) -> Item:
    """The item as a write left it, as far as that is known (counters do not matter here)."""
    if write.kind in PUTS or write.kind == "update_set":
        return state_of(write.argument)
    return state_of((write.result or {}).get("new"))


def _may_have_removed(
    rival: Operation,
    write: Operation,
    query: Operation,
    index: IndexDefinition,
    versions: Mapping[str, int],
) -> bool:
    if rival is write or rival.outcome == "refused" or rival.kind in ADDS:
        return False
    assert query.end is not None
    if rival.start > query.end or _is_over(rival, write):
        return False
    version = rival.version
    if version is None:
        version = versions.get(rival.op or "")
    if version is not None and write.version is not None and version < write.version:
        return False  # 0: it deleted nothing
    return rival.kind in DELETES or index.value_of(_item_after(rival)) != query.argument["value"]


def _is_over(rival: Operation, write: Operation) -> bool:
    """Whether it had its effect before the write began. A queued one has it at any time."""
    return rival.kind not in QUEUED and rival.end is not None and rival.end < write.start


def plausible_rows(operations: Sequence[Operation]) -> tuple[int, list[str]]:
    """Every row that a query saw is what some write of that item had made by then.

    Returns:
        How many rows were looked at, and what is wrong.
    """
    by_op = {o.op: o for o in operations if o.kind in WRITES and o.op is not None}
    checked, found = 0, []
    for query in operations:
        if query.kind not in ("query_index", "query_local") or query.outcome != "ok":
            continue
        for row in query.result["items"]:
            checked += 1
            problem = _implausible(query, row, by_op.get(row["op"]))
            if problem:
                found.append(f"{query.kind} {query.argument} by {query.client}: {row}: {problem}")
    return checked, found


def _implausible(query: Operation, row: Mapping[str, Any], write: Operation | None) -> str:
    if write is None:
        return "nobody wrote that"
    if write.key != (row["h"], row["n"]):
        return f"that was written to {write.key}"
    if write.outcome == "refused":
        return "that write was refused"
    if query.end is not None and write.start > query.end:
        return "that write came later"
    if query.kind == "query_index":
        index = INDEXES[query.argument["index"]]
        if index.value_of(state_of(row)) != query.argument["value"]:
            return "it does not belong there"
    if write.kind in PUTS and state_of(write.argument) != state_of(row):
        return f"that write was {write.argument}"
    return ""


def expected_rows(
    index: IndexDefinition, table: Mapping[Key, tuple[int, State]]
) -> dict[Key, tuple[int, State]]:
    """The rows of an index, with versions: the function of the table that defines it."""

    return {key: there for key, there in table.items() if index.value_of(there[1]) is not None}


def differences(
    index: IndexDefinition,
    table: Mapping[Key, tuple[int, State]],
    rows: Sequence[tuple[Key, int | None, State]],
) -> list[str]:
    """How an index at rest differs from what its table says.

    Args:
        rows: all that are there; versions where they are known.
    """
    expected = expected_rows(index, table)
    found = []
    there: dict[Key, list[tuple[int | None, State]]] = defaultdict(list)
    for key, version, item in rows:
        there[key].append((version, item))
    for key in sorted(set(expected) | set(there)):
        wanted = expected.get(key)
        for version, item in there.get(key, []):
            if wanted is None:
                found.append(f"index {index.name}: {key} has a row that should not be: {item}")
            elif item != wanted[1] or version not in (None, wanted[0]):
                found.append(
                    f"index {index.name}: {key} shows version {version}, {item}; the table has "
                    f"version {wanted[0]}, {wanted[1]}"
                )
        if wanted is not None and not there.get(key):
            found.append(f"index {index.name}: {key} is missing: {wanted[1]}")
        if len(there.get(key, [])) > 1:
            found.append(f"index {index.name}: {key} has {len(there[key])} rows")
    return found
