"""Constraints on a request: lengths, patterns, ranges, required members; AWS's sentence for each.

Values in messages look as Java prints them.

All that is wrong goes into one message, in AWS's words ("2 validation errors detected: ...")
and in the order of the request's members in AWS's model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mynamo.gateway.model.request_shapes import ITEM_REQUESTS, STREAM_REQUESTS, TABLE_REQUESTS
from mynamo.gateway.model.shapes import (
    AttributeValue,
    ListOf,
    MapOf,
    Shape,
    Structure,
    Text,
    Whole,
    java_type,
)
from mynamo.gateway.model.types import reader_of
from mynamo.gateway.service_errors import ServiceError, invalid

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


NOT_NULL = "Member must not be null"
MOST_NAMES = 1024
"""Names that are known to be good, which saves looking at them again."""


class Constraint(NamedTuple):
    """One constraint.

    Attributes:
        text: what messages say of it.
        holds: whether a value satisfies it.
    """

    text: str
    holds: Callable[[Any], bool]


def constraints_of(shape: Text | Whole) -> list[Constraint]:
    """Those on a scalar, in the order in which they are reported."""
    if isinstance(shape, Whole):
        return _range(shape)
    if shape.values:
        return [_one_of(shape.values)]
    if shape.or_arn:
        # Of nothing at all one error is enough.
        names = [_unless(each, lambda v: not v or _is_arn(v)) for each in _of_text(shape)]
        return [_at_least(1), *names, _at_most(1024)]
    return _of_text(shape)


def key_constraints(shape: Text) -> list[Constraint]:
    """Those on the keys of a map."""
    own = _of_text(shape)
    return [_unless(each, _is_arn) for each in own] if shape.or_arn else own


def size_constraints(shape: ListOf | MapOf) -> list[Constraint]:
    """Those on the number of members of a list or map."""
    return _sizes(shape.least, shape.most)


def listed(constraints: list[Constraint]) -> str:
    """Several constraints as the members of a collection must satisfy them."""
    # Here AWS names upper limits first.
    texts = sorted((each.text for each in constraints), key=_place)
    return f"[{', '.join(texts)}]"


_PLACES = ("less", "greater", "pattern")


def _place(text: str) -> int:
    return next((place for place, word in enumerate(_PLACES) if word in text), len(_PLACES))


def _of_text(shape: Text) -> list[Constraint]:
    found = []
    if shape.pattern is not None:
        matches = re.compile(shape.pattern).fullmatch
        found.append(
            Constraint(
                f"Member must satisfy regular expression pattern: {shape.pattern}",
                lambda value: matches(value) is not None,
            )
        )
    return found + _sizes(shape.least, shape.most)


def _sizes(least: int | None, most: int | None) -> list[Constraint]:
    found = []
    if least:
        found.append(_at_least(least))
    if most is not None:
        found.append(_at_most(most))
    return found


def _at_least(size: int) -> Constraint:
    text = f"Member must have length greater than or equal to {size}"
    return Constraint(text, lambda value: len(value) >= size)


def _at_most(size: int) -> Constraint:
    text = f"Member must have length less than or equal to {size}"
    return Constraint(text, lambda value: len(value) <= size)


def _range(shape: Whole) -> list[Constraint]:
    found = []
    least, most = shape.least, shape.most
    if least is not None:
        text = f"Member must have value greater than or equal to {least}"
        found.append(Constraint(text, lambda value: value >= least))
    if most is not None:
        text = f"Member must have value less than or equal to {most}"
        found.append(Constraint(text, lambda value: value <= most))
    return found


def _one_of(values: tuple[str, ...]) -> Constraint:
    text = f"Member must satisfy enum value set: [{', '.join(values)}]"
    return Constraint(text, frozenset(values).__contains__)


def _unless(constraint: Constraint, spared: Callable[[str], bool]) -> Constraint:
    return Constraint(constraint.text, lambda value: constraint.holds(value) or spared(value))


def _is_arn(value: str) -> bool:
    return value.startswith("arn:")


Finder = Callable[[Any, str, list[str]], None]
"""Takes a value, its path, and a list to which it adds what is wrong with the value."""

REQUESTS = ITEM_REQUESTS | TABLE_REQUESTS | STREAM_REQUESTS
"""The request of every operation."""

_BATCHES = frozenset({"BatchGetItem", "BatchWriteItem"})
_OF_TABLES = frozenset(
    operation for operation, shape in TABLE_REQUESTS.items() if "TableName" in shape.required
)
MOST_ERRORS = 10
"""In one message."""


def check(operation: str, request: dict[str, Any]) -> dict[str, Any]:
    """Check a request as it came from the JSON parser.

    Returns:
        The request with the members that the operation has, in the types they should have;
        what is null is left out.

    Raises:
        ServiceError: SerializationException, or ValidationException with all that is wrong.
    """
    read, find = _COMPILED[operation]
    known: dict[str, Any] = read(request)
    _check_subject(operation, known)
    errors: list[str] = []
    find(known, "", errors)
    if errors:
        raise _detected(errors)
    return known


def _check_subject(operation: str, request: dict[str, Any]) -> None:
    """Refuse a request that does not say what it is about, in words of its own, whatever else
    is wrong with it."""
    if operation in _BATCHES and not request.get("RequestItems"):
        raise invalid(f"The requestItems parameter is required for {operation}")
    if operation in _OF_TABLES and request.get("TableName") is None:
        raise invalid("The parameter 'TableName' is required but was not present in the request")


def _detected(errors: list[str]) -> ServiceError:
    shown = errors[:MOST_ERRORS]
    noun = "error" if len(shown) == 1 else "errors"
    return invalid(f"{len(shown)} validation {noun} detected: {'; '.join(shown)}")


def _failed(value: Any, shape: Shape, path: str, constraint: str) -> str:
    if value is not None and isinstance(shape, Whole | ListOf) and not shape.shown:
        return f"Value at '{_as_requested(path)}' failed to satisfy constraint: {constraint}"
    shown = "null" if value is None else f"'{java_text(value, shape)}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _as_requested(path: str) -> str:
    """A path with the names of its first and its last member as the request has them."""
    before, dot, last = path.rpartition(".")
    return before[:1].upper() + before[1:] + dot + last[:1].upper() + last[1:]


def _finder_of(shape: Shape) -> Finder | None:
    """Compile a shape's constraints; None if it has none."""
    match shape:
        case Structure():
            return _in_structure(shape, ".")
        case ListOf():
            return _together(_own(shape, size_constraints(shape)), _in_list(shape))
        case MapOf():
            return _together(_own(shape, size_constraints(shape)), _in_map(shape))
        case Text() | Whole():
            return _own(shape, constraints_of(shape))
        case _:
            return None


def _together(*finders: Finder | None) -> Finder | None:
    found = [finder for finder in finders if finder is not None]
    if len(found) < 2:
        return found[0] if found else None

    def find(value: Any, path: str, errors: list[str]) -> None:
        for finder in found:
            finder(value, path, errors)

    return find


def _own(shape: Shape, constraints: list[Constraint]) -> Finder | None:
    """The value itself: each constraint that does not hold is an error of its own."""
    if not constraints:
        return None

    def find(value: Any, path: str, errors: list[str]) -> None:
        for constraint in constraints:
            if not constraint.holds(value):
                errors.append(_failed(value, shape, path, constraint.text))

    is_name = isinstance(shape, Text) and shape.pattern is not None
    return _remembering(find) if is_name else find


def _remembering(find: Finder) -> Finder:
    """For names, of which there are few: what was good once is good."""
    good: set[str] = set()

    def find_in_new(value: Any, path: str, errors: list[str]) -> None:
        if value in good:
            return
        before = len(errors)
        find(value, path, errors)
        if len(errors) == before and len(good) < MOST_NAMES:
            good.add(value)

    return find_in_new


def _in_structure(shape: Structure, joint: str) -> Finder | None:
    members = []
    for name, member in shape.members.items():
        finder, required = _finder_of(member), name in shape.required
        if finder is not None or required:
            members.append((name, joint + name[0].lower() + name[1:], member, required, finder))
    if not members:
        return None
    finders = {name: finder for name, _, _, _, finder in members if finder is not None}

    def is_good(value: dict[str, Any]) -> bool:
        errors: list[str] = []
        for name, given in value.items():
            if given is None:
                return False
            if name in finders:
                finders[name](given, "", errors)
        return not errors and shape.required <= value.keys()

    def find(value: Any, path: str, errors: list[str]) -> None:
        if is_good(value):  # which costs less than to look for all members in their order
            return
        for name, step, member, required, finder in members:
            given = value.get(name)
            if given is None:
                if required:
                    errors.append(_failed(None, member, path + step, NOT_NULL))
            elif finder is not None:
                finder(given, path + step, errors)

    return find


def _in_list(shape: ListOf) -> Finder | None:
    if isinstance(shape.member, Text | Whole):
        return _all(shape, constraints_of(shape.member), "Member", list)
    finder = _finder_of(shape.member)
    if finder is None:
        return None

    def find(value: Any, path: str, errors: list[str]) -> None:
        for position, member in enumerate(value, 1):
            finder(member, f"{path}.{position}.member", errors)

    return find


def _in_map(shape: MapOf) -> Finder | None:
    keys = _all(shape, key_constraints(shape.key), "Map keys", list)
    inner = shape.value
    if isinstance(inner, Text | Whole):
        own, within = constraints_of(inner), None
    elif isinstance(inner, ListOf):
        own, within = size_constraints(inner), _in_list(inner)
    else:
        own, within = [], _finder_of(inner)
    values = _all(shape, own, "Map value", dict.values)
    return _together(keys, values, _in_values(within))


def _in_values(finder: Finder | None) -> Finder | None:
    if finder is None:
        return None

    def find(value: Any, path: str, errors: list[str]) -> None:
        for name, member in value.items():
            finder(member, f"{path}.{name}.member", errors)

    return find


def _all(
    shape: ListOf | MapOf,
    constraints: list[Constraint],
    what: str,
    parts: Callable[[Any], Any],
) -> Finder | None:
    """The scalars in a collection: if one is wrong, the collection is shown, once."""
    if not constraints:
        return None
    text = f"{what} must satisfy constraint: {listed(constraints)}"

    def find(value: Any, path: str, errors: list[str]) -> None:
        for part in parts(value):
            if part is None or not all(constraint.holds(part) for constraint in constraints):
                errors.append(_failed(value, shape, path, text))
                return

    return find


_COMPILED = {
    operation: (reader_of(shape), _in_structure(shape, "") or (lambda value, path, errors: None))
    for operation, shape in REQUESTS.items()
}
