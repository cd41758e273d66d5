"""ConsumedCapacity: what reads and writes would cost in DynamoDB, by its arithmetic.

The figures are for clients that log or budget them, and for `ProvisionedThroughput`.

Source: Amazon DynamoDB Developer Guide, "Capacity unit consumption for read/write
operations" and "Local/Global secondary indexes", on which changes of an item write how
much to its indexes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mynamo.catalog.tables import Index, Table
from mynamo.schemas.items import item_size
from mynamo.schemas.values import StoredItem
from mynamo.writer import WriteRequest

ASKING = frozenset({"TOTAL", "INDEXES"})
"""Values of ReturnConsumedCapacity that ask for it. Computing it takes time."""
READ_UNIT = 4096
WRITE_UNIT = 1024


@dataclass(slots=True)
class Consumed:
    """Capacity units that requests to one table have consumed.

    Attributes:
        table: of the table itself.
        local, overall: of its LSIs and GSIs, by name; only those that were touched.
    """

    table: float = 0.0
    local: dict[str, float] = field(default_factory=dict)
    overall: dict[str, float] = field(default_factory=dict)

    def charge(self, index: Index | None, units: float) -> None:
        """Add units to the table or one of its indexes."""
        if index is None:
            self.table += units
            return
        units_of = self.local if index.kind == "LSI" else self.overall
        units_of[index.name] = units_of.get(index.name, 0.0) + units

    def total(self) -> float:
        """All of it."""
        return self.table + sum(self.local.values()) + sum(self.overall.values())

    def by_bucket(self) -> dict[str | None, float]:
        """By whose provisioned throughput it counts for: the table's (None), with its LSIs, or that
        of a GSI, by name."""
        units: dict[str | None, float] = {None: self.table + sum(self.local.values())}
        units.update(self.overall)
        return units

    def report(self, table_name: str, kind: str, also: str | None = None) -> dict[str, Any]:
        """The answer's ConsumedCapacity.

        Args:
            table_name: as the request names it.
            kind: TOTAL or INDEXES.
            also: a second name for the units of all and of the table, which transactions have.
        """
        names = ("CapacityUnits",) if also is None else ("CapacityUnits", also)
        answer: dict[str, Any] = {"TableName": table_name} | dict.fromkeys(names, self.total())
        if kind == "INDEXES":
            answer["Table"] = dict.fromkeys(names, self.table)
            for member, units_of in (
                ("LocalSecondaryIndexes", self.local),
                ("GlobalSecondaryIndexes", self.overall),
            ):
                if units_of:
                    answer[member] = {name: {"CapacityUnits": u} for name, u in units_of.items()}
        return answer


def reported(request: Mapping[str, Any], consumed: Consumed) -> dict[str, Any]:
    """The member ConsumedCapacity of an answer, if its request asks for it."""
    if request.get("ReturnConsumedCapacity") not in ASKING:
        return {}
    kind = request["ReturnConsumedCapacity"]
    return {"ConsumedCapacity": consumed.report(request["TableName"], kind)}


def reported_all(
    request: Mapping[str, Any], consumed: Mapping[str, Consumed], also: str | None = None
) -> dict[str, Any]:
    """The same of the answer of a batch or a transaction: one entry per table.

    Args:
        also: see `Consumed.report`.
    """
    if request.get("ReturnConsumedCapacity") not in ASKING:
        return {}
    kind = request["ReturnConsumedCapacity"]
    return {"ConsumedCapacity": [each.report(name, kind, also) for name, each in consumed.items()]}


def read_units(size: int, consistent: bool) -> float:
    """Units for reading this many bytes at once: one per 4 KB begun, and at least one;
    half as many if the reader does not insist on the newest state."""
    units = max(1, _units(size, READ_UNIT))
    return float(units) if consistent else units / 2


IN_TRANSACTION = 2
"""So many times as much do reads and writes of a table cost in a transaction; its indexes cost the
same."""


def charge_write(
    consumed: Consumed,
    table: Table,
    old: StoredItem | None,
    new: StoredItem | None,
    times: int = 1,
) -> None:
    """Add what a write costs that made `new` of `old` (None: there is no item).

    Args:
        times: that the table's units count.
    """
    units = max(1, max(map(_write_units, _present(old, new)), default=1))
    consumed.charge(None, float(times * units))
    for index in (*table.local_indexes, *table.global_indexes):
        units = _index_units(index, old, new)
        if units:
            consumed.charge(index, float(units))


def least_write_units(write: WriteRequest) -> int:
    """Units that a write costs its table, whatever item it finds."""
    return max(1, _write_units(write.item)) if write.operation == "PUT" else 1


def _index_units(index: Index, old: StoredItem | None, new: StoredItem | None) -> int:
    """What an index writes: nothing if its part of the item stays as it is; the larger of the
    two if the entry stays in its place; otherwise a deletion, an insertion or both."""
    before, after = index.key_of(old), index.key_of(new)
    was = index.project(old) if old is not None and before is not None else None
    will = index.project(new) if new is not None and after is not None else None
    if was == will:
        return 0
    units = [_write_units(part) for part in _present(was, will)]
    return max(units) if before == after else sum(units)


def _present(*items: StoredItem | None) -> Iterator[StoredItem]:
    return (item for item in items if item is not None)


def _write_units(item: StoredItem) -> int:
    return _units(item_size(item), WRITE_UNIT)


def _units(size: int, unit: int) -> int:
    return -(-size // unit)
