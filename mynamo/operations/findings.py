"""What a comparison of a table with its indexes found, and how it is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import orjson

from mynamo.schemas.values import StoredItem
from mynamo.shards.tables import Index, IndexKey, IndexKind, RowKey, Table

Kind = Literal["missing", "stale", "ghost"]
MAX_EXAMPLES = 20
"""Findings of one index that are kept for a person to read; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of an index that is not what the table says.

    Attributes:
        kind: "missing": the item has no row; "stale": its row shows another version or
            content; "ghost": a row that no item has.
        index: of the table.
        row: the item's place in the main table.
        shard: which owns the item.
        index_key: the row's place in the index.
        index_shard: on which the row is missing, stale or too much.
        keys: the item's key in DynamoDB JSON; None where no row tells it any more.
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


@dataclass(frozen=True, slots=True)
class IndexVerdict:
    """How one index compares with its table.

    Attributes:
        name, kind: of the index.
        rows: rows of the index that were compared.
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
        left_out: names of indexes that are still being filled, so were not compared.
        unreadable: items whose bytes are not those of an item with their key, or that lie
            on a shard that does not own them. No command mends these.
        unreadable_examples: some of them, for a person.
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

    @property
    def ok(self) -> bool:
        """Whether every index that was compared was shown to be what the table says."""
        return not self.unreadable and all(index.ok for index in self.indexes)

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
        lines += [f"  {name}: left out, it is still being filled" for name in self.left_out]
        if self.unreadable:
            lines.append(f"  {self.unreadable:,} items are damaged; restore them from a backup")
            lines += [f"    {example}" for example in self.unreadable_examples]
        if self.findings:
            lines.append(f"  `mynamo repair {self.table}` mends the findings")
        if self.undecided:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


@dataclass
class Tally:
    """Counts what is found while it is found. Safe to share between threads."""

    table: Table
    indexes: tuple[Index, ...]
    items: int = 0
    rows: Counter[int] = field(default_factory=Counter)
    found: Counter[tuple[int, Kind]] = field(default_factory=Counter)
    undecided: Counter[int] = field(default_factory=Counter)
    behind: bool = False
    unreadable: int = 0
    _examples: dict[int, list[Finding]] = field(default_factory=dict)
    _damaged: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_items(self, count: int) -> None:
        """Items were read."""
        with self._lock:
            self.items += count

    def add_rows(self, index: Index, count: int) -> None:
        """Rows of an index were read."""
        with self._lock:
            self.rows[index.id] += count

    def add_findings(self, findings: Iterable[Finding]) -> None:
        """These are certain."""
        with self._lock:
            for finding in findings:
                self.found[finding.index.id, finding.kind] += 1
                examples = self._examples.setdefault(finding.index.id, [])
                if len(examples) < MAX_EXAMPLES:
                    examples.append(finding)

    def add_undecided(self, index: Index, behind: bool) -> None:
        """One difference stays undecided; `behind`: because the indexers are."""
        with self._lock:
            self.undecided[index.id] += 1
            self.behind = self.behind or behind

    def add_unreadable(self, description: str) -> None:
        """One item is damaged itself."""
        with self._lock:
            self.unreadable += 1
            if len(self._damaged) < MAX_EXAMPLES:
                self._damaged.append(description)

    def verdict(self, shards: int, left_out: tuple[str, ...]) -> Verdict:
        """All of it, so far."""
        with self._lock:
            return Verdict(
                table=self.table.name,
                items=self.items,
                shards=shards,
                indexes=tuple(self._index(index) for index in self.indexes),
                left_out=left_out,
                unreadable=self.unreadable,
                unreadable_examples=tuple(self._damaged),
                hint=_BEHIND if self.behind else _BUSY,
            )

    def _index(self, index: Index) -> IndexVerdict:
        return IndexVerdict(
            name=index.name,
            kind=index.kind,
            rows=self.rows[index.id],
            missing=self.found[index.id, "missing"],
            stale=self.found[index.id, "stale"],
            ghosts=self.found[index.id, "ghost"],
            undecided=self.undecided[index.id],
            examples=tuple(self._examples.get(index.id, ())),
        )


_BEHIND = (
    "undecided: the indexers have not applied all writes; `mynamo lag` shows how far they are, "
    "and `mynamo writer` and `mynamo indexer` must run"
)
_BUSY = "undecided: these items changed faster than they could be compared; verify again"


def shown(item: StoredItem) -> str:
    """DynamoDB JSON for a person, of a bounded length."""
    text = orjson.dumps(item).decode()
    return text if len(text) <= 200 else text[:199] + "\u2026"
