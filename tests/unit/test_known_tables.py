"""Definitions are parsed where their rows have changed, and nowhere else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from mynamo.catalog.snapshot import KnownTables

CREATED = datetime(2026, 1, 2)


def table_row(table_id: int, version: int = 1, settings: bytes | None = None) -> tuple[Any, ...]:
    keys = orjson.dumps({"hash_key": {"name": "id", "type": "S"}, "sort_key": None})
    return table_id, f"t{table_id}".encode(), "ACTIVE", version, keys, CREATED, settings


def index_row(index_id: int, table_id: int, status: str = "ACTIVE") -> tuple[Any, ...]:
    key = {"name": "group", "type": "S"}
    definition = {
        "hash_key": [key], "sort_key": [], "projection": {"type": "ALL", "attributes": []},
        "since": 1,
    }  # fmt: skip
    return index_id, table_id, b"by_group", "GSI", status, orjson.dumps(definition)


def test_what_is_as_it_was_stays_the_same_object() -> None:
    known = KnownTables()
    tables, indexes = [table_row(1), table_row(2)], [index_row(1, 1), index_row(2, 2)]
    first = known.read(tables, indexes)
    again = known.read([table_row(1), table_row(2)], [index_row(1, 1), index_row(2, 2)])
    assert [again[n] is first[n] for n in (1, 2)] == [True, True]


def test_only_what_has_changed_is_another_object() -> None:
    known = KnownTables()
    first = known.read([table_row(1), table_row(2), table_row(3)], [index_row(1, 1)])
    rows = [table_row(1), table_row(2, version=2), table_row(4)]
    second = known.read(rows, [index_row(1, 1, "DELETING")])
    assert sorted(second) == [1, 2, 4]
    assert second[1].indexes[0].status == "DELETING"
    assert second[2].version == 2
    third = known.read([table_row(1), *rows[1:]], [index_row(1, 1, "DELETING")])
    assert all(third[n] is second[n] for n in third)
    assert first[1].indexes[0].status == "ACTIVE"
    assert known.read([table_row(1)], [])[1].indexes == ()
    assert known.read([table_row(1, settings=b"{}")], [])[1] is not third[1]


def test_indexes_belong_to_their_tables() -> None:
    found = KnownTables().read(
        [table_row(1), table_row(2)], [index_row(1, 2), index_row(2, 1), index_row(3, 2)]
    )
    assert [index.id for index in found[1].indexes] == [2]
    assert [index.id for index in found[2].indexes] == [1, 3]
