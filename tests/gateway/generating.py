"""Random operations of one client over few keys, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from random import Random

from tests.gateway.generating_legacy import old_actions, old_condition, old_paths
from tests.gateway.generating_values import NAMES, TYPES, Making
from tests.gateway.legacy_requests import OldCondition
from tests.gateway.model_expressions import Path, Tree
from tests.gateway.model_operations import (
    BatchGet,
    BatchWrite,
    Get,
    Index,
    KeyCondition,
    Operation,
    Read,
    Table,
    Write,
)
from tests.gateway.model_values import Item, Value

INDEXED = Table(
    name="indexed",
    hash="p",
    sort="s",
    types={"p": "S", "s": "N", "l": "S", "g": "S", "h": "N", "t": "N"},
    indexes=(
        Index("by_l", "p", "l", frozenset({"a", "m"}), is_local=True),
        Index("by_g", "g", "h", None),
        Index("by_t", "t", None, frozenset({"b", "q"})),
    ),
)
PLAIN = Table(name="plain", hash="p", sort=None, types={"p": "B"})
TABLES = (INDEXED, PLAIN)

INDEXED_KEYS = tuple(INDEXED.types)
_SORTS = (*map(Decimal, ("-1", "0", "0.5", "1", "2", "10")),)
_LOCAL = ("", "a", "ab", "b", "é")


class Generator:
    """Makes operations on the client's own items.

    Args:
        seed: the same seed makes the same operations.
        client: its number; the hash keys of its items, and those they have in indexes,
            belong to no other client.
        peek: the client's item of a table and key, or None, so that what is made often fits.
    """

    def __init__(self, seed: int, client: int, peek: Callable[[Table, Item], Item | None]) -> None:
        self.random = Random(f"{seed}/{client}")
        self.client = client
        self.peek = peek
        self.own = f"client{client:03}"

    def making(self, about: Item | None = None) -> Making:
        return Making(self.random, INDEXED_KEYS, NAMES, about)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def operation(self) -> Operation:
        kinds: list[tuple[int, Callable[[], Operation]]] = [
            (18, self.put),
            (30, self.update),
            (6, self.delete),
            (12, self.get),
            (4, self.batch_get),
            (4, self.batch_write),
            (14, self.query),
            (6, self.index_query),
            (3, self.scan),
        ]
        make = self.random.choices([kind for _, kind in kinds], [w for w, _ in kinds])[0]
        return make()

    def table(self) -> Table:
        return INDEXED if self.chance(0.8) else PLAIN

    # Keys

    def hash_key(self, table: Table) -> Value:
        text = f"{self.own}/{self.random.randrange(3)}"
        return ("S", text) if table.types[table.hash] == "S" else ("B", text.encode())

    def key(self, table: Table) -> Item:
        key = {table.hash: self.hash_key(table)}
        if table.sort:
            key[table.sort] = ("N", self.random.choice(_SORTS))
        return key

    def asked_key(self, table: Table) -> Item:
        """A key, seldom a wrong one."""
        key = self.key(table)
        if self.chance(0.01):
            self.random.choice(
                (
                    lambda: key.pop(table.hash),
                    lambda: key.update(other=("N", Decimal(1))),
                    lambda: key.update({table.hash: ("N", Decimal(1))}),
                    lambda: key.update(
                        {table.hash: (table.types[table.hash], type(key[table.hash][1])())}
                    ),
                )
            )()
        return key

    def index_value(self, name: str) -> Value:
        """A value for an index's key attribute, seldom of a wrong type. None that another
        client has, where that would bring both into one part of an index."""
        if self.chance(0.01):
            wrong = self.random.choice([kind for kind in TYPES if kind != INDEXED.types[name]])
            return self.making().value_of(wrong)
        match name:
            case "l":
                return "S", self.random.choice(_LOCAL[1:] if self.chance(0.98) else _LOCAL)
            case "g":
                return "S", f"{self.own}/{self.random.choice('xy')}"
            case "h":
                return "N", self.random.choice(_SORTS)
        return "N", Decimal(self.client * 10 + self.random.randrange(2))

    def item(self, table: Table) -> Item:
        item = {**self.asked_key(table), **self.making().item()}
        if table.indexes:
            for name in "lght":
                if self.chance(0.6):
                    item[name] = self.index_value(name)
        return item

    # Writes

    def put(self) -> Write:
        table = self.table()
        write = Write("PutItem", table, self.item(table))
        write.returns = self.random.choice(("NONE", "ALL_OLD"))
        return self.conditioned(write)

    def delete(self) -> Write:
        table = self.table()
        write = Write("DeleteItem", table, self.asked_key(table))
        write.returns = self.random.choice(("NONE", "ALL_OLD"))
        return self.conditioned(write)

    def update(self) -> Write:
        table = self.table()
        write = Write("UpdateItem", table, self.asked_key(table))
        if self.chance(0.15):
            return self.old_update(write)
        write.actions = self.making(self.peek(table, write.item)).actions()
        if table.indexes and self.chance(0.5):
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
        write.actions = old_actions(self.making(self.peek(write.table, write.item)))
        return self.conditioned(write)

    def index_action(self, name: str) -> Tree:
        if self.chance(0.2):
            return "REMOVE", (name,)
        if name == "h" and self.chance(0.4):
            return "ADD", (name,), ("N", self.random.choice(_SORTS))
        value: Tree = ("value", self.index_value(name))
        if self.chance(0.2):
            value = ("if_not_exists", (name,), value)
        return "SET", (name,), value

    def conditioned(self, write: Write) -> Write:
        making = self.making(self.peek(write.table, write.item))
        if write.kind != "UpdateItem":
            write.old_style = self.chance(0.15)
        if self.chance(0.35):
            if write.old_style:
                write.expected = old_condition(making)
                write.condition = write.expected.tree
            else:
                write.condition = making.condition()
            write.show_old = self.chance(0.5)
        return write

    def batch_write(self) -> BatchWrite:
        writes = []
        seen = []
        for _ in range(self.random.randint(1, 6)):
            table = self.table()
            item = self.item(table) if self.chance(0.7) else self.asked_key(table)
            key = (table.name, [item.get(name) for name in table.keys])
            if key in seen and self.chance(0.95):
                continue
            seen.append(key)
            kind = "Put" if len(item) > 2 or self.chance(0.3) else "Delete"
            if kind == "Delete":
                item = {name: value for name, value in item.items() if name in table.keys}
            writes.append((table, kind, item))
        return BatchWrite(writes)  # type: ignore[arg-type]

    # Reads

    def get(self) -> Get:
        table = self.table()
        key = self.asked_key(table)
        get = Get(table, key, consistent=self.chance(0.5), old_style=self.chance(0.15))
        if get.old_style:
            get.paths = old_paths(self.making())
        elif self.chance(0.4):
            get.paths = self.projection(self.peek(table, key))
        return get

    def projection(self, about: Item | None = None) -> list[Path]:
        making = self.making(about)
        paths: list[Path] = []
        for _ in range(self.random.randint(1, 4)):
            path = making.looked_at()
            if self.chance(0.99) and any(
                path[: len(p)] == p or p[: len(path)] == path for p in paths
            ):
                continue
            paths.append(path)
        return paths

    def batch_get(self) -> BatchGet:
        wanted = []
        for table in self.random.sample(TABLES, self.random.randint(1, 2)):
            keys: list[Item] = []
            for _ in range(self.random.randint(1, 6)):
                key = self.asked_key(table)
                if key not in keys or self.chance(0.03):
                    keys.append(key)
            wanted.append((table, keys, self.projection() if self.chance(0.4) else None))
        return BatchGet(wanted)

    def query(self) -> Read:
        table = self.table()
        index = table.indexes[0] if table.indexes and self.chance(0.4) else None
        conditions = self.key_conditions(table, table.hash, index.sort if index else table.sort)
        return self.reading(Read(table, index, conditions, consistent=self.chance(0.5)))

    def index_query(self) -> Read:
        index = self.random.choice(INDEXED.indexes[1:])
        conditions = self.key_conditions(INDEXED, index.hash, index.sort)
        return self.reading(Read(INDEXED, index, conditions, consistent=self.chance(0.02)))

    def scan(self) -> Read:
        table = self.table()
        index = self.random.choice((None, *table.indexes))
        read = self.reading(Read(table, index, consistent=self.chance(0.3) and index is None))
        self.only_own(read)
        read.limit = self.random.choice((None, 7, 30))
        read.segments = self.random.choice((None, None, 2, 3))
        return read

    def only_own(self, read: Read) -> None:
        """Filter out what is other clients'."""
        own = ("S", self.own) if read.table.types["p"] == "S" else ("B", self.own.encode())
        if read.old_style:
            others = read.old_filter.parts if read.old_filter else {}
            parts = {**others, "p": ("BEGINS_WITH", [own])}
            read.old_filter = OldCondition("AND" if len(parts) > 1 else None, parts)
            read.filter = read.old_filter.tree
        else:
            mine: Tree = ("begins_with", ("p",), ("value", own))
            read.filter = ("and", mine, read.filter) if read.filter else mine

    def key_conditions(self, table: Table, hash_name: str, sort: str | None) -> list[KeyCondition]:
        value = self.hash_key(table) if hash_name == table.hash else self.index_value(hash_name)
        conditions: list[KeyCondition] = [(hash_name, "=", (value,))]
        if sort and self.chance(0.7):
            conditions.append(self.sort_condition(table, sort))
        if self.chance(0.01):
            conditions[0] = (hash_name, ">", (value,))
        if self.chance(0.01):
            conditions.append(("a", "=", (("S", "a"),)))
        self.random.shuffle(conditions)
        return conditions

    def sort_condition(self, table: Table, sort: str) -> KeyCondition:
        def value() -> Value:
            return (
                ("S", self.random.choice(_LOCAL[1:]))
                if sort == "l"
                else ("N", self.random.choice(_SORTS))
            )

        sign = self.random.choice(("=", "<", "<=", ">", ">=", "between", "begins_with"))
        if sign == "begins_with" and sort != "l" and self.chance(0.9):
            sign = "="
        low, high = sorted((value(), value()))
        if self.chance(0.02):
            low, high = high, low
        if self.chance(0.01):
            low = self.making().value()
        return sort, sign, (low, high) if sign == "between" else (low,)

    def reading(self, read: Read) -> Read:
        """Add what Query and Scan have in common."""
        table, index = read.table, read.index
        read.old_style = self.chance(0.15)
        if self.chance(0.4):
            self.add_filter(read)
        if self.chance(0.3) and read.old_style:
            read.paths = old_paths(self.filtering(read))
        elif self.chance(0.3) and not read.old_style:
            read.paths = self.projection(self.peek(table, self.key(table)))
            if index and index.included is not None and self.chance(0.9):
                known = [*table.keys, *index.keys, *index.included]
                read.paths = [path for path in read.paths or [] if path[0] in known] or None
        read.select = self.random.choice((None, None, None, "COUNT", "ALL_ATTRIBUTES"))
        if index and read.select is None and self.chance(0.2):
            read.select = "ALL_PROJECTED_ATTRIBUTES"
        if read.paths is not None and self.chance(0.95):
            read.select = self.random.choice((None, "SPECIFIC_ATTRIBUTES"))
        read.limit = self.random.choice((None, None, 1, 2, 3, 5))
        read.forward = self.chance(0.6)
        return read

    def add_filter(self, read: Read) -> None:
        making = self.filtering(read)
        if read.old_style:
            read.old_filter = old_condition(making)
            read.filter = read.old_filter.tree
        else:
            read.filter = making.condition()

    def filtering(self, read: Read) -> Making:
        """Makes filters on what the table or index holds, but for a query on no key of it."""
        table, index = read.table, read.index
        keys: set[str] = set() if read.conditions is None else {*(index or table).keys}
        held = {*table.types, *NAMES}
        if index and index.included is not None:
            held = {*table.keys, *index.keys, *index.included}
        return Making(
            self.random,
            sorted(held & {*table.types} - keys),
            sorted(held & {*NAMES}),
            self.peek(table, self.key(table)),
        )


__all__ = ["INDEXED", "NAMES", "PLAIN", "TABLES", "Generator"]
