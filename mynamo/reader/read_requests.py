"""Requests of a reading in stored form (`Query`, `Scan`, `Get`), and the page that it returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from mynamo.expressions import Condition, KeyCondition, Projection
from mynamo.reader.waiting import After
from mynamo.schemas.items import item_size, load_item, spliced
from mynamo.schemas.values import StoredItem

PlanKind = Literal["primary key", "local index", "global index", "scan"]


@dataclass(slots=True)
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


Select = Literal["ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES", "SPECIFIC_ATTRIBUTES", "COUNT"]

INDEX_TIMEOUT = 5.0
"""Seconds to wait until a GSI has applied the writes that a caller names."""


@dataclass(slots=True)
class ReadRequest:
    """What queries and scans have in common.

    Attributes:
        table: its name.
        index: name of an LSI or GSI; None: the table itself.
        filter: which of the items that are read the answer shows.
        filter_name: what messages call the filter: "QueryFilter" for the old parameter.
        projection: which attributes it shows.
        select: what it shows; by default what `projection` says, or else all that the
            table or index has. COUNT: no items, only how many.
        limit: items to read at most, whether the filter lets them pass or not.
        start: the last item of the page before, as `StoredPage.last_key` gave it.
        consistent: see every write that has returned, which a GSI cannot promise.
        raw: whether items may be answered with as the bytes that are stored, where all of each
            is shown and nothing of it is looked at; then they have no size either.
        after: receipts or tokens of writes that a GSI must have applied.
        timeout: seconds to wait for that.
    """

    table: str
    index: str | None = None
    filter: Condition | None = None
    filter_name: str = "Filter Expression"
    projection: Projection | None = None
    select: Select | None = None
    limit: int | None = None
    start: StoredItem | None = None
    consistent: bool = False
    raw: bool = False
    after: After = None
    timeout: float = INDEX_TIMEOUT


@dataclass(slots=True, kw_only=True)
class Query(ReadRequest):
    """The items of one hash key, in the order of the sort key.

    Attributes:
        key_conditions: on the key of the table or of the index.
        descending: highest sort key first.
    """

    key_conditions: tuple[KeyCondition, ...]
    descending: bool = False


@dataclass(slots=True, kw_only=True)
class Scan(ReadRequest):
    """All items of a table or an index, or one segment of them.

    Attributes:
        segment: which one, from 0; None: all.
        total_segments: how many there are.
    """

    segment: int | None = None
    total_segments: int | None = None


@dataclass(slots=True)
class Get:
    """One item, by its key.

    Attributes:
        table: its name.
        key: the key attributes, and no others.
        projection: which attributes to answer with; None: all.
    """

    table: str
    key: StoredItem
    projection: Projection | None = None


class Got:
    """What was there.

    Args:
        data: the whole item as it is stored; None: there is no such item.
        projection: which attributes were asked for; None: all.
    """

    def __init__(self, data: bytes | None, projection: Projection | None) -> None:
        self.data = data
        self._projection = projection

    @cached_property
    def whole(self) -> StoredItem | None:
        """The item, or None. Raises CorruptData if it is damaged."""
        return None if self.data is None else load_item(self.data)

    @property
    def item(self) -> StoredItem | None:
        """The attributes that were asked for; None: there is no such item."""
        if self._projection is None or self.whole is None:
            return self.whole
        return self._projection.of(self.whole)

    @property
    def raw(self) -> bytes | None:
        """The same as the bytes that are stored, if all attributes were asked for."""
        return None if self._projection or self.data is None else spliced(self.data)

    @property
    def size(self) -> int:
        """Of the whole item, in bytes as DynamoDB counts them; 0: there is none."""
        return 0 if self.whole is None else item_size(self.whole)
