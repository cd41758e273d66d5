"""What a comparison of a table with its indexes found, and how it is told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, Self
from uuid import UUID

import orjson

from mynamo.catalog.tables import Index, IndexKey, IndexKind, RowKey, Table
from mynamo.errors import CorruptData
from mynamo.schemas.keys import decode_key
from mynamo.schemas.values import StoredItem

Kind = Literal["missing", "stale", "ghost"]
UnmatchedKind = Literal["mark", "placeholder", "intent"]
MAX_EXAMPLES = 20
"""Findings of one index that are kept for a person to read; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of an index that is not what the table says.

    Attributes:
        kind: "missing": the item has no row; "stale": its row shows another version or
            content; "ghost": a row that no item has.
        index: of the table.
        row: the item's key in the main table.
        shard: which owns the item.
        index_key: the row's key in the index.
        index_shard: on which the row is missing, stale or too much.
        keys: the item's key in DynamoDB JSON; None if no row has it any more.
        detail: what is wrong, for a person.
    """

    kind: Kind
    index: Index
    row: RowKey
    shard: int
    index_key: IndexKey
    index_shard: int
    keys: StoredItem | None
    detail: str

    def __str__(self) -> str:
        item = shown(self.keys) if self.keys else f"with the hash {self.row.hash.hex()}"
        return f"{self.kind}: item {item} (shard {self.shard}): {self.detail}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs; bytes in hexadecimal."""
        return {
            "kind": self.kind,
            "index": self.index.name,
            "keys": self.keys,
            "hash": self.row.hash.hex(),
            "sort": self.row.sort.hex(),
            "shard": self.shard,
            "index_hash": self.index_key.hash.hex(),
            "index_sort": self.index_key.sort.hex(),
            "index_shard": self.index_shard,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Damaged:
    """A main row that is not an item with its key, or lies on a shard that does not own it.

    Attributes:
        row: its key.
        shard: on which it lies.
        keys: of the item, where anything still tells them.
        sort: its sort key, as the row's key has it; None if the table has none.
        detail: what is wrong, for a person.
    """

    row: RowKey
    shard: int
    keys: StoredItem | None
    sort: StoredItem | None
    detail: str

    @classmethod
    def at(
        cls, table: Table, row: RowKey, shard: int, keys: StoredItem | None, detail: str
    ) -> Self:
        """The same row, with as much of the item's key as the row's key has."""
        return cls(row, shard, keys, _sort_of(table, row), detail)

    def __str__(self) -> str:
        item = _named(self.row, self.keys, self.sort)
        return f"{item} (shard {self.shard}): {self.detail}"


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A mark or a placeholder of a main row that no transaction has an intent for, or an intent on
    a row that has neither.

    Attributes:
        kind: "mark": of an item; "placeholder": instead of an absent item; "intent".
        table_id: of the table.
        row: the item's key in the main table.
        shard: on which it lies.
        version: of a "mark" or "placeholder": the row's, with the mark.
        transaction_id: of an "intent": 16 bytes, a UUID.
        keys: the item's key in DynamoDB JSON, where anything still tells it.
        sort: its sort key, as the row's key has it; None if the table has none.
        detail: what is wrong and what to do, for a person.
    """

    kind: UnmatchedKind
    table_id: int
    row: RowKey
    shard: int
    version: int = 0
    transaction_id: bytes | None = None
    keys: StoredItem | None = None
    sort: StoredItem | None = None
    detail: str = ""

    def told(self, table: Table, item: StoredItem | None, detail: str) -> Self:
        """The same, for a person.

        Args:
            item: it, or as an intent wants it; None: nothing tells it.
        """
        keys = table.key_attributes(item) if item is not None else None
        return replace(self, keys=keys, sort=_sort_of(table, self.row), detail=detail)

    def __str__(self) -> str:
        item = _named(self.row, self.keys, self.sort)
        return f"{self.kind}: {item} (shard {self.shard}): {self.detail}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs; bytes in hexadecimal."""
        transaction = self.transaction_id and str(UUID(bytes=self.transaction_id))
        return {
            "kind": self.kind,
            "transaction": transaction,
            "keys": self.keys,
            "hash": self.row.hash.hex(),
            "sort": self.row.sort.hex(),
            "shard": self.shard,
            "detail": self.detail,
        }


def _sort_of(table: Table, row: RowKey) -> StoredItem | None:
    """An item's sort key, as the row's key has it."""
    if table.sort_key is not None:
        with suppress(CorruptData):
            return {table.sort_key.name: decode_key(table.sort_key.type, row.sort)}
    return None


def _named(row: RowKey, keys: StoredItem | None, sort: StoredItem | None) -> str:
    """An item for a person, by as much of its key as is known."""
    if keys:
        return f"item {shown(keys)}"
    behind = f" and the sort key {shown(sort)}" if sort else ""
    return f"item with the hash {row.hash.hex()}{behind}"


@dataclass(frozen=True, slots=True)
class IndexVerdict:
    """How one index compares with its table.

    Attributes:
        name, kind: of the index.
        rows: that the index has: those that the items counted in `Verdict.items` must have,
            without those that are missing, with ghosts and with rows of damaged items.
        missing, stale, ghosts: how many there are of each kind of finding.
        undecided: differences that may be due to writes still on their way.
        examples: some of the findings.
    """

    name: str
    kind: IndexKind
    rows: int = 0
    missing: int = 0
    stale: int = 0
    ghosts: int = 0
    undecided: int = 0
    examples: tuple[Finding, ...] = ()

    @property
    def findings(self) -> int:
        """How many there are."""
        return self.missing + self.stale + self.ghosts

    @property
    def ok(self) -> bool:
        """Whether it was shown to be what the table says."""
        return not self.findings and not self.undecided

    def __str__(self) -> str:
        counts = {
            "missing": self.missing, "stale": self.stale, "ghosts": self.ghosts,
            "undecided": self.undecided,
        }  # fmt: skip
        found = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "ok"
        lines = [f"{self.name} ({self.kind}): {self.rows:,} rows, {found}"]
        lines += [f"  {example}" for example in self.examples]
        hidden = self.findings - len(self.examples)
        return "\n".join([*lines, f"  and {hidden:,} more"] if hidden > 0 else lines)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a table compares with its indexes.

    Attributes:
        table: its name.
        items: how many it has.
        shards: how many were compared.
        indexes: one verdict each.
        left_out: names of indexes that are still being backfilled, and were not compared.
        unreadable: items whose bytes are not those of an item with their key, or that lie
            on a shard that does not own them. No command mends these.
        unreadable_examples: some of them, for a person.
        marks: marks and placeholders that no transaction has an intent for.
        intents: intents on rows that have neither.
        unmatched_examples: some of these, for a person.
        hint: what to do about what is undecided, if anything is.
    """

    table: str
    items: int
    shards: int
    indexes: tuple[IndexVerdict, ...]
    left_out: tuple[str, ...] = ()
    unreadable: int = 0
    unreadable_examples: tuple[str, ...] = ()
    hint: str = ""
    marks: int = 0
    intents: int = 0
    unmatched_examples: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every index that was compared was shown to be what the table says, and the
        table itself is as it must be."""
        return not self.damaged and not self.undecided

    @property
    def damaged(self) -> bool:
        """Whether anything is certainly wrong."""
        return bool(self.findings or self.unreadable or self.marks or self.intents)

    @property
    def findings(self) -> int:
        """How many there are in all indexes."""
        return sum(index.findings for index in self.indexes)

    @property
    def undecided(self) -> int:
        """How many differences could not be decided."""
        return sum(index.undecided for index in self.indexes)

    def index(self, name: str) -> IndexVerdict:
        """The verdict on the index of that name.

        Raises:
            KeyError: it was not compared.
        """
        return {index.name: index for index in self.indexes}[name]

    def __str__(self) -> str:
        lines = [f"table {self.table}: {self.items:,} items on {self.shards} shards"]
        for index in self.indexes:
            lines += [f"  {line}" for line in str(index).splitlines()]
        lines += [f"  {name}: left out, it is still being backfilled" for name in self.left_out]
        if self.unreadable:
            lines.append(f"  {self.unreadable:,} items are damaged; restore them from a backup")
            lines += [f"    {example}" for example in self.unreadable_examples]
        if self.marks:
            lines.append(
                f"  {self.marks:,} items are marked as if a transaction had them, but none has; "
                f"`mynamo repair {self.table}` takes the marks away"
            )
        if self.intents:
            lines.append(
                f"  {self.intents:,} intents of transactions are on items without a mark; "
                "`mynamo transaction resolve` finishes their transactions"
            )
        lines += [f"    {example}" for example in self.unmatched_examples]
        if self.findings:
            lines.append(f"  `mynamo repair {self.table}` mends the findings")
        if self.undecided:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


def verdict_line(verdict: Verdict) -> str:
    """The verdict in one line."""
    what = f"{verdict.table}, {verdict.items:,} items on {verdict.shards} shards"
    if verdict.ok:
        return f"CLEAN: {what}: every index is what the table says"
    wrong = []
    if verdict.unreadable:
        wrong.append(f"{verdict.unreadable:,} damaged items (restore them from a backup)")
    if verdict.findings:
        mend = f"`mynamo repair {verdict.table}` mends them"
        wrong.append(f"{verdict.findings:,} wrong index rows ({mend})")
    if verdict.marks:
        mend = f"`mynamo repair {verdict.table}` takes them away"
        wrong.append(f"{verdict.marks:,} marks of no transaction ({mend})")
    if verdict.intents:
        finish = "`mynamo transaction resolve` finishes their transactions"
        wrong.append(f"{verdict.intents:,} intents on items without a mark ({finish})")
    if wrong:
        return f"DAMAGED: {what}: {', '.join(wrong)}"
    return f"UNDECIDED: {what}: {verdict.hint.removeprefix('undecided: ')}"


def shown(item: StoredItem) -> str:
    """DynamoDB JSON for a person, of a bounded length."""
    text = orjson.dumps(item).decode()
    return text if len(text) <= 200 else text[:199] + "\u2026"
