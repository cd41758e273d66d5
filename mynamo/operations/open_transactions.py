"""Transactions over several shards that have intents: what there are, and finishing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Decision, read_decision
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import NotFound, ShardUnavailable
from mynamo.mysql.pool import Statement
from mynamo.runtime.side_by_side import side_by_side
from mynamo.writer.transaction.resolver import resolve


@dataclass(slots=True)
class OpenTransaction:
    """A transaction with intents.

    Attributes:
        id: 16 bytes, a UUID.
        decider: number of the deciding shard.
        generation: of that shard, when the transaction began.
        seconds: age of its oldest intent, by the clock of the intent's shard.
        items: with an intent, by the number of their shard.
        decision: None: it has none.
        unknown: why nobody can say what the decision is; empty: it is known.
    """

    id: bytes
    decider: int
    generation: int
    seconds: float = 0.0
    items: dict[int, int] = field(default_factory=dict)
    decision: Decision | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class OpenTransactions:
    """What `open_transactions` found.

    Attributes:
        found: the oldest first.
        notes: shards that do not answer, and why.
    """

    found: Sequence[OpenTransaction]
    notes: Sequence[str]


_INTENTS: Statement = (
    "SELECT transaction_id, decider, generation, COUNT(*),"
    f" CAST({sql.NOW} AS SIGNED) - CAST(MIN(placed_at) AS SIGNED)"
    " FROM mynamo_intent GROUP BY transaction_id, decider, generation",
    (),
)


def open_transactions(cluster: Cluster) -> OpenTransactions:
    """Find them. Nothing is changed: some may be under way."""
    found: dict[bytes, OpenTransaction] = {}
    notes = [f"shard {shard_id} is not in the configuration" for shard_id in cluster.lacking]
    shards = list(cluster.shards.values())
    for shard, rows in zip(
        shards, side_by_side([partial(_intents, s) for s in shards]), strict=True
    ):
        if isinstance(rows, str):
            notes.append(rows)
            continue
        for transaction_id, decider, generation, items, age in rows:
            each = found.setdefault(
                transaction_id, OpenTransaction(transaction_id, decider, generation)
            )
            each.items[shard.id] = items
            each.seconds = max(each.seconds, age / 1e6)
    for each in found.values():
        try:
            each.decision = _decision_of(cluster, each)
        except ShardUnavailable as failure:
            each.unknown = str(failure)
    return OpenTransactions(sorted(found.values(), key=lambda each: each.id), notes)


def _intents(shard: DynamoDBShard) -> Sequence[tuple[Any, ...]] | str:
    """What `_INTENTS` gives; a text says why that is not known."""
    try:
        return shard.run(_INTENTS)[0].rows
    except ShardUnavailable as failure:
        return f"shard {shard.id} is not known: {failure}"


def _decision_of(cluster: Cluster, transaction: OpenTransaction) -> Decision | None:
    rows = cluster.member(transaction.decider).ask(read_decision(transaction.id))[0].rows
    return Decision(rows[0][0]) if rows else None


@dataclass(frozen=True, slots=True)
class Finished:
    """What `finish` did.

    Attributes:
        decisions: of those that are finished, by their ids; None: see `resolver.decision_of`.
        failures: why the others are not, by their ids: a shard does not answer. On their other
            shards they are finished.
    """

    decisions: Mapping[bytes, Decision | None]
    failures: Mapping[bytes, ShardUnavailable]


def finish(cluster: Cluster, transactions: Sequence[OpenTransaction]) -> Finished:
    """Finish transactions: those that are committed are applied, all others aborted.

    One that is under way is aborted too; its coordinator then tries again. One that cannot be
    finished leaves the others alone.
    """
    decisions: dict[bytes, Decision | None] = {}
    failures: dict[bytes, ShardUnavailable] = {}
    for each in transactions:
        for shard_id in each.items:
            try:
                decisions[each.id] = resolve(
                    cluster, cluster.shards[shard_id], each.decider, each.id, each.generation
                )
            except ShardUnavailable as failure:
                failures[each.id] = failure
    done = {known: decision for known, decision in decisions.items() if known not in failures}
    return Finished(done, failures)


def named(transactions: Sequence[OpenTransaction], ids: Sequence[bytes]) -> list[OpenTransaction]:
    """Those with these ids.

    Raises:
        NotFound: one of them has no intents.
    """
    known = {each.id: each for each in transactions}
    for transaction_id in ids:
        if transaction_id not in known:
            raise NotFound(
                f"no shard has intents of transaction {UUID(bytes=transaction_id)}: it is "
                "finished, or there was none; `mynamo transaction list` shows those that there are"
            )
    return [known[transaction_id] for transaction_id in ids]
