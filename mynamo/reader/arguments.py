"""Arguments of `Reader`, turned into the parts of a request in stored form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, TypedDict

from mynamo.catalog.tables import Index, Table
from mynamo.errors import InvalidRequest
from mynamo.expressions import (
    Condition,
    KeyCondition,
    Placeholders,
    Projection,
    checked_names,
    parse_condition,
    parse_key_condition,
    parse_projection,
)
from mynamo.expressions.parser import PathSyntax
from mynamo.reader.read_requests import Select
from mynamo.reader.sort_conditions import Sort, key_conditions
from mynamo.reader.waiting import After
from mynamo.schemas.items import to_stored
from mynamo.schemas.values import ECHO, checked_name


class Everything(Enum):
    """The type of `ALL_ATTRIBUTES`."""

    ALL_ATTRIBUTES = "ALL_ATTRIBUTES"


ALL_ATTRIBUTES: Final = Everything.ALL_ATTRIBUTES
"""The projection that answers with whole items, from an LSI that holds less too."""

Projected = str | Iterable[str] | Everything | None
"""A projection expression; or paths such as `a` or `a.b[0]`, one by one, of which none is
taken for a reserved word or a placeholder; or `ALL_ATTRIBUTES`; or None for all that the
table or index has."""

# Ten digits are enough for the largest index that DynamoDB has.
_STEP = re.compile(r"(?P<name>[^.\[\]]+)(?P<indexes>(?:\[[0-9]{1,10}\])*)")


class ScanOptions(TypedDict, total=False):
    """The keyword arguments of `Reader.scan` that say what is read, and not how much."""

    index: str | None
    filter: str | None
    names: Mapping[str, str] | None
    values: Mapping[str, Any] | None
    projection: Projected
    segment: int | None
    total_segments: int | None
    after: After
    timeout: float | None


class QueryOptions(TypedDict, total=False):
    """The keyword arguments of `Reader.query` that say what is read, and not how much."""

    key_condition: str | None
    index: str | None
    sort: Sort
    filter: str | None
    names: Mapping[str, str] | None
    values: Mapping[str, Any] | None
    projection: Projected
    descending: bool
    after: After
    timeout: float | None


class Arguments:
    """Expressions and what their placeholders stand for, parsed.

    Args:
        names: what `#name` stands for in them.
        values: what `:value` stands for in them, in Python form.

    Attributes:
        filter, projection, select: see `ReadRequest`.

    Raises:
        InvalidExpression: one of them is not valid, or a placeholder is used in none.
        InvalidItem: a value is not one that an attribute can have.
        InvalidRequest: the projection names nothing, or stands beside a count.
    """

    def __init__(
        self,
        *,
        key_condition: str | None = None,
        filter: str | None = None,  # noqa: A002
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        projection: Projected = None,
        count: bool = False,
    ) -> None:
        for name, text in (("key_condition", key_condition), ("filter", filter)):
            if text is not None and not isinstance(text, str):
                raise InvalidRequest(
                    f"{name} must be an expression as a string, not {text!r:.{ECHO}}"
                )
        stored = None if values is None else to_stored(values)
        placeholders = Placeholders(checked_names(names), stored)
        self._conditions = (
            None if key_condition is None else parse_key_condition(key_condition, placeholders)
        )
        self.filter: Condition | None = (
            None if filter is None else parse_condition(filter, placeholders, "FilterExpression")
        )
        self.projection = _projection(projection, placeholders)
        self.select: Select | None = (
            "ALL_ATTRIBUTES" if isinstance(projection, Everything) else None
        )
        if count:
            if projection is not None:
                raise InvalidRequest("a count has no projection: leave one of both out")
            self.select = "COUNT"
        placeholders.check_all_used()

    def key_conditions(
        self, at: Table | Index, hash_value: Any, sort: Sort
    ) -> tuple[KeyCondition, ...]:
        """The conditions of a query, given as text or as values.

        Raises:
            InvalidItem, InvalidRequest: see `conditions.key_conditions`; or both are given.
        """
        if self._conditions is None:
            return key_conditions(at, hash_value, sort)
        if hash_value is not None or sort is not None:
            raise InvalidRequest(
                "key_condition takes the place of the hash value and of sort: leave these out"
            )
        return self._conditions


def keys_by_table(
    table: str | Mapping[str, Iterable[Mapping[str, Any]]],
    keys: Iterable[Mapping[str, Any]] | None,
) -> dict[str, list[Mapping[str, Any]]]:
    """The keys that a batch is given, of one table or several.

    Raises:
        InvalidRequest: they are not given in one of both ways.
    """
    if isinstance(table, Mapping) and keys is None:
        given = table
    elif isinstance(table, str) and keys is not None:
        given = {table: keys}
    else:
        raise InvalidRequest(
            "a batch of keys is a table's name and a list of keys, or a dictionary of lists of "
            "keys by their tables' names"
        )
    for name, some in given.items():
        if isinstance(some, str | Mapping) or not isinstance(some, Iterable):
            raise InvalidRequest(f"the keys of table {name} must be a list, not {some!r:.{ECHO}}")
    return {name: list(some) for name, some in given.items()}


def reusable(projection: Projected) -> Projected:
    """The same projection, for page after page: its paths may come from an iterator."""
    if isinstance(projection, str) or not isinstance(projection, Iterable):
        return projection
    return tuple(projection)


def _projection(projection: Projected, placeholders: Placeholders) -> Projection | None:
    if projection is None or isinstance(projection, Everything):
        return None
    if isinstance(projection, str):
        return parse_projection(projection, placeholders)
    if not isinstance(projection, Iterable):
        raise InvalidRequest(
            "a projection is an expression such as 'a, b', or a list of paths such as "
            f"['a', 'b.c[0]'], not {projection!r:.{ECHO}}"
        )
    texts = list(projection)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("projection must name at least one attribute, each as a string")
    return Projection.showing(_path(text) for text in dict.fromkeys(texts))


def _path(text: str) -> PathSyntax:
    """The path that is written `a`, `a.b` or `a[0].b`, every name as it stands.

    Raises:
        InvalidItem: a name is too long, or not valid text.
        InvalidRequest: it is not a path.
    """
    parts: list[str | int] = []
    for name in text.split("."):
        step = _STEP.fullmatch(name)
        if step is None:
            raise InvalidRequest(
                f"{text!r:.{ECHO}} is not a path such as a.b[0]; for a name with dots or brackets "
                "in it write an expression with a placeholder, and give the name in `names`"
            )
        parts.append(checked_name(step["name"]))
        parts += map(int, re.findall("[0-9]+", step["indexes"]))
    return PathSyntax(tuple(parts), plain=True)
