"""The operations of the differential test, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from tests.gateway.model_expressions import Path, Tree
from tests.gateway.model_values import Item, Value

if TYPE_CHECKING:
    from tests.gateway.legacy_requests import OldCondition

KeyCondition: TypeAlias = tuple[str, str, tuple[Value, ...]]
"""Of an attribute: its name, the operator, the operator's values."""


@dataclass(frozen=True)
class Index:
    """A secondary index. `included` are the attributes it has beside keys; None: all."""

    name: str
    hash: str
    sort: str | None
    included: frozenset[str] | None
    is_local: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.hash,) if self.sort is None else (self.hash, self.sort)


@dataclass(frozen=True)
class Table:
    """A table: its key attributes and indexes, and the types of all key attributes."""

    name: str
    hash: str
    sort: str | None
    types: dict[str, str]
    indexes: tuple[Index, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.hash,) if self.sort is None else (self.hash, self.sort)

    def index(self, name: str | None) -> Index | None:
        return next((index for index in self.indexes if index.name == name), None)


@dataclass
class Write:
    """PutItem, UpdateItem or DeleteItem; or, in a transaction, ConditionCheck.

    Attributes:
        item: the whole item for PutItem, else the key.
        actions: of UpdateItem.
        show_old: ReturnValuesOnConditionCheckFailure is ALL_OLD.
        old_style: it is asked without expressions; `condition` is what `expected` means.
    """

    kind: Literal["PutItem", "UpdateItem", "DeleteItem", "ConditionCheck"]
    table: Table
    item: Item
    condition: Tree | None = None
    actions: list[Tree] = field(default_factory=list)
    returns: str = "NONE"
    show_old: bool = False
    old_style: bool = False
    expected: OldCondition | None = None


@dataclass
class Get:
    table: Table
    key: Item
    paths: list[Path] | None = None
    consistent: bool = True
    old_style: bool = False


@dataclass
class BatchGet:
    """Of each table: keys and projection."""

    wanted: list[tuple[Table, list[Item], list[Path] | None]]


@dataclass
class BatchWrite:
    """Items to put and keys to delete, with their tables."""

    writes: list[tuple[Table, Literal["Put", "Delete"], Item]]


@dataclass
class Transact:
    """TransactWriteItems."""

    writes: list[Write]


@dataclass
class TransactGet:
    """TransactGetItems."""

    gets: list[Get]


@dataclass
class Read:
    """Query or Scan, of all pages.

    Attributes:
        conditions: of Query; None for Scan.
        limit: of each page.
        segments: of Scan.
        start: ExclusiveStartKey of a query of a table.
        old_style: it is asked without expressions; `filter` is what `old_filter` means.
    """

    table: Table
    index: Index | None = None
    conditions: list[KeyCondition] | None = None
    filter: Tree | None = None
    paths: list[Path] | None = None
    select: str | None = None
    limit: int | None = None
    forward: bool = True
    consistent: bool = False
    segments: int | None = None
    start: Item | None = None
    old_style: bool = False
    old_filter: OldCondition | None = None


Operation: TypeAlias = Write | Get | BatchGet | BatchWrite | Transact | TransactGet | Read
