"""The format of a file of items, recognised by its beginning and the table's key.

The first item's key shows whether a file is DynamoDB JSON or plain JSON: in plain JSON the key is
text or a number, in DynamoDB JSON an object such as {"S": "ann"}, which no key can be. Binary keys
look the same in both; there the other attributes decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import orjson

from mynamo.catalog.tables import Table
from mynamo.cli.plain_items import TYPED
from mynamo.cli.sources import Source

Container = Literal["lines", "objects", "array", "scan", "batch", "csv"]
CONTAINERS: tuple[Container, ...] = get_args(Container)

IN_WORDS: dict[Container, str] = {
    "lines": "an object per line",
    "objects": "objects one after the other",
    "array": "one array",
    "scan": 'the answer of a scan or query, {"Items": [...]}',
    "batch": "a file for batch-write-item",
    "csv": "CSV with a header",
}

_TYPES: dict[str, type | tuple[type, ...]] = {
    "S": str, "N": str, "B": str, "BOOL": bool, "NULL": bool, "L": list, "M": dict,
    "SS": list, "NS": list, "BS": list,
}  # fmt: skip
_REQUESTS = ("PutRequest", "DeleteRequest")
_BATCH = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[\s*\{\s*"(?:Put|Delete)Request"\s*:')
_SCAN = re.compile(
    rb'\{\s*(?:"(?:Count|ScannedCount|ConsumedCapacity)"\s*:\s*(?:\d+|null|\{[^{}]*\})\s*,\s*)*'
    rb'"Items"\s*:\s*\['
)
_SEEN = 64 * 1024
"""Bytes after which a first line that has not ended decides nothing any more."""
_ENOUGH = 4 * 1024
"""Bytes in which an object over several lines shows what it is."""


def container_of(source: Source, table: Table) -> Container | None:
    """The format of a file. It must be called before anything is read, and loses nothing.

    Returns:
        None if the file is empty.

    Raises:
        BadFile: see `Source`.
    """
    head = b""
    for chunk in source:
        head += chunk
        found = _decided(head.lstrip(), False, table)
        if found is not None:
            break
    else:
        found = _decided(head.lstrip(), True, table)
    source.put_back(head)
    return found


def is_dynamodb_json(item: Mapping[str, Any], table: Table) -> bool:
    """Whether an item, as it was read from JSON, is in DynamoDB JSON."""
    for name in table.key_names:
        value = item.get(name)
        if value is not None and not (isinstance(value, dict) and "B" in value):
            return _is_typed(value)
    return bool(item) and all(map(_is_typed, item.values()))


def is_wrapped(value: Any, table: Table) -> bool:
    """Whether it is `{"Item": {...}}`, as a line of an export or the answer to a get."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("Item"), dict)
        and not any(name in value for name in table.key_names)
    )


def could_be_both(item: Mapping[str, Any], table: Table) -> bool:
    """Whether an item means something in both forms, and not the same."""
    return (
        all(map(_is_typed, item.values()))
        and any(TYPED.isdisjoint(value) for value in item.values())
        and all(isinstance(item.get(name), dict) and "B" in item[name] for name in table.key_names)
    )


def _decided(text: bytes, ended: bool, table: Table) -> Container | None:
    if not text:
        return None
    line, newline, _ = text.partition(b"\n")
    whole = bool(newline) or ended
    if text[:1] == b"[":
        return "array"
    if text[:1] != b"{":
        return "csv" if whole or len(text) > _SEEN else None
    if whole:
        first = _object(line)
        if first is not None:
            return _by_object(first, table)
        if line.strip() != b"{" and line.rstrip()[-1:] not in (b"{", b"[", b",", b":"):
            return "lines"
    elif len(text) <= _SEEN:
        return None
    if _BATCH.match(text):
        return "batch"
    if _SCAN.match(text):
        return "scan"
    if not whole:
        return "lines"
    return "objects" if ended or len(text) > _ENOUGH else None


def _by_object(value: Mapping[str, Any], table: Table) -> Container:
    if any(name in value for name in table.key_names):
        return "lines"
    if isinstance(value.get("Items"), list):
        return "scan"
    if value and all(map(_is_requests, value.values())):
        return "batch"
    return "lines"


def _is_requests(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and not set(one).isdisjoint(_REQUESTS) for one in value
    )


def _is_typed(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((name, inner),) = value.items()
    return name in _TYPES and isinstance(inner, _TYPES[name])


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
