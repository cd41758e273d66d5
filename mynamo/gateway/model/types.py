"""JSON types: whether a request is JSON, and its members of the types that its shape says.

What is wrong here is a SerializationException, before any constraint is looked at. The wording is
that of AWS's JSON layer. Members that the shape does not know, and those that are null, count as
absent, and are removed where somebody might look at them.

Attribute values are many small parts of most requests, so each kind is checked in place in its own
few lines. What is nested more deeply than an item may be is left to whoever reads the item.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any

import orjson

from mynamo.gateway.model.shapes import (
    AttributeValue,
    Flag,
    ListOf,
    MapOf,
    Moment,
    Shape,
    Structure,
    Text,
    Whole,
    java_type,
)
from mynamo.gateway.service_errors import ServiceError, invalid
from mynamo.schemas.values import ECHO, INVALID, MAX_LEVELS


def parse(body: bytes) -> dict[str, Any]:
    """Read a request's JSON.

    The parser works without recursion to speak of: it refuses more than 1,024 levels of
    nesting. Of a name that appears twice the last value counts, as with DynamoDB.

    Raises:
        ServiceError: SerializationException; DynamoDB gives it no text for what is not JSON
            at all (or not UTF-8, or has NaN in it), and neither does this.
    """
    try:
        request = orjson.loads(body)
    except ValueError:
        raise ServiceError("SerializationException") from None
    if type(request) is dict:
        return request
    if type(request) is list:
        raise not_serializable("Start of list found where not expected")
    raise ServiceError("SerializationException")


def not_serializable(message: str) -> ServiceError:
    """The error for JSON of a wrong type."""
    return ServiceError("SerializationException", message)


_MAP_STARTS = "Start of structure or map found where not expected."
_LIST_STARTS = "Start of list found where not expected"
_SCALARS = {float: "DECIMAL_VALUE", int: "NUMBER_VALUE", str: "STRING_VALUE"}


def _name_of(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    return _SCALARS[type(value)]


def wrong_type(value: Any, java: str) -> ServiceError:
    """The error for a scalar that should have been another one, or for no scalar at all."""
    if type(value) is dict:
        return not_serializable(_MAP_STARTS)
    if type(value) is list:
        if java == "ByteBuffer":
            return not_serializable(_LIST_STARTS)
        return not_serializable(f"Unrecognized collection type class java.lang.{java}")
    return not_serializable(f"{_name_of(value)} cannot be converted to {java}")


def text(value: Any) -> Any:
    """A string, or SerializationException."""
    if type(value) is not str:
        raise wrong_type(value, "String")
    return value


def flag(value: Any) -> Any:
    """True or false, or SerializationException."""
    if type(value) is not bool:
        if type(value) is str:
            raise not_serializable("Unexpected token received from parser")
        raise wrong_type(value, "Boolean")
    return value


def moment(value: Any) -> Any:
    """A number of seconds, or SerializationException."""
    if type(value) is not int and type(value) is not float:
        raise wrong_type(value, "Date")
    return value


def not_a_map(value: Any, java: str) -> ServiceError:
    """The error for what should have been an object with any names."""
    if type(value) is list:
        return not_serializable(f"Unrecognized collection type {java}")
    return not_serializable("Unexpected field type")


def not_a_structure(value: Any, java: str) -> ServiceError:
    """The error for what should have been an object with certain members."""
    if type(value) is list:
        return not_serializable(f"Unrecognized collection type class {java}")
    return not_serializable("Unexpected value type in payload")


def not_a_list(value: Any) -> ServiceError:
    """The error for what should have been a list."""
    return not_serializable(_MAP_STARTS if type(value) is dict else "Unexpected field type")


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


Reader = Callable[[Any], Any]
"""Takes a JSON value and returns it, perhaps in another form (1.0 as 1)."""


def reader_of(shape: Shape) -> Reader:
    """Compile a shape.

    Returns:
        A function that raises ServiceError (SerializationException) for a wrong type.
    """
    match shape:
        case Text():
            return text
        case Whole():
            return _whole(shape.java)
        case Flag():
            return flag
        case Moment():
            return moment
        case AttributeValue():
            return value_of
        case ListOf():
            return _list(shape)
        case MapOf():
            return map_of_values if isinstance(shape.value, AttributeValue) else _map(shape)
        case Structure():
            return _structure(shape)


def _whole(java: str) -> Reader:
    bound = 2**31 if java == "Integer" else 2**63

    def read(value: Any) -> Any:
        if type(value) is not int and type(value) is not float:
            raise wrong_type(value, java)
        if not -bound <= value < bound:
            raise wrong_type(value, java)
        return int(value)

    return read


def _list(shape: ListOf) -> Reader:
    member = reader_of(shape.member)
    empty = _empty_of(shape.member)

    def read(value: Any) -> Any:
        if type(value) is not list:
            raise not_a_list(value)
        return [empty() if each is None else member(each) for each in value]

    return read


def _empty_of(shape: Shape) -> Callable[[], Any]:
    """What stands for a null inside of a list or map."""
    match shape:
        case AttributeValue() | Structure() | MapOf():
            return dict
        case ListOf():
            return list
        case _:
            return lambda: None


def _map(shape: MapOf) -> Reader:
    member = reader_of(shape.value)
    empty = _empty_of(shape.value)
    java = java_type(shape)

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise not_a_map(value, java)
        return {
            name: empty() if each is None else member(each) for name, each in value.items()
        }  # fmt: skip

    return read


def _structure(shape: Structure) -> Reader:
    members = {name: reader_of(member) for name, member in shape.members.items()}
    java = java_type(shape)

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise not_a_structure(value, java)
        # Members that nothing is known of stay out: an operation never sees them.
        return {
            name: members[name](member)
            for name, member in value.items()
            if member is not None and name in members
        }

    return read
