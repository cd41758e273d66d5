"""What a write returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.errors import ConditionFailed
from mynamo.schemas.events import SEPARATOR, ConsistencyToken
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


@dataclass(frozen=True, slots=True)
class TransactionReceipt:
    """A committed transaction.

    Attributes:
        receipts: of each of its writes, in order. That of a check has version 0 and the item as it
            was found. If `repeated`, they have no items.
        token: give it to an index query as `after` to read all of its writes.
        repeated: the request had happened before, as its token says.
    """

    receipts: tuple[Receipt, ...]
    token: str
    repeated: bool


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
        token=str(ConsistencyToken(cluster.fingerprint, shard_id, done.partition, done.waits_for)),
        old=_python(done.old),
        attributes=_python(returned(return_values, request, done)),
    )


def token_of_all(cluster: Cluster, writes: Iterable[tuple[int, Done]]) -> str:
    """One token for several writes.

    Args:
        writes: the number of each one's shard, and its outcome.
    """
    newest: dict[tuple[int, int], int] = {}
    for shard_id, done in writes:
        stream = shard_id, done.partition
        newest[stream] = max(newest.get(stream, 0), done.waits_for)
    return SEPARATOR.join(
        str(ConsistencyToken(cluster.fingerprint, *stream, version))
        for stream, version in newest.items()
    )


def in_python_form(failure: ConditionFailed) -> ConditionFailed:
    """The same failure for a caller of the library: the item found in Python form."""
    return ConditionFailed(str(failure), item=_python(failure.item))


def _python(item: StoredItem | None) -> dict[str, Any] | None:
    return None if item is None else from_stored(item)
