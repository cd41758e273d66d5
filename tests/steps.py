"""Steps of transactions over several shards on one of them, and what they leave there.

All items have one hash key, so they are on one shard; their sort key is a number or a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Intent, Transaction, intents_in, read_transaction_intents
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.sql import main_table
from mynamo.catalog.tables import Table
from mynamo.producer import MUST_EXIST, MUST_NOT_EXIST
from mynamo.writer import RequestToken, WriteRequest
from mynamo.writer.transaction.evaluation import Outcome, Refused
from mynamo.writer.transaction.write_requests import AllOrNothing, Deciding, Write, prepare
from tests.rows import everywhere, select

TOKEN = RequestToken(b"t" * 16, b"r" * 16)


def key(at: object) -> dict[str, str]:
    """Items of one hash key are on one shard."""
    return {"id": "a", "at": str(at)}


def stored(at: object, **more: Any) -> dict[str, dict[str, str]]:
    item = {name: {"S": value} for name, value in key(at).items()}
    for name, value in more.items():
        item[name] = {"N": str(value)} if isinstance(value, int) else {"S": value}
    return item


def request(operation: Any, at: object, condition: Any = None, **more: Any) -> WriteRequest:
    return WriteRequest("orders", operation, stored(at, **more), None, condition)


def writes_of(cluster: Cluster, *requests: WriteRequest) -> list[Write]:
    return [prepare(cluster, each, cluster.table(each.table)) for each in requests]


def transaction(number: int = 1) -> Transaction:
    return Transaction(bytes([number]) * 16, decider=1, generation=1, token=b"t" * 16)


def placed(shard: DynamoDBShard, number: int = 1) -> list[Intent]:
    return intents_in(shard.run(read_transaction_intents(transaction(number).id))[0])


def raw(shard: DynamoDBShard, table: Table) -> dict[str, tuple[int, bytes]]:
    """Version and item of every row, by its sort key."""
    rows = select(shard, f"SELECT sort, version, item FROM {main_table(table.id)}")
    return {sort.decode(): (version, data) for sort, version, data in rows}


def errors_of(outcomes: Iterable[Outcome]) -> list[type | None]:
    """Of each what it was refused for."""
    return [type(each.error) if isinstance(each, Refused) else None for each in outcomes]


def events(cluster: Cluster) -> int:
    return len(everywhere(cluster, "SELECT id FROM mynamo_outbox"))


def generation(shard: DynamoDBShard) -> int:
    rows = select(shard, "SELECT version FROM mynamo_fence WHERE id = %s", GENERATION_ROW)
    return int(rows[0][0])


def set_generation(shard: DynamoDBShard, number: int) -> None:
    shard.run(("UPDATE mynamo_fence SET version = %s WHERE id = %s", (number, GENERATION_ROW)))


def deciding(
    writes: Sequence[Write],
    number: int = 1,
    token: RequestToken | None = None,
    elsewhere: tuple[bool | None, ...] | None = None,
    generation: int = 1,
) -> AllOrNothing:
    others = (None,) * len(writes) if elsewhere is None else elsewhere
    decision = Deciding(transaction(number).id, generation, others)
    return AllOrNothing(writes, token, decision=decision)


def decisions(shard: DynamoDBShard) -> dict[int, tuple[int, int]]:
    """Decision and generation, by the transaction's number."""
    rows = select(shard, "SELECT id, decision, generation FROM mynamo_transaction")
    return {id_[0]: (decision, of) for id_, decision, of in rows}


ALL_KINDS = (
    request("PUT", 1, price=70, name="new"),
    request("DELETE", 2),
    request("CHECK", 3, MUST_EXIST),
    request("PUT", 4, price=40),
    request("DELETE", 5),
    request("CHECK", 6, MUST_NOT_EXIST),
)
"""Of requests. Items 1 to 3 are there before, the others are not."""
