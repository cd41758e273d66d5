"""Moving slots by hand, step by step, as a command that moves slots will do it."""

from __future__ import annotations

from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.mysql.pool import ConnectionPool, Statement
from mynamo.schemas.config import PoolConfig
from mynamo.schemas.keys import slot_of, slot_range


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
