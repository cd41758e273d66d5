"""Tables, histories of items and their events, without any server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mynamo.catalog.tables import Index, Table
from mynamo.gsi_indexer.arrivals import Arrival, Stream
from mynamo.schemas.events import ChangeEvent
from mynamo.schemas.items import StoredItem
from mynamo.schemas.table import KeyAttribute, Projection

ID = KeyAttribute(name="id")
KEYS_ONLY = Projection(type="KEYS_ONLY")
ALL = Projection(type="ALL")


def index(
    number: int,
    hash_key: str = "group",
    sort_key: str | None = None,
    projection: Projection = ALL,
    since: int = 1,
    **others: Any,
) -> Index:
    """A GSI of table 1; `others` as `Index` names them."""
    return Index(
        id=number,
        table_id=1,
        name=f"by_{number}",
        kind="GSI",
        hash_keys=(KeyAttribute(name=hash_key),),
        sort_keys=(KeyAttribute(name=sort_key, type="N"),) if sort_key else (),
        projection=projection,
        status=others.get("status", "ACTIVE"),
        table_keys=("id",),
        since=since,
    )


def table(*indexes: Index, version: int = 1) -> Table:
    """Table 1, whose hash key is `id`."""
    created = datetime(2024, 1, 1, tzinfo=UTC)
    return Table(1, "things", version, "ACTIVE", ID, None, indexes, created)


def item(key: str, **attributes: str | int) -> StoredItem:
    """A stored item; strings become S, numbers N."""
    values = {n: {"N": str(v)} if isinstance(v, int) else {"S": v} for n, v in attributes.items()}
    return {"id": {"S": key}, **values}


def event(
    old: StoredItem | None, new: StoredItem | None, sequence: int = 1, **others: Any
) -> ChangeEvent:
    """The event of an item's change; `others` as `ChangeEvent` names them."""
    known = new if new is not None else old
    assert known is not None
    values = {
        "format": 1,
        "event_id": f"1-{sequence}",
        "table_id": 1,
        "table": "things",
        "schema_version": 1,
        "shard": 1,
        "partition": 0,
        "sequence": sequence,
        "previous": sequence - 1,
        "feeds": True,
        "version": sequence,
        "operation": "INSERT" if old is None else "REMOVE" if new is None else "MODIFY",
        "keys": {"id": known["id"]},
        "old_image": old,
        "new_image": new,
        "committed_at": 0,
        **others,
    }
    return ChangeEvent.model_validate(values)


Change = tuple[str, StoredItem | None, bool]
"""Key of an item, the item from now on, and whether the event feeds an index."""


def arrivals_of(changes: Sequence[Change]) -> tuple[list[Arrival], dict[str, StoredItem]]:
    """The messages of one partition for changes on two shards, and the items in the end.

    Items whose key begins with "a" live on shard 1, the others on shard 2. Changes that
    feed no index belong to items of their own, which no index has.
    """
    items: dict[str, StoredItem] = {}
    last_sequence = {1: 0, 2: 0}
    last_feeding = {1: 0, 2: 0}
    arrivals = []
    for key, new, feeds in changes:
        old = items.get(key)
        if old is None and new is None:
            continue
        shard = 1 if key.startswith("a") else 2
        last_sequence[shard] += 1
        sequence = last_sequence[shard]
        previous = last_feeding[shard]
        change = event(
            old if feeds else None,
            new if feeds else item(key),
            sequence,
            shard=shard,
            previous=previous,
            feeds=feeds,
        )
        arrivals.append(Arrival(Stream(shard, 0), sequence, previous, feeds, change))
        if not feeds:
            continue
        last_feeding[shard] = sequence
        if new is None:
            items.pop(key)
        else:
            items[key] = new
    return arrivals, items
