"""CSV with a header: its rows as items.

Key attributes of the table and its indexes have the types that the table's definition gives them,
all others are strings, as DynamoDB's own import of CSV has it ("DynamoDB data import from Amazon
S3", developer guide). An empty cell is no attribute.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import click

from mynamo.catalog.tables import Table
from mynamo.cli.sources import LONGEST, BadFile
from mynamo.errors import InvalidItem
from mynamo.schemas.items import Binary, binary_of
from mynamo.schemas.numbers import parse_number

DELIMITERS = ",;\t|"
TYPES = ("S", "N", "B", "BOOL")


class Row(NamedTuple):
    """A row: the line on which it begins, its item or what is wrong with it, its characters."""

    line: int
    item: dict[str, Any] | InvalidItem
    size: int = 0


def parse_types(_: click.Context, __: click.Parameter, text: str | None) -> dict[str, str]:
    """Read `NAME:T,...`."""
    found = {}
    for part in text.split(",") if text is not None else ():
        name, _colon, kind = part.strip().rpartition(":")
        if not name or kind not in TYPES or name in found:
            raise click.BadParameter(
                f"{part.strip()!r} is no type of a column; write NAME:T,NAME:T, where T is "
                f"{', '.join(TYPES)}"
            )
        found[name] = kind
    return found


def rows(chunks: Iterable[bytes], table: Table, types: Mapping[str, str]) -> Iterator[Row]:
    """The rows behind the header.

    Args:
        types: of columns that are no keys.

    Raises:
        BadFile: the header does not fit the table, or these types.
    """
    lines = _lines(chunks)
    header = next(lines, "")
    delimiter = max(DELIMITERS, key=header.count)
    csv.field_size_limit(LONGEST)
    reader = csv.reader(chain([header], lines), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration) as error:
        raise BadFile(f"line 1: no header of a CSV file: {error}") from None
    kinds = _kinds(columns, table, types)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line, InvalidItem(f"not valid CSV: {error}"))
            continue
        if cells:
            yield Row(line, _item(columns, kinds, cells), sum(map(len, cells)))


def _kinds(columns: list[str], table: Table, types: Mapping[str, str]) -> list[str]:
    missing = [name for name in table.key_names if name not in columns]
    if missing:
        raise BadFile(
            f"it is no JSON, and as CSV its header has no column {' and no '.join(missing)}, which "
            f"is in the key of {table.name}: {', '.join(columns)[:200]!r}"
        )
    twice = {name for name in columns if columns.count(name) > 1}
    if twice or "" in columns:
        what = f"names {', '.join(sorted(twice))} twice" if twice else "has a column without a name"
        raise BadFile(f"line 1: the header {what}")
    unknown = [name for name in types if name not in columns]
    if unknown:
        raise BadFile(f"--types names {', '.join(unknown)}, which the header has not")
    known: dict[str, str] = {
        key.name: key.type
        for keys in (
            *((*index.hash_keys, *index.sort_keys) for index in table.indexes),
            (*table.hash_keys, *table.sort_keys),
        )
        for key in keys
    }
    for name, kind in types.items():
        if known.setdefault(name, kind) != kind:
            raise BadFile(f"--types says {name}:{kind}, but it is a key of type {known[name]}")
    return [known.get(name, "S") for name in columns]


def _item(columns: list[str], kinds: list[str], cells: list[str]) -> dict[str, Any] | InvalidItem:
    if len(cells) != len(columns):
        return InvalidItem(f"{len(cells)} cells where the header has {len(columns)}")
    made = {}
    for name, kind, cell in zip(columns, kinds, cells, strict=True):
        if cell == "":
            continue
        try:
            made[name] = _value(kind, cell)
        except InvalidItem as error:
            return InvalidItem(f"column {name}: {error}")
    return made


def _value(kind: str, cell: str) -> Any:
    if kind == "N":
        return parse_number(cell.strip())
    if kind == "B":
        return Binary(binary_of(cell.strip()))
    if kind == "BOOL":
        if cell.strip().lower() not in ("true", "false"):
            raise InvalidItem(f"{cell!r} is neither true nor false")
        return cell.strip().lower() == "true"
    return cell


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield _decoded(line) + "\n"
        if len(rest) > LONGEST:
            raise BadFile(f"a line is longer than {LONGEST:,} bytes")
    if rest:
        yield _decoded(rest)


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")  # no item takes it: it is refused by its line
