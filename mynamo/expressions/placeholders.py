"""`Placeholders`: ExpressionAttributeNames and ExpressionAttributeValues, and which were used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mynamo.errors import InvalidExpression, InvalidItem
from mynamo.expressions.nodes import Value
from mynamo.schemas.values import ECHO, MAX_NAME_SIZE, checked_text, normalise_value, utf8_size

__all__ = ["Placeholders", "checked_names"]


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
        unused_names, unused_values: the placeholders that no expression has named so far.
    """

    __slots__ = ("names", "unused_names", "unused_values", "values")

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
        self.unused_names = set(self.names)
        self.unused_values = set(self.values)

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

    def check_all_used(self) -> None:
        """Call it when all expressions of the request are parsed.

        Raises:
            InvalidExpression: a placeholder occurs in none of them.
        """
        for parameter, unused, given in (
            (_NAMES, self.unused_names, self.names),
            (_VALUES, self.unused_values, self.values),
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
    if 0 < len(name) <= MAX_NAME_SIZE and name.isascii():
        return
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
