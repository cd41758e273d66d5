"""Transactions: several writes of one request that all happen, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mynamo.catalog.cluster import Cluster
from mynamo.writer.transaction.evaluation import Done
from mynamo.writer.transaction.write_requests import WriteRequest


@dataclass(frozen=True, slots=True)
class RequestToken:
    """A request's ClientRequestToken, by which a repetition is known.

    Attributes:
        token: 16 bytes, a hash of the operation and the token's text.
        request: 16 bytes, a hash of what the request asks for.
    """

    token: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class Transacted:
    """A transaction that happened.

    Attributes:
        done: per request; of a check, version 0 and the item as it was found; of a repeated
            request, without items.
        repeated: it had happened before, as its token says.
        answer: what the first attempt's caller wanted to be kept for repetitions.
    """

    done: list[Done]
    repeated: bool = False
    answer: bytes = b""


def transact(
    cluster: Cluster,
    requests: Sequence[WriteRequest],
    token: RequestToken | None = None,
    answer: bytes = b"",
) -> Transacted:
    """Do all writes of a request, or none.

    Args:
        requests: of up to 100 items, none twice; those of operation CHECK change nothing.
        token: a repetition of the request with the same token happens once.
        answer: kept with the token.

    Raises:
        TransactionCanceled: with a reason per request; nothing was written.
        IdempotentParameterMismatch: the token was used for another request.
        TransactionInProgress: an earlier attempt with the token is under way.
        ShardUnavailable, IndexBehind: nothing was written.
        WriteOutcomeUnknown: it may have happened.
    """
    raise NotImplementedError
