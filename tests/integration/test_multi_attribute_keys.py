"""GSIs with several attributes in their keys, on real servers of both engines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mynamo.catalog import definitions, sql
from mynamo.catalog.tables import Index
from mynamo.errors import InvalidItem
from mynamo.operations import repair, verify
from mynamo.schemas import keys
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import Binary, load_item, to_stored
from mynamo.schemas.keys import encode_key, hash_of_parts, sort_bounds
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.writer.backfill.indexes import activate_if_backfilled, backfill_chunk
from tests.comparing import gsi_damage, gsi_rows
from tests.fake_log import Bench

SHOPS = {
    "name": "shops",
    "hash_key": "id",
    "global_indexes": [
        {"name": "by_place", "hash_key": ["country", "city"], "sort_key": ["year:N", "street"],
         "projection": {"type": "KEYS_ONLY"}},
        {"name": "by_all", "hash_key": ["country", "city", "year:N", "tag:B"],
         "sort_key": ["street", "house:N", "floor:N", "tag2:B"]},
    ],
}  # fmt: skip
STREETS = ("a", "ab", "a\0", "avenue of the long names", "b")


@pytest.fixture
def bench(engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A cluster with the table `shops`."""
    bench = Bench(engine_config, monkeypatch)
    bench.create(SHOPS)
    yield bench
    bench.close()


def shop(number: int, **changes: Any) -> dict[str, Any]:
    """Shops of a few places, years and streets; every seventh lacks one attribute."""
    item: dict[str, Any] = {
        "id": f"shop-{number}",
        "country": "fr" if number % 2 else "f",
        "city": "r" if number % 3 else "rr",
        "year": (-5, 7, 1999)[number % 3],
        "street": STREETS[number % 5],
        "house": number,
        "floor": -number,
        "tag": Binary(bytes([0, number % 4])),
        "tag2": Binary(b"\xff" * (1 + number % 20)),
    }
    if number % 7 == 6:
        del item[("country", "city", "year", "street")[number % 4]]
    return item | changes


def fill(bench: Bench, number: int = 40) -> list[dict[str, Any]]:
    items = [shop(i) for i in range(number)]
    for item in items:
        bench.producer.put("shops", item)
    bench.catch_up(bench.indexer())
    return items


def test_every_kind_of_write_reaches_the_index(bench: Bench) -> None:
    fill(bench)
    one = bench.indexer()
    assert gsi_damage(bench.cluster, "shops") == []
    for name in ("country", "city", "year", "street"):
        item = shop(1)
        bench.producer.put("shops", {**item, name: 1 if name == "year" else "other"})
        bench.catch_up(one)
        assert gsi_damage(bench.cluster, "shops") == []
        del item[name]
        bench.producer.put("shops", item)
        bench.catch_up(one)
        assert gsi_damage(bench.cluster, "shops") == []
    bench.producer.delete("shops", {"id": "shop-2"})
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "shops") == []
    assert verify(bench.cluster, "shops", wait=5).ok


def test_control_a_code_without_ends_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "mynamo.catalog.tables.sort_code", lambda types, parts, total: b"".join(parts)
        )
        fill(bench)
    assert gsi_damage(bench.cluster, "shops") != []
    assert not verify(bench.cluster, "shops", wait=5).ok


def in_range(
    bench: Bench, index: Index, equal: list[Any], operator: Any, *bounds: Any
) -> list[str]:
    """The ids of the shops in f, r that an index has between the bounds of a condition."""
    types = [key.type for key in index.sort_keys]
    values = [to_stored({"v": value})["v"] for value in (*equal, *bounds)]
    kinds = [*types[: len(equal)], *[types[min(len(equal), len(types) - 1)]] * len(bounds)]
    parts = [encode_key(kind, value) for kind, value in zip(kinds, values, strict=True)]
    comparisons = sort_bounds(types, parts[: len(equal)], operator, parts[len(equal) :])
    place = hash_of_parts([b"f", b"r"])
    where = "".join(f" AND index_sort {sign} %s" for sign, _ in comparisons)
    rows = bench.cluster.shard_of(place).run(
        (f"SELECT item FROM {sql.index_table(index)} WHERE index_hash = %s{where}"
         " ORDER BY index_hash, index_sort, hash, sort",
         (place, *(bound for _, bound in comparisons)))
    )[0].rows  # fmt: skip
    return [load_item(row[0])["id"]["S"] for row in rows]


def test_ranges_of_the_index_are_the_items_in_their_order(bench: Bench) -> None:
    items = fill(bench)
    index = bench.cluster.table("shops").index("by_place")
    here = [
        (item["year"], item["street"], item["id"])
        for item in items
        if (item.get("country"), item.get("city")) == ("f", "r") and {"year", "street"} <= set(item)
    ]
    here.sort(key=lambda row: (row[0], row[1].encode()))

    def places(found: list[str]) -> list[tuple[int, str]]:
        by_id = {id_: (year, street) for year, street, id_ in here}
        return [by_id[id_] for id_ in found]

    def wanted(condition: Any) -> list[tuple[int, str]]:
        return [(year, street) for year, street, _ in here if condition(year, street)]

    for found, condition in [
        (in_range(bench, index, [], None), lambda y, s: True),
        (in_range(bench, index, [7], None), lambda y, s: y == 7),
        (in_range(bench, index, [], ">", 7), lambda y, s: y > 7),
        (in_range(bench, index, [], "<=", 7), lambda y, s: y <= 7),
        (in_range(bench, index, [], "between", -5, 7), lambda y, s: -5 <= y <= 7),
        (in_range(bench, index, [7, "ab"], None), lambda y, s: (y, s) == (7, "ab")),
        (in_range(bench, index, [7], ">", "a"), lambda y, s: y == 7 and s > "a"),
        (in_range(bench, index, [7], "<", "ab"), lambda y, s: y == 7 and s < "ab"),
        (in_range(bench, index, [7], "begins_with", "a"), lambda y, s: y == 7 and s[0] == "a"),
        (in_range(bench, index, [7], "begins_with", "a\0"), lambda y, s: (y, s) == (7, "a\0")),
    ]:
        assert places(found) == wanted(condition)
    assert len(set(wanted(lambda y, s: True))) > 5


def test_the_longest_keys_fit_their_columns(bench: Bench) -> None:
    for number, lengths in enumerate([(1, 1, 1, 1021), (256, 256, 256, 256), (9, 9, 9, 997)]):
        longest = {name: "x" * size for name, size in zip("abcd", lengths, strict=True)}
        bench.producer.put("shops", {"id": f"{number}" + "i" * 1000, **longest})
    definitions.add_index(
        bench.cluster, "shops",
        GlobalIndexSchema(name="by_long", hash_key="id", sort_key=["a", "b", "c", "d"]),
    )  # fmt: skip
    backfill_index(bench, "by_long")
    assert gsi_damage(bench.cluster, "shops") == []
    rows = gsi_rows(bench.cluster, bench.cluster.table("shops").index("by_long"))
    assert max(len(row[1]) for row in rows) == keys.MAX_SORT_CODE


def backfill_index(bench: Bench, name: str) -> Index:
    index = bench.cluster.table("shops").index(name)
    for shard in bench.cluster.shards.values():
        while backfill_chunk(bench.cluster, shard, index).more:
            pass
    bench.catch_up(bench.indexer())
    assert activate_if_backfilled(bench.cluster, index)
    return bench.cluster.table("shops").index(name)


def test_a_backfill_has_the_items_that_are_there(bench: Bench) -> None:
    fill(bench)
    definitions.add_index(
        bench.cluster, "shops",
        GlobalIndexSchema(
            name="by_year", hash_key=["year:N", "city"], sort_key=["house:N", "street"]
        ),
    )  # fmt: skip
    index = backfill_index(bench, "by_year")
    assert index.status == "ACTIVE"
    assert gsi_damage(bench.cluster, "shops") == []
    assert len(gsi_rows(bench.cluster, index)) > 30
    assert verify(bench.cluster, "shops", wait=5).ok


def test_repair_mends_what_verify_finds(bench: Bench) -> None:
    fill(bench)
    index = bench.cluster.table("shops").index("by_place")
    for shard in bench.cluster.shards.values():
        shard.run((f"DELETE FROM {sql.index_table(index)} ORDER BY index_hash LIMIT 3", ()))
        shard.run(
            (f"UPDATE {sql.index_table(index)} SET index_sort = CONCAT(index_sort, 'x')"
             " ORDER BY index_hash LIMIT 2", ())
        )  # fmt: skip
    assert not verify(bench.cluster, "shops", wait=5).ok
    one = bench.indexer()
    with ThreadPoolExecutor(1) as pool:
        mending = pool.submit(repair, bench.cluster, "shops")
        while not mending.done():
            bench.catch_up(one)
    mending.result()
    assert gsi_damage(bench.cluster, "shops") == []
    assert verify(bench.cluster, "shops", wait=5).ok


def test_a_write_with_an_unfit_key_attribute_is_refused(bench: Bench) -> None:
    for changes in ({"city": 5}, {"street": ""}, {"country": "x" * 1000, "city": "y" * 1049}):
        with pytest.raises(InvalidItem, match="IndexName: by_"):
            bench.producer.put("shops", shop(1, **changes))
    with pytest.raises(InvalidItem, match="Size limit exceeded for Index Key country, city"):
        bench.producer.put("shops", shop(1, country="x" * 1000, city="y" * 1049))


def test_a_definition_comes_back_from_the_catalog(bench: Bench) -> None:
    table = bench.open_cluster().table("shops")
    again = definitions.schema_of(table)
    assert [index.hash_key for index in again.global_indexes] == [
        index.hash_keys for index in table.global_indexes
    ]
    assert json.loads(again.model_dump_json())["global_indexes"][0]["hash_key"] == [
        {"name": "country", "type": "S"}, {"name": "city", "type": "S"},
    ]  # fmt: skip
