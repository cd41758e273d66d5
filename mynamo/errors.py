"""The one tree of exceptions that mynamo raises.

    MynamoError
    +-- InvalidRequest            what was asked is wrong; nothing was written
    |   +-- InvalidItem           an item, key or attribute value breaks DynamoDB's rules
    |   +-- InvalidExpression     an expression or its placeholders break them
    |   +-- InvalidSchema         a table or index definition breaks them
    |   +-- InvalidPolicy         an IAM policy is not one, or names what mynamo does not know
    |   +-- IdempotentParameterMismatch  a request token was used for another request before
    |   +-- InvalidToken          a page or consistency token is damaged or belongs elsewhere
    |   |   +-- IteratorExpired   a stream's iterator was given out too long ago
    |   +-- ConfigError           the configuration is incomplete or contradicts itself
    +-- NotFound
    |   +-- TableNotFound
    |   |   +-- TableNotReady     the table is still being created
    |   +-- IndexNotFound
    |   +-- StreamNotFound
    |   +-- StreamShardNotFound
    +-- AlreadyExists             a table or index of that name is there already
    +-- TableProtected            the table's deletion protection is on; it was not deleted
    +-- IndexNotReady             the index is still being backfilled
    +-- RecordsTrimmed            records of a stream were deleted, as they are too old
    +-- ConditionFailed           the write's condition did not hold; nothing was written
    +-- TransactionCanceled       some of a transaction's writes were refused; nothing was written
    +-- TransactionConflict       another transaction has the item; nothing was written, try again
    +-- TransactionInProgress     an earlier attempt of the same request is under way
    +-- ConsistencyTimeout        the index did not apply the awaited write in time
    +-- Unavailable               try again later
    |   +-- ShardUnavailable      a MySQL server does not answer or refuses
    |   |   +-- ShardNotConfigured  the configuration lacks a shard of the cluster
    |   +-- LogUnavailable        Kafka does not answer or refuses
    |   +-- IndexBehind           an index is beyond its lag limit; nothing was written
    |   +-- ThroughputExceeded    at the gateway, capacity units are used up; nothing was done
    |   +-- WriteOutcomeUnknown   the connection died during commit; read before retrying
    |   +-- NewerFormat           a newer version of mynamo wrote it; upgrade this one
    +-- LocalServerError          a server that mynamo runs on this machine did not start
    +-- CorruptData               stored bytes are not what mynamo wrote
    +-- InternalError             a mistake in mynamo; nothing was written

Each class's docstring is its message when it is raised without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal


class MynamoError(Exception):
    """Something went wrong in mynamo."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class InvalidRequest(MynamoError, ValueError):  # noqa: N818
    """The request is not valid; nothing was written."""


class InvalidItem(InvalidRequest):
    """The item is not valid; nothing was written."""


class InvalidExpression(InvalidRequest):
    """The expression is not valid; nothing was read or written."""


class InvalidSchema(InvalidRequest):
    """The table or index definition is not valid; nothing was created."""


class InvalidPolicy(InvalidRequest):
    """The policy is not valid; see docs/rights.md."""


class InvalidToken(InvalidRequest):
    """The token is damaged or belongs to another query; start again without it."""


class IteratorExpired(InvalidToken):
    """The iterator was given out more than 15 minutes ago; get another one."""


class ConfigError(InvalidRequest):
    """The configuration is incomplete; see docs/operations.md."""


class IdempotentParameterMismatch(InvalidRequest):
    """The request token was used for another request before; nothing was written."""


class NotFound(MynamoError, LookupError):  # noqa: N818
    """What was asked for does not exist."""


class TableNotFound(NotFound):
    """The table does not exist; `mynamo table list` shows those that do."""


class TableNotReady(TableNotFound):
    """The table is still being created; wait until its status is ACTIVE."""


class IndexNotFound(NotFound):
    """The index does not exist; `mynamo table describe` shows those that do."""


class StreamNotFound(NotFound):
    """The stream does not exist, or all that it had is too old; see `mynamo stream list`."""


class StreamShardNotFound(NotFound):
    """The stream shard does not exist, or all that it had is too old."""


class RecordsTrimmed(MynamoError):  # noqa: N818
    """The records that come next have been deleted, as they are older than the retention."""


class AlreadyExists(MynamoError):  # noqa: N818
    """Something of that name exists already."""


class TableProtected(MynamoError):  # noqa: N818
    """The table is protected against deletion; disable deletion protection first."""


class IndexNotReady(MynamoError):  # noqa: N818
    """The index is still being backfilled; wait until its status is ACTIVE."""


class ConditionFailed(MynamoError):  # noqa: N818
    """The conditional request failed; nothing was written."""

    def __init__(
        self, message: str | None = None, *, item: dict[str, dict[str, Any]] | None = None
    ) -> None:
        """Args: item: as the write found it; None if there is none. In stored form; in Python
        form where `Producer` raises it."""
        super().__init__(message)
        self.item = item


class TransactionCanceled(MynamoError):  # noqa: N818
    """The transaction was cancelled; nothing was written."""

    def __init__(
        self, message: str | None = None, *, reasons: Sequence[MynamoError | None] = ()
    ) -> None:
        """Args: reasons: per write of the transaction, why it was refused; None: it was not."""
        super().__init__(message)
        self.reasons = tuple(reasons)


class TransactionConflict(MynamoError):  # noqa: N818
    """Another transaction has the item; nothing was written, try again."""


class TransactionInProgress(MynamoError):  # noqa: N818
    """An earlier attempt of the same request is under way; try again later."""


class ConsistencyTimeout(MynamoError, TimeoutError):  # noqa: N818
    """The index has not applied the write yet; wait longer, or look at `mynamo lag`."""


class Unavailable(MynamoError, ConnectionError):  # noqa: N818
    """A server is not available; try again later."""


class ShardUnavailable(Unavailable):
    """A MySQL server does not answer; check that it runs and that its address is right."""


class ShardNotConfigured(ShardUnavailable):
    """The configuration of this process lacks a shard of the cluster; add it, and start again."""

    def __init__(self, message: str | None = None, *, shard: int = 0) -> None:
        """Args: shard: its number."""
        super().__init__(message)
        self.shard = shard


class LogUnavailable(Unavailable):
    """Kafka does not answer; check that it runs and that its address is right."""


class IndexBehind(Unavailable):
    """An index of the table is too far behind; nothing was written, try again later."""

    def __init__(self, message: str | None = None, *, table: str = "", index: str = "") -> None:
        """Args: table, index: names of the index that is beyond its limit."""
        super().__init__(message)
        self.table = table
        self.index = index


class ThroughputExceeded(Unavailable):
    """The provisioned throughput is used up; nothing was read or written, try again later."""

    def __init__(
        self,
        message: str | None = None,
        *,
        table: str = "",
        index: str | None = None,
        access: Literal["read", "write"] = "read",
    ) -> None:
        """Args: table, index: names; the index is None where it is the table's own throughput."""
        super().__init__(message)
        self.table = table
        self.index = index
        self.access = access


class WriteOutcomeUnknown(Unavailable):
    """The connection was lost during commit; read the item to see whether it was written."""


class NewerFormat(Unavailable):
    """A newer version of mynamo wrote this; upgrade this one."""


class LocalServerError(MynamoError):
    """A local server did not start; its log says why."""


class CorruptData(MynamoError):  # noqa: N818
    """Stored bytes are not what mynamo wrote; run `mynamo verify`."""


class InternalError(MynamoError):
    """mynamo failed in a way that nobody foresaw; nothing was written; the log has the cause."""


def cancellation_code(reason: MynamoError | None) -> str | None:
    """DynamoDB's code of one of `TransactionCanceled.reasons`, such as "ConditionalCheckFailed".

    Returns:
        "None" (a text) for no reason; None for what DynamoDB has no code for, such as a damaged
        item.
    """
    match reason:
        case None:
            return "None"
        case ConditionFailed():
            return "ConditionalCheckFailed"
        case TransactionConflict():
            return "TransactionConflict"
        case IndexBehind() | ThroughputExceeded():
            return "ProvisionedThroughputExceeded"
        case InvalidRequest():
            return "ValidationError"
        case _:
            return None
