"""Tables and indexes that no database has, for tests of pure logic."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mynamo.catalog.tables import Index, IndexKind, Status, Table
from mynamo.schemas.table import KeyAttribute, Projection


def key(text: str | None) -> KeyAttribute | None:
    """A key attribute written "name" or "name:N"."""
    if text is None:
        return None
    name, _, kind = text.partition(":")
    return KeyAttribute(name=name, type=kind or "S")


def keys(text: str | None) -> tuple[KeyAttribute, ...]:
    """Key attributes written "name+other:N"."""
    return tuple(k for part in (text or "").split("+") if part and (k := key(part)))


def index_of(
    kind: IndexKind = "GSI",
    hash_key: str = "g",
    sort_key: str | None = "a",
    *,
    number: int = 1,
    status: Status = "ACTIVE",
    projection: Projection | None = None,
    name: str | None = None,
) -> Index:
    """An index of the table below; keys as `keys` reads them."""
    return Index(
        id=number,
        table_id=5,
        name=name or f"index_{number}",
        kind=kind,
        hash_keys=keys(hash_key),
        sort_keys=keys(sort_key),
        projection=projection or Projection(),
        status=status,
        table_keys=("h", "s"),
    )


def table_of(*indexes: Index, sort_key: str | None = "s", **changes: Any) -> Table:
    """A table whose keys are `h` and `s`."""
    values: dict[str, Any] = {
        "id": 5,
        "name": "orders",
        "version": 1,
        "status": "ACTIVE",
        "hash_key": KeyAttribute(name="h"),
        "sort_key": key(sort_key),
        "indexes": indexes,
        "created_at": datetime.now(UTC),
    }
    return Table(**{**values, **changes})
