"""Random TransactWriteItems and TransactGetItems, over items of one hash key, so of one shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.gateway.generating_expressions import condition
from tests.gateway.generating_keys import Own
from tests.gateway.generating_reads import Reads
from tests.gateway.generating_writes import Writes
from tests.gateway.model_operations import Get, Table, Transact, TransactGet, Write
from tests.gateway.model_values import Item


class Transactions:
    """Makes transactions of one client."""

    def __init__(self, own: Own, writes: Writes, reads: Reads) -> None:
        self.own = own
        self.random = own.random
        self.chance = own.chance
        self.kinds = (writes.put, writes.update, writes.update, writes.delete, self.check)
        self.reads = reads

    def write(self) -> Transact:
        found: list[Write] = []
        with self._one_hash_key():
            while not found or self.chance(0.7):
                write = self.random.choice(self.kinds)()
                if write.old_style or (write.kind == "UpdateItem" and not write.actions):
                    continue
                write.returns = "NONE"
                if self._is_new(write.table, write.item, [(w.table, w.item) for w in found]):
                    found.append(write)
        return Transact(found)

    def check(self) -> Write:
        table = self.own.table()
        write = Write("ConditionCheck", table, self.own.asked_key(table))
        write.condition = condition(self.own.making(self.own.peek(table, write.item)))
        write.show_old = self.chance(0.5)
        return write

    def get(self) -> TransactGet:
        found: list[Get] = []
        with self._one_hash_key():
            while not found or self.chance(0.7):
                get = self.reads.get()
                if get.old_style:
                    continue
                if self._is_new(get.table, get.key, [(g.table, g.key) for g in found]):
                    found.append(get)
        return TransactGet(found)

    @contextmanager
    def _one_hash_key(self) -> Iterator[None]:
        self.own.only = self.random.randrange(3)
        yield
        self.own.only = None

    def _is_new(self, table: Table, item: Item, others: list[tuple[Table, Item]]) -> bool:
        """Whether it is another item than the others; seldom that does not matter."""
        key = [item.get(name) for name in table.keys]
        keys = [[o.get(name) for name in t.keys] for t, o in others if t.name == table.name]
        return key not in keys or self.chance(0.02)
