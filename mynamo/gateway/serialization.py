"""JSON types: whether a request's members are of the types that its shape says.

What is wrong here is a SerializationException, before any constraint is looked at. Wording as
AWS's JSON layer has it. Members that the shape does not know, and those that are null, count
as absent, and are taken out where somebody might look at them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mynamo.gateway.json_types import (
    flag,
    not_a_list,
    not_a_map,
    not_a_structure,
    text,
    wrong_type,
)
from mynamo.gateway.shapes import (
    AttributeValue,
    Flag,
    ListOf,
    MapOf,
    Shape,
    Structure,
    Text,
    Whole,
    java_type,
)
from mynamo.gateway.value_types import map_of_values, value_of

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
