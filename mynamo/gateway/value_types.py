"""JSON types of attribute values: the many small parts of most requests.

Hence they are checked in place, each kind in its own few lines. What is nested more deeply than
an item may be is left to whoever reads the item.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any

from mynamo.gateway.errors import invalid
from mynamo.gateway.json_input import not_serializable
from mynamo.gateway.json_types import (
    flag,
    not_a_list,
    not_a_map,
    not_a_structure,
    text,
    wrong_type,
)
from mynamo.gateway.shapes import AttributeValue, MapOf, java_type
from mynamo.schemas.values import ECHO, INVALID, MAX_LEVELS

_VALUE_JAVA = java_type(AttributeValue())
_VALUES_JAVA = java_type(MapOf(AttributeValue()))
_TEXTUAL = frozenset({"S", "N"})


def value_of(value: Any) -> Any:
    """An attribute value whose JSON types are right, or SerializationException."""
    _check_value(value, 0)
    return value


def map_of_values(value: Any) -> Any:
    """An item or a part of one, likewise."""
    if type(value) is not dict:
        raise not_a_map(value, _VALUES_JAVA)
    _check_values(value, 0)
    return value


def _check_values(values: dict[str, Any], level: int) -> None:
    for name, each in values.items():
        if each is None:
            values[name] = {}
        elif type(each) is not dict or len(each) != 1 or type(each.get("S")) is not str:
            _check_value(each, level)


def _check_value(value: Any, level: int) -> None:
    if type(value) is not dict:
        raise not_a_structure(value, _VALUE_JAVA)
    for kind, body in value.items():
        if kind in _TEXTUAL:
            if type(body) is not str and body is not None:
                raise wrong_type(body, "String")
        elif body is not None:
            check = _KINDS.get(kind)
            if check is not None and level <= MAX_LEVELS:
                check(body, level + 1)
    if len(value) != 1 or None in value.values():
        for kind in [k for k, body in value.items() if body is None or k not in _ALL_KINDS]:
            del value[kind]


def _check_binary(body: Any, _: int) -> None:
    if type(body) is not str:
        raise wrong_type(body, "ByteBuffer")
    if len(body) % 4:
        raise not_serializable(
            f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(body)}"
        )
    try:
        binascii.a2b_base64(body, strict_mode=True)
    except ValueError:  # also of text that is not ASCII
        raise not_serializable(f"Invalid Base64 character found in: '{body:.{ECHO}}'") from None


def _check_list(body: Any, level: int) -> None:
    if type(body) is not list:
        raise not_a_list(body)
    for position, each in enumerate(body):
        if each is None:
            body[position] = {}
        else:
            _check_value(each, level)


def _check_map(body: Any, level: int) -> None:
    if type(body) is not dict:
        raise not_a_map(body, _VALUES_JAVA)
    _check_values(body, level)


def _check_set(member: Callable[[Any, int], Any], null: str) -> Callable[[Any, int], None]:
    """Args: null: what is said of a null among the members, which is no question of types."""

    def check(body: Any, level: int) -> None:
        if type(body) is not list:
            raise not_a_list(body)
        for each in body:
            if each is None:
                raise invalid(null)
            member(each, level)

    return check


def _check_text(body: Any, _: int) -> None:
    text(body)


def _check_flag(body: Any, _: int) -> None:
    flag(body)


_KINDS: dict[str, Callable[[Any, int], None]] = {
    "B": _check_binary,
    "BOOL": _check_flag,
    "NULL": _check_flag,
    "L": _check_list,
    "M": _check_map,
    "SS": _check_set(_check_text, f"{INVALID}An string set may not have a null string as a member"),
    "NS": _check_set(_check_text, "The parameter cannot be converted to a numeric value"),
    "BS": _check_set(_check_binary, f"{INVALID}Binary sets may not have a null member"),
}
_ALL_KINDS = _TEXTUAL | _KINDS.keys()
