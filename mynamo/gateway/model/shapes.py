"""The parts of which requests are made: types, limits, and AWS's names for them.

Names, order of members and order of enumerated values appear in messages, so they are as AWS
has them. Source: Amazon DynamoDB API Reference, and the service's public API model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

_PACKAGE = "com.amazonaws.dynamodb.v20120810."


@dataclass(frozen=True)
class Text:
    """A string.

    Attributes:
        least, most: characters.
        pattern: that all of it must match.
        values: the only ones there are, in the order in which AWS lists them.
        or_arn: the ARN of a table will do as well, whatever the other limits.
    """

    least: int | None = None
    most: int | None = None
    pattern: str | None = None
    values: tuple[str, ...] = ()
    or_arn: bool = False


@dataclass(frozen=True)
class Whole:
    """A whole number: a Java Integer, or a Long.

    Attributes:
        shown: messages show a value that is out of bounds.
    """

    least: int | None = None
    most: int | None = None
    java: str = "Integer"
    shown: bool = True


@dataclass(frozen=True)
class Flag:
    """True or false."""


@dataclass(frozen=True)
class Moment:
    """A moment: a number of seconds since 1970, with a fraction perhaps."""


@dataclass(frozen=True)
class AttributeValue:
    """A value of an item's attribute; what is in it is checked where it is used."""


@dataclass(frozen=True)
class ListOf:
    """A list with a number of members.

    Attributes:
        shown: messages show one that has too few or too many.
    """

    member: Shape
    least: int | None = None
    most: int | None = None
    shown: bool = True


@dataclass(frozen=True)
class MapOf:
    """An object with any names and one kind of values."""

    value: Shape
    key: Text = Text()
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True)
class Structure:
    """An object with certain members; others are ignored.

    Attributes:
        name: of the Java class.
        members: by name.
        required: names of those that must be there.
    """

    name: str
    members: Mapping[str, Shape]
    required: frozenset[str]


Shape: TypeAlias = Text | Whole | Flag | Moment | AttributeValue | ListOf | MapOf | Structure


def java_type(shape: Shape) -> str:
    """The Java type that stands for a shape in messages."""
    match shape:
        case Text():
            return "java.lang.String"
        case Whole():
            return f"java.lang.{shape.java}"
        case Flag():
            return "java.lang.Boolean"
        case Moment():
            return "java.util.Date"
        case AttributeValue():
            return _PACKAGE + "AttributeValue"
        case ListOf():
            return f"java.util.List<{java_type(shape.member)}>"
        case MapOf():
            return f"java.util.Map<java.lang.String, {java_type(shape.value)}>"
        case Structure():
            return _PACKAGE + shape.name


def structure(name: str, /, **members: Shape) -> Structure:
    """A structure; a member whose name ends in an underscore must be there."""
    return Structure(
        name,
        {member.rstrip("_"): shape for member, shape in members.items()},
        frozenset(member[:-1] for member in members if member.endswith("_")),
    )


def one_of(*values: str) -> Text:
    """An enumeration."""
    return Text(values=values)


TEXT = Text()
FLAG = Flag()
MOMENT = Moment()
