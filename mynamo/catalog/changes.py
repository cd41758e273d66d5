"""The statements that change definitions and settings in the catalog.

`Catalog` runs those of definitions. Settings of a table are read and changed under the lock of the
table's row.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from mynamo.catalog.tables import StreamStatus, TableStream, stream_of
from mynamo.errors import TableNotFound, TableProtected
from mynamo.mysql.pool import Session, Statement
from mynamo.schemas.table import GlobalIndexSchema, IndexSchema, LocalIndexSchema
from mynamo.schemas.table_settings import StreamView, TableSettings

PLANNED = "PLANNED"
"""Status of an index that has an id and perhaps tables, but that no definition contains."""

CLOSED = 2**63
"""The version of the definition of a table that is dropped, in its definition guard: no write knows
it."""

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


_STREAMS = "SELECT stream_id, table_id, status, definition_json FROM mynamo_streams"
STREAM_ROWS: Statement = (f"{_STREAMS} ORDER BY 1", ())


def _streams_of(session: Session, table_id: int) -> tuple[tuple[Any, ...], ...]:
    """The rows of a table's streams, the oldest first."""
    return session.run((f"{_STREAMS} WHERE table_id = %s ORDER BY 1", (table_id,)))[0].rows


def last_stream(session: Session, table_id: int) -> TableStream | None:
    """The newest stream of a table, in an open transaction that has locked the table's row."""
    rows = _streams_of(session, table_id)
    return stream_of(rows[-1]) if rows else None


def insert_stream(
    session: Session, table_id: int, view: StreamView, since: int, mark: str = ""
) -> None:
    """Record a stream as ENABLING, in an open transaction.

    Args:
        since: the version of the table's definition that brings it.
        mark: see `TableStream`.
    """
    ((name, keys_json),) = session.run(
        ("SELECT name, keys_json FROM mynamo_tables WHERE table_id = %s", (table_id,))
    )[0].rows  # fmt: skip
    keys = orjson.loads(keys_json)
    streams = [stream_of(row) for row in session.run(STREAM_ROWS)[0].rows]
    taken = {one.label for one in streams if one.table == name.decode()}
    definition = {
        "table": name.decode(),
        "keys": {part: keys[part] for part in ("hash_key", "sort_key")},
        "view": view,
        "label": _new_label(taken),
        "since": since,
        "mark": mark,
    }
    session.run(
        ("INSERT INTO mynamo_streams (table_id, status, definition_json)"
         " VALUES (%s, 'ENABLING', %s)", (table_id, orjson.dumps(definition)))
    )  # fmt: skip


def _new_label(taken: set[str]) -> str:
    moment = datetime.now(UTC)
    while True:
        label = moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
        if label not in taken:
            return label
        moment += timedelta(milliseconds=1)


def end_streams(
    session: Session, table_id: int, status: StreamStatus, until: int
) -> list[Statement]:
    """What ends a table's stream, and with the table those that are DISABLING, in an open
    transaction; nothing if there is none.

    Args:
        status: that it has from then on.
        until: the version of the table's definition from which on writes make no records.
    """
    statements: list[Statement] = []
    for row in _streams_of(session, table_id):
        stream, definition = stream_of(row), orjson.loads(row[3])
        if stream.is_active:
            definition["until"] = until
        elif stream.status == "DISABLED" or status == "DISABLING":
            continue
        statements.append(
            ("UPDATE mynamo_streams SET status = %s, definition_json = %s WHERE stream_id = %s",
             (status, orjson.dumps(definition), stream.id))
        )  # fmt: skip
    return statements


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
