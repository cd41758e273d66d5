"""Request tokens: a transaction that is sent again happens once.

The row of a token is inserted in the transaction that it is for. Whoever sends the same request
again finds it there: behind the locks of the items, or as a duplicate when it inserts its own row.

Rows go by generations. The shard's generation is counted up at most once in `GENERATION_LASTS`
seconds, and by a new incarnation. A row goes once a worker

*   has seen a later generation than the row's for that long, by its own clock, so no server's clock
    matters, and
*   has seen that one counted up twice since: whoever began while the row was there, and has slept
    since, is refused (`evaluation.is_current`), so the request does not happen again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mynamo.catalog import sql
from mynamo.catalog.intents import READ_GENERATION
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.mysql.pool import Result, Statement

GENERATION_LASTS = 600.0
"""Seconds, by the monotonic clock of each writer worker; DynamoDB's tokens are kept as long."""
GENERATION_KNOWN = 60.0
"""Seconds for which a process need not ask for a shard's generation again."""

_ANY_TOKEN: Statement = ("SELECT 1 FROM mynamo_token LIMIT 1", ())
_ANY_DECISION: Statement = ("SELECT 1 FROM mynamo_transaction LIMIT 1", ())

CHANGED, CHANGED_ELSEWHERE = 1, 2
"""In a token's row, of a write that made an event: on the row's shard, or on another one."""


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
    """What is kept of a transaction with its token, on its shard or on its deciding one.

    Attributes:
        request: as in `RequestToken`.
        slot: of the request's first item.
        first: of its events on this shard: the id in the outbox, or its number in the plan; None:
            it has none.
        changed: per write a byte: `CHANGED`, `CHANGED_ELSEWHERE`, or 0 if it made no event.
        transaction_id: of one over several shards.
    """

    request: bytes
    slot: int
    first: int | None
    changed: bytes
    transaction_id: bytes | None = None

    def versions(self) -> list[int]:
        """Per write the version that it made on this shard; 0: it changed nothing here."""
        first = self.first or 0
        return [
            first + self.changed[:position].count(CHANGED) if made == CHANGED else 0
            for position, made in enumerate(self.changed)
        ]


def look_up(tokens: Sequence[bytes]) -> Statement:
    """The rows of these tokens, as far as there are any; see `kept_tokens`."""
    return (
        "SELECT token, request, slot, first_id, changed, transaction_id FROM mynamo_token"
        f" FORCE INDEX (PRIMARY) WHERE token IN ({sql.placeholders(tokens)})",
        tokens,
    )


def kept_tokens(found: Result) -> dict[bytes, KeptToken]:
    """What `look_up` gave, by token."""
    return {
        token: KeptToken(request, slot, first, changed or b"", transaction_id)
        for token, request, slot, first, changed, transaction_id in found.rows
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
        values += [token, generation, kept.slot, kept.request, kept.changed, kept.transaction_id]
    return (
        "INSERT INTO mynamo_token"
        " (token, generation, slot, request, first_id, changed, transaction_id)"
        " VALUES " + ", ".join(row_values),
        values,
    )


class _KnownGeneration:
    """A shard's generation as this process has last heard of it.

    Attributes:
        value: one that the shard has had.
        at: when it was asked for (monotonic).
    """

    def __init__(self) -> None:
        self.value, self.at = 0, -math.inf


_known_generation_of = PerShard(lambda _: _KnownGeneration()).of


def generation_of(shard: DynamoDBShard) -> int:
    """A generation that the shard has had; it is the present one, unless it has just changed.

    Raises:
        ShardUnavailable: the shard does not answer.
    """
    known = _known_generation_of(shard)
    asked_at = time.monotonic()
    if asked_at - known.at > GENERATION_KNOWN:
        known.value, known.at = int(shard.ask(READ_GENERATION)[0].rows[0][0]), asked_at
    return known.value


def note_generation(shard: DynamoDBShard, generation: int) -> None:
    """Note what a transaction has just found, so that nobody here asks for it."""
    known = _known_generation_of(shard)
    known.value, known.at = generation, time.monotonic()


@dataclass(frozen=True, slots=True)
class Generation:
    """A shard's generation, as a worker has seen it.

    Attributes:
        now: the present one.
        lasting: those that the worker has seen for `GENERATION_LASTS` each.
    """

    now: int
    lasting: tuple[int, ...] = ()

    @property
    def forgotten(self) -> int:
        """What has this generation or an earlier one is kept no longer: it was there for
        `GENERATION_LASTS` at least, and what began before it went is decided, or never will be."""
        return max((each for each in self.lasting if each + 2 <= self.now), default=0) - 1


class Generations:
    """Counts up the generations of shards, for one worker. Any number of workers may do so at once.

    Attributes:
        seen: by shard its generation, and since when this worker has seen it (monotonic).
    """

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Generation, float]] = {}

    def of(self, shard: DynamoDBShard) -> Generation:
        """The shard's generation, which is counted up if it has been the same for long and there
        are tokens or decisions.

        Raises:
            ShardUnavailable: the shard does not answer.
        """
        generations, tokens, decisions = shard.run(READ_GENERATION, _ANY_TOKEN, _ANY_DECISION)
        now = int(generations.rows[0][0])
        before, since = self.seen.get(shard.id, (Generation(-1), 0.0))
        if now != before.now:  # one that went back has lost what was seen in it
            lasting = before.lasting if now > before.now else ()
            over = max((each for each in lasting if each + 2 <= now), default=0)
            seen = Generation(now, tuple(each for each in lasting if each >= over))
            since = time.monotonic()
        elif time.monotonic() - since < GENERATION_LASTS:
            seen = before
        else:
            seen = before
            if now not in before.lasting:
                seen = Generation(now, (*before.lasting, now))
            if tokens.rows or decisions.rows:
                # It names the number that was seen: of several workers, one counts.
                shard.run(
                    ("UPDATE mynamo_fence SET version = version + 1 WHERE id = %s AND version = %s",
                     (GENERATION_ROW, now))
                )  # fmt: skip
        self.seen[shard.id] = seen, since
        return seen


def forget_tokens(generation: Generation, most: int) -> Statement:
    """Delete tokens that are kept no longer.

    Args:
        generation: the shard's.
        most: rows.
    """
    return (
        f"DELETE FROM mynamo_token WHERE generation <= %s ORDER BY generation LIMIT {most:d}",
        (generation.forgotten,),
    )
