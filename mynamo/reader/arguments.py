"""What callers of `Reader` write, as the parts of a request in stored form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, TypedDict

from mynamo.errors import InvalidRequest
from mynamo.expressions import (
    Condition,
    KeyCondition,
    Placeholders,
    Projection,
    parse_condition,
    parse_key_condition,
    parse_projection,
)
from mynamo.reader.conditions import Sort, key_conditions
from mynamo.reader.queries import Select
from mynamo.reader.waiting import After
from mynamo.schemas.items import to_stored
from mynamo.shards.tables import Index, Table


class Everything(Enum):
    """The type of `ALL_ATTRIBUTES`."""

    ALL_ATTRIBUTES = "ALL_ATTRIBUTES"


ALL_ATTRIBUTES: Final = Everything.ALL_ATTRIBUTES
"""The projection that answers with whole items, from an LSI that holds less too."""

Projected = str | Iterable[str] | Everything | None
"""A projection expression; or paths such as `a` or `a.b[0]`, one by one, of which none is
taken for a reserved word or a placeholder; or `ALL_ATTRIBUTES`; or None for all that the
table or index has."""

_STEP = re.compile(r"(?P<name>[^.\[\]]+)(?P<indexes>(?:\[\d+\])*)")


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
    timeout: float


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
    timeout: float


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
                raise InvalidRequest(f"{name} must be an expression as a string, not {text!r}")
        places = Placeholders(names, None if values is None else to_stored(values))
        self._conditions = (
            None if key_condition is None else parse_key_condition(key_condition, places)
        )
        self.filter: Condition | None = (
            None if filter is None else parse_condition(filter, places, "FilterExpression")
        )
        self.projection = _projection(projection, places)
        self.select: Select | None = (
            "ALL_ATTRIBUTES" if isinstance(projection, Everything) else None
        )
        if count:
            if projection is not None:
                raise InvalidRequest("a count has no projection: leave one of both out")
            self.select = "COUNT"
        places.check_all_used()

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


def reusable(projection: Projected) -> Projected:
    """The same projection, for page after page: its paths may come from an iterator."""
    if projection is None or isinstance(projection, str | Everything):
        return projection
    return tuple(projection)


def _projection(projection: Projected, places: Placeholders) -> Projection | None:
    if projection is None or isinstance(projection, Everything):
        return None
    if isinstance(projection, str):
        return parse_projection(projection, places)
    texts = list(dict.fromkeys(projection))
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("projection must name at least one attribute, each as a string")
    paths = [_path(text) for text in texts]
    if all(len(path) == 1 for path in paths):
        return Projection.naming(texts)
    return _as_expression(paths)


def _path(text: str) -> list[str | int]:
    """The parts of a path that is written `a`, `a.b` or `a[0].b`.

    Raises:
        InvalidRequest: it is not one.
    """
    parts: list[str | int] = []
    for name in text.split("."):
        step = _STEP.fullmatch(name)
        if step is None:
            raise InvalidRequest(
                f"{text!r} is not a path such as a.b[0]; for a name with dots or brackets in it "
                "write an expression with a placeholder, and give the name in `names`"
            )
        parts += [step["name"], *map(int, re.findall(r"\d+", step["indexes"]))]
    return parts


def _as_expression(paths: Iterable[list[str | int]]) -> Projection:
    """A projection expression that has placeholders for all names."""
    names: dict[str, str] = {}
    texts = []
    for path in paths:
        text = ""
        for part in path:
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                placeholder = f"#n{len(names)}"
                names[placeholder] = part
                text += f".{placeholder}" if text else placeholder
        texts.append(text)
    return parse_projection(", ".join(texts), Placeholders(names))
