"""The statements that change definitions and settings in the catalog.

`Catalog` runs those of definitions. Settings of a table are read and changed under the lock of the
table's row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import orjson

from mynamo.errors import TableNotFound, TableProtected
from mynamo.mysql.pool import Session, Statement
from mynamo.schemas.table import GlobalIndexSchema, IndexSchema, LocalIndexSchema
from mynamo.schemas.table_settings import TableSettings

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


def insert_index(table_id: int, index: IndexSchema, status: str, since: int) -> Statement:
    """Record an index.

    Args:
        since: see `definition_of`.
    """
    return (
        "INSERT INTO mynamo_indexes (table_id, name, kind, status, definition_json)"
        " VALUES (%s, %s, %s, %s, %s)",
        (table_id, index.name.encode(), kind_of(index), status, definition_of(index, since)),
    )


def kind_of(index: IndexSchema) -> str:
    """The kind of an index, as it is stored."""
    if isinstance(index, GlobalIndexSchema):
        return "GSI"
    return "LSI" if isinstance(index, LocalIndexSchema) else "TTL"


def definition_of(index: IndexSchema, since: int) -> bytes:
    """The stored definition of an index.

    Args:
        since: the version of the table's definition that brings it.
    """
    return orjson.dumps({**index.model_dump(exclude={"name"}), "since": since})


Change = Callable[[TableSettings], TableSettings]
"""New settings from those that are there; may raise, and then nothing changes. It may be
called again on what is there by then."""


@lru_cache(maxsize=1024)
def settings_of(stored: bytes | None) -> TableSettings:
    """Settings from their stored form; None, of a table that has none yet: the defaults."""
    return TableSettings() if stored is None else TableSettings.load(stored)


def locked_settings(session: Session, table_id: int) -> TableSettings:
    """A table's settings, which nobody else changes until the transaction ends.

    Raises:
        TableNotFound: there is no such table, or it is being deleted.
    """
    rows = session.run(
        ("SELECT t.status, s.settings_json FROM mynamo_tables t"
         " LEFT JOIN mynamo_table_settings s ON s.table_id = t.table_id"
         " WHERE t.table_id = %s FOR UPDATE", (table_id,))
    )[0].rows  # fmt: skip
    if not rows or rows[0][0] == "DELETING":
        raise TableNotFound("Requested resource not found: the table is gone")
    return settings_of(rows[0][1])


def store_settings(table_id: int, settings: TableSettings) -> Statement:
    """Keep a table's settings."""
    return (
        "INSERT INTO mynamo_table_settings (table_id, settings_json) VALUES (%s, %s)"
        " ON DUPLICATE KEY UPDATE settings_json = VALUES(settings_json)",
        (table_id, settings.dump()),
    )


def refuse_protected(session: Session, table_id: int) -> None:
    """Refuse to go on with deleting a table that is protected by now.

    Raises:
        TableProtected: DynamoDB's message of DeleteTable.
    """
    try:
        settings = locked_settings(session, table_id)
    except TableNotFound:
        return  # it is gone, or somebody has begun: nothing is left to protect
    if settings.deletion_protection:
        raise TableProtected(
            "Resource cannot be deleted as it is currently protected against deletion. "
            "Disable deletion protection first."
        )
