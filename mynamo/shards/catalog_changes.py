"""The statements that change definitions in the catalog; `Catalog` runs them."""

from __future__ import annotations

import orjson

from mynamo.errors import TableNotFound
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema
from mynamo.shards.pool import Session, Statement

PLANNED = "PLANNED"
"""Status of an index that has an id and perhaps tables, but that no definition contains."""

COUNT_UP: Statement = ("UPDATE mynamo_cluster SET version = version + 1", ())
"""Every change of the catalog ends with it."""


def next_version(session: Session, table_id: int) -> int:
    """Raise the version of a table's definition, in an open transaction.

    Raises:
        TableNotFound: the table is gone, or is not ACTIVE.
    """
    changed, version = session.run(
        ("UPDATE mynamo_tables SET version = version + 1"
         " WHERE table_id = %s AND status = 'ACTIVE'", (table_id,)),
        ("SELECT version FROM mynamo_tables WHERE table_id = %s", (table_id,)),
    )  # fmt: skip
    if not changed.count:
        session.rollback()
        raise TableNotFound("the table is gone, or is not ACTIVE yet")
    return int(version.rows[0][0])


def insert_index(
    table_id: int, index: LocalIndexSchema | GlobalIndexSchema, status: str, since: int
) -> Statement:
    """Record an index.

    Args:
        since: see `definition_of`.
    """
    kind = "GSI" if isinstance(index, GlobalIndexSchema) else "LSI"
    return (
        "INSERT INTO mynamo_indexes (table_id, name, kind, status, definition_json)"
        " VALUES (%s, %s, %s, %s, %s)",
        (table_id, index.name.encode(), kind, status, definition_of(index, since)),
    )


def definition_of(index: LocalIndexSchema | GlobalIndexSchema, since: int) -> bytes:
    """The stored definition of an index.

    Args:
        since: the version of the table's definition that brings it.
    """
    return orjson.dumps({**index.model_dump(exclude={"name"}), "since": since})
