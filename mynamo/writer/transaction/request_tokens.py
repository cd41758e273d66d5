"""Request tokens: a transaction that is sent again happens once.

The row of a token is inserted in the transaction that it is for. Whoever sends the same request
again finds it there: behind the locks of the items, or as a duplicate when it inserts its own row.

Rows go by generations. The shard's generation is counted up at most once in `GENERATION_LASTS`
seconds; rows that are two generations old have been there for that long at least. A worker's own
clock says how long it has seen a generation, so no server's clock matters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mynamo.catalog import sql
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard
from mynamo.mysql.pool import Result, Statement

GENERATION_LASTS = 600.0
"""Seconds, by the monotonic clock of each writer worker; DynamoDB's tokens are kept as long."""

_READ_GENERATION: Statement = (
    "SELECT version FROM mynamo_fence FORCE INDEX (PRIMARY) WHERE id = %s",
    (GENERATION_ROW,),
)
_ANY_TOKEN: Statement = ("SELECT 1 FROM mynamo_token LIMIT 1", ())


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
class KeptToken:
    """What is kept of a transaction on one shard, with its token.

    Attributes:
        request: as in `RequestToken`.
        slot: of the request's first item.
        first: of its events: the id in the outbox, or its number in the plan; None: it has none.
        changed: per write a byte: 1 if it made an event, else 0.
        answer: what its caller wants to be kept.
    """

    request: bytes
    slot: int
    first: int | None
    changed: bytes
    answer: bytes

    def versions(self) -> list[int]:
        """Per write the version that it made; 0: it changed nothing."""
        first = self.first or 0
        return [
            first + sum(self.changed[:position]) if made else 0
            for position, made in enumerate(self.changed)
        ]


def look_up(tokens: Sequence[bytes]) -> Statement:
    """The rows of these tokens, as far as there are any; see `kept_tokens`."""
    return (
        "SELECT token, request, slot, first_id, changed, answer FROM mynamo_token"
        f" FORCE INDEX (PRIMARY) WHERE token IN ({sql.placeholders(tokens)})",
        tokens,
    )


def kept_tokens(found: Result) -> dict[bytes, KeptToken]:
    """What `look_up` gave, by token."""
    return {
        token: KeptToken(request, slot, first, changed or b"", answer or b"")
        for token, request, slot, first, changed, answer in found.rows
    }


def insert_tokens(tokens: Sequence[tuple[bytes, KeptToken]], generation: int) -> Statement:
    """Keep tokens, behind the insert into the outbox; a duplicate says that somebody was faster.

    Args:
        tokens: with numbers of events in place of outbox ids.
        generation: the shard's, locked shared.
    """
    row_values, values = [], []
    for token, kept in sorted(tokens, key=lambda each: each[0]):
        first = "NULL" if kept.first is None else f"LAST_INSERT_ID() + {kept.first:d}"
        row_values.append(f"(%s, %s, %s, %s, {first}, %s, %s)")
        values += [token, generation, kept.slot, kept.request, kept.changed, kept.answer]
    return (
        "INSERT INTO mynamo_token (token, generation, slot, request, first_id, changed, answer)"
        " VALUES " + ", ".join(row_values),
        values,
    )


class Generations:
    """Counts up the generations of shards, for one worker. Any number of workers may do so at once.

    Attributes:
        seen: by shard its generation, and since when this worker has seen it (monotonic).
    """

    def __init__(self) -> None:
        self.seen: dict[int, tuple[int, float]] = {}

    def of(self, shard: DynamoDBShard) -> int:
        """The shard's generation, which is counted up if it has been the same for long and there
        are tokens.

        Raises:
            ShardUnavailable: the shard does not answer.
        """
        generations, tokens = shard.run(_READ_GENERATION, _ANY_TOKEN)
        generation = int(generations.rows[0][0])
        before, since = self.seen.get(shard.id, (None, 0.0))
        if before != generation:
            self.seen[shard.id] = (generation, time.monotonic())
        elif tokens.rows and time.monotonic() - since >= GENERATION_LASTS:
            # It names the number that was seen: of several workers, one counts.
            shard.run(
                ("UPDATE mynamo_fence SET version = version + 1 WHERE id = %s AND version = %s",
                 (GENERATION_ROW, generation))
            )  # fmt: skip
        return generation


def forget_tokens(generation: int, most: int) -> Statement:
    """Delete tokens that are kept no longer.

    Args:
        generation: the shard's.
        most: rows.
    """
    return (
        f"DELETE FROM mynamo_token WHERE generation <= %s ORDER BY generation LIMIT {most:d}",
        (generation - 2,),
    )
