"""What a reading in stored form asks for: `Query`, `Scan` and `Get`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from mynamo.expressions import Condition, KeyCondition, Projection
from mynamo.reader.waiting import After
from mynamo.schemas.items import item_size, load_item, spliced
from mynamo.schemas.values import StoredItem

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
