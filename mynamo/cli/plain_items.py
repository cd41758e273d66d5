"""Items in plain JSON: how people type them, and how scripts read them.

A number in plain JSON is DynamoDB's N, exact to its last digit, in both directions. Types that
plain JSON does not have are written as in DynamoDB JSON, in an object with one name:

    binary     {"B": "aGVsbG8="}
    sets       {"SS": ["a", "b"]}   {"NS": ["1", "2"]}   {"BS": ["aGVsbG8="]}

A map whose only name is one of these (or M) would look the same, so it is written in DynamoDB
JSON: {"M": {"B": {"S": "grade B"}}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

import orjson

from mynamo.errors import InvalidItem
from mynamo.schemas.items import from_stored, normalise, to_stored
from mynamo.schemas.numbers import format_number, parse_number

TYPED = frozenset({"B", "SS", "NS", "BS", "M"})
"""The names that mark a value as DynamoDB JSON inside plain JSON."""


class NotJSON(InvalidItem):
    """The text is not JSON.

    Attributes:
        reason: without the position.
        line, column: of the mistake in the text, from 1.
    """

    def __init__(self, message: str, reason: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.reason = reason
        self.line = line
        self.column = column


def parse_item(text: str | bytes, dynamodb_json: bool = False) -> dict[str, Any]:
    """Read an item.

    Args:
        text: plain JSON.
        dynamodb_json: it is DynamoDB JSON instead.

    Returns:
        The item in Python form: numbers as Decimal, sets as sets.

    Raises:
        InvalidItem: it is not JSON, not an object, or holds what no item can.
    """
    return item_of(parse_json(text), dynamodb_json)


def parse_json(text: str | bytes) -> Any:
    """Read JSON; its numbers are exact.

    Raises:
        NotJSON: it is none.
        InvalidItem: a number that no item can hold, or a name that stands twice.
    """
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except json.JSONDecodeError as error:
        raise NotJSON(f"not valid JSON: {error}", error.msg, error.lineno, error.colno) from None
    except UnicodeDecodeError as error:
        raise NotJSON(f"not valid UTF-8: {error}", f"not valid UTF-8 ({error.reason})") from None
    except RecursionError:
        reason = "nested too deep"
        raise NotJSON(f"not valid JSON for an item: {reason}", reason) from None


def item_of(value: Any, dynamodb_json: bool = False) -> dict[str, Any]:
    """The item in Python form that a JSON value stands for.

    Raises:
        InvalidItem: it is not an object, or holds what no item can.
    """
    if not isinstance(value, dict):
        raise InvalidItem('an item is a JSON object: {"name": value, ...}')
    if dynamodb_json:
        return from_stored(normalise(value))
    return {name: _parsed(member) for name, member in value.items()}


def dump_plain(item: Mapping[str, Any]) -> str:
    """Write an item in Python form as plain JSON, on one line."""
    return orjson.dumps(plain_item(item)).decode()


def dump_dynamodb(item: Mapping[str, Any]) -> str:
    """Write an item in Python form as DynamoDB JSON, on one line."""
    return orjson.dumps(to_stored(item)).decode()


def dump_value(value: Any) -> str:
    """Write one attribute's value in Python form as plain JSON."""
    return orjson.dumps(plain(value)).decode()


def plain(value: Any) -> Any:
    """A value in Python form as what the JSON writer takes; the inverse of reading it."""
    if isinstance(value, Decimal):
        return orjson.Fragment(format_number(value))
    if isinstance(value, Mapping):
        if len(value) == 1 and not TYPED.isdisjoint(value):
            return to_stored({"value": value})["value"]
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, bytes | set | frozenset):
        return to_stored({"value": value})["value"]
    return value


def plain_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as what the JSON writer takes; its own names are never taken for types."""
    return {name: plain(value) for name, value in item.items()}


def _parsed(value: Any) -> Any:
    if isinstance(value, list):
        return [_parsed(member) for member in value]
    if isinstance(value, dict):
        if len(value) == 1 and not TYPED.isdisjoint(value):
            return _typed(value)
        return {name: _parsed(member) for name, member in value.items()}
    return value


def _typed(value: dict[str, Any]) -> Any:
    try:
        return from_stored(normalise({"value": value}))["value"]
    except InvalidItem as error:
        (name,) = value
        raise InvalidItem(
            f'an object whose only name is "{name}" is read as DynamoDB JSON, and is not valid: '
            f'{error}. A map with that name is written {{"M": {{"{name}": {{"S": "..."}}}}}}'
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = [name for name, _ in pairs]
        twice = next(name for name in seen if seen.count(name) > 1)
        raise InvalidItem(f"the name {twice!r} stands twice in one object")
    return made


def _refuse(constant: str) -> NoReturn:
    raise InvalidItem(f"{constant} is not a number that an item can hold")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=parse_number, parse_int=parse_number,
    parse_constant=_refuse,
)  # fmt: skip
