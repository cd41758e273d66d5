"""How AWS's messages show a value: the way Java prints it."""

from __future__ import annotations

from typing import Any

from mynamo.gateway.shapes import AttributeValue, ListOf, MapOf, Shape, Structure, java_type

MOST = 2048
"""Characters of a value that a message repeats; AWS repeats all of them."""


def java_text(value: Any, shape: Shape) -> str:
    """A value as messages show it, cut off after `MOST` characters."""
    text = _text(value, shape)
    return text if len(text) <= MOST else text[:MOST] + "..."


def _text(value: Any, shape: Shape) -> str:
    if value is None:
        return "null"
    match shape:
        case AttributeValue():
            # Java's default: the class and a hash.
            return f"{java_type(shape)}@{id(value) & 0xFFFFFFFF:x}"
        case ListOf():
            return "[" + ", ".join([_text(each, shape.member) for each in value]) + "]"
        case MapOf():
            pairs = [f"{name}={_text(each, shape.value)}" for name, each in value.items()]
            return "{" + ", ".join(pairs) + "}"
        case Structure():
            members = [
                f"{name[0].lower()}{name[1:]}={_text(value.get(name), member)}"
                for name, member in shape.members.items()
            ]
            return f"{shape.name}({', '.join(members)})"
        case _:
            return str(value).lower() if isinstance(value, bool) else str(value)
