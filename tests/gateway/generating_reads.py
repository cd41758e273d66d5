"""Random GetItem, BatchGetItem, Query and Scan."""

from __future__ import annotations

from tests.gateway.generating_expressions import condition
from tests.gateway.generating_keys import INDEXED, LOCAL, SORTS, TABLES, Own
from tests.gateway.generating_legacy import old_condition, old_paths
from tests.gateway.generating_values import NAMES, Making
from tests.gateway.legacy_requests import OldCondition
from tests.gateway.model_expressions import Path, Tree
from tests.gateway.model_operations import BatchGet, Get, KeyCondition, Read, Table
from tests.gateway.model_values import Item, Value


class Reads:
    """Makes reads of one client."""

    def __init__(self, own: Own) -> None:
        self.own = own
        self.random = own.random
        self.chance = own.chance

    def get(self) -> Get:
        table = self.own.table()
        key = self.own.asked_key(table)
        get = Get(table, key, consistent=self.chance(0.5), old_style=self.chance(0.15))
        if get.old_style:
            get.paths = old_paths(self.own.making())
        elif self.chance(0.4):
            get.paths = self.projection(self.own.peek(table, key))
        return get

    def projection(self, about: Item | None = None) -> list[Path]:
        making = self.own.making(about)
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
                key = self.own.asked_key(table)
                if key not in keys or self.chance(0.03):
                    keys.append(key)
            wanted.append((table, keys, self.projection() if self.chance(0.4) else None))
        return BatchGet(wanted)

    def query(self) -> Read:
        table = self.own.table()
        index = table.indexes[0] if table.indexes and self.chance(0.4) else None
        conditions = self.key_conditions(table, table.hash, index.sort if index else table.sort)
        read = self.reading(Read(table, index, conditions, consistent=self.chance(0.5)))
        if index is None and self.chance(0.1):
            read.start = self.own.asked_key(table)
            if self.chance(0.7):
                hashed = {name: values[0] for name, _, values in conditions if name == table.hash}
                read.start = {**read.start, **hashed}
        return read

    def index_query(self) -> Read:
        index = self.random.choice(INDEXED.indexes[1:])
        conditions = self.key_conditions(INDEXED, index.hash, index.sort)
        return self.reading(Read(INDEXED, index, conditions, consistent=self.chance(0.02)))

    def scan(self) -> Read:
        table = self.own.table()
        index = self.random.choice((None, *table.indexes))
        read = self.reading(Read(table, index, consistent=self.chance(0.3) and index is None))
        self.only_own(read)
        read.limit = self.random.choice((None, 7, 30))
        read.segments = self.random.choice((None, None, 2, 3))
        return read

    def only_own(self, read: Read) -> None:
        """Filter out what is other clients'."""
        own = self.own.prefix_in(read.table)
        if read.old_style:
            others = read.old_filter.parts if read.old_filter else {}
            parts = {**others, "p": ("BEGINS_WITH", [own])}
            read.old_filter = OldCondition("AND" if len(parts) > 1 else None, parts)
            read.filter = read.old_filter.tree
        else:
            mine: Tree = ("begins_with", ("p",), ("value", own))
            read.filter = ("and", mine, read.filter) if read.filter else mine

    def key_conditions(self, table: Table, hash_name: str, sort: str | None) -> list[KeyCondition]:
        value = (
            self.own.hash_key(table) if hash_name == table.hash else self.own.index_value(hash_name)
        )
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
                ("S", self.random.choice(LOCAL[1:]))
                if sort == "l"
                else ("N", self.random.choice(SORTS))
            )

        sign = self.random.choice(("=", "<", "<=", ">", ">=", "between", "begins_with"))
        if sign == "begins_with" and sort != "l" and self.chance(0.9):
            sign = "="
        low, high = sorted((value(), value()))
        if self.chance(0.02):
            low, high = high, low
        if self.chance(0.01):
            low = self.own.making().value()
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
            read.paths = self.projection(self.own.peek(table, self.own.key(table)))
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
            read.filter = condition(making)

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
            self.own.peek(table, self.own.key(table)),
        )
