"""Filter and projection: which items, and which of their attributes, an answer shows."""

from __future__ import annotations

from dataclasses import dataclass

from mynamo.catalog.tables import Index, Table
from mynamo.errors import InvalidRequest
from mynamo.expressions import Condition, Projection
from mynamo.reader.read_requests import Query, ReadRequest
from mynamo.schemas.values import StoredItem

_INVALID = "One or more parameter values were invalid: "


@dataclass(slots=True)
class View:
    """What a reading shows.

    Attributes:
        index: what of an item is read: an index has its own part. A page's size counts that
            part, and a filter looks at it.
        fetches: an LSI is asked for more than it has, so that the table is read as well.
        filter, projection: see `ReadRequest`.
        counts: no items, only their number.
    """

    index: Index | None
    fetches: bool
    filter: Condition | None
    projection: Projection | None
    counts: bool

    @property
    def is_plain(self) -> bool:
        """Whether every answer is a whole stored item, whatever is in it."""
        return not (self.index or self.filter or self.projection or self.counts)

    def part(self, item: StoredItem) -> StoredItem:
        """What of an item the table or index has."""
        return item if self.index is None else self.index.project(item)

    def shows(self, part: StoredItem) -> bool:
        """Whether an item is in the answer."""
        return self.filter is None or self.filter.holds(part)

    def answer(self, item: StoredItem, part: StoredItem) -> StoredItem:
        """What of an item is in the answer."""
        seen = item if self.fetches else part
        return seen if self.projection is None else self.projection.of(seen)


def view_of(index: Index | None, request: ReadRequest) -> View:
    """What a reading shows.

    An LSI is asked together with its table, so it can show attributes that it does not
    project, as in DynamoDB; a GSI cannot.

    Raises:
        InvalidRequest: DynamoDB's message: a GSI does not project what is asked for, or an
            index what the filter of a query looks at.
    """
    # Of a scan, DynamoDB lets it pass: what the index lacks is absent to the filter.
    if request.filter is not None and isinstance(request, Query):
        _check_filter_projected(index, request.filter)
    return View(
        index=index if index and index.projection.type != "ALL" else None,
        fetches=index is not None and _fetches(index, request),
        filter=request.filter,
        projection=request.projection,
        counts=request.select == "COUNT",
    )


def check_filter_of_query(at: Table | Index, request: ReadRequest) -> None:
    """Refuse a filter on the attributes that key conditions are for.

    Raises:
        InvalidRequest: DynamoDB's message.
    """
    if request.filter is None:
        return
    for path in request.filter.predicate.paths():
        if path.name not in at.key_names:
            continue
        if path.rest:
            raise InvalidRequest(
                "Key attributes must be scalars; list random access '[]' and map lookup '.' are "
                f"not allowed: Key: {path.name}"
            )
        raise InvalidRequest(
            f"{request.filter_name} can only contain non-primary key attributes: "
            f"Primary key attribute: {path.name}"
        )


def projected_names(index: Index) -> frozenset[str]:
    """The attributes of an index whose projection is not ALL."""
    return frozenset({*index.key_names, *index.table_keys, *index.projection.attributes})


def _fetches(index: Index, request: ReadRequest) -> bool:
    """Whether an answer needs more than the index has. Raises as `view_of` does."""
    if index.projection.type == "ALL" or request.select == "COUNT":
        return False
    if request.select == "ALL_ATTRIBUTES":
        if index.kind == "GSI":
            raise InvalidRequest(
                f"{_INVALID}Select type ALL_ATTRIBUTES is not supported for global secondary index "
                f"{index.name} because its projection type is not ALL"
            )
        return True
    missing = _missing(index, request.projection.names if request.projection else frozenset())
    if missing and index.kind == "GSI":
        raise InvalidRequest(
            f"{_INVALID}Global secondary index {index.name} does not project {missing}"
        )
    return bool(missing)


def _check_filter_projected(index: Index | None, condition: Condition) -> None:
    """A filter sees what the index has, of an LSI as well: nothing is fetched for it."""
    if index is not None and (missing := _missing(index, condition.names)):
        raise InvalidRequest(
            f"{_INVALID}Secondary index {index.name} does not project one or more filter "
            f"attributes: {missing}"
        )


def _missing(index: Index, names: frozenset[str]) -> str:
    """The names that an index does not project, as messages list them; "" if there are none."""
    if index.projection.type == "ALL":
        return ""
    missing = sorted(names - projected_names(index))
    return f"[{', '.join(missing)}]" if missing else ""
