"""Random PutItem, UpdateItem, DeleteItem and BatchWriteItem."""

from __future__ import annotations

from tests.gateway.generating_expressions import actions, condition, removals
from tests.gateway.generating_keys import SORTS, Own
from tests.gateway.generating_legacy import old_actions, old_condition
from tests.gateway.model_expressions import Tree
from tests.gateway.model_operations import BatchWrite, Write


class Writes:
    """Makes writes of one client."""

    def __init__(self, own: Own) -> None:
        self.own = own
        self.random = own.random
        self.chance = own.chance

    def put(self) -> Write:
        table = self.own.table()
        write = Write("PutItem", table, self.own.item(table))
        write.returns = self.random.choice(("NONE", "ALL_OLD"))
        return self.conditioned(write)

    def delete(self) -> Write:
        table = self.own.table()
        write = Write("DeleteItem", table, self.own.asked_key(table))
        write.returns = self.random.choice(("NONE", "ALL_OLD"))
        return self.conditioned(write)

    def update(self) -> Write:
        table = self.own.table()
        write = Write("UpdateItem", table, self.own.asked_key(table))
        if self.chance(0.15):
            return self.old_update(write)
        about = self.own.peek(table, write.item)
        making = self.own.making(about)
        removes = about is None and self.chance(0.4)
        write.actions = removals(making) if removes else actions(making)
        if table.indexes and self.chance(0.2 if removes else 0.5):
            name = self.random.choice("lght")
            write.actions.append(self.index_action(name))
        write.returns = self.random.choice(
            ("NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW")
        )
        if self.chance(0.01):
            write.actions.append(("REMOVE", (self.random.choice(table.keys),)))
            return write
        return self.conditioned(write)

    def old_update(self, write: Write) -> Write:
        write.old_style = True
        write.returns = self.random.choice(("NONE", "ALL_OLD", "ALL_NEW"))
        write.actions = old_actions(self.own.making(self.own.peek(write.table, write.item)))
        return self.conditioned(write)

    def index_action(self, name: str) -> Tree:
        if self.chance(0.2):
            return "REMOVE", (name,)
        if name == "h" and self.chance(0.4):
            return "ADD", (name,), ("N", self.random.choice(SORTS))
        value: Tree = ("value", self.own.index_value(name))
        if self.chance(0.2):
            value = ("if_not_exists", (name,), value)
        return "SET", (name,), value

    def conditioned(self, write: Write) -> Write:
        making = self.own.making(self.own.peek(write.table, write.item))
        if write.kind != "UpdateItem":
            write.old_style = self.chance(0.15)
        if self.chance(0.45):
            if write.old_style:
                write.expected = old_condition(making)
                write.condition = write.expected.tree
            else:
                write.condition = condition(making)
            write.show_old = self.chance(0.5)
        return write

    def batch_write(self) -> BatchWrite:
        writes = []
        seen = []
        for _ in range(self.random.randint(1, 6)):
            table = self.own.table()
            item = self.own.item(table) if self.chance(0.7) else self.own.asked_key(table)
            key = (table.name, [item.get(name) for name in table.keys])
            if key in seen and self.chance(0.95):
                continue
            seen.append(key)
            kind = "Put" if len(item) > 2 or self.chance(0.3) else "Delete"
            if kind == "Delete":
                item = {name: value for name, value in item.items() if name in table.keys}
            writes.append((table, kind, item))
        return BatchWrite(writes)  # type: ignore[arg-type]
