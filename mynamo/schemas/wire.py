"""DynamoDB JSON from outside, checked and turned into stored form.

The counterpart of an SDK's request parser: any JSON may come in, only canonical
stored items go out. `mynamo.schemas.items` is the module to import from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from mynamo.errors import InvalidItem
from mynamo.schemas.numbers import canonical_number
from mynamo.schemas.values import (
    INVALID,
    MAX_LEVELS,
    TOO_DEEP,
    StoredItem,
    base64_of,
    binary_of,
    checked_name,
    checked_text,
    each_attribute,
    level_within,
    sorted_set,
)

__all__ = ["normalise", "normalise_value"]

_EMPTY = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
_AMBIGUOUS = (
    "Supplied AttributeValue has more than one datatypes set, "
    "must contain exactly one of the supported datatypes"
)


def normalise(stored: Any) -> StoredItem:
    """Check a DynamoDB JSON item from outside and return it in stored form, anew.

    Takes what a JSON parser made of a request's `Item`, of any type and depth.
    Each value must be an object with exactly one type key and the right JSON type
    under it. Numbers, base64 and the order of sets become canonical.

    Raises InvalidItem with DynamoDB's message; a note names the attribute.
    """
    if type(stored) is not dict:
        raise InvalidItem(f"An item must be a JSON object, not {type(stored).__name__}")
    return each_attribute(stored, _check)


def normalise_value(value: Any) -> dict[str, Any]:
    """Check one AttributeValue from outside and return it in stored form, anew.

    For values that come without an item, such as those of a condition. Raises
    InvalidItem with DynamoDB's message.
    """
    return _check(value, 1)


def _check(value: Any, level: int) -> dict[str, Any]:
    if type(value) is dict and len(value) == 1 and level <= MAX_LEVELS:  # as nearly all
        ((kind, body),) = value.items()
        if type(body) is str:
            if kind == "S" and body.isascii():
                return {"S": body}
            if kind == "N":
                return {"N": canonical_number(body)}
        return _checked(kind, body, level)
    if level > MAX_LEVELS:
        raise InvalidItem(TOO_DEEP)
    if type(value) is not dict:
        _refuse("An AttributeValue", "object", value)
    for kind, body in value.items():  # what is wrong with one of them comes first
        _checked(kind, body, level)
    raise InvalidItem(_AMBIGUOUS if value else _EMPTY)


def _checked(kind: str, body: Any, level: int) -> dict[str, Any]:
    checker = _CHECKERS.get(kind)
    if checker is None:
        raise InvalidItem(_EMPTY)
    return checker(body, level)


def _refuse(what: str, wanted: str, got: Any) -> NoReturn:
    raise InvalidItem(f"{what} must be a JSON {wanted}, not {type(got).__name__}")


def _string(kind: str, body: Any) -> str:
    if not isinstance(body, str):
        _refuse(f"A value of type {kind}", "string", body)
    return body


def _members(kind: str, body: Any) -> list[Any]:
    if not isinstance(body, list):
        _refuse(f"A value of type {kind}", "array", body)
    return body


def _check_number(body: Any) -> str:
    return canonical_number(_string("N", body))


def _check_bool(body: Any, _: int) -> dict[str, Any]:
    if type(body) is not bool:
        _refuse("A value of type BOOL", "true or false", body)
    return {"BOOL": body}


def _check_null(body: Any, _: int) -> dict[str, Any]:
    if body is not True:
        raise InvalidItem(f"{INVALID}Null attribute value types must have the value of true")
    return {"NULL": True}


def _check_list(body: Any, level: int) -> dict[str, Any]:
    level = level_within(level)
    return {"L": [_check(member, level) for member in _members("L", body)]}


def _check_map(body: Any, level: int) -> dict[str, Any]:
    if type(body) is not dict:
        _refuse("A value of type M", "object", body)
    level = level_within(level)
    return {"M": {checked_name(name): _check(member, level) for name, member in body.items()}}


def _check_set(kind: str, member: Callable[[Any], str]) -> Callable[[Any, int], dict[str, Any]]:
    return lambda body, _: sorted_set(kind, [member(each) for each in _members(kind, body)])


_CHECKERS: dict[str, Callable[[Any, int], dict[str, Any]]] = {
    "S": lambda body, _: {"S": checked_text(_string("S", body))},
    "N": lambda body, _: {"N": _check_number(body)},
    "B": lambda body, _: {"B": base64_of(binary_of(body))},
    "BOOL": _check_bool,
    "NULL": _check_null,
    "L": _check_list,
    "M": _check_map,
    "SS": _check_set("SS", lambda body: checked_text(_string("SS", body))),
    "NS": _check_set("NS", _check_number),
    "BS": _check_set("BS", lambda body: base64_of(binary_of(body))),
}
