"""What became of a transaction, on one shard or over several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import (
    ConditionFailed,
    IdempotentParameterMismatch,
    InvalidRequest,
    MynamoError,
    TransactionCanceled,
    TransactionConflict,
)
from mynamo.writer.transaction.evaluation import Done, ItemInTransaction, Outcome, Refused
from mynamo.writer.transaction.statements import LockedRow
from mynamo.writer.transaction.write_requests import Write


@dataclass(frozen=True, slots=True)
class Transacted:
    """A transaction that happened.

    Attributes:
        done: per request; of a check, version 0 and the item as it was found; of a repeated
            request, without items.
        shards: per request, the number of the shard that has it on disk.
        repeated: it had happened before, as its token says.
    """

    done: list[Done]
    shards: list[int]
    repeated: bool = False


class Met(MynamoError):  # noqa: N818
    """Items of a transaction are another one's at the moment; nothing was written.

    Attributes:
        places: of these items, with their shards.
        cancelled: what the caller hears if that does not change.
    """

    def __init__(
        self, places: Sequence[tuple[DynamoDBShard, LockedRow]], cancelled: TransactionCanceled
    ) -> None:
        super().__init__()
        self.places = places
        self.cancelled = cancelled


def all_done(writes: Sequence[Write], outcomes: Sequence[Outcome]) -> list[Done]:
    """The outcomes of a transaction, none of which is a refusal.

    Raises:
        Met: the items of some have intents of other transactions, and no other is refused.
        TransactionCanceled: some are refused; with all reasons.
        IdempotentParameterMismatch: the request token is another request's.
        MynamoError: one is refused for a failure that is not the request's.
    """
    reasons = [o.error if isinstance(o, Refused) else None for o in outcomes]
    for reason in reasons:
        # The token's, or a failure that is none of the request's.
        if isinstance(reason, IdempotentParameterMismatch) or not isinstance(
            reason, ConditionFailed | InvalidRequest | TransactionConflict | None
        ):
            raise reason
    cancelled = TransactionCanceled(
        reasons=[
            TransactionConflict() if isinstance(each, ItemInTransaction) else each
            for each in reasons
        ]
    )
    met = [
        (write.route.shard, (write.table.id, write.row))
        for write, reason in zip(writes, reasons, strict=True)
        if isinstance(reason, ItemInTransaction)
    ]
    if met and len(met) == len([reason for reason in reasons if reason is not None]):
        raise Met(met, cancelled)
    if any(reason is not None for reason in reasons):
        raise cancelled
    return cast(list[Done], list(outcomes))
