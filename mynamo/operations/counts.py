"""Counting what a comparison found, part by part: parts add up, and can be kept in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mynamo.catalog.tables import Index, IndexKey, RowKey
from mynamo.operations.findings import (
    MAX_EXAMPLES,
    Damaged,
    Finding,
    IndexVerdict,
    Kind,
    Unmatched,
    Verdict,
)
from mynamo.schemas.values import StoredItem

KINDS: tuple[Kind, ...] = ("missing", "stale", "ghost")


@dataclass
class Counts:
    """Counts of a part of a comparison, and some examples. Of a bounded size.

    Attributes:
        items: main rows.
        expected: by index id, rows that those items must have.
        kept: by index id, rows of damaged items.
        found: findings by index id and kind.
        undecided: by index id.
        behind: something is undecided because the indexers are behind.
        unreadable: damaged items.
        examples: some findings, by index id.
        damaged: some of the damaged items.
        names: keys of damaged items, which an index still has.
        marks, intents: see `Verdict`.
        unmatched: some of these.
    """

    items: int = 0
    expected: Counter[int] = field(default_factory=Counter)
    kept: Counter[int] = field(default_factory=Counter)
    found: Counter[tuple[int, Kind]] = field(default_factory=Counter)
    undecided: Counter[int] = field(default_factory=Counter)
    behind: bool = False
    unreadable: int = 0
    examples: dict[int, list[Finding]] = field(default_factory=dict)
    damaged: list[Damaged] = field(default_factory=list)
    names: dict[RowKey, StoredItem] = field(default_factory=dict)
    marks: int = 0
    intents: int = 0
    unmatched: list[str] = field(default_factory=list)

    def add_findings(self, findings: Iterable[Finding]) -> None:
        """These are certain."""
        for finding in findings:
            self.found[finding.index.id, finding.kind] += 1
            examples = self.examples.setdefault(finding.index.id, [])
            if len(examples) < MAX_EXAMPLES:
                examples.append(finding)

    def add_undecided(self, index: Index, behind: bool) -> None:
        """One difference stays undecided; `behind`: because the indexers are."""
        self.undecided[index.id] += 1
        self.behind = self.behind or behind

    def add_unreadable(self, damaged: Damaged) -> None:
        """One item is damaged itself."""
        self.unreadable += 1
        if len(self.damaged) < MAX_EXAMPLES:
            self.damaged.append(damaged)

    def add_unmatched(self, found: Sequence[Unmatched]) -> None:
        """These are certain."""
        self.intents += sum(each.kind == "intent" for each in found)
        self.marks += sum(each.kind != "intent" for each in found)
        self.unmatched = [*self.unmatched, *map(str, found)][:MAX_EXAMPLES]

    def merge(self, part: Counts) -> None:
        """Add what another part found."""
        self.items += part.items
        self.expected.update(part.expected)
        self.kept.update(part.kept)
        self.found.update(part.found)
        self.undecided.update(part.undecided)
        self.behind = self.behind or part.behind
        self.unreadable += part.unreadable
        self.damaged = (self.damaged + part.damaged)[:MAX_EXAMPLES]
        self.marks += part.marks
        self.intents += part.intents
        self.unmatched = (self.unmatched + part.unmatched)[:MAX_EXAMPLES]
        for index_id, examples in part.examples.items():
            self.examples[index_id] = (self.examples.get(index_id, []) + examples)[:MAX_EXAMPLES]
        if part.names:
            self.damaged = [_named(damaged, part.names) for damaged in self.damaged]

    def verdict(
        self, table: str, indexes: Iterable[Index], shards: int, left_out: tuple[str, ...]
    ) -> Verdict:
        """All of it, so far."""
        return Verdict(
            table=table,
            items=self.items,
            shards=shards,
            indexes=tuple(self._index(index) for index in indexes),
            left_out=left_out,
            unreadable=self.unreadable,
            unreadable_examples=tuple(map(str, self.damaged)),
            hint=_BEHIND if self.behind else _BUSY,
            marks=self.marks,
            intents=self.intents,
            unmatched_examples=tuple(self.unmatched),
        )

    def _index(self, index: Index) -> IndexVerdict:
        missing, stale, ghosts = (self.found[index.id, kind] for kind in KINDS)
        rows = self.expected[index.id] - missing + ghosts + self.kept[index.id]
        return IndexVerdict(
            name=index.name,
            kind=index.kind,
            rows=max(0, rows),
            missing=missing,
            stale=stale,
            ghosts=ghosts,
            undecided=self.undecided[index.id],
            examples=tuple(self.examples.get(index.id, ())),
        )

    def dump(self) -> dict[str, Any]:
        """All of it for a file."""
        return {
            "items": self.items,
            "expected": list(self.expected.items()),
            "kept": list(self.kept.items()),
            "found": [(*key, count) for key, count in self.found.items()],
            "undecided": list(self.undecided.items()),
            "behind": self.behind,
            "unreadable": self.unreadable,
            "examples": [f.as_json() for some in self.examples.values() for f in some],
            "damaged": [
                (d.row.hash.hex(), d.row.sort.hex(), d.shard, d.keys, d.sort, d.detail)
                for d in self.damaged
            ],
            "marks": self.marks,
            "intents": self.intents,
            "unmatched": self.unmatched,
        }

    @classmethod
    def load(cls, dumped: Mapping[str, Any], indexes: Sequence[Index]) -> Counts:
        """What `dump` gave.

        Args:
            indexes: those that were compared.
        """
        counts = cls(
            items=dumped["items"],
            expected=Counter(dict(dumped["expected"])),
            kept=Counter(dict(dumped["kept"])),
            found=Counter({(index_id, kind): count for index_id, kind, count in dumped["found"]}),
            undecided=Counter(dict(dumped["undecided"])),
            behind=dumped["behind"],
            unreadable=dumped["unreadable"],
            damaged=[
                Damaged(_row(hash16, sort), *others) for hash16, sort, *others in dumped["damaged"]
            ],
            # A file of an earlier release lacks them.
            marks=dumped.get("marks", 0),
            intents=dumped.get("intents", 0),
            unmatched=dumped.get("unmatched", []),
        )
        by_name = {index.name: index for index in indexes}
        for shape in dumped["examples"]:
            finding = _finding(shape, by_name[shape["index"]])
            counts.examples.setdefault(finding.index.id, []).append(finding)
        return counts


def _row(hash16: str, sort: str) -> RowKey:
    return RowKey(bytes.fromhex(hash16), bytes.fromhex(sort))


def _finding(shape: Mapping[str, Any], index: Index) -> Finding:
    return Finding(
        kind=shape["kind"],
        index=index,
        row=_row(shape["hash"], shape["sort"]),
        shard=shape["shard"],
        index_key=IndexKey(bytes.fromhex(shape["index_hash"]), bytes.fromhex(shape["index_sort"])),
        index_shard=shape["index_shard"],
        keys=shape["keys"],
        detail=shape["detail"],
    )


def _named(damaged: Damaged, names: Mapping[RowKey, StoredItem]) -> Damaged:
    keys = damaged.keys or names.get(damaged.row)
    return damaged if keys is damaged.keys else replace(damaged, keys=keys)


_BEHIND = (
    "undecided: the indexers have not applied all writes; `mynamo lag` shows how far they are, "
    "and `mynamo writer` and `mynamo indexer` must run"
)
_BUSY = "undecided: these items changed faster than they could be compared; verify again"
