"""Items as DynamoDB JSON in forms and addresses, and the write that an edit comes to."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mynamo.console.refused import Refused

Item = dict[str, Any]
"""In DynamoDB JSON."""
MOST_ATTRIBUTES = 100
"""Of an item that can be edited: the condition of its write names all of them, and an expression
may have 300 operators and 4 KB."""
_CELL = 80


def encoded(value: Any) -> bytes:
    """JSON.

    Raises:
        Refused: it is nested more deeply than can be sent.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise Refused(
            "this is nested too deeply: an item has 32 levels of lists and maps at the most"
        ) from None


def dump_address(value: Mapping[str, Any]) -> str:
    """A key as a part of an address."""
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


def load_address(text: str) -> Item:
    """What `dump_address` made.

    Raises:
        Refused: it is something else.
    """
    try:
        value = orjson.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
    except (binascii.Error, orjson.JSONDecodeError, UnicodeEncodeError):
        value = None
    if not isinstance(value, dict):
        raise Refused("the address has no key of an item; go back to the table")
    encoded(value)
    return value


def dump_form(item: Mapping[str, Any]) -> str:
    """An item, to be read and changed: an attribute in each line."""
    lines = [f"  {_line(name)}: {_line(value)}" for name, value in item.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def dump_hidden(item: Mapping[str, Any]) -> str:
    """An item in a hidden field."""
    return orjson.dumps(item).decode()


def load_form(text: str) -> Item:
    """An item as someone wrote it.

    Raises:
        Refused: it is no JSON object; what is in it, the gateway checks.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refused(f"this is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused('an item is a JSON object, such as {"id": {"S": "a"}}')
    encoded(value)
    return value


def key_of(item: Mapping[str, Any], names: Sequence[str]) -> Item | None:
    """The key of an item; None: it does not show all of it."""
    return {name: item[name] for name in names} if all(name in item for name in names) else None


def plain(value: Any) -> str:
    """A value as a person reads it, in a line."""
    if not isinstance(value, dict) or len(value) != 1:
        return orjson.dumps(value).decode()
    ((kind, inside),) = value.items()
    if kind in ("S", "N") and isinstance(inside, str):
        return inside
    if kind == "B":
        return f"binary {inside}"
    if kind == "NULL":
        return "null"
    if kind == "BOOL":
        return "true" if inside else "false"
    if kind == "L":
        return f"[{', '.join(map(plain, inside))}]"
    if kind == "M":
        return f"{{{', '.join(f'{name}: {plain(each)}' for name, each in inside.items())}}}"
    return f"{{{', '.join(map(str, inside))}}}"


def cell(value: Any) -> str:
    """The same, of a bounded length."""
    text = plain(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "\u2026"


def update_of(table: str, before: Item, after: Item, key_names: Sequence[str]) -> Item | None:
    """The UpdateItem that makes one item of another, unless it has changed meanwhile.

    Its condition names every attribute of `before`. So whoever edits decides by what he sees; and
    attributes that came meanwhile stay, as the update names only what it changes.

    Returns:
        None: nothing is to be changed.

    Raises:
        Refused: it is another item's key, or has too many attributes.
    """
    key = key_of(before, key_names)
    if key is None or key != key_of(after, key_names):
        raise Refused(
            f"the key ({', '.join(key_names)}) cannot be changed: make a new item, and delete this "
            "one"
        )
    changed = [name for name in after if before.get(name) != after[name]]
    removed = [name for name in before if name not in after]
    if not changed and not removed:
        return None
    words = _Words()
    holds = condition_of(words, before, key_names)
    holds += [f"attribute_not_exists({words.name(n)})" for n in changed if n not in before]
    update = ""
    if changed:
        sets = ", ".join(f"{words.name(n)} = {words.value(after[n])}" for n in changed)
        update = f"SET {sets} "
    if removed:
        update += f"REMOVE {', '.join(map(words.name, removed))}"
    return words.request(
        TableName=table, Key=key, UpdateExpression=update.strip(),
        ConditionExpression=" AND ".join(holds),
    )  # fmt: skip


def delete_of(table: str, before: Item, key_names: Sequence[str]) -> Item:
    """The DeleteItem of an item that is still what it was.

    Raises:
        Refused: it has too many attributes.
    """
    words = _Words()
    holds = condition_of(words, before, key_names)
    return words.request(
        TableName=table, Key=key_of(before, key_names), ConditionExpression=" AND ".join(holds)
    )


def put_of(table: str, item: Item, key_names: Sequence[str]) -> Item:
    """The PutItem of an item that is not there yet."""
    words = _Words()
    absent = f"attribute_not_exists({words.name(key_names[0])})"
    return words.request(TableName=table, Item=item, ConditionExpression=absent)


def condition_of(words: _Words, before: Item, key_names: Sequence[str]) -> list[str]:
    """What holds of an item that is there, and as it was."""
    if len(before) > MOST_ATTRIBUTES:
        raise Refused(
            f"the item has {len(before)} attributes, and the console changes items of up to "
            f"{MOST_ATTRIBUTES}; use a client of the API"
        )
    same = [f"{words.name(n)} = {words.value(v)}" for n, v in before.items() if n not in key_names]
    return [f"attribute_exists({words.name(key_names[0])})", *same]


class _Words:
    """Placeholders of an expression."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def name(self, name: str) -> str:
        return self._names.setdefault(name, f"#n{len(self._names)}")

    def value(self, value: Any) -> str:
        word = f":v{len(self._values)}"
        self._values[word] = value
        return word

    def request(self, **members: Any) -> Item:
        """The request, with what they stand for."""
        request = members | {
            "ExpressionAttributeNames": {word: name for name, word in self._names.items()}
        }
        if self._values:
            request["ExpressionAttributeValues"] = self._values
        return request
