"""What operations cost, in capacity units: by the Developer Guide's "Capacity unit
consumption" and, of indexes, "Provisioned throughput considerations"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from tests.gateway.model_indexes import in_index, index_item
from tests.gateway.model_operations import Index, Table
from tests.gateway.model_values import Item, size_of_item

Units: TypeAlias = dict[str, float]
"""By the name of the index; "" is the table itself."""

_READ = 4096
_WRITE = 1024


def write_units(table: Table, old: Item | None, new: Item | None) -> Units:
    """Of a write that made `new` of `old`; None: there is no item."""
    units = {"": max(1.0, _begun(_larger(old, new), _WRITE))}
    for index in table.indexes:
        before, after = entry(table, index, old), entry(table, index, new)
        if before == after:
            continue
        moves = before and after and any(before[name] != after[name] for name in index.keys)
        if moves:
            units[index.name] = _begun(size(before), _WRITE) + _begun(size(after), _WRITE)
        else:
            units[index.name] = _begun(_larger(before, after), _WRITE)
    return units


def entry(table: Table, index: Index, item: Item | None) -> Item | None:
    """What an index has of an item; None: nothing."""
    if item is None or not in_index(index, item):
        return None
    return index_item(table, index, item)


def read_units(items: Sequence[Item | None], consistent: bool) -> float:
    """Of reading items together, as Query and Scan do. GetItem reads one or none."""
    units = max(1.0, _begun(sum(map(size, items)), _READ))
    return units if consistent else units / 2


def size(item: Item | None) -> int:
    return size_of_item(item) if item else 0


def _larger(*items: Item | None) -> int:
    return max(map(size, items))


def _begun(amount: int, unit: int) -> float:
    return float(-(-amount // unit))


def reported(
    table: Table, units: Units, kind: str, also: str | None = None
) -> dict[str, Any] | None:
    """The answer's ConsumedCapacity.

    Args:
        kind: NONE, TOTAL or INDEXES.
        also: a second name for the units of all and of the table, in transactions.
    """
    if kind == "NONE":
        return None
    report: dict[str, Any] = {"TableName": table.name, "CapacityUnits": sum(units.values())}
    if also is not None:
        report[also] = report["CapacityUnits"]
    if kind == "INDEXES":
        report["Table"] = {"CapacityUnits": units.get("", 0.0)}
        if also is not None:
            report["Table"][also] = units.get("", 0.0)
        for index in table.indexes:
            if index.name in units:
                part = "LocalSecondaryIndexes" if index.is_local else "GlobalSecondaryIndexes"
                shown = {"CapacityUnits": units[index.name]}
                report.setdefault(part, {})[index.name] = shown
    return report


def together(*all_units: Units) -> Units:
    """The sum of several."""
    total: Units = {}
    for units in all_units:
        for name, amount in units.items():
            total[name] = total.get(name, 0.0) + amount
    return total
