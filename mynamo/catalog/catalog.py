"""The catalog: which tables and indexes there are, and which shard owns which slot."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import orjson

from mynamo.catalog import migrations
from mynamo.catalog.changes import (
    CLOSED,
    COUNT_UP,
    PLANNED,
    STREAM_ROWS,
    Change,
    definition_of,
    end_streams,
    insert_index,
    insert_stream,
    last_stream,
    locked_settings,
    next_version,
    refuse_protected,
    store_settings,
)
from mynamo.catalog.incarnation import Allocated, give_number
from mynamo.catalog.migrations import CATALOG, migrate
from mynamo.catalog.shard import retry
from mynamo.catalog.snapshot import (
    TABLES,
    KnownTables,
    Member,
    MoveState,
    Row,
    SlotMove,
    SlotRange,
    Snapshot,
)
from mynamo.catalog.tables import StreamStatus, stream_of
from mynamo.errors import AlreadyExists, ConfigError, InvalidRequest, ShardUnavailable
from mynamo.mysql.failures import DuplicateKey, MissingTable
from mynamo.mysql.pool import ConnectionPool, Result, Session, Statement
from mynamo.mysql.server_checks import check_server
from mynamo.runtime import deadlines, forks
from mynamo.schemas.config import DatabaseConfig, PoolConfig
from mynamo.schemas.keys import SLOTS
from mynamo.schemas.table import IndexSchema, TableSchema
from mynamo.schemas.table_settings import IndexSettings, StreamView, TableSettings

TRANSACTIONS = 3
"""From this format on transactions over several shards are allowed, so that processes which do not
know of intents refuse to work (`mynamo.catalog.enabling`)."""
MOVES = 4
"""From this format on shards are recorded in `mynamo_shards`; they come and go, and slots can be
moved between them. Processes which do not know of moves refuse to work."""
EXPIRY = 5
"""From this format on tables may have time to live, as an index of the kind TTL. Processes which do
not know of it refuse to work."""
STREAMS = 6
"""From this format on tables may have streams. Processes which do not know of them refuse to work:
they would take changes without a number yet for changes that all indexes have."""
FORMAT = STREAMS
"""Of a new catalog, and the newest that this process knows. 1 had no settings of tables, and one
attribute in each key of an index."""
OLDEST = 2
"""A catalog of an older format is brought up to this one by whoever opens it. Only `enabling` goes
further."""
_SHARDS = {
    TRANSACTIONS: migrations.INTENTS,
    MOVES: migrations.MOVES,
    EXPIRY: migrations.EXPIRY,
    STREAMS: migrations.STREAMS,
}


def shard_format(format_: int) -> int:
    """The format of shards that all processes must know in a cluster whose catalog has this one."""
    return max((number for one, number in _SHARDS.items() if one <= format_), default=0)


LOCK_SECONDS = 20
"""For which a change of definitions waits for another one; less than a read may take."""
CHANGE_SECONDS = 300
"""After which a change that does not end has lost its lock to the next one."""
READ_ALL_EVERY = 60.0
"""Seconds after which the whole catalog is read again though its version is the same."""
_CLUSTER: Statement = ("SELECT cluster_id, format, partitions, version FROM mynamo_cluster", ())
_SLOTS: Statement = (
    "SELECT first_slot, last_slot, shard_id, epoch FROM mynamo_slots ORDER BY 1",
    (),
)
_MEMBERS: Statement = ("SELECT shard_id, state, epoch FROM mynamo_shards", ())
RAISE_ALL_EPOCHS: Statement = (
    "UPDATE mynamo_shards SET epoch = epoch + 1 WHERE state <> 'REMOVED'",
    (),
)
SLOT_MOVES: Statement = (
    "SELECT move_id, first_slot, last_slot, source, target, state, attempt, mover, term,"
    " incarnations, generations FROM mynamo_moves ORDER BY 1",
    (),
)
TABLE_NAMES: Statement = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    (),
)
"""All tables of a database, also those of others."""


class Catalog:
    """The catalog's database."""

    def __init__(
        self, database: DatabaseConfig, limits: PoolConfig, timeout: float | None = None
    ) -> None:
        """Args: timeout: seconds after which work is given up; see `ClusterConfig.timeout`."""
        where = f"catalog ({database.host}:{database.port}/{database.database})"
        self.pool = ConnectionPool(database, limits, where)
        self.where = where
        self._database = database
        self.timeout = timeout
        self._tables = KnownTables()
        self._read_at = -math.inf
        if timeout is not None:
            self.pool.limit(timeout)
        self.session = self.pool.session
        """Lends a connection, as that of a shard does."""
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Have a lock of its own; the pool does likewise."""
        self._changing = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self.pool.close()

    def check_server(self) -> None:
        """Look at the server's settings.

        Raises:
            ShardUnavailable: it is not fit for a catalog, or does not answer.
        """

        def once() -> None:
            with self.pool.session() as session:
                check_server(session, self._database, self.where)

        retry(once, self.timeout)

    def exists(self) -> bool:
        """Whether the cluster was set up in this database.

        Raises:
            ShardUnavailable: the server does not answer.
        """
        try:
            return bool(self._run(("SELECT 1 FROM mynamo_cluster", ()))[0].rows)
        except MissingTable:
            return False

    def tables(self) -> list[str]:
        """The names of all tables in the database, also of others than mynamo's.

        Raises:
            ShardUnavailable: the server does not answer.
        """
        return [row[0] for row in self._run(TABLE_NAMES)[0].rows]

    def upgrade(self) -> None:
        """Bring a catalog of an older format up to date; idempotent, and loses nothing.

        Raises:
            ConfigError: this user has no right to.
        """
        with self.pool.session() as session:
            migrate(session, CATALOG, self.where)
        written_as = self._run(("SELECT format FROM mynamo_cluster", ()))[0].rows[0][0]
        if written_as >= OLDEST:
            return
        try:
            self._run(
                *((sql, ()) for sql in TABLES),
                ("UPDATE mynamo_cluster SET format = %s, version = version + 1"
                 " WHERE format < %s", (OLDEST, OLDEST)),
            )  # fmt: skip
        except ShardUnavailable as failure:
            raise ConfigError(
                f"{self.where}: it is of the older format {written_as} and could not be brought "
                f"up to date; run `mynamo table list` once as a user who may create tables there "
                f"({failure})"
            ) from None

    def raise_format(self, format_: int) -> bool:
        """Raise the format, and with it the epoch of every shard's slots, but from 4 to 5; safe to
        repeat.

        Args:
            format_: from 3 on.

        Returns:
            Whether that was still to do.

        Raises:
            ShardUnavailable: the server does not answer.
        """

        def step(session: Session, _: int) -> Sequence[Statement]:
            found, slots = session.run(("SELECT format FROM mynamo_cluster", ()), _SLOTS)
            if found.rows[0][0] >= format_:
                return ()
            if found.rows[0][0] >= MOVES:
                raising: list[Statement] = []
                if format_ >= STREAMS:
                    raising.append(RAISE_ALL_EPOCHS)
                return [("UPDATE mynamo_cluster SET format = %s", (format_,)), *raising]
            epochs: dict[int, int] = {}
            for _, _, shard_id, epoch in slots.rows:
                epochs[shard_id] = max(epoch + 1, epochs.get(shard_id, 0))
            return [
                *(("UPDATE mynamo_slots SET epoch = %s WHERE shard_id = %s", (epoch, shard_id))
                  for shard_id, epoch in epochs.items()),
                ("DELETE FROM mynamo_shards", ()),
                *(_insert_member(shard_id, epoch)
                  for shard_id, epoch in epochs.items() if format_ >= MOVES),
                ("UPDATE mynamo_cluster SET format = %s", (format_,)),
            ]  # fmt: skip

        return self.decide(step)

    def decide(self, step: Callable[[Session, int], Sequence[Statement]]) -> bool:
        """Change shards or slots, in one transaction; such changes come one after another.

        Args:
            step: gets the session, whose transaction has locked the cluster's row, and the
                catalog's version. It looks, and returns what is to be done; nothing: the
                transaction ends. It may be called again, also if it is done already.

        Returns:
            Whether there was anything to do.

        Raises:
            ShardUnavailable: the server does not answer.
            Exception: whatever `step` raises; nothing was changed.
        """

        def once() -> bool:
            with self.pool.session() as session:
                _, found = session.run(
                    ("BEGIN", ()), ("SELECT version FROM mynamo_cluster FOR UPDATE", ())
                )
                statements = step(session, found.rows[0][0])
                if not statements:
                    session.rollback()
                    return False
                session.run(*statements, COUNT_UP, ("COMMIT", ()))
            return True

        return retry(once, self.timeout)

    def give_incarnation(self, shard_id: int, at_least: int) -> Allocated:
        """A number for a shard's next incarnation, which it never had, and its slots' epoch.

        Args:
            at_least: the least that it must be.

        Raises:
            ShardUnavailable: the server does not answer.
        """
        with self.pool.session() as session:
            return give_number(session, shard_id, at_least)

    def incarnations(self) -> tuple[tuple[int, int], ...]:
        """The newest incarnation of each shard that has had more than one, by its number.

        Raises:
            ShardUnavailable: the server does not answer.
        """
        return self._run(("SELECT shard_id, incarnation FROM mynamo_incarnations ORDER BY 1", ()))[
            0
        ].rows

    def create(self, shard_ids: Sequence[int]) -> bytes:
        """Make the catalog's tables, with shards, and slots dealt out evenly; idempotent.

        Returns:
            The new cluster's id, which is not yet recorded: see `record`.
        """
        self._run(*((sql, ()) for sql in TABLES))
        with self.pool.session() as session:
            migrate(session, CATALOG, self.where)
        ids = sorted(shard_ids)
        edges = [SLOTS * i // len(ids) for i in range(len(ids) + 1)]
        deal = [
            (first, last - 1, shard_id)
            for first, last, shard_id in zip(edges, edges[1:], ids, strict=False)
        ]
        self._run(
            ("BEGIN", ()),
            ("DELETE FROM mynamo_slots", ()),
            ("DELETE FROM mynamo_shards", ()),
            *(("INSERT INTO mynamo_slots VALUES (%s, %s, %s, 1)", row) for row in deal),
            *(_insert_member(shard_id, 1) for shard_id in ids),
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
        changing = self._changing
        if not changing.acquire(timeout=deadlines.left(LOCK_SECONDS)):
            raise self._locked_for_too_long()
        try:
            with retry(self._hold, self.timeout):
                yield
        finally:
            changing.release()

    def _hold(self) -> ExitStack:
        """What holds the lock of all processes until it is closed."""
        with ExitStack() as holding:
            session = holding.enter_context(self.pool.session())
            name = "CONCAT('mynamo.', LEFT(DATABASE(), 57))"
            *_, locked = session.run(
                ("SET SESSION wait_timeout = %s", (CHANGE_SECONDS,)),
                (f"SELECT GET_LOCK({name}, %s)", (LOCK_SECONDS,)),
            )
            session.broken = True  # it is closed afterwards, which releases the lock
            if locked.rows != ((1,),):
                raise self._locked_for_too_long()
            return holding.pop_all()

    def _locked_for_too_long(self) -> ShardUnavailable:
        return ShardUnavailable(
            f"{self.where}: another change of tables has been going on for "
            f"{LOCK_SECONDS} s; try again"
        )

    def load(self, known: Snapshot | None = None) -> Snapshot:
        """Read the catalog in one consistent view, as far as it has changed.

        Every change counts up the catalog's version. All is read again if the version is another
        one, or if it was read `READ_ALL_EVERY` seconds ago, as a catalog that was restored may
        have the same version again. A definition is parsed only if its rows differ.

        Args:
            known: what was read last; None: read everything.

        Raises:
            ShardUnavailable: the server does not answer.
            ConfigError: it was written by a newer mynamo.
        """
        if known is not None and time.monotonic() - self._read_at < READ_ALL_EVERY:
            (cluster,) = self._run(_CLUSTER)
            if self._header(cluster) == known.header:
                return known
        started = time.monotonic()
        _, _, cluster, slots, members, moves, tables, indexes, streams, _ = self._run(
            ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ()),
            ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", ()),
            _CLUSTER,
            _SLOTS,
            _MEMBERS,
            SLOT_MOVES,
            ("SELECT t.table_id, name, status, version, keys_json, created_at, settings_json"
             " FROM mynamo_tables t LEFT JOIN mynamo_table_settings s"
             " ON s.table_id = t.table_id ORDER BY 1", ()),
            ("SELECT index_id, table_id, name, kind, status, definition_json"
             " FROM mynamo_indexes WHERE status <> %s ORDER BY 1", (PLANNED,)),
            STREAM_ROWS,
            ("COMMIT", ()),
        )  # fmt: skip
        header = self._header(cluster)
        all_streams = tuple(stream_of(row) for row in streams.rows)
        by_id = self._tables.read(tables.rows, indexes.rows, all_streams)
        ranges = tuple(SlotRange(*row) for row in slots.rows)
        self._read_at = started
        return Snapshot(
            cluster_id=header[0],
            partitions=header[1],
            version=header[2],
            format=header[3],
            slots=ranges,
            members=_members(members.rows if header[3] >= MOVES else (), ranges),
            moves=moves_in(moves),
            streams=all_streams,
            tables=by_id,
            names={table.name: table for table in by_id.values()},
        )

    def _header(self, result: Result) -> tuple[bytes, int, int, int]:
        """The cluster's id, its number of partitions, and the catalog's version and format."""
        cluster_id, written_as, partitions, version = result.rows[0]
        if written_as > FORMAT:
            raise ConfigError(
                f"{self.where}: it is of format {written_as}, which this version of mynamo "
                f"(format {FORMAT}) does not know; upgrade"
            )
        return cluster_id, partitions, version, written_as

    def add_table(
        self,
        schema: TableSchema,
        settings: TableSettings | None = None,
        stream: StreamView | None = None,
    ) -> int:
        """Record a new table as CREATING.

        A table that an attempt of this call has made, whose answer was lost, is known by a mark
        of the call, which it has beside its keys.

        Args:
            stream: the view type of its stream; None: it has none.

        Raises:
            AlreadyExists: there is one of that name.
        """
        keys = orjson.dumps(
            {
                "hash_key": schema.hash_key.model_dump(),
                "sort_key": schema.sort_key.model_dump() if schema.sort_key else None,
                "made_by": uuid.uuid4().hex,
            }
        )
        name = schema.name.encode()
        indexes: list[IndexSchema] = [*schema.local_indexes, *schema.global_indexes]

        def once() -> int:
            with self.pool.session() as session:
                try:
                    table_id = session.run(
                        ("BEGIN", ()),
                        ("INSERT INTO mynamo_tables (name, status, version, keys_json, created_at)"
                         " VALUES (%s, 'CREATING', 1, %s, UTC_TIMESTAMP(6))",
                         (name, keys)),
                    )[1].insert_id  # fmt: skip
                except DuplicateKey:
                    session.rollback()
                    own = _table_with(session, name, keys)
                    if own is None:
                        raise AlreadyExists(f"Table already exists: {schema.name}") from None
                    return own
                for index in indexes:
                    session.run(insert_index(table_id, index, "ACTIVE", since=1))
                if settings is not None:
                    session.run(store_settings(table_id, settings))
                if stream is not None:
                    insert_stream(session, table_id, stream, since=1)
                session.run(COUNT_UP, ("COMMIT", ()))
            return table_id

        return retry(once, self.timeout)

    def plan_index(self, table_id: int, index: IndexSchema) -> int:
        """Give a new index an id; until `add_index` nobody hears of it.

        Raises:
            AlreadyExists: the table has one of that name.
        """

        def once() -> int:
            with self.pool.session() as session:
                return session.run(
                    ("DELETE FROM mynamo_indexes WHERE table_id = %s AND name = %s AND status = %s",
                     (table_id, index.name.encode(), PLANNED)),
                    insert_index(table_id, index, PLANNED, since=0),
                )[1].insert_id  # fmt: skip

        try:
            return retry(once, self.timeout)
        except DuplicateKey:
            raise AlreadyExists(f"the table has an index {index.name} already") from None

    def add_index(
        self,
        table_id: int,
        index_id: int,
        index: IndexSchema,
        settings: IndexSettings | None = None,
    ) -> None:
        """Record a planned index as CREATING, in the next version of the table's definition;
        safe to repeat.

        Raises:
            TableNotFound: the table is gone.
        """

        def once() -> None:
            with self.pool.session() as session:
                session.run(("BEGIN", ()))
                since = next_version(session, table_id)
                if _index_status(session, index_id) not in (None, PLANNED):
                    session.rollback()  # an attempt whose answer was lost has done it
                    return
                if settings is not None:
                    known = locked_settings(session, table_id)
                    session.run(store_settings(table_id, known.with_index(index.name, settings)))
                session.run(
                    ("UPDATE mynamo_indexes SET status = 'CREATING', definition_json = %s"
                     " WHERE index_id = %s", (definition_of(index, since), index_id)),
                    COUNT_UP,
                    ("COMMIT", ()),
                )  # fmt: skip

        retry(once, self.timeout)

    def activate_table(self, table_id: int) -> None:
        """Record that a table is there on every shard (unless it is being dropped)."""
        self._change(
            ("UPDATE mynamo_tables SET status = 'ACTIVE'"
             " WHERE table_id = %s AND status = 'CREATING'", (table_id,))
        )  # fmt: skip

    def retire_table(self, table_id: int) -> None:
        """Record a table as DELETING; there is no way back.

        Raises:
            TableProtected: its deletion protection is on.
        """

        def once() -> None:
            with self.pool.session() as session:
                session.run(("BEGIN", ()))
                refuse_protected(session, table_id)
                session.run(
                    ("UPDATE mynamo_tables SET status = 'DELETING' WHERE table_id = %s",
                     (table_id,)),
                    *end_streams(session, table_id, "DISABLED", until=CLOSED),
                    COUNT_UP,
                    ("COMMIT", ()),
                )  # fmt: skip

        retry(once, self.timeout)

    def change_settings(self, table_id: int, change: Change) -> TableSettings:
        """Change a table's settings; of several changes at once, none is lost.

        Args:
            change: makes the new settings from those that are there.

        Returns:
            The new settings.

        Raises:
            TableNotFound: the table is gone, or is being deleted.
            Exception: whatever `change` raises; nothing was changed.
        """

        def once() -> TableSettings:
            with self.pool.session() as session:
                session.run(("BEGIN", ()))
                changed = change(locked_settings(session, table_id))
                session.run(store_settings(table_id, changed), COUNT_UP, ("COMMIT", ()))
                return changed

        return retry(once, self.timeout)

    def add_stream(self, table_id: int, view: StreamView) -> None:
        """Record a stream as ENABLING, in the next version of its table's definition; safe to
        repeat.

        Raises:
            TableNotFound: the table is gone, or is not ACTIVE.
            InvalidRequest: it has a stream.
        """
        mark = uuid.uuid4().hex

        def once() -> None:
            with self.pool.session() as session:
                session.run(("BEGIN", ()))
                since = next_version(session, table_id)
                last = last_stream(session, table_id)
                if last is not None and last.is_active:
                    session.rollback()
                    if last.mark == mark:  # an attempt whose answer was lost has done it
                        return
                    raise InvalidRequest("Table already has an enabled stream")
                insert_stream(session, table_id, view, since, mark)
                session.run(COUNT_UP, ("COMMIT", ()))

        retry(once, self.timeout)

    def retire_stream(self, table_id: int) -> None:
        """Record a table's stream as DISABLING, in the next version of the table's definition; safe
        to repeat.

        Raises:
            TableNotFound: the table is gone, or is not ACTIVE.
        """

        def once() -> None:
            with self.pool.session() as session:
                session.run(("BEGIN", ()))
                until = next_version(session, table_id)
                statements = end_streams(session, table_id, "DISABLING", until)
                if not statements:
                    session.rollback()  # an attempt whose answer was lost, or somebody else
                    return
                session.run(*statements, COUNT_UP, ("COMMIT", ()))

        retry(once, self.timeout)

    def settle_stream(self, stream_id: int, status: StreamStatus, settled: StreamStatus) -> None:
        """Record that all shards know of a stream, or of its end.

        Args:
            status: that it had when they were told; another one by now stays.
            settled: that it gets.
        """
        self._change(
            ("UPDATE mynamo_streams SET status = %s WHERE stream_id = %s AND status = %s",
             (settled, stream_id, status))
        )  # fmt: skip

    def forget_stream(self, stream_id: int) -> None:
        """Remove a stream that is DISABLED and has nothing left to read."""
        self._change(
            ("DELETE FROM mynamo_streams WHERE stream_id = %s AND status = 'DISABLED'",
             (stream_id,))
        )  # fmt: skip

    def activate_index(self, index_id: int) -> None:
        """Record that an index is backfilled (unless it is being dropped)."""
        self._change(
            ("UPDATE mynamo_indexes SET status = 'ACTIVE'"
             " WHERE index_id = %s AND status = 'CREATING'", (index_id,))
        )  # fmt: skip

    def retire_index(self, table_id: int, index_id: int) -> None:
        """Record an index as DELETING, in the next version of the table's definition; safe to
        repeat."""

        def once() -> None:
            with self.pool.session() as session:
                session.run(("BEGIN", ()))
                next_version(session, table_id)
                if _index_status(session, index_id) in (None, "DELETING"):
                    session.rollback()  # an attempt whose answer was lost, or somebody else
                    return
                known = locked_settings(session, table_id)
                names = session.run(
                    ("SELECT name FROM mynamo_indexes WHERE index_id = %s", (index_id,))
                )[0].rows  # fmt: skip
                for (name,) in names:  # what comes under this name later inherits nothing
                    session.run(store_settings(table_id, known.without_index(name.decode())))
                session.run(
                    ("UPDATE mynamo_indexes SET status = 'DELETING' WHERE index_id = %s",
                     (index_id,)),
                    COUNT_UP,
                    ("COMMIT", ()),
                )  # fmt: skip

        retry(once, self.timeout)

    def forget_index(self, index_id: int) -> None:
        """Remove an index whose physical tables are gone."""
        self._change(("DELETE FROM mynamo_indexes WHERE index_id = %s", (index_id,)))

    def forget_table(self, table_id: int) -> None:
        """Remove a table whose physical tables are gone."""
        self._change(
            ("DELETE FROM mynamo_indexes WHERE table_id = %s", (table_id,)),
            ("DELETE FROM mynamo_table_settings WHERE table_id = %s", (table_id,)),
            ("DELETE FROM mynamo_tables WHERE table_id = %s", (table_id,)),
        )

    def _change(self, *statements: Statement) -> None:
        self._run(("BEGIN", ()), *statements, COUNT_UP, ("COMMIT", ()))

    def _run(self, *statements: Statement) -> list[Result]:
        """Run idempotent statements in one round trip, again if the connection was lost."""

        def once() -> list[Result]:
            with self.pool.session() as session:
                return session.run(*statements)

        return retry(once, self.timeout)


def _insert_member(shard_id: int, epoch: int) -> Statement:
    return "INSERT INTO mynamo_shards VALUES (%s, 'ACTIVE', %s)", (shard_id, epoch)


def _members(rows: Sequence[Row], slots: Sequence[SlotRange]) -> dict[int, Member]:
    """All shards; up to format 3 they are known from their slots, and do not change."""
    if rows:
        return {row[0]: Member(*row) for row in rows}
    found: dict[int, Member] = {}
    for owned in slots:
        before = found.get(owned.shard_id)
        epoch = owned.since if before is None else max(owned.since, before.epoch)
        found[owned.shard_id] = Member(owned.shard_id, "ACTIVE", epoch)
    return found


def moves_in(found: Result) -> tuple[SlotMove, ...]:
    """What `SLOT_MOVES` gave."""
    return tuple(_move(*row) for row in found.rows)


def _move(
    id_: int,
    first: int,
    last: int,
    source: int,
    target: int,
    state: MoveState,
    attempt: int,
    mover: bytes,
    term: int,
    incarnations: bytes,
    generations: bytes | None,
) -> SlotMove:
    return SlotMove(
        id_, first, last, source, target, state, attempt, mover, term,
        _pair(incarnations), None if generations is None else _pair(generations),
    )  # fmt: skip


def _pair(stored: bytes) -> tuple[int, int]:
    first, second = orjson.loads(stored)
    return first, second


def _table_with(session: Session, name: bytes, keys: bytes) -> int | None:
    """The id of the table of that name, if it has just these keys and this mark."""
    rows = session.run(
        ("SELECT table_id FROM mynamo_tables WHERE name = %s AND keys_json = %s", (name, keys))
    )[0].rows  # fmt: skip
    return int(rows[0][0]) if rows else None


def _index_status(session: Session, index_id: int) -> str | None:
    """The status of an index, which is locked until the transaction ends."""
    rows = session.run(
        ("SELECT status FROM mynamo_indexes WHERE index_id = %s FOR UPDATE", (index_id,))
    )[0].rows  # fmt: skip
    return str(rows[0][0]) if rows else None
