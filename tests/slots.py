"""Moving slots by hand, step by step, as a command that moves slots will do it."""

from __future__ import annotations

from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.snapshot import MoveState
from mynamo.mysql.pool import ConnectionPool, Statement
from mynamo.schemas.config import PoolConfig
from mynamo.schemas.keys import slot_of, slot_range
from tests.rows import in_catalog


class Move:
    """The upper half of shard 1's slots goes to shard 2, while nobody writes to them.

    Args:
        cluster: that is as it was before the move, and is not told of it.

    Attributes:
        first, last: the slots.
        epoch: of both shards' slots afterwards.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        (owned,) = (one for one in cluster.snapshot.slots if one.shard_id == 1)
        self.first, self.last = (owned.first + owned.last + 1) // 2, owned.last
        self.epoch = max(cluster.snapshot.epochs.values()) + 1

    def has(self, hash16: bytes) -> bool:
        """Whether a hash is in one of the slots."""
        return self.first <= slot_of(hash16) <= self.last

    def record(self) -> None:
        """The new slot map, in the catalog."""
        config = self._cluster.config
        pool = ConnectionPool(config.catalog, PoolConfig(), "catalog")
        with pool.session() as session:
            session.run(
                ("BEGIN", ()),
                ("UPDATE mynamo_slots SET last_slot = %s WHERE shard_id = 1", (self.first - 1,)),
                ("INSERT INTO mynamo_slots VALUES (%s, %s, 2, 0)", (self.first, self.last)),
                ("UPDATE mynamo_slots SET epoch = %s", (self.epoch,)),
                ("UPDATE mynamo_shards SET epoch = %s", (self.epoch,)),
                ("UPDATE mynamo_cluster SET version = version + 1", ()),
                ("COMMIT", ()),
            )
        pool.close()

    def raise_guard(self, shard_id: int) -> None:
        """Let nobody in who does not know the new map."""
        self._cluster.shards[shard_id].run(
            ("UPDATE mynamo_fence SET version = %s WHERE id = 0", (self.epoch,))
        )

    def copy(self) -> None:
        """All rows of the slots, which stay where they were too."""
        low, high = slot_range(self.first, self.last)
        source, target = (self._cluster.shards[number] for number in (1, 2))
        for table in self._cluster.snapshot.tables.values():
            names = [(sql.main_table(table.id), "hash")]
            for index in table.indexes:
                column = "hash" if index.kind == "LSI" else "index_hash"
                names.append((sql.index_table(index), column))
            for name, column in names:
                where: list[Any] = [low] if high is None else [low, high]
                text = f"SELECT * FROM {name} WHERE {column} >= %s"
                text += "" if high is None else f" AND {column} < %s"
                for row in source.run((text, where))[0].rows:
                    values = ", ".join(["%s"] * len(row))
                    target.run((f"INSERT INTO {name} VALUES ({values})", row))
        # What is written there later has versions above those of the rows.
        highest = source.run(("SELECT COALESCE(MAX(id), 0) + 1000 FROM mynamo_outbox", ()))
        self._skip_ids(highest[0].rows[0][0])

    def _skip_ids(self, up_to: int) -> None:
        insert: Statement = (
            "INSERT INTO mynamo_outbox (id, part, feeds, table_id, write_id, created, payload)"
            " VALUES (%s, 0, 0, 0, %s, 1, '')",
            (up_to, bytes(16)),
        )
        delete: Statement = ("DELETE FROM mynamo_outbox WHERE id = %s", (up_to,))
        self._cluster.shards[2].run(insert, delete)

    def do(self) -> None:
        """All steps, in their order."""
        self.record()
        self.raise_guard(1)
        self.copy()
        self.raise_guard(2)


class HandMove:
    """The upper half of shard 1's slots on their way to shard 2, state by state, as the steps of a
    mover change the catalog. Rows are not copied.

    Args:
        cluster: that is as it was before the move, and is not told of it.

    Attributes:
        first, last: the slots.
    """

    ID = 7

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        (owned,) = (one for one in cluster.snapshot.slots if one.shard_id == 1)
        self.first, self.last = (owned.first + owned.last + 1) // 2, owned.last
        self._epochs = dict(cluster.snapshot.epochs)
        in_catalog(
            cluster.config,
            *(f"REPLACE INTO mynamo_shards VALUES ({id_}, 'ACTIVE', {epoch})"
              for id_, epoch in self._epochs.items()),
            f"UPDATE mynamo_slots SET last_slot = {self.first - 1} WHERE shard_id = 1",
            f"INSERT INTO mynamo_slots VALUES ({self.first}, {self.last}, 1, {owned.since})",
            "INSERT INTO mynamo_moves VALUES"
            f" ({self.ID}, {self.first}, {self.last}, 1, 2, 'CANCELLED', 0, '{'m' * 16}', 1,"
            " '[0,0]', NULL)",
        )  # fmt: skip

    def has(self, hash16: bytes) -> bool:
        """Whether a hash is in one of the slots."""
        return self.first <= slot_of(hash16) <= self.last

    def to(self, state: MoveState, guards: bool = True) -> None:
        """Bring it to a state.

        Args:
            guards: raise the slot guards to the shards' epochs then.
        """
        for id_ in {"CLOSED": (1, 2), "COPYING": (1,), "STOPPED": (1,)}.get(state, ()):
            self._epochs[id_] += 1
        owner = 2 if state in ("DONE", "ENDED") else 1
        in_catalog(
            self._cluster.config,
            "BEGIN",
            *(f"UPDATE mynamo_shards SET epoch = {epoch} WHERE shard_id = {id_}"
              for id_, epoch in self._epochs.items()),
            f"UPDATE mynamo_moves SET state = '{state}'",
            f"UPDATE mynamo_slots SET shard_id = {owner} WHERE first_slot = {self.first}",
            "UPDATE mynamo_cluster SET version = version + 1",
            "COMMIT",
        )  # fmt: skip
        if guards:
            self.raise_guards()

    def raise_guards(self) -> None:
        """Let nobody in who knows an older map."""
        for id_, epoch in self._epochs.items():
            self._cluster.shards[id_].run(
                ("UPDATE mynamo_fence SET version = %s WHERE id = 0", (epoch,))
            )

    def keep_generations(self, source: int, target: int) -> None:
        """Say what the generations were at the switch."""
        in_catalog(
            self._cluster.config,
            f"UPDATE mynamo_moves SET generations = '[{source},{target}]'",
            "UPDATE mynamo_cluster SET version = version + 1",
        )

    def log(self) -> list[tuple[Any, ...]]:
        """What is in the source's log: kind, table, index, hash, sort, and the item's key."""
        [result] = self._cluster.shards[1].run(
            ("SELECT move_id, kind, table_id, index_id, hash, sort, item_hash, item_sort"
             " FROM mynamo_move_log ORDER BY id", ())
        )  # fmt: skip
        assert all(row[0] == self.ID for row in result.rows)
        return [row[1:] for row in result.rows]
