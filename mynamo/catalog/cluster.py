"""`Cluster`: the catalog and the shards, and which shard owns a key."""

from __future__ import annotations

import logging
import re
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from mynamo.catalog import sql
from mynamo.catalog.catalog import FORMAT, TABLE_NAMES, Catalog, shard_format
from mynamo.catalog.migrations import SHARD, migrate, require
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import SlotMove, Snapshot
from mynamo.catalog.tables import Table
from mynamo.errors import (
    ConfigError,
    ShardNotConfigured,
    ShardUnavailable,
    TableNotFound,
    TableNotReady,
)
from mynamo.mysql.failures import MissingRight
from mynamo.runtime import deadlines, forks
from mynamo.runtime.batching import Batcher, Entry
from mynamo.runtime.tasks import in_thread
from mynamo.runtime.tracing import Tracer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.keys import slot_of

log = logging.getLogger(__name__)

_SLOT = struct.Struct(">QH")
"""A table's id and a slot."""


LOOK_EVERY = 0.005
"""Seconds between two looks at the catalog, of all who wait for slots in a process."""
_LOOK_FOR = 0.5
"""Seconds after which whoever waits looks at its own patience."""


class SlotsMoved(ShardUnavailable):
    """The slot map has changed, or is about to; nothing was read or written, try again."""


class RangeStopped(SlotsMoved):
    """Slots are on their way to another shard, and what is asked for waits until they are there, or
    until the move is taken back; nothing was read or written, try again.

    Attributes:
        shard: that owns the slots.
        move: of them.
        snapshot: the catalog that says so.
    """

    def __init__(self, shard: DynamoDBShard, move: SlotMove, snapshot: Snapshot) -> None:
        super().__init__(
            f"{shard.where}: slots {move.first}-{move.last} go to shard {move.target} at this "
            "moment; try again"
        )
        self.shard = shard
        self.move = move
        self.snapshot = snapshot


class Route(NamedTuple):
    """Where a row of a main table belongs, by one snapshot of the catalog. A slot guard G of the
    shard fits if since <= G <= epoch.

    Attributes:
        shard: that owns the row's slot.
        epoch: of the shard's slots.
        partition: of `changes`, for the row's events.
        log: the move in whose log the row's key is kept if it is changed.
    """

    shard: DynamoDBShard
    since: int
    epoch: int
    partition: int
    log: SlotMove | None = None


class Owner(NamedTuple):
    """The shard that owns a slot, or several, by one snapshot; see `Route`.

    Attributes:
        logs: the moves in whose logs the keys of index rows are kept that are changed.
    """

    shard: DynamoDBShard
    since: int
    epoch: int
    logs: tuple[SlotMove, ...] = ()

    def and_of(self, other: Owner) -> Owner:
        """The same shard, for work on the slots of both."""
        if self == other:
            return self
        return Owner(
            self.shard,
            max(self.since, other.since),
            min(self.epoch, other.epoch),
            tuple({*self.logs, *other.logs}),
        )


class Cluster:
    """All that one process knows of its cluster. Safe to share between threads.

    The first one to open a cluster sets it up: control tables on every shard, and the
    catalog.

    Args:
        config: where the servers are.
        shards: those of the configuration, where the caller has opened them already; they
            are disconnected together with the cluster.

    Attributes:
        configured: the shards that the configuration names, by their numbers.
        shards: those of them that are members by the catalog. It is replaced when the catalog has
            other members, and never changed: who goes over it goes over those of one moment.
        tracer: of requests and calls; None: they are not traced.

    Raises:
        ConfigError: the configuration names none of the cluster's shards; or it is not set
            up, and this user may not do that; or it asks for traces without the packages.
        ShardUnavailable: the catalog's server does not answer, or is no primary.
    """

    def __init__(self, config: ClusterConfig, shards: Iterable[DynamoDBShard] = ()) -> None:
        self.config = config
        self.tracer = Tracer() if config.tracing.enabled else None
        self.catalog = Catalog(config.catalog, config.pool, config.timeout)
        opened = {shard.id: shard for shard in shards}
        self.configured: Mapping[int, DynamoDBShard] = {
            s.id: opened.get(s.id) or DynamoDBShard.of(s, config.pool) for s in config.shards
        }
        for shard in self.configured.values():
            shard.limit(config.timeout, config.outcome_timeout)
        self.shards: Mapping[int, DynamoDBShard] = {}
        self._said: set[int] = set()  # of which shards the log says that they are not configured
        self.is_new = False
        """This process found the databases empty, and set the cluster up."""
        self.renew_after_fork()
        forks.note(self)
        try:
            self.catalog.check_server()
            if not self.catalog.exists():
                self._set_up_or_say_why_not()
            self.catalog.upgrade()
            self._snapshot = self.catalog.load()
            self._loaded_at = time.monotonic()
            self._check_configuration()
        except BaseException:
            self.close()
            raise
        self.id = self._snapshot.cluster_id
        """16 bytes, of the cluster for its whole life."""
        self._take_members(self._snapshot)
        self.fingerprint = zlib.crc32(self.id)
        """Marks consistency tokens, so that another cluster refuses them."""

    __reduce__ = forks.not_picklable

    def renew_after_fork(self) -> None:
        """Have a lock of its own; catalog and shards do likewise."""
        self._refreshing = threading.Lock()
        self._looks: Batcher[Snapshot, bool] = Batcher(
            self._look, max_running=1, max_count=sys.maxsize, max_size=sys.maxsize,
            name="wait for the catalog",
        )  # fmt: skip

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.catalog.close()
        for shard in self.configured.values():
            shard.disconnect()

    @property
    def snapshot(self) -> Snapshot:
        """The catalog as last read."""
        return self._snapshot

    @property
    def partitions(self) -> int:
        """Partitions of the `changes` topic, fixed for the cluster's life."""
        return self._snapshot.partitions

    @in_thread
    def refresh(self, if_older_than: float = 0.0) -> Snapshot:
        """Read the catalog again, as far as it has changed.

        Args:
            if_older_than: seconds; a snapshot younger than that will do.
        """
        asked_at = time.monotonic()
        refreshing = self._refreshing
        if not refreshing.acquire(timeout=deadlines.left(threading.TIMEOUT_MAX)):
            raise ShardUnavailable(
                f"{self.catalog.where}: it did not answer within the timeout of "
                f"{deadlines.timeout():g} s"
            )
        try:
            # Whoever waited here while another thread read has what it needs.
            if self._loaded_at < asked_at and asked_at - self._loaded_at >= if_older_than:
                started = time.monotonic()
                snapshot = self.catalog.load(self._snapshot)
                if snapshot is not self._snapshot:
                    self._take_members(snapshot)  # first, as its slots may lead to new ones
                    self._snapshot = snapshot
                self._loaded_at = started
            return self._snapshot
        finally:
            refreshing.release()

    def wait_for_other(self, known: Snapshot, ends_at: float) -> None:
        """Wait until the catalog is another one, for half a second at most. One caller in a process
        looks for all who wait.

        Args:
            known: the catalog that makes the caller wait.
            ends_at: when the caller's patience ends (monotonic).
        """
        entry: Entry[Snapshot, bool] = Entry(known, 1, 0)
        if self._looks.submit(entry) is None:  # it has a deadline of its own
            self._look([entry], ends_at)

    @in_thread
    def _look(self, waiting: list[Entry[Snapshot, bool]], ends_at: float | None = None) -> None:
        until = time.monotonic() + _LOOK_FOR
        if ends_at is not None:
            until = min(until, ends_at)
        while True:
            try:
                found = self.refresh(if_older_than=LOOK_EVERY)
            except ShardUnavailable:  # nobody can decide now; those who wait go on waiting
                found = self._snapshot
            if ends_at is None:
                self._looks.join(waiting)
            is_other = any(one.request is not found for one in waiting)
            if is_other or time.monotonic() >= until:
                break
            time.sleep(LOOK_EVERY)
        for one in waiting:
            one.answer = True

    def table(self, name: str) -> Table:
        """The table of that name, asking the catalog if this process has not heard of it.

        Raises:
            TableNotReady: it is being created.
            TableNotFound: there is none, or it is being deleted.
        """
        table = self._snapshot.names.get(name)
        if table is None or table.status != "ACTIVE":
            table = self.refresh().names.get(name)
        if table is None:
            raise TableNotFound(f"Requested resource not found: Table: {name} not found")
        if table.status != "ACTIVE":
            kind = TableNotReady if table.status == "CREATING" else TableNotFound
            raise kind(f"table {name} is {table.status}, not ACTIVE yet; try again")
        return table

    def table_by_id(self, table_id: int, at_least: int = 0) -> Table | None:
        """The table with that identity, or None if it was dropped.

        Args:
            at_least: a version of its definition that the caller has seen elsewhere.
        """
        table = self._snapshot.tables.get(table_id)
        if table is None or table.version < at_least:
            table = self.refresh().tables.get(table_id)
        return table

    def route(self, table_id: int, hash16: bytes, snapshot: Snapshot | None = None) -> Route:
        """Where a row of a main table belongs, which is to be written.

        Args:
            snapshot: the slot map, where several rows are routed by one; None: the newest.

        Raises:
            RangeStopped: items of the slot are not written at the moment.
            ShardNotConfigured: on a shard that the configuration lacks.
        """
        snapshot = self._snapshot if snapshot is None else snapshot
        slot = slot_of(hash16)
        shard_id, since, epoch, move = snapshot.owners[slot]
        shard = self.configured.get(shard_id)
        if shard is None:
            shard, snapshot = self._owner_anew(slot)
            _, since, epoch, move = snapshot.owners[slot]
        if move is not None:
            if move.stops_writes:
                raise RangeStopped(shard, move, snapshot)
            move = move if move.is_logged else None
        partition = zlib.crc32(_SLOT.pack(table_id, slot)) % snapshot.partitions
        return Route(shard, since, epoch, partition, move)

    def owner_of(self, hash16: bytes, snapshot: Snapshot | None = None) -> Owner:
        """The shard that owns a hash, of an item that is to be read, or of an index row.

        Args:
            snapshot: as of `route`.

        Raises:
            RangeStopped: nothing of the slot is read or written at the moment.
            ShardNotConfigured: the configuration lacks the shard.
        """
        snapshot = self._snapshot if snapshot is None else snapshot
        slot = slot_of(hash16)
        shard_id, since, epoch, move = snapshot.owners[slot]
        shard = self.configured.get(shard_id)
        if shard is None:
            shard, snapshot = self._owner_anew(slot)
            _, since, epoch, move = snapshot.owners[slot]
        if move is None:
            return Owner(shard, since, epoch)
        if move.stops_all:
            raise RangeStopped(shard, move, snapshot)
        return Owner(shard, since, epoch, (move,) if move.is_logged else ())

    def owner_of_all(self, shard: DynamoDBShard, snapshot: Snapshot | None = None) -> Owner:
        """A shard, for work on any slots that it owns by one snapshot."""
        snapshot = self._snapshot if snapshot is None else snapshot
        return Owner(shard, snapshot.since.get(shard.id, 0), snapshot.epochs.get(shard.id, 0))

    def shard_of(self, hash16: bytes) -> DynamoDBShard:
        """The shard that owns a hash, also while nothing of its slot is read or written.

        Raises:
            ShardNotConfigured: the configuration lacks it.
        """
        slot = slot_of(hash16)
        shard = self.configured.get(self._snapshot.owners[slot].shard_id)
        return self._owner_anew(slot)[0] if shard is None else shard

    def shard_id_of(self, hash16: bytes) -> int:
        """The number of the shard that owns a hash, also if the configuration lacks it."""
        return self._snapshot.owners[slot_of(hash16)].shard_id

    def target_of(self, hash16: bytes, snapshot: Snapshot) -> int:
        """The number of the shard that owns an index row, also if the configuration lacks it.

        Raises:
            SlotsMoved: nothing of the slot is written at the moment.
        """
        owned = snapshot.owners[slot_of(hash16)]
        if owned.move is not None and owned.move.stops_all:
            shard = self.configured.get(owned.shard_id)
            if shard is None:
                raise SlotsMoved
            raise RangeStopped(shard, owned.move, snapshot)
        return owned.shard_id

    def member(self, shard_id: int) -> DynamoDBShard:
        """A shard by its number; the catalog is asked about one that this process does not know.

        Raises:
            ShardNotConfigured: the configuration lacks it.
            ShardUnavailable: it is no member; or the catalog does not answer.
        """
        found = self.shards.get(shard_id)
        if found is None:
            member = self.refresh().members.get(shard_id)
            if member is None or member.state == "REMOVED":
                raise ShardUnavailable(f"the cluster has no shard {shard_id}")
            found = self.shards.get(shard_id)
        if found is None:
            raise ShardNotConfigured(_lacks(f"the cluster has shard {shard_id}"), shard=shard_id)
        return found

    @property
    def lacking(self) -> list[int]:
        """The numbers of the members that the configuration lacks."""
        return sorted(self._snapshot.epochs.keys() - self.configured.keys())

    def check_complete(self) -> None:
        """Refuse work for which all members are needed.

        Raises:
            ShardNotConfigured: the configuration lacks one.
        """
        for shard_id in self.lacking:
            raise ShardNotConfigured(_lacks(f"the cluster has shard {shard_id}"), shard=shard_id)

    def partition_of(self, table_id: int, slot: int) -> int:
        """The partition of `changes` for the events of a table's slot."""
        return zlib.crc32(_SLOT.pack(table_id, slot)) % self.partitions

    def _set_up_or_say_why_not(self) -> None:
        try:
            with self.catalog.lock():
                self._set_up()
        except MissingRight as failure:
            raise ConfigError(
                f"{self.catalog.where}: the cluster is not set up, and this user has not the right "
                "to do it; run `mynamo table list` once as a user who may create tables, or "
                f"correct the configuration if the cluster is elsewhere ({failure})"
            ) from None

    def _set_up(self) -> None:
        if self.catalog.exists():  # another process did it while this one waited
            return
        refuse_foreign(self.catalog.where, self.catalog.tables())
        cluster_id = self.catalog.create(list(self.configured))
        partitions = self.config.kafka.partitions
        for shard in self.configured.values():
            refuse_foreign(shard.where, (row[0] for row in shard.run(TABLE_NAMES)[0].rows))
            set_up_shard(shard, cluster_id, partitions, FORMAT)
        self.catalog.record(cluster_id, partitions)
        self.is_new = True

    def _owner_anew(self, slot: int) -> tuple[DynamoDBShard, Snapshot]:
        """The owner of a slot that was on a shard which the configuration lacks, and the catalog
        that says so."""
        with suppress(ShardUnavailable):  # the catalog is away: by what is known then
            deadlines.until(time.monotonic() + _ASKING, partial(self.refresh, _ASK_AGAIN))
        snapshot = self._snapshot
        shard_id = snapshot.owners[slot].shard_id
        shard = self.configured.get(shard_id)
        if shard is None:
            owned = next(one for one in snapshot.slots if one.first <= slot <= one.last)
            what = f"slots {owned.first}-{owned.last} are on shard {shard_id}"
            raise ShardNotConfigured(_lacks(what), shard=shard_id)
        return shard, snapshot

    def _take_members(self, snapshot: Snapshot) -> None:
        """Work with the members of a snapshot from now on, as far as they are configured."""
        members = {id_: one for id_, one in self.configured.items() if id_ in snapshot.epochs}
        for shard_id, shard in members.items():
            if shard_id not in self.shards:
                shard.belong_to(snapshot.cluster_id, self.catalog.give_incarnation)
        self.shards = members
        for shard_id in sorted(snapshot.epochs.keys() - self.configured.keys() - self._said):
            self._said.add(shard_id)
            log.warning("%s", _lacks(f"the cluster has shard {shard_id}"))

    def _check_configuration(self) -> None:
        members = self._snapshot.epochs.keys()
        if not members & self.configured.keys():
            raise ConfigError(
                f"the cluster's shards are {sorted(members)}, but the configuration names "
                f"{sorted(self.configured)}; correct the configuration"
            )
        if self._snapshot.partitions != self.config.kafka.partitions:
            raise ConfigError(
                f"the cluster was set up with {self._snapshot.partitions} partitions, but the "
                f"configuration says {self.config.kafka.partitions}; an item's events would "
                "lose their order, so correct the configuration"
            )


_ASK_AGAIN = 1.0
"""Seconds until the catalog is asked again who owns a slot of a shard that is not configured."""
_ASKING = 1.0
"""Seconds that this may take."""


def _lacks(what: str) -> str:
    """Says of a shard that the configuration lacks it.

    Args:
        what: is so; it ends with the shard's number.
    """
    number = what.rpartition(" ")[2]
    return (
        f"{what}, which the configuration of this process does not name: add a [[shards]] with "
        f"id = {number}, and start it again"
    )


def set_up_shard(shard: DynamoDBShard, cluster_id: bytes, partitions: int, format_: int) -> None:
    """Make a shard's control tables, and record whose it is; safe to repeat.

    Args:
        format_: of the catalog.

    Raises:
        MissingRight: this user may not.
        ShardUnavailable: the shard does not answer.
    """
    shard.run(*((statement, ()) for statement in sql.CONTROL_TABLES))
    with shard.session() as session:
        migrate(session, SHARD, shard.where)
    shard.run(
        ("INSERT INTO mynamo_shard VALUES (1, %s, %s)"
         " ON DUPLICATE KEY UPDATE cluster_id = VALUES(cluster_id)",
         (cluster_id, shard.id)),
        ("INSERT IGNORE INTO mynamo_fence VALUES (0, 1)", ()),
        ("INSERT IGNORE INTO mynamo_relay (only_row) VALUES (1)", ()),
        *(("INSERT IGNORE INTO mynamo_stream (part) VALUES (%s)", (part,))
          for part in range(partitions)),
        require(shard_format(format_)),
    )  # fmt: skip


def refuse_foreign(where: str, tables: Iterable[str]) -> None:
    """Set a database up only if it holds nothing of anybody else.

    Args:
        where: it is, for messages.
        tables: the names of the tables in it.

    Raises:
        ConfigError: it holds items of another cluster, or tables of another program.
    """
    others = sorted(name for name in tables if not name.startswith("mynamo_"))
    if not others:
        return
    if any(re.fullmatch("t[0-9]+", name) for name in others):
        raise ConfigError(
            f"{where}: this database already holds another cluster's tables; give this cluster "
            "a database of its own, or correct the configuration's [catalog] if it is to be "
            "that cluster"
        )
    more = ", ..." if len(others) > 3 else ""
    raise ConfigError(
        f"{where}: this database holds tables of another program ({', '.join(others[:3])}{more}); "
        "give mynamo a database of its own: CREATE DATABASE, and its name in the configuration"
    )
