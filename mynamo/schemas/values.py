"""Attribute values: what they may be in whichever form, and DynamoDB JSON turned into stored form.

The rules for text, names, binary and sets hold for items in Python form and in DynamoDB JSON. The
second part is the counterpart of an SDK's request parser: any JSON may come in, only canonical
stored items go out. `mynamo.schemas.items` is the module to import from.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

from mynamo.errors import InvalidItem
from mynamo.schemas.numbers import canonical_number

__all__ = [
    "ECHO",
    "INVALID",
    "MAX_LEVELS",
    "MAX_NAME_SIZE",
    "TOO_DEEP",
    "Binary",
    "StoredItem",
    "base64_of",
    "binary_of",
    "checked_name",
    "checked_text",
    "each_attribute",
    "level_within",
    "normalise",
    "normalise_value",
    "sorted_set",
    "utf8_size",
]


StoredItem: TypeAlias = dict[str, dict[str, Any]]

MAX_NAME_SIZE = 65535
MAX_LEVELS = 32

INVALID = "One or more parameter values were invalid: "
TOO_DEEP = (
    "Nesting Levels have exceeded supported limits: "
    "Attributes in the item have nested levels beyond supported limit"
)
ECHO = 200
"""How many characters of a bad value a message repeats."""

_EMPTY_SET = {
    "SS": "An string set  may not be empty",
    "NS": "An number set  may not be empty",
    "BS": "Binary sets should not be empty",
}
_SORT_KEYS: dict[str, Callable[[str], Any] | None] = {
    "SS": None,  # code points, which is UTF-8 order
    "NS": Decimal,
    "BS": binascii.a2b_base64,
}


class Binary(bytes):
    """A binary value: bytes that print as `Binary(b'...')`.

    Stands in for `boto3.dynamodb.types.Binary`: has `.value`, equals bytes and
    boto3's Binary of the same content and hashes like them. Raises TypeError for
    anything but bytes and bytearray.
    """

    __slots__ = ()

    def __new__(cls, value: bytes | bytearray) -> Binary:
        if not isinstance(value, bytes | bytearray):
            raise TypeError(f"Binary takes bytes or bytearray, not {type(value).__name__}")
        return super().__new__(cls, value)

    @property
    def value(self) -> bytes:
        return bytes(self)

    def __repr__(self) -> str:
        return f"Binary({super().__repr__()})"

    __str__ = __repr__


def binary_of(text: Any) -> bytes:
    """The bytes that base64 text stands for. Raises InvalidItem if it is not a
    str of padded standard base64."""
    if not isinstance(text, str):
        raise InvalidItem(f"A value of type B must be a JSON string, not {type(text).__name__}")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidItem("Base64 encoded binary is not valid: use padded base64") from None


def base64_of(raw: bytes | bytearray) -> str:
    """Padded standard base64 on one line."""
    return binascii.b2a_base64(raw, newline=False).decode()


def utf8_size(text: str) -> int:
    """The length of text in UTF-8, in bytes; also of text that is no valid Unicode, so that
    whoever checks something else first can say so."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def each_attribute(
    item: Mapping[Any, Any], convert: Callable[[Any, int], dict[str, Any]]
) -> StoredItem:
    """Convert every value of an item with `convert(value, 1)`, 1 being its nesting
    level, and check every name. Errors get a note that names the attribute."""
    stored = {}
    name = None
    try:
        for name, value in item.items():
            plain = type(name) is str and name.isascii() and 0 < len(name) <= MAX_NAME_SIZE
            stored[name if plain else checked_name(name)] = convert(value, 1)
    except InvalidItem as error:
        error.add_note(f"In attribute {name!r:.{ECHO}}")
        raise
    return stored


def level_within(level: int) -> int:
    """The level of nesting of what is in a list or map, or InvalidItem if that is too deep.

    DynamoDB refuses an empty list or map at the deepest level, too.
    """
    if level >= MAX_LEVELS:
        raise InvalidItem(TOO_DEEP)
    return level + 1


def checked_name(name: Any) -> str:
    """An attribute name of 1 to 65535 UTF-8 bytes, or InvalidItem."""
    if type(name) is str and name.isascii() and 0 < len(name) <= MAX_NAME_SIZE:
        return name  # nearly every name; what follows is for the others
    if not isinstance(name, str):
        raise InvalidItem(f"Attribute names must be strings, not {type(name).__name__}")
    text = checked_text(name)
    if not text:
        raise InvalidItem("Empty attribute name")
    if utf8_size(text) > MAX_NAME_SIZE:
        raise InvalidItem("Attribute name is too large, must be less than 65536 bytes")
    return text


def checked_text(text: str) -> str:
    """Text that UTF-8 can express, or InvalidItem."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidItem("Strings must be valid Unicode: found a lone surrogate") from None
    return str.__str__(text)  # of a subclass such as an Enum: its plain text


def sorted_set(kind: str, members: list[str]) -> dict[str, Any]:
    """The stored form of a set of canonical members: SS by code point, NS by value,
    BS by its bytes. Raises InvalidItem if it is empty or has duplicates."""
    if not members:
        raise InvalidItem(INVALID + _EMPTY_SET[kind])
    if len(set(members)) < len(members):
        raise InvalidItem(_duplicates(kind, members))
    return {kind: sorted(members, key=_SORT_KEYS[kind])}


def _duplicates(kind: str, members: list[str]) -> str:
    if kind == "NS":
        return "Input collection contains duplicates"
    listed = ", ".join(members)[:ECHO]
    end = "of type BS contains duplicates." if kind == "BS" else " contains duplicates."
    return f"{INVALID}Input collection [{listed}]{end}"


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
