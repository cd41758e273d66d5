"""The catalog as it was read at one moment, and the rows that it is read from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple

import orjson

from mynamo.catalog.changes import definition_of, kind_of, settings_of
from mynamo.catalog.tables import Index, Table, TableStream
from mynamo.errors import ConfigError
from mynamo.schemas.keys import SLOTS
from mynamo.schemas.table import KEYS_ONLY, IndexSchema, KeyAttribute, Projection


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Consecutive slots and the shard that owns them.

    Attributes:
        since: the least epoch of the shard's slots at which a process knows all that it must know
            to work on them.
    """

    first: int
    last: int
    shard_id: int
    since: int


MemberState = Literal["JOINING", "ACTIVE", "DRAINING", "LEAVING", "REMOVED"]


class Member(NamedTuple):
    """A shard of the cluster.

    Attributes:
        state: JOINING until it has all tables; ACTIVE; DRAINING: no slots are moved to it; LEAVING:
            it has no slots; REMOVED: for ever, its number is not given again.
        epoch: of its slots: raised whenever they change, and what its slot guard follows.
    """

    shard_id: int
    state: MemberState
    epoch: int


MoveState = Literal["COPYING", "STOPPED", "CLOSED", "DONE", "ENDED", "CANCELLED"]


class SlotMove(NamedTuple):
    """Slots on their way from one shard to another one.

    Attributes:
        state: see `docs/design/resharding.md`.
        attempt: counts how often the move was STOPPED.
        mover: the process that may go on, 16 bytes.
        term: counts movers; of two, the one with the greater term may go on.
        incarnations: of source and target when the copy began.
        generations: of their request tokens, source's and target's, at the switch; None before.
    """

    id: int
    first: int
    last: int
    source: int
    target: int
    state: MoveState
    attempt: int
    mover: bytes
    term: int
    incarnations: tuple[int, int]
    generations: tuple[int, int] | None

    @property
    def is_open(self) -> bool:
        """Whether the slots may go to the target yet, and have not."""
        return self.state in ("COPYING", "STOPPED", "CLOSED")

    def __str__(self) -> str:
        return f"slots {self.first}-{self.last}: shard {self.source} -> {self.target}, {self.state}"

    def hidden_on(self, owner: int) -> int:
        """The one of source and target that does not own the slots, though it may have rows of
        them: a copy that is being made, or what is not deleted yet.

        Args:
            owner: of the slots, by the slot map.
        """
        return self.target if owner == self.source else self.source

    @property
    def is_logged(self) -> bool:
        """Whether the keys of rows that change on the source are kept in its move log."""
        return self.state in ("COPYING", "STOPPED")

    @property
    def stops_writes(self) -> bool:
        """Whether the items of the slots are not written at the moment."""
        return self.state in ("STOPPED", "CLOSED")

    @property
    def stops_all(self) -> bool:
        """Whether nothing of the slots is read or written at the moment."""
        return self.state == "CLOSED"

    def has(self, slot: int) -> bool:
        """Whether a slot is one of those."""
        return self.first <= slot <= self.last


class Owned(NamedTuple):
    """What a slot map says of one slot. A slot guard G fits if since <= G <= epoch.

    Attributes:
        epoch: of the shard's slots.
        move: of the range that the slot is in, if there is one.
    """

    shard_id: int
    since: int
    epoch: int
    move: SlotMove | None


@dataclass(frozen=True)
class Snapshot:
    """The whole catalog at one moment.

    Attributes:
        format: of the catalog; from 3 on transactions over several shards are allowed, from 4 on
            slots can be moved.
        streams: of all tables, those that are disabled and those of dropped tables too, as long as
            they can be read.
        members: all shards, those that were removed too.
        moves: of slots, by their ids; those that have ended too, for some time.
    """

    cluster_id: bytes
    partitions: int
    version: int
    format: int
    slots: tuple[SlotRange, ...]
    members: dict[int, Member]
    moves: tuple[SlotMove, ...]
    streams: tuple[TableStream, ...]
    tables: dict[int, Table]
    names: dict[str, Table]

    def stream(self, stream_id: int) -> TableStream | None:
        """A stream by its number; None: there is none, or none any more."""
        return next((one for one in self.streams if one.id == stream_id), None)

    @property
    def header(self) -> tuple[bytes, int, int, int]:
        """The cluster's id, its number of partitions, and the catalog's version and format."""
        return self.cluster_id, self.partitions, self.version, self.format

    @property
    def epochs(self) -> dict[int, int]:
        """Per shard that is there: the epoch of its slots."""
        return {id_: one.epoch for id_, one in self.members.items() if one.state != "REMOVED"}

    @cached_property
    def open_moves(self) -> tuple[SlotMove, ...]:
        """Those whose slots may go to the target yet, and have not."""
        return tuple(move for move in self.moves if move.is_open)

    @property
    def moves_left(self) -> tuple[SlotMove, ...]:
        """Those that have not ended: slots that may have rows on two shards."""
        return tuple(move for move in self.moves if move.state != "ENDED")

    @cached_property
    def since(self) -> dict[int, int]:
        """Per shard that has slots: the least epoch of them at which a process knows all that it
        must know to work on any of them."""
        since: dict[int, int] = {}
        for owned in self.slots:
            since[owned.shard_id] = max(owned.since, since.get(owned.shard_id, 0))
        return since

    @cached_property
    def neighbours(self) -> tuple[tuple[int, int, Owned], ...]:
        """Ranges of slots, neighbours of one shard as one, but for those that are closed: first and
        last slot, and what the map says of all of them. `move`: that of a closed range."""
        found: list[tuple[int, int, Owned]] = []
        for owned in self.slots:
            one = self.owners[owned.first]
            if one.move is None or not one.move.stops_all:
                one = one._replace(move=None)
            first = owned.first
            if found:
                begun, _, before = found[-1]
                if before[:1] == one[:1] and before.move is None and one.move is None:
                    one = one._replace(since=max(one.since, before.since))
                    first = begun
                    found.pop()
            found.append((first, owned.last, one))
        return tuple(found)

    @cached_property
    def hidden(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """Per shard that may have rows of slots that it does not own, because they are moved and
        the move has not ended: these slots, the first and the last one of each range, in order."""
        found: dict[int, list[tuple[int, int]]] = {}
        for move in self.moves_left:
            shard_id = move.hidden_on(self.shard_ids[move.first])
            found.setdefault(shard_id, []).append((move.first, move.last))
        return {shard_id: tuple(sorted(ranges)) for shard_id, ranges in found.items()}

    def is_hidden(self, shard_id: int, slot: int) -> bool:
        """Whether what a shard has of a slot is to be left alone, see `hidden`."""
        owner, _, _, move = self.owners[slot]
        return move is not None and owner != shard_id and move.hidden_on(owner) == shard_id

    @cached_property
    def shard_ids(self) -> tuple[int, ...]:
        """Which shard owns each slot."""
        return tuple([owned.shard_id for owned in self.owners])

    @cached_property
    def slot_counts(self) -> dict[int, int]:
        """Per shard that is there: how many slots it owns."""
        counts = dict.fromkeys(sorted(self.epochs), 0)
        for owned in self.slots:
            counts[owned.shard_id] += owned.last + 1 - owned.first
        return counts

    @cached_property
    def owners(self) -> list[Owned]:
        """What the slot map says of each slot.

        Raises:
            ConfigError: a slot has no shard.
        """
        moves = {move.first: move for move in self.moves_left}
        owners: list[Owned] = []
        for owned in sorted(self.slots, key=lambda owned: owned.first):
            if owned.first != len(owners):
                break
            one = Owned(
                owned.shard_id,
                owned.since,
                self.members[owned.shard_id].epoch,
                moves.get(owned.first),
            )
            owners += [one] * (owned.last + 1 - owned.first)
        if len(owners) != SLOTS:
            raise ConfigError(f"slot {len(owners)} has no shard; the catalog is damaged")
        return owners


TABLES = (
    """
CREATE TABLE IF NOT EXISTS mynamo_cluster (
    only_row TINYINT PRIMARY KEY,
    cluster_id BINARY(16) NOT NULL,
    format INT UNSIGNED NOT NULL,
    partitions INT UNSIGNED NOT NULL,
    version BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB""",
    """
CREATE TABLE IF NOT EXISTS mynamo_slots (
    first_slot SMALLINT UNSIGNED PRIMARY KEY,
    last_slot SMALLINT UNSIGNED NOT NULL,
    shard_id SMALLINT UNSIGNED NOT NULL,
    epoch BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB""",
    """
CREATE TABLE IF NOT EXISTS mynamo_tables (
    table_id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    name VARBINARY(255) NOT NULL UNIQUE,
    status VARCHAR(16) NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    keys_json LONGBLOB NOT NULL,
    created_at DATETIME(6) NOT NULL
) ENGINE=InnoDB""",
    """
CREATE TABLE IF NOT EXISTS mynamo_indexes (
    index_id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    table_id BIGINT UNSIGNED NOT NULL,
    name VARBINARY(255) NOT NULL,
    kind VARCHAR(3) NOT NULL,
    status VARCHAR(16) NOT NULL,
    definition_json LONGBLOB NOT NULL,
    UNIQUE (table_id, name)
) ENGINE=InnoDB""",
    """
CREATE TABLE IF NOT EXISTS mynamo_table_settings (
    table_id BIGINT UNSIGNED PRIMARY KEY,
    settings_json LONGBLOB NOT NULL
) ENGINE=InnoDB""",
)


Row = tuple[Any, ...]


class KnownTables:
    """Tables as they were last read: what has not changed since is not parsed again.

    Use by one thread at a time.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Row, list[Row], TableStream | None, Table]] = {}

    def read(
        self,
        table_rows: Iterable[Row],
        index_rows: Iterable[Row],
        streams: Iterable[TableStream] = (),
    ) -> dict[int, Table]:
        """All tables, by their ids; the objects of before for those that are as they were.

        Args:
            table_rows: with the table's id first.
            index_rows: with the table's id second.
            streams: the oldest first.
        """
        latest = {stream.table_id: stream for stream in streams}
        indexes: dict[int, list[Row]] = {}
        for row in index_rows:
            indexes.setdefault(row[1], []).append(row)
        before, self._known = self._known, {}
        for row in table_rows:
            own, stream = indexes.get(row[0], []), latest.get(row[0])
            known = before.get(row[0])
            if known is None or known[:3] != (row, own, stream):
                known = row, own, stream, table_of(row, own, stream)
            self._known[row[0]] = known
        return {table_id: table for table_id, (*_, table) in self._known.items()}


def table_of(row: Row, index_rows: Iterable[Row], stream: TableStream | None = None) -> Table:
    """One table, from its row, those of its indexes, and its newest stream."""
    table_id, name, status, version, keys_json, created_at, settings_json = row
    keys = orjson.loads(keys_json)
    hash_key = KeyAttribute(**keys["hash_key"])
    sort_key = KeyAttribute(**keys["sort_key"]) if keys["sort_key"] else None
    key_names = (hash_key.name,) if sort_key is None else (hash_key.name, sort_key.name)
    return Table(
        id=table_id,
        name=name.decode(),
        version=version,
        status=status,
        hash_key=hash_key,
        sort_key=sort_key,
        indexes=tuple(_index(r, hash_key, key_names) for r in index_rows),
        created_at=_utc(created_at),
        settings=settings_of(settings_json),
        latest_stream=stream,
    )


def _index(row: Row, table_hash_key: KeyAttribute, key_names: tuple[str, ...]) -> Index:
    index_id, table_id, name, kind, status, definition_json = row
    definition = orjson.loads(definition_json)
    if kind == "TTL":
        return Index(
            id=index_id,
            table_id=table_id,
            name=name.decode(),
            kind=kind,
            hash_keys=(table_hash_key,),
            sort_keys=(),
            projection=KEYS_ONLY,
            status=status,
            table_keys=key_names,
            since=definition["since"],
            expiry=definition["attribute"],
        )
    hash_keys = _keys(definition.get("hash_key"))
    return Index(
        id=index_id,
        table_id=table_id,
        name=name.decode(),
        kind=kind,
        hash_keys=hash_keys or (table_hash_key,),
        sort_keys=_keys(definition["sort_key"]),
        projection=Projection(**definition["projection"]),
        status=status,
        table_keys=key_names,
        since=definition.get("since", 1),
    )


def _keys(stored: dict[str, Any] | list[dict[str, Any]] | None) -> tuple[KeyAttribute, ...]:
    """Key attributes as a definition has them: several, or one or none as format 1 had it."""
    if isinstance(stored, dict):
        stored = [stored]
    return tuple(KeyAttribute(**key) for key in stored or ())


def planned_index(table: Table, index_id: int, index: IndexSchema) -> Index:
    """An index that the catalog does not know yet, for making its tables."""
    stored = (
        index_id,
        table.id,
        index.name.encode(),
        kind_of(index),
        "CREATING",
        definition_of(index, since=0),
    )
    return _index(stored, table.hash_key, table.key_names)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
