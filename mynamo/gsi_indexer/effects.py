"""What a change event does to the rows of a table's global secondary indexes."""

from __future__ import annotations

from collections.abc import Iterable

from mynamo.schemas.events import ChangeEvent
from mynamo.schemas.items import dump_item
from mynamo.shards.gsi_rows import GsiRow, RowChange
from mynamo.shards.tables import Index, Table


def changes_of(event: ChangeEvent, table: Table) -> list[RowChange]:
    """What an event does to the GSIs of its table: at most one row goes and one is
    written per index.

    The outcome depends on the event and the catalog's record of the index alone, not on
    when or by whom it is computed.

    Args:
        table: its definition, at least of the event's schema version.

    Raises:
        InvalidItem: the event's key is not one of this table.
    """
    key = table.key_of(event.keys)
    changes = []
    whole: bytes | None = None
    for index in _indexes_of(event, table):
        before, after = index.key_of(event.old_image), index.key_of(event.new_image)
        # The same key again: the row is overwritten, and must not be deleted.
        if before is not None and before != after:
            changes.append(RowChange(index, GsiRow.of(before, key), event.version, None))
        if after is None or event.new_image is None:
            continue
        if index.projection.type == "ALL":
            whole = whole or dump_item(event.new_image)
            item = whole
        else:
            item = dump_item(index.project(event.new_image))
        changes.append(RowChange(index, GsiRow.of(after, key), event.version, item))
    return changes


def net_effect(changes: Iterable[RowChange]) -> dict[tuple[int, GsiRow], RowChange]:
    """What is left to do of changes in their order: the last one of each row, by index id
    and row."""
    return {(change.index.id, change.row): change for change in changes}


def _indexes_of(event: ChangeEvent, table: Table) -> list[Index]:
    """The indexes that an event is for.

    An event that is older than an index never touches it. Were it applied by an indexer
    that knows the index and its successor by one that does not yet, the first one's row
    would stay for ever.
    """
    if event.index_id is not None:
        return [index for index in table.global_indexes if index.id == event.index_id]
    return [index for index in table.global_indexes if index.since <= event.schema_version]
