"""What Query and Scan answer, over all of their pages."""

from __future__ import annotations

from dataclasses import dataclass

from tests.gateway.model import Model
from tests.gateway.model_capacity import Units, read_units
from tests.gateway.model_expressions import Unsure, holds, projected
from tests.gateway.model_indexes import in_index, index_item, sort_value
from tests.gateway.model_operations import Index, Read
from tests.gateway.model_requests import check_read, fits_key, invalid
from tests.gateway.model_values import Item, Value, order


@dataclass
class Found:
    """What a read finds.

    Attributes:
        rows: the items that it reads, as the table has them, in order; those of equal
            index keys may come in any order.
        shown: of each row what the answer shows of it; None: the filter does not hold.
        counted: only the number of items is answered.
        units: capacity units, where all is one page; None: the model does not say.
    """

    rows: list[Item]
    shown: list[Item | None]
    counted: bool
    units: Units | None


def find(model: Model, read: Read) -> Found:
    """Raises Refused."""
    check_read(read)
    table, index = read.table, read.index
    rows = [
        item
        for item in model.rows(table).values()
        if (index is None or in_index(index, item))
        and all(satisfies(item[name], sign, values) for name, sign, values in read.conditions or [])
    ]
    if read.start is not None:
        check_start(read, read.start)
        rows = [item for item in rows if _behind(read, item, read.start)]
    if read.conditions is not None:
        rows.sort(key=lambda item: sort_value(table, index, item), reverse=not read.forward)
    shown = [_shown(read, item) for item in rows]
    return Found(rows, shown, read.select == "COUNT", _units(read, rows))


def check_start(read: Read, start: Item) -> None:
    """Raises Refused for a key at which the query cannot have ended a page."""
    table = read.table
    if set(start) != set(table.keys):
        raise invalid()
    if not all(
        fits_key(start[name], table.types[name], is_hash=name == table.hash) for name in start
    ):
        raise invalid()
    conditions = {name: (sign, values) for name, sign, values in read.conditions or []}
    if start[table.hash] != conditions[table.hash][1][0]:
        raise invalid()
    if table.sort is None:
        raise invalid("The query can return at most one row and cannot be restarted")
    if table.sort in conditions:
        sign, values = conditions[table.sort]
        if not satisfies(start[table.sort], sign, values):
            raise invalid()
        if start[table.sort] in values:
            raise Unsure("whether a query goes on behind the last key that it can find")


def _behind(read: Read, item: Item, start: Item) -> bool:
    assert read.table.sort is not None
    ours, theirs = order(item[read.table.sort]), order(start[read.table.sort])
    return bool(ours > theirs if read.forward else ours < theirs)


def _units(read: Read, rows: list[Item]) -> Units | None:
    """Not of scans, which read other clients' items too, nor of what is fetched from the table."""
    table, index = read.table, read.index
    if read.conditions is None or (index and index.is_local and _fetches(read, index)):
        return None
    read_rows = [index_item(table, index, item) for item in rows] if index else rows
    return {index.name if index else "": read_units(read_rows, read.consistent)}


def _fetches(read: Read, index: Index) -> bool:
    """Whether a local index lacks what is asked for, so that the table is read as well."""
    if index.included is None:
        return False
    known = {*read.table.keys, *index.keys, *index.included}
    return read.select == "ALL_ATTRIBUTES" or bool({path[0] for path in read.paths or []} - known)


def _shown(read: Read, item: Item) -> Item | None:
    table, index = read.table, read.index
    seen = index_item(table, index, item) if index else item
    if index and index.is_local and _fetches(read, index):
        seen = item
    if read.filter is not None and not holds(read.filter, seen):
        return None
    return projected(read.paths, seen)


def satisfies(value: Value, sign: str, values: tuple[Value, ...]) -> bool:
    """Whether a key attribute satisfies a key condition."""
    ours, theirs = order(value), [order(other) for other in values]
    match sign:
        case "=":
            return bool(ours == theirs[0])
        case "<":
            return bool(ours < theirs[0])
        case "<=":
            return bool(ours <= theirs[0])
        case ">":
            return bool(ours > theirs[0])
        case ">=":
            return bool(ours >= theirs[0])
        case "between":
            return bool(theirs[0] <= ours <= theirs[1])
    return bool(ours.startswith(theirs[0]))
