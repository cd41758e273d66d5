"""The catalog as it was read at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from mynamo.shards.tables import Table


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
