"""What verify tells, and how chunks are bounded."""

from __future__ import annotations

import orjson
import pytest

from mynamo.catalog.tables import IndexKey, RowKey
from mynamo.operations import comparison_statements
from mynamo.operations.comparison_statements import fitting, groups
from mynamo.operations.counts import Counts
from mynamo.operations.findings import (
    MAX_EXAMPLES,
    Damaged,
    Finding,
    Unmatched,
    UnmatchedKind,
    Verdict,
    shown,
)
from tests.made_up import index_of, table_of

INDEX = index_of()
TABLE = table_of(INDEX)
ROW = RowKey(b"h" * 16, b"s")


def finding(kind: str = "missing") -> Finding:
    keys = {"h": {"S": "1"}, "s": {"S": "2"}}
    return Finding(kind, INDEX, ROW, 1, IndexKey(b"g" * 16, b""), 2, keys, "so")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sizes", "fit"),
    [([], 0), ([5], 1), ([500, 1], 1), ([40, 60, 1], 2), ([1, None, 200], 2), ([None] * 7, 7)],
)
def test_a_chunk_is_bounded_in_bytes_but_has_a_row(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int | None], fit: int
) -> None:
    monkeypatch.setattr(comparison_statements, "CHUNK_BYTES", 100)
    assert fitting(sizes) == fit


def test_groups_cover_all_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_statements, "CHUNK_BYTES", 100)
    monkeypatch.setattr(comparison_statements, "CHUNK_ROWS", 3)
    sizes = [(RowKey(b"h", bytes([n])), size) for n, size in enumerate([1, 1, 1, 1, 300, 99, 1, 1])]
    found = [[row.sort[0] for row in group] for group in groups(sizes)]
    assert found == [[0, 1, 2], [3], [4], [5, 6], [7]]


def verdict_of(counts: Counts, *left_out: str) -> Verdict:
    return counts.verdict(TABLE.name, (INDEX,), 2, left_out)


def test_a_verdict_counts_all_and_shows_some() -> None:
    counts = Counts()
    counts.add_findings(finding() for _ in range(MAX_EXAMPLES + 5))
    counts.add_findings([finding("ghost")])
    verdict = verdict_of(counts, "filling")
    assert not verdict.ok
    assert verdict.findings == MAX_EXAMPLES + 6
    assert len(verdict.index(INDEX.name).examples) == MAX_EXAMPLES
    text = str(verdict)
    assert f"{MAX_EXAMPLES + 5} missing, 1 ghosts" in text
    assert "and 6 more" in text
    assert "filling: left out" in text
    assert "mynamo repair orders" in text


def test_rows_are_those_that_the_index_has() -> None:
    counts = Counts(items=10)
    counts.expected[INDEX.id] = 9
    counts.kept[INDEX.id] = 1
    counts.add_findings(
        [finding("missing"), finding("missing"), finding("ghost"), finding("stale")]
    )
    assert verdict_of(counts).index(INDEX.name).rows == 9 - 2 + 1 + 1


def test_undecided_is_not_ok_and_says_what_to_do() -> None:
    counts = Counts()
    assert verdict_of(counts).ok
    counts.add_undecided(INDEX, behind=False)
    assert not verdict_of(counts).ok
    assert "verify again" in str(verdict_of(counts))
    counts.add_undecided(INDEX, behind=True)
    assert "mynamo indexer" in str(verdict_of(counts))


def test_a_damaged_item_is_not_ok_and_has_the_best_name_there_is() -> None:
    counts = Counts()
    counts.add_unreadable(Damaged.at(TABLE, ROW, 1, None, "it is junk"))
    assert not verdict_of(counts).ok
    assert '{"s":{"S":"s"}} (shard 1): it is junk' in str(verdict_of(counts))
    assert ROW.hash.hex() in str(verdict_of(counts))
    counts.merge(Counts(names={ROW: {"h": {"S": "whole"}, "s": {"S": "s"}}}))
    assert 'item {"h":{"S":"whole"},"s":{"S":"s"}} (shard 1): it is junk' in str(verdict_of(counts))


def test_parts_add_up_and_survive_a_file() -> None:
    whole, parts = Counts(), []
    for number in range(3):
        part = Counts(items=number, behind=number == 2)
        part.expected[INDEX.id] = 10
        part.kept[INDEX.id] = number
        part.add_findings(finding(kind) for kind in ("missing", "ghost", "stale"))
        part.add_undecided(INDEX, behind=False)
        part.add_unreadable(Damaged.at(TABLE, ROW, number, None, "it is junk"))
        part.add_unmatched([Unmatched("mark", 1, ROW, 1), Unmatched("intent", 1, ROW, 1)])
        parts.append(part)
        whole.merge(part)
    assert verdict_of(whole).findings == 9
    assert (verdict_of(whole).marks, verdict_of(whole).intents) == (3, 3)
    kept = Counts.load(orjson.loads(orjson.dumps(whole.dump())), (INDEX,))
    assert kept == whole
    assert verdict_of(kept) == verdict_of(whole)


def test_a_file_of_an_earlier_release_knows_no_marks() -> None:
    dumped = Counts(items=5).dump()
    for name in ("marks", "intents", "unmatched"):
        del dumped[name]
    assert Counts.load(dumped, (INDEX,)) == Counts(items=5)


@pytest.mark.parametrize(
    ("kind", "what_to_do"),
    [
        ("mark", "`mynamo repair orders`"),
        ("placeholder", "`mynamo repair orders`"),
        ("intent", "`mynamo transaction resolve`"),
    ],
)
def test_what_does_not_go_together_is_not_ok_and_says_what_to_do(
    kind: UnmatchedKind, what_to_do: str
) -> None:
    counts = Counts()
    one = Unmatched(kind, 1, ROW, 2, transaction_id=b"t" * 16).told(TABLE, None, "it is so")
    counts.add_unmatched([one] * (MAX_EXAMPLES + 5))
    verdict = verdict_of(counts)
    assert not verdict.ok
    assert verdict.damaged
    assert verdict.marks + verdict.intents == MAX_EXAMPLES + 5
    assert len(verdict.unmatched_examples) == MAX_EXAMPLES
    assert what_to_do in str(verdict)
    assert f'{kind}: item with the hash {ROW.hash.hex()} and the sort key {{"s":' in str(one)
    assert one.as_json()["transaction"] == "74747474-7474-7474-7474-747474747474"


def test_long_keys_are_cut() -> None:
    assert len(shown({"k": {"S": "x" * 2000}})) == 200
