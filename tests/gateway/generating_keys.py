"""The tables, and the keys of one client's items in them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from random import Random

from tests.gateway.generating_values import NAMES, TYPES, Making
from tests.gateway.model_operations import Index, Table
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


KEYS = tuple(INDEXED.types)
SORTS = (*map(Decimal, ("-1", "0", "0.5", "1", "2", "10")),)
LOCAL = ("", "a", "ab", "b", "é")


class Own:
    """Makes keys and items of one client.

    Args:
        random: where all choices come from.
        client: its number; the hash keys of its items, and those they have in indexes,
            belong to no other client.
        peek: the client's item of a table and key, or None, so that what is made often fits.

    Attributes:
        only: of the hash keys, the one that is made; None: any.
    """

    def __init__(
        self, random: Random, client: int, peek: Callable[[Table, Item], Item | None]
    ) -> None:
        self.random = random
        self.client = client
        self.peek = peek
        self.prefix = f"client{client:03}"
        self.only: int | None = None

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def making(self, about: Item | None = None) -> Making:
        return Making(self.random, KEYS, NAMES, about)

    def table(self) -> Table:
        return INDEXED if self.chance(0.8) else PLAIN

    def prefix_in(self, table: Table) -> Value:
        """What all the client's hash keys begin with."""
        is_text = table.types[table.hash] == "S"
        return ("S", self.prefix) if is_text else ("B", self.prefix.encode())

    def hash_key(self, table: Table) -> Value:
        number = self.random.randrange(3) if self.only is None else self.only
        text = f"{self.prefix}/{number}"
        return ("S", text) if table.types[table.hash] == "S" else ("B", text.encode())

    def key(self, table: Table) -> Item:
        key = {table.hash: self.hash_key(table)}
        if table.sort:
            key[table.sort] = ("N", self.random.choice(SORTS))
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
                return "S", self.random.choice(LOCAL[1:] if self.chance(0.98) else LOCAL)
            case "g":
                return "S", f"{self.prefix}/{self.random.choice('xy')}"
            case "h":
                return "N", self.random.choice(SORTS)
        return "N", Decimal(self.client * 10 + self.random.randrange(2))

    def item(self, table: Table) -> Item:
        item = {**self.asked_key(table), **self.making().item()}
        if table.indexes:
            for name in "lght":
                if self.chance(0.6):
                    item[name] = self.index_value(name)
        return item
