"""What a write returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.errors import ConditionFailed
from mynamo.schemas.events import ConsistencyToken
from mynamo.schemas.items import from_stored
from mynamo.schemas.values import StoredItem
from mynamo.writer import Done, ReturnValues, WriteRequest, returned


@dataclass(frozen=True, slots=True)
class Receipt:
    """A committed write.

    Attributes:
        table: the table's name.
        shard: number of the shard that has it on disk.
        version: of the item; larger than that of every earlier change of it. 0 if there was
            nothing to change (an item that does not exist, and a deletion of it or an update
            that only removes).
        token: give it to an index query as `after` to read this write.
        old: the item before, or None.
        attributes: what `return_values` asked for; None if nothing, or nothing was there.
    """

    table: str
    shard: int
    version: int
    token: str
    old: dict[str, Any] | None
    attributes: dict[str, Any] | None = None


def receipt_of(
    cluster: Cluster,
    request: WriteRequest,
    shard_id: int,
    done: Done,
    return_values: ReturnValues = "NONE",
) -> Receipt:
    """The receipt of a write that was applied."""
    return Receipt(
        table=request.table,
        shard=shard_id,
        version=done.version,
        token=str(ConsistencyToken(cluster.fingerprint, shard_id, done.partition, done.version)),
        old=_python(done.old),
        attributes=_python(returned(return_values, request, done)),
    )


def in_python_form(failure: ConditionFailed) -> ConditionFailed:
    """The same failure for a caller of the library: the item found in Python form."""
    return ConditionFailed(str(failure), item=_python(failure.item))


def _python(item: StoredItem | None) -> dict[str, Any] | None:
    return None if item is None else from_stored(item)
