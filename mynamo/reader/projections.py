"""Which attributes of an item a reading answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mynamo.errors import InvalidRequest
from mynamo.schemas.values import StoredItem
from mynamo.shards.tables import Index


class Everything(Enum):
    """The type of `ALL_ATTRIBUTES`."""

    ALL_ATTRIBUTES = "ALL_ATTRIBUTES"


ALL_ATTRIBUTES: Final = Everything.ALL_ATTRIBUTES
"""The projection that answers with whole items, from an LSI that holds less too."""

Projected = Iterable[str] | Everything | None
"""Names of attributes; `ALL_ATTRIBUTES`; or None for all that the table or index has."""


Frozen = frozenset[str] | Everything | None
"""A projection that can be used any number of times."""


@dataclass(frozen=True, slots=True)
class View:
    """What a reading shows of an item.

    Attributes:
        source: from the item as it is stored to the item as it is read: an index's part of
            it, or all of it. A page's size counts this.
        names: of these, the attributes to answer with; None for all.
    """

    source: Callable[[StoredItem], StoredItem]
    names: frozenset[str] | None

    def answer(self, item: StoredItem) -> StoredItem:
        """The attributes that the caller asked for."""
        if self.names is None:
            return item
        return {name: value for name, value in item.items() if name in self.names}


def view_of(index: Index | None, projection: Frozen) -> View:
    """What a reading shows.

    An LSI is asked together with its table, so it can show attributes that it does not
    project, as in DynamoDB; a GSI cannot.

    Raises:
        InvalidRequest: a GSI does not project all of these attributes.
    """
    names = None if isinstance(projection, Everything) else projection
    if index is None or index.projection.type == "ALL":
        return View(_whole, names)
    if projection is ALL_ATTRIBUTES:
        if index.kind == "GSI":
            raise InvalidRequest(
                "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not "
                f"supported for global secondary index {index.name} because its projection type "
                "is not ALL"
            )
        return View(_whole, None)
    missing = sorted(names - projected_names(index)) if names is not None else []
    if not missing:
        return View(index.project, names)
    if index.kind == "GSI":
        raise InvalidRequest(
            "One or more parameter values were invalid: Global secondary index "
            f"{index.name} does not project [{', '.join(missing)}]"
        )
    return View(_whole, names)


def projected_names(index: Index) -> frozenset[str]:
    """The attributes of an index whose projection is not ALL."""
    keys = {index.hash_key.name, *index.table_keys, *index.projection.attributes}
    return frozenset(keys | {index.sort_key.name} if index.sort_key else keys)


def frozen(projection: Projected) -> Frozen:
    """Check a projection and take its names, which may come from an iterator.

    Raises:
        InvalidRequest: it does not name attributes.
    """
    if projection is None or isinstance(projection, Everything):
        return projection
    if isinstance(projection, str):
        raise InvalidRequest(
            f"projection must be names of attributes, not one string: [{projection!r}]"
        )
    names = frozenset(projection)
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidRequest("projection must name at least one attribute, each as a string")
    return names


def _whole(item: StoredItem) -> StoredItem:
    return item
