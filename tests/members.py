"""Shards that come, and slots that are given to them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import raise_epoch
from mynamo.catalog.snapshot import Member
from mynamo.mysql.pool import Session, Statement
from mynamo.schemas.keys import hash_of, slot_of

NEW = 3
"""Of the shard that comes."""
FIRST, LAST = 3600, 4095
"""Slots of shard 2 that are given to it."""


def say_nothing(_: str) -> None:
    pass


def member(cluster: Cluster, shard_id: int = NEW) -> Member | None:
    """As the catalog has it."""
    return cluster.refresh().members.get(shard_id)


def give_slots(cluster: Cluster, target: int = NEW) -> None:
    """Give slots without any rows from the shard that has them to another one.

    Args:
        cluster: that knows all shards.
    """

    def step(_: Session, __: int) -> Sequence[Statement]:
        return [
            ("UPDATE mynamo_slots SET last_slot = %s WHERE last_slot = %s AND first_slot < %s",
             (FIRST - 1, LAST, FIRST)),
            ("REPLACE INTO mynamo_slots VALUES (%s, %s, %s, 1)", (FIRST, LAST, target)),
            ("UPDATE mynamo_shards SET epoch = epoch + 1", ()),
        ]  # fmt: skip

    cluster.catalog.decide(step)
    cluster.refresh()
    for shard in cluster.shards.values():
        shard.run(raise_epoch(cluster.snapshot.epochs[shard.id]))


def names(prefix: str, new: bool, many: int) -> list[str]:
    """Texts whose slots are among those that are given away, or are not."""
    texts = (f"{prefix}{number}" for number in count())
    found = (text for text in texts if (FIRST <= slot_of(hash_of(text.encode())) <= LAST) == new)
    return [next(found) for _ in range(many)]
