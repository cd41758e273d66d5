"""The writes in files, one after the other, each with its position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mynamo.catalog.tables import Table
from mynamo.cli.app import wording
from mynamo.cli.formats import (
    IN_WORDS,
    Container,
    container_of,
    could_be_both,
    is_dynamodb_json,
    is_wrapped,
)
from mynamo.cli.plain_items import NotJSON, item_of, parse_json
from mynamo.cli.sources import BadFile, Cutter, Piece, Source, cut_lines
from mynamo.cli.tabular import rows
from mynamo.errors import InvalidItem

_DEPTHS: dict[Container, int] = {"objects": 0, "array": 1, "scan": 2, "batch": 2}
_MORE = frozenset({"LastEvaluatedKey", "NextToken"})


@dataclass(frozen=True, slots=True)
class FilePosition:
    """Where an item is in a file.

    Attributes:
        file: its name, if there are several.
        line, column: where it begins, from 1.
        number: how many items, good or bad, the file has up to this one.
    """

    line: int
    column: int
    number: int
    file: str = ""
    by_line: bool = True

    def __str__(self) -> str:
        """As people read it."""
        where = f"line {self.line}"
        if not self.by_line:
            where = f"item {self.number}, {where}, column {self.column}"
        return f"{self.file}: {where}" if self.file else where

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        where: dict[str, Any] = {"line": self.line}
        if not self.by_line:
            where |= {"item": self.number, "column": self.column}
        return {"file": self.file, **where} if self.file else where


@dataclass(frozen=True, slots=True)
class Record:
    """One write.

    Attributes:
        item: all attributes; of a deletion, the key.
        wrong: why there is no item.
        size: bytes of its text in the file, about.
    """

    position: FilePosition
    item: dict[str, Any] = field(default_factory=dict)
    deletes: bool = False
    wrong: str | None = None
    size: int = 0


@dataclass
class Reading:
    """Reads one file's records.

    Args:
        source: of bytes.
        table: that the items are for.
        container: what the file is, if the user said so.
        dynamodb_json: whether items are in DynamoDB JSON, if the user said so.
        types: of a CSV file's columns.
        name: of the file, for positions.
        took: told what the file was taken for, once that is clear.
    """

    source: Source
    table: Table
    container: Container | None = None
    dynamodb_json: bool | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    took: Callable[[str], None] = lambda _: None
    hints: list[str] = field(default_factory=list)
    """What else is worth a line, when all is read."""
    _count: int = 0
    _wrapped: bool = False
    _told: bool = False

    def records(self) -> Iterator[Record]:
        """All records.

        Raises:
            BadFile: the file cannot be read on; all records up to there were given.
        """
        self.container = self.container or container_of(self.source, self.table)
        if self.container is None:
            self.hints.append(f"{self.name or 'the file'} is empty")
            return
        if self.types and self.container != "csv":
            raise BadFile(f"--types is for CSV, but this is {IN_WORDS[self.container]}")
        if self.container == "csv":
            yield from self._csv()
            return
        for piece in self._pieces():
            self._count += 1
            position = FilePosition(
                piece.line, piece.column, self._count, self.name, self.container == "lines"
            )
            try:
                yield self._record(piece, position)
            except InvalidItem as error:
                yield Record(position, wrong=wording(error))

    def _pieces(self) -> Iterator[Piece]:
        if self.container == "lines":
            yield from cut_lines(self.source)
            return
        assert self.container is not None  # noqa: S101 -- for mypy
        cutter = Cutter(_DEPTHS[self.container])
        for piece in cutter.cut(self.source):
            if self.container != "scan" or piece.name == "Items":
                yield piece
        if self.container == "scan" and not cutter.names.isdisjoint(_MORE):
            self.hints.append(
                f"{self.name or 'the file'} is one page of a longer scan: it has a "
                f"{' and a '.join(sorted(cutter.names & _MORE))}"
            )

    def _record(self, piece: Piece, position: FilePosition) -> Record:
        try:
            value = parse_json(piece.text)
        except NotJSON as error:
            column = error.column + (piece.column - 1 if error.line == 1 else 0)
            line = f"line {piece.line + error.line - 1}, " if error.line > 1 else ""
            raise InvalidItem(f"not valid JSON at {line}column {column}: {error.reason}") from None
        deletes = False
        if self.container == "batch":
            value, deletes = self._request(value, piece.name)
        elif not self._told:
            self._wrapped = is_wrapped(value, self.table)
        if self._wrapped:
            if not isinstance(value, dict) or not isinstance(value.get("Item"), dict):
                raise InvalidItem('no object with an "Item", as the file\'s first one was')
            value = value["Item"]
        if not self._told and isinstance(value, dict):
            self._decide(value)
        item = item_of(value, bool(self.dynamodb_json))
        return Record(position, item, deletes, size=len(piece.text))

    def _request(self, value: Any, table: str) -> tuple[Any, bool]:
        if table != self.table.name:
            raise InvalidItem(
                f"the request is for table {table}: `mynamo load {table} FILE` writes those"
            )
        for kind, what in (("PutRequest", "Item"), ("DeleteRequest", "Key")):
            inner = value.get(kind) if isinstance(value, dict) and len(value) == 1 else None
            if isinstance(inner, dict) and isinstance(inner.get(what), dict):
                return inner[what], kind == "DeleteRequest"
        raise InvalidItem('neither {"PutRequest": {"Item": ...}} nor {"DeleteRequest": ...}')

    def _decide(self, first: dict[str, Any]) -> None:
        """Say what the file is taken for, now that an item is there to look at."""
        doubt = ""
        if self.dynamodb_json is None:
            self.dynamodb_json = is_dynamodb_json(first, self.table)
            if self.dynamodb_json and could_be_both(first, self.table):
                doubt = " (if its objects are maps and not values with a type: --plain-json)"
        form = "DynamoDB JSON" if self.dynamodb_json else "plain JSON"
        wrapped = ', each {"Item": ...}' if self._wrapped else ""
        assert self.container is not None  # noqa: S101 -- for mypy
        self._tell(f"{form}, {IN_WORDS[self.container]}{wrapped}{doubt}")

    def _tell(self, what: str) -> None:
        self._told = True
        self.took(what + (", gzip" if self.source.gzipped else ""))

    def _csv(self) -> Iterator[Record]:
        for row in rows(self.source, self.table, self.types):
            if not self._told:
                self._tell(IN_WORDS["csv"])
            self._count += 1
            position = FilePosition(row.line, 1, self._count, self.name)
            if isinstance(row.item, InvalidItem):
                yield Record(position, wrong=wording(row.item))
            else:
                yield Record(position, row.item, size=row.size)
