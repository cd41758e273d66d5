"""What a reading returns: a page of items, and how they were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PlanKind = Literal["primary key", "local index", "global index", "scan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How items are found. `str(plan)` is one line for a person.

    Attributes:
        kind: which structure is read, and "scan" for all of one.
        index: name of the index, or None for the table itself.
        shards: numbers of the shards that were asked; one, unless it is a scan.
        summary: what is read there.
    """

    kind: PlanKind
    index: str | None
    shards: tuple[int, ...]
    summary: str

    def __str__(self) -> str:
        what = f"{self.kind} {self.index}" if self.index and self.kind != "scan" else self.kind
        where = ", ".join(str(number) for number in self.shards)
        shards = "shard" if len(self.shards) == 1 else "shards"
        return f"{what} on {shards} {where}: {self.summary}"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of items.

    Attributes:
        items: in Python form, in the order of the keys they were read by.
        page_token: where the next page begins; None if there is nothing more.
        plan: how they were found.
    """

    items: list[dict[str, Any]]
    page_token: str | None
    plan: Plan

    @property
    def count(self) -> int:
        """How many items it has."""
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a query would be answered, and what MySQL says of its statement.

    Attributes:
        plan: how the items are found.
        statement: the SQL, with `%s` for each value.
        rows: MySQL's EXPLAIN of it, a dictionary per table, with the server's own names.
    """

    plan: Plan
    statement: str
    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        tables = "; ".join(
            f"{row['table']}: {row['type']} on {row['key']}, {row['rows']} rows"
            for row in self.rows
        )
        return f"{self.plan}\n{tables}"
