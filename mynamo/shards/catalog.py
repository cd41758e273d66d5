"""The catalog: which tables and indexes there are, and which shard owns which slot."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import orjson

from mynamo.errors import AlreadyExists, ConfigError, ShardUnavailable, TableNotFound
from mynamo.schemas.config import DatabaseConfig, PoolConfig
from mynamo.schemas.table import (
    GlobalIndexSchema,
    LocalIndexSchema,
    TableSchema,
)
from mynamo.shards.catalog_rows import TABLES, table_of
from mynamo.shards.failures import DuplicateKey, MissingTable
from mynamo.shards.keys import SLOTS
from mynamo.shards.pool import ConnectionPool, Result, Session, Statement
from mynamo.shards.shard import retry
from mynamo.shards.tables import Table

FORMAT = 1
LOCK_SECONDS = 20
"""For which a change of definitions waits for another one; less than a read may take."""


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Consecutive slots and the shard that owns them.

    Attributes:
        epoch: raised whenever the shard's slots change.
    """

    first: int
    last: int
    shard_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole catalog at one moment."""

    cluster_id: bytes
    partitions: int
    version: int
    slots: tuple[SlotRange, ...]
    tables: dict[int, Table]
    names: dict[str, Table]


class Catalog:
    """The catalog's database."""

    def __init__(self, database: DatabaseConfig, limits: PoolConfig) -> None:
        where = f"catalog ({database.host}:{database.port}/{database.database})"
        self._pool = ConnectionPool(database, limits, where)
        self.where = where
        self._changing = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def exists(self) -> bool:
        """Whether the cluster was set up in this database.

        Raises:
            ShardUnavailable: the server does not answer.
        """
        try:
            return bool(self._run(("SELECT 1 FROM mynamo_cluster", ()))[0].rows)
        except MissingTable:
            return False

    def create(self, shard_ids: Sequence[int]) -> bytes:
        """Make the catalog's tables, with the slots dealt out evenly; idempotent.

        Returns:
            The new cluster's id, which is not yet recorded: see `record`.
        """
        self._run(*((sql, ()) for sql in TABLES))
        ids = sorted(shard_ids)
        edges = [SLOTS * i // len(ids) for i in range(len(ids) + 1)]
        deal = [
            (first, last - 1, shard_id)
            for first, last, shard_id in zip(edges, edges[1:], ids, strict=False)
        ]
        self._run(
            ("BEGIN", ()),
            ("DELETE FROM mynamo_slots", ()),
            *(("INSERT INTO mynamo_slots VALUES (%s, %s, %s, 1)", row) for row in deal),
            ("COMMIT", ()),
        )
        return uuid.uuid4().bytes

    def record(self, cluster_id: bytes, partitions: int) -> None:
        """Say that the cluster is set up."""
        self._run(
            ("INSERT INTO mynamo_cluster VALUES (1, %s, %s, %s, 1)"
             " ON DUPLICATE KEY UPDATE version = version",
             (cluster_id, FORMAT, partitions)),
        )  # fmt: skip

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Change definitions one at a time, across all processes.

        The lock saves work and keeps changes readable; no change rests on it for safety,
        because it ends with its connection, whatever its holder thinks.

        Raises:
            ShardUnavailable: another change has been going on for too long.
        """
        # One thread of this process at a time: those that wait must not hold the
        # connections that the holder needs.
        if not self._changing.acquire(timeout=LOCK_SECONDS):
            raise self._locked_for_too_long()
        try:
            with self._pool.session() as session:
                name = "CONCAT('mynamo.', LEFT(DATABASE(), 57))"
                locked = session.run((f"SELECT GET_LOCK({name}, %s)", (LOCK_SECONDS,)))[0].rows
                if locked != ((1,),):
                    raise self._locked_for_too_long()
                try:
                    yield
                finally:
                    if not session.broken:
                        session.run((f"SELECT RELEASE_LOCK({name})", ()))
        finally:
            self._changing.release()

    def _locked_for_too_long(self) -> ShardUnavailable:
        return ShardUnavailable(
            f"{self.where}: another change of tables has been going on for "
            f"{LOCK_SECONDS} s; try again"
        )

    def load(self) -> Snapshot:
        """Read the whole catalog in one consistent view.

        Raises:
            ShardUnavailable: the server does not answer.
            ConfigError: it was written by a newer mynamo.
        """
        _, _, cluster, slots, tables, indexes, _ = self._run(
            ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ()),
            ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", ()),
            ("SELECT cluster_id, format, partitions, version FROM mynamo_cluster", ()),
            ("SELECT first_slot, last_slot, shard_id, epoch FROM mynamo_slots ORDER BY 1", ()),
            ("SELECT table_id, name, status, version, keys_json, created_at"
             " FROM mynamo_tables ORDER BY 1", ()),
            ("SELECT index_id, table_id, name, kind, status, definition_json"
             " FROM mynamo_indexes WHERE status <> %s ORDER BY 1", (PLANNED,)),
            ("COMMIT", ()),
        )  # fmt: skip
        cluster_id, written_as, partitions, version = cluster.rows[0]
        if written_as > FORMAT:
            raise ConfigError(
                f"{self.where}: it is of format {written_as}, which this version of mynamo "
                f"(format {FORMAT}) does not know; upgrade"
            )
        by_id = {row[0]: table_of(row, indexes.rows) for row in tables.rows}
        return Snapshot(
            cluster_id=cluster_id,
            partitions=partitions,
            version=version,
            slots=tuple(SlotRange(*row) for row in slots.rows),
            tables=by_id,
            names={table.name: table for table in by_id.values()},
        )

    def add_table(self, schema: TableSchema) -> int:
        """Record a new table as CREATING.

        Raises:
            AlreadyExists: there is one of that name.
        """
        keys = orjson.dumps(
            {
                "hash_key": schema.hash_key.model_dump(),
                "sort_key": schema.sort_key.model_dump() if schema.sort_key else None,
            }
        )
        with self._pool.session() as session:
            try:
                table_id = session.run(
                    ("BEGIN", ()),
                    ("INSERT INTO mynamo_tables (name, status, version, keys_json, created_at)"
                     " VALUES (%s, 'CREATING', 1, %s, UTC_TIMESTAMP(6))",
                     (schema.name.encode(), keys)),
                )[1].insert_id  # fmt: skip
            except DuplicateKey:
                session.rollback()
                raise AlreadyExists(f"Table already exists: {schema.name}") from None
            indexes: list[LocalIndexSchema | GlobalIndexSchema] = [*schema.local_indexes]
            for index in (*indexes, *schema.global_indexes):
                session.run(_insert_index(table_id, index, "ACTIVE", since=1))
            session.run(_COUNT_UP, ("COMMIT", ()))
        return table_id

    def plan_index(self, table_id: int, index: LocalIndexSchema | GlobalIndexSchema) -> int:
        """Give a new index an id; until `add_index` nobody hears of it.

        Raises:
            AlreadyExists: the table has one of that name.
        """
        with self._pool.session() as session:
            try:
                return session.run(
                    ("DELETE FROM mynamo_indexes WHERE table_id = %s AND name = %s AND status = %s",
                     (table_id, index.name.encode(), PLANNED)),
                    _insert_index(table_id, index, PLANNED, since=0),
                )[1].insert_id  # fmt: skip
            except DuplicateKey:
                raise AlreadyExists(f"the table has an index {index.name} already") from None

    def add_index(
        self, table_id: int, index_id: int, index: LocalIndexSchema | GlobalIndexSchema
    ) -> None:
        """Record a planned index as CREATING, in the next version of the table's definition.

        Raises:
            TableNotFound: the table is gone.
        """
        with self._pool.session() as session:
            session.run(("BEGIN", ()))
            since = _next_version(session, table_id)
            session.run(
                ("UPDATE mynamo_indexes SET status = 'CREATING', definition_json = %s"
                 " WHERE index_id = %s", (_definition(index, since), index_id)),
                _COUNT_UP,
                ("COMMIT", ()),
            )  # fmt: skip

    def activate_table(self, table_id: int) -> None:
        """Record that a table is there on every shard (unless it is being dropped)."""
        self._change(
            ("UPDATE mynamo_tables SET status = 'ACTIVE'"
             " WHERE table_id = %s AND status = 'CREATING'", (table_id,))
        )  # fmt: skip

    def retire_table(self, table_id: int) -> None:
        """Record a table as DELETING; there is no way back."""
        self._change(
            ("UPDATE mynamo_tables SET status = 'DELETING' WHERE table_id = %s", (table_id,))
        )

    def activate_index(self, index_id: int) -> None:
        """Record that an index is filled (unless it is being dropped)."""
        self._change(
            ("UPDATE mynamo_indexes SET status = 'ACTIVE'"
             " WHERE index_id = %s AND status = 'CREATING'", (index_id,))
        )  # fmt: skip

    def retire_index(self, table_id: int, index_id: int) -> None:
        """Record an index as DELETING, in the next version of the table's definition."""
        with self._pool.session() as session:
            session.run(("BEGIN", ()))
            _next_version(session, table_id)
            session.run(
                ("UPDATE mynamo_indexes SET status = 'DELETING' WHERE index_id = %s", (index_id,)),
                _COUNT_UP,
                ("COMMIT", ()),
            )

    def forget_index(self, index_id: int) -> None:
        """Remove an index whose physical tables are gone."""
        self._change(("DELETE FROM mynamo_indexes WHERE index_id = %s", (index_id,)))

    def forget_table(self, table_id: int) -> None:
        """Remove a table whose physical tables are gone."""
        self._change(
            ("DELETE FROM mynamo_indexes WHERE table_id = %s", (table_id,)),
            ("DELETE FROM mynamo_tables WHERE table_id = %s", (table_id,)),
        )

    def _change(self, *statements: Statement) -> None:
        self._run(("BEGIN", ()), *statements, _COUNT_UP, ("COMMIT", ()))

    def _run(self, *statements: Statement) -> list[Result]:
        """Run idempotent statements in one round trip, again if the connection was lost."""

        def once() -> list[Result]:
            with self._pool.session() as session:
                return session.run(*statements)

        return retry(once)


PLANNED = "PLANNED"
"""Status of an index that has an id and perhaps tables, but that no definition contains."""

_COUNT_UP: Statement = ("UPDATE mynamo_cluster SET version = version + 1", ())


def _next_version(session: Session, table_id: int) -> int:
    changed, version = session.run(
        ("UPDATE mynamo_tables SET version = version + 1"
         " WHERE table_id = %s AND status = 'ACTIVE'", (table_id,)),
        ("SELECT version FROM mynamo_tables WHERE table_id = %s", (table_id,)),
    )  # fmt: skip
    if not changed.count:
        session.rollback()
        raise TableNotFound("the table is gone, or is not ACTIVE yet")
    return int(version.rows[0][0])


def _insert_index(
    table_id: int, index: LocalIndexSchema | GlobalIndexSchema, status: str, since: int
) -> Statement:
    kind = "GSI" if isinstance(index, GlobalIndexSchema) else "LSI"
    return (
        "INSERT INTO mynamo_indexes (table_id, name, kind, status, definition_json)"
        " VALUES (%s, %s, %s, %s, %s)",
        (table_id, index.name.encode(), kind, status, _definition(index, since)),
    )


def _definition(index: LocalIndexSchema | GlobalIndexSchema, since: int) -> bytes:
    return orjson.dumps({**index.model_dump(exclude={"name"}), "since": since})
