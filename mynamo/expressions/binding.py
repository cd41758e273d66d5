"""Binding: placeholders of an expression become names and values, and its operands are checked.

`Placeholders` holds ExpressionAttributeNames and ExpressionAttributeValues, and which were used.

Observed of DynamoDB: operands are looked up from left to right, then what takes them is
checked; the first thing wrong in the text is the one reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mynamo.errors import InvalidExpression, InvalidItem
from mynamo.expressions.actions import IfNotExists, ListAppend, Minus, Plus
from mynamo.expressions.nodes import Literal, Operand, Path, Size, Value
from mynamo.expressions.parser import OperandSyntax, PathSyntax, ValueSyntax
from mynamo.schemas.values import ECHO, MAX_NAME_SIZE, checked_text, normalise_value, utf8_size

__all__ = [
    "Placeholders",
    "bind_operand",
    "bind_path",
    "bind_value",
    "check_count",
    "check_distinct",
    "check_types",
    "checked_names",
    "path_of",
    "shown",
    "type_of",
    "wrong_type",
]


MAX_KEY_SIZE = 255
"""Bytes of a placeholder with its # or colon: Developer Guide, "Quotas"."""

_NAME_KEY = re.compile(r"#[A-Za-z0-9_]+")
_VALUE_KEY = re.compile(r":[A-Za-z0-9_]+")

_NAMES = "ExpressionAttributeNames"
_VALUES = "ExpressionAttributeValues"
_EMPTY_KEY = "The expression attribute map contains an empty key;"
_LONG_KEY = "The expression attribute map contains a key that is too long;"


class Placeholders:
    """The names and values that the placeholders of a request's expressions stand for.

    Attributes:
        names: by `#placeholder`.
        values: by `:placeholder`, in stored form.
    """

    __slots__ = ("_unused_names", "_unused_values", "names", "values")

    def __init__(
        self,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Value] | None = None,
    ) -> None:
        """Check the placeholders, and attribute names too.

        Args:
            names: by `#placeholder`; None: the request has no such parameter.
            values: by `:placeholder`, in stored form.

        Raises:
            InvalidExpression: DynamoDB's message, and in its order.
        """
        _check_keys(names, values)
        self._take(names, values)

    def _take(self, names: Mapping[str, str] | None, values: Mapping[str, Value] | None) -> None:
        for key, name in (names or {}).items():
            _check_name(key, name)
        self.names = names or {}
        self.values = values or {}
        self._unused_names = set(self.names)
        self._unused_values = set(self.values)

    @classmethod
    def of_wire(
        cls, names: Mapping[str, str] | None, values: Mapping[str, Any] | None
    ) -> Placeholders:
        """Check placeholders whose values are DynamoDB JSON from outside.

        Raises:
            InvalidExpression: DynamoDB's message, and in its order.
        """
        _check_keys(names, values)
        stored = {key: _stored(key, value) for key, value in (values or {}).items()}
        placeholders = cls.__new__(cls)
        placeholders._take(names, stored)
        return placeholders

    def name(self, placeholder: str) -> str:
        """What a `#name` stands for. Raises InvalidExpression if it is not defined."""
        self._unused_names.discard(placeholder)
        try:
            return self.names[placeholder]
        except KeyError:
            raise InvalidExpression(
                "An expression attribute name used in the document path is not defined; "
                f"attribute name: {placeholder}"
            ) from None

    def value(self, placeholder: str) -> Value:
        """What a `:value` stands for. Raises InvalidExpression if it is not defined."""
        self._unused_values.discard(placeholder)
        try:
            return self.values[placeholder]
        except KeyError:
            raise InvalidExpression(
                "An expression attribute value used in expression is not defined; "
                f"attribute value: {placeholder}"
            ) from None

    def check_all_used(self) -> None:
        """Call it when all expressions of the request are parsed.

        Raises:
            InvalidExpression: a placeholder occurs in none of them.
        """
        for parameter, unused, given in (
            (_NAMES, self._unused_names, self.names),
            (_VALUES, self._unused_values, self.values),
        ):
            if unused:
                raise InvalidExpression(
                    f"Value provided in {parameter} unused in expressions: "
                    f"keys: {{{', '.join(_in_java_order(unused, given))}}}"
                )


def checked_names(names: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """What a caller of the library says that `#placeholders` stand for.

    Raises:
        InvalidExpression: it is no mapping of texts to texts.
    """
    if names is None or (
        isinstance(names, Mapping)
        and all(isinstance(text, str) for pair in names.items() for text in pair)
    ):
        return names
    raise InvalidExpression(f"names are {{'#placeholder': 'attribute'}}, not {names!r:.{ECHO}}")


def _check_keys(names: Mapping[str, str] | None, values: Mapping[str, Any] | None) -> None:
    if names is not None and not names:
        raise InvalidExpression(f"{_NAMES} must not be empty")
    for key in values or ():
        _check_key(key, _VALUE_KEY, _VALUES)
    for key in names or ():
        _check_key(key, _NAME_KEY, _NAMES)
    if values is not None and not values:
        raise InvalidExpression(f"{_VALUES} must not be empty")


def _check_key(key: str, form: re.Pattern[str], parameter: str) -> None:
    if form.fullmatch(key) and len(key) <= MAX_KEY_SIZE:
        return
    if not key:
        problem = _EMPTY_KEY
    elif (size := utf8_size(key)) > MAX_KEY_SIZE:
        problem = f"{_LONG_KEY} size of key: {size}" if parameter == _NAMES else _LONG_KEY
    else:
        problem = f'Syntax error; key: "{key}"'
    raise InvalidExpression(f"{parameter} contains invalid key: {problem}")


def _check_name(key: str, name: str) -> None:
    if not name:
        problem = "Empty attribute name"
    elif utf8_size(name) > MAX_NAME_SIZE:
        problem = "Attribute name is too large, must be less than 65536 bytes"
    else:
        try:
            checked_text(name)
        except InvalidItem as error:
            problem = str(error)
        else:
            return
    raise InvalidExpression(f"{_NAMES} contains invalid value: {problem} for key {key}")


def _stored(key: str, value: Any) -> Value:
    try:
        return normalise_value(value)
    except InvalidItem as error:
        raise InvalidExpression(
            f"{_VALUES} contains invalid value: {error} for key {key}"
        ) from None


def _in_java_order(unused: set[str], given: Mapping[str, object]) -> list[str]:
    """As DynamoDB lists them: as they lie in a hash map of Java."""
    keys = [key for key in given if key in unused]
    buckets = 16
    while len(keys) > buckets * 3 // 4:
        buckets *= 2
    return sorted(keys, key=lambda key: _java_hash(key) % buckets)


def _java_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (value * 31 + ord(character)) % 2**32
    return value ^ value >> 16


MAX_DEPTH = 32
"""Names and indexes in a document path: Developer Guide, "Quotas"."""

_NO_SIZE = frozenset({"N", "BOOL", "NULL"})
_LIST = frozenset({"L"})
_NUMBER = frozenset({"N"})


def bind_path(syntax: PathSyntax, placeholders: Placeholders) -> Path:
    """The path without placeholders.

    Raises:
        InvalidExpression: a placeholder is not defined, or the path is too long.
    """
    parts = syntax.parts
    if len(parts) > MAX_DEPTH:
        raise InvalidExpression(
            f"The document path has too many nesting levels; nesting levels: {len(parts)}"
        )
    if not syntax.plain:
        parts = tuple([_name(part, placeholders) for part in parts])
    return Path(str(parts[0]), parts[1:])


def _name(part: str | int, placeholders: Placeholders) -> str | int:
    if type(part) is int or part[0] != "#":  # type: ignore[index]
        return part
    return placeholders.name(part)  # type: ignore[arg-type]


def bind_value(syntax: ValueSyntax, placeholders: Placeholders) -> Literal:
    """The value of a placeholder. Raises InvalidExpression if it is not defined."""
    return Literal(placeholders.value(syntax.name))


def bind_operand(syntax: OperandSyntax, placeholders: Placeholders) -> Operand:
    """The operand of a condition or update.

    Raises:
        InvalidExpression: a placeholder is not defined, or an operand is of a wrong type.
    """
    if isinstance(syntax, ValueSyntax):
        return bind_value(syntax, placeholders)
    if isinstance(syntax, PathSyntax):
        return bind_path(syntax, placeholders)
    operands: list[Operand] = []
    for operand in syntax.operands:  # no comprehension: one frame for each level of functions
        operands.append(bind_operand(operand, placeholders))
    return _function(syntax.operator, operands)


def _function(function: str, operands: list[Operand]) -> Operand:
    """The node of a function or sum, its operands checked."""
    if function == "size":
        check_count(function, operands, 1)
        if type_of(operands[0]) in _NO_SIZE:
            raise wrong_type(function, str(type_of(operands[0])))
        return Size(operands[0])
    check_count(function, operands, 2)
    left, right = operands
    if function == "if_not_exists":
        check_distinct(function, operands)
        return IfNotExists(path_of(function, left), right)
    if function == "list_append":
        check_types(function, operands, _LIST)
        return ListAppend(left, right)
    check_types(function, operands, _NUMBER)
    return Plus(left, right) if function == "+" else Minus(left, right)


def path_of(function: str, operand: Operand) -> Path:
    """The operand, which must be a path. Raises InvalidExpression if it is none."""
    if not isinstance(operand, Path):
        raise InvalidExpression(
            f"Operator or function requires a document path; operator or function: {function}"
        )
    return operand


def type_of(operand: Operand) -> str | None:
    """The type of an operand, as far as it is known without an item."""
    if isinstance(operand, Literal):
        (kind,) = operand.constant
        return kind
    return "N" if isinstance(operand, Size) else None


def check_count(function: str, operands: list[Operand], count: int) -> None:
    """Raises InvalidExpression if there are more or fewer operands."""
    if len(operands) != count:
        raise InvalidExpression(
            "Incorrect number of operands for operator or function; "
            f"operator or function: {function}, number of operands: {len(operands)}"
        )


def check_types(function: str, operands: list[Operand], types: frozenset[str]) -> None:
    """Raises InvalidExpression if an operand is known to be of another type."""
    for operand in operands:
        kind = type_of(operand)
        if kind is not None and kind not in types:
            raise wrong_type(function, kind)


def check_distinct(function: str, operands: list[Operand]) -> None:
    """Raises InvalidExpression if the first operand is a path and there again."""
    first = operands[0]
    if isinstance(first, Path) and first in operands[1:]:
        raise InvalidExpression(
            "The first operand must be distinct from the remaining operands for this operator "
            f"or function; operator: {function}, first operand: {first}"
        )


def wrong_type(function: str, kind: str) -> InvalidExpression:
    """What an operand of a wrong type is answered with."""
    return InvalidExpression(
        "Incorrect operand type for operator or function; "
        f"operator or function: {function}, operand type: {kind}"
    )


def shown(value: Value) -> str:
    """A value as DynamoDB's messages write it: `{N:2}`."""
    ((kind, body),) = value.items()
    return f"{{{kind}:{body}}}"
