"""What a reading returns: a page of items, and how they were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mynamo.schemas.values import StoredItem

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


@dataclass(slots=True)
class StoredPage:
    """A page of items in stored form.

    Attributes:
        items: in the order of the keys they were read by; none if only they were counted.
        raw: in place of `items`: the same as the bytes that are stored, see `ReadRequest.raw`.
        count: how many items the filter let pass.
        scanned_count: how many were read.
        last_key: the key of the last item that was read, where reading stopped before the
            end: DynamoDB's LastEvaluatedKey. There may be nothing behind it.
        size: bytes that were read, of the table or of the index.
        table_size: bytes that were read of the table besides, because an LSI was asked for
            attributes that it does not project: whole units of 4 KB for each item.
        plan: how they were found.
    """

    items: list[StoredItem]
    raw: list[bytes]
    count: int
    scanned_count: int
    last_key: StoredItem | None
    size: int
    table_size: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class Page:
    """A page of items.

    Attributes:
        items: in Python form, in the order of the keys they were read by; none if only they
            were counted.
        page_token: where the next page begins; None if there is nothing more.
        plan: how they were found.
        count: how many items the filter let pass.
        scanned_count: how many were read.
    """

    items: list[dict[str, Any]]
    page_token: str | None
    plan: Plan
    count: int
    scanned_count: int


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
