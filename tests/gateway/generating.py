"""Random operations of one client over few keys, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.gateway.generating_keys import Own
from tests.gateway.generating_reads import Reads
from tests.gateway.generating_transactions import Transactions
from tests.gateway.generating_writes import Writes
from tests.gateway.model_operations import Operation, Table
from tests.gateway.model_values import Item


class Generator:
    """Makes operations on the client's own items.

    Args:
        seed: the same seed makes the same operations.
        client: its number.
        peek: the client's item of a table and key, or None.
    """

    def __init__(self, seed: int, client: int, peek: Callable[[Table, Item], Item | None]) -> None:
        self.random = Random(f"{seed}/{client}")
        own = Own(self.random, client, peek)
        writes, reads = Writes(own), Reads(own)
        transactions = Transactions(own, writes, reads)
        self.weights: dict[Callable[[], Operation], int] = {
            writes.put: 18,
            writes.update: 30,
            writes.delete: 6,
            writes.batch_write: 4,
            reads.get: 12,
            reads.batch_get: 4,
            reads.query: 14,
            reads.index_query: 6,
            reads.scan: 3,
            transactions.write: 12,
            transactions.get: 6,
        }

    def operation(self) -> Operation:
        (make,) = self.random.choices([*self.weights], [*self.weights.values()])
        return make()
