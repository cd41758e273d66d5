"""`StoredReader`: pages as DynamoDB cuts them, and the keys that name their ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import InvalidItem, InvalidRequest, TableNotFound
from mynamo.expressions import Condition, KeyCondition, Projection
from mynamo.expressions.nodes import AttributeExists, Path
from mynamo.producer import Producer
from mynamo.reader import Get, Query, Scan, StoredPage, StoredReader, fetching, start_keys
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import item_size, load_item, to_stored
from mynamo.schemas.keys import segment_range
from mynamo.schemas.table import TableSchema
from mynamo.schemas.values import StoredItem
from tests.standing_in import catch_up

SOURCES = (None, "local", "global", "many")
"""The table; an LSI and a GSI whose keys four items share; a GSI with keys of two attributes."""


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    keys_only = {"type": "KEYS_ONLY"}
    definition = {
        "name": "orders",
        "hash_key": "h",
        "sort_key": "s:N",
        "local_indexes": [
            {"name": "local", "sort_key": "a:N"},
            {"name": "local_keys", "sort_key": "a:N", "projection": keys_only},
        ],
        "global_indexes": [
            {"name": "global", "hash_key": "g", "sort_key": "a:N"},
            {"name": "global_keys", "hash_key": "g", "projection": keys_only},
            {"name": "many", "hash_key": ["g", "p:N"], "sort_key": ["a:N", "b"]},
        ],
    }
    with Cluster(config) as opened:
        definitions.create_table(opened, TableSchema.parse(definition))
        definitions.create_table(opened, TableSchema.parse({"name": "plain", "hash_key": "h"}))
        yield opened


@pytest.fixture
def read(cluster: Cluster) -> StoredReader:
    return StoredReader(cluster)


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"h": "x", "g": "x", "p": 7, "s": number, "a": number // 4, "b": "b", **more}


def fill(cluster: Cluster, count: int = 12, **more: Any) -> None:
    producer = Producer(cluster)
    for number in range(count):
        producer.put("orders", item(number, **more))
    catch_up(cluster, "orders")


def on(name: str, operator: Any, *values: Any) -> KeyCondition:
    return KeyCondition(name, operator, tuple(to_stored({"v": v})["v"] for v in values))


def hash_of_x(index: str | None) -> tuple[KeyCondition, ...]:
    if index == "many":
        return (on("g", "=", "x"), on("p", "=", 7))
    return (on("g" if index and index.startswith("global") else "h", "=", "x"),)


def query(index: str | None = None, *conditions: KeyCondition, **more: Any) -> Query:
    return Query("orders", index, key_conditions=(*hash_of_x(index), *conditions), **more)


def pages(read: StoredReader, *conditions: KeyCondition, **more: Any) -> list[StoredPage]:
    """All pages, as an SDK's paginator reads them."""
    index = more.pop("index", None)
    found: list[StoredPage] = []
    start = None
    while True:
        found.append(read.query(query(index, *conditions, start=start, **more)))
        start = found[-1].last_key
        if start is None:
            return found


def numbers(found: list[StoredPage]) -> list[int]:
    return [int(each["s"]["N"]) for page in found for each in page.items]


def refusal(read: StoredReader, request: Query | Scan) -> str:
    """What is said of a request that is not valid."""
    ask: Any = read.query if isinstance(request, Query) else read.scan
    with pytest.raises(InvalidRequest) as refused:
        ask(request)
    return str(refused.value)


def exists(name: str) -> Condition:
    return Condition(AttributeExists(Path(name)))


# --- pages -------------------------------------------------------------------------------


def test_pages_make_up_the_query(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster)
    for index, descending, limit in itertools.product(
        SOURCES, (False, True), (1, 3, 4, 12, 13, None)
    ):
        found = pages(read, index=index, limit=limit, descending=descending)
        assert numbers(found) == sorted(range(12), reverse=descending), (index, limit)
        # Limit ends the page that reads the last item, and nobody looks behind it.
        assert len(found) == (12 // limit + 1 if limit else 1), (index, limit)
        assert all(page.scanned_count == page.count == len(page.items) for page in found)


def test_a_last_key_has_the_keys_of_table_and_index(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster)
    wanted = {None: "hs", "local": "hsa", "global": "hsga", "many": "hsgpab"}
    for index, names in wanted.items():
        for page in (read.query(query(index, limit=5)), read.scan(Scan("orders", index, limit=5))):
            assert page.last_key == {name: page.items[-1][name] for name in names}


def test_pages_of_a_range_keep_its_bounds(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster)
    ranges = [
        (None, (on("s", "between", 3, 8),), range(3, 9)),
        (None, (on("s", ">", 3),), range(4, 12)),
        (None, (on("s", "<=", 6),), range(7)),
        ("local", (on("a", "between", 1, 1),), range(4, 8)),
        ("global", (on("a", "between", 0, 1),), range(8)),
        ("many", (on("a", "=", 1),), range(4, 8)),
        ("many", (on("a", "=", 2), on("b", "begins_with", "b")), range(8, 12)),
        ("many", (on("a", ">=", 1),), range(4, 12)),
    ]
    for index, conditions, expected in ranges:
        for limit, descending in itertools.product((1, 2, 3, 4, 6), (False, True)):
            found = pages(read, *conditions, index=index, limit=limit, descending=descending)
            assert numbers(found) == sorted(expected, reverse=descending), (index, limit)


def test_no_last_key_where_the_keys_leave_nothing_behind(
    cluster: Cluster, read: StoredReader
) -> None:
    """Keys of the table are unique, those of an index are not."""
    fill(cluster)
    Producer(cluster).put("plain", {"h": "x"})
    assert read.query(query(None, on("s", "between", 2, 5), limit=4)).last_key is None
    assert read.query(query(None, on("s", ">=", 8), limit=4, descending=True)).last_key is None
    assert read.query(query(None, on("s", "<", 6), limit=6)).last_key is not None
    assert read.query(query(None, on("s", "=", 6), limit=1)).last_key is not None
    assert read.query(query("local", on("a", "<=", 1), limit=8)).last_key is not None
    plain = Query("plain", key_conditions=(on("h", "=", "x"),), limit=1)
    assert read.query(plain).last_key is None


def test_limit_counts_what_is_read(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster)
    Producer(cluster).put("orders", item(5, rare=1))
    Producer(cluster).put("orders", item(11, rare=1))
    found = pages(read, limit=3, filter=exists("rare"))
    assert [(page.scanned_count, page.count) for page in found] == [
        (3, 0), (3, 1), (3, 0), (3, 1), (0, 0),
    ]  # fmt: skip
    assert numbers(found) == [5, 11]
    whole = read.query(query(filter=exists("rare")))
    assert (whole.scanned_count, whole.count, whole.last_key) == (12, 2, None)


def test_counting(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster)
    page = read.query(query(select="COUNT", limit=5))
    assert (page.items, page.count, page.scanned_count) == ([], 5, 5)
    assert page.last_key == to_stored({"h": "x", "s": 4})
    scanned = read.scan(Scan("orders", "global", select="COUNT", filter=exists("none")))
    assert (scanned.items, scanned.count, scanned.scanned_count) == ([], 0, 12)


def test_a_page_ends_with_the_item_that_reaches_one_megabyte(
    cluster: Cluster, read: StoredReader
) -> None:
    producer = Producer(cluster)
    for number in range(7):
        producer.put("orders", item(number, pad="p" * (300_000 if number % 2 else 200_000)))
    catch_up(cluster, "orders")
    shown: list[dict[str, Any]] = [
        {}, {"projection": Projection.naming(["s"])}, {"filter": exists("none")}
    ]  # fmt: skip
    for index, more in itertools.product(SOURCES, shown):
        found = pages(read, index=index, **more)
        assert [page.scanned_count for page in found] == [5, 2]
        assert found[0].size >= fetching.PAGE_BYTES > found[0].size - 300_100
    for index in SOURCES:  # what comes first of both ends the page
        assert read.query(query(index, limit=4)).scanned_count == 4
        assert [page.scanned_count for page in pages(read, index=index, limit=6)] == [5, 2]
    producer.delete("orders", {"h": "x", "s": 5})
    producer.delete("orders", {"h": "x", "s": 6})
    catch_up(cluster, "orders")
    for index in SOURCES:  # bytes end it only if there is more
        assert len(pages(read, index=index)) == 1


def test_items_that_an_lsi_fetches_from_the_table_make_a_page_full(
    cluster: Cluster, read: StoredReader
) -> None:
    fill(cluster, 7, pad="p" * 300_000)
    whole: list[dict[str, Any]] = [
        {"select": "ALL_ATTRIBUTES"},
        {"projection": Projection.naming(["pad"])},
        {"select": "ALL_ATTRIBUTES", "descending": True},
    ]
    for more in whole:
        found = pages(read, index="local_keys", **more)
        assert [page.scanned_count for page in found] == [4, 3]
        assert sum(len(page.items) for page in found) == 7
        assert all(page.size < 1_000 for page in found)
    keys: list[dict[str, Any]] = [
        {}, {"select": "COUNT"}, {"projection": Projection.naming(["a"])}
    ]  # fmt: skip
    for more in keys:  # the control: where only the index is read, the table's items do not count
        assert [page.scanned_count for page in pages(read, index="local_keys", **more)] == [7]


def test_without_the_index_keys_pages_lose_items(
    cluster: Cluster, read: StoredReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a start that names the index's key alone skips what shares it."""
    fill(cluster)
    whole = start_keys.start_position

    def by_index_key_alone(resolved: Any, start: StoredItem) -> tuple[bytes, ...]:
        position = whole(resolved, start)
        return (*position[:2], *(b"\xff" * 20 for _ in position[2:]))

    monkeypatch.setattr("mynamo.reader.read_page.start_position", by_index_key_alone)
    for index in ("local", "global", "many"):
        assert numbers(pages(read, index=index, limit=3)) == [0, 1, 2, 4, 5, 6, 8, 9, 10]


# --- starting keys -----------------------------------------------------------------------

START = {
    None: {"h": "x", "s": 3},
    "local": {"h": "x", "s": 3, "a": 0},
    "global": {"h": "x", "s": 3, "a": 0, "g": "x"},
    "many": {"h": "x", "s": 3, "a": 0, "g": "x", "p": 7, "b": "b"},
}
INVALID = "The provided starting key is invalid"
NO_MATCH = f"{INVALID}: The provided key element does not match the schema"
OUTSIDE = "The provided starting key is outside query boundaries based on provided conditions"
NOT_IN_RANGE = "The provided starting key does not match the range key predicate"


def test_a_start_key_need_not_have_an_item_any_more(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster)
    Producer(cluster).delete("orders", {"h": "x", "s": 3})
    catch_up(cluster, "orders")
    for index in SOURCES:
        start = to_stored(START[index])
        behind = read.query(query(index, start=start))
        before = read.query(query(index, start=start, descending=True))
        assert (numbers([behind]), numbers([before])) == (list(range(4, 12)), [2, 1, 0])


def wrong_starts(index: str | None) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Starts, and what a query and a scan say of them."""
    good = START[index]
    yield {**good, "z": 1}, INVALID, NO_MATCH
    yield {}, INVALID, NO_MATCH
    yield {**good, "s": "3"}, NO_MATCH, NO_MATCH
    yield {**good, "h": {"x"}}, NO_MATCH, NO_MATCH
    for missing in good:
        yield {k: v for k, v in good.items() if k != missing}, INVALID, NO_MATCH
    empty = "The AttributeValue for a key attribute cannot contain an empty string value."
    invalid = f"{INVALID}: One or more parameter values are not valid. "
    yield {**good, "h": ""}, f"{invalid}{empty} Key: h", f"{invalid}{empty} Key: h"
    if "g" in good:
        both = (
            f"{invalid}A value specified for a secondary index key is not supported. {empty} "
            f"IndexName: {index}, IndexKey: g"
        )
        yield {**good, "g": ""}, both, both


def test_starts_that_are_no_keys(cluster: Cluster, read: StoredReader) -> None:
    for index in SOURCES:
        for start, by_query, by_scan in wrong_starts(index):
            assert refusal(read, query(index, start=to_stored(start))) == by_query
            assert refusal(read, Scan("orders", index, start=to_stored(start))) == by_scan


def test_starts_that_the_query_cannot_have_reached(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster)

    def said(*conditions: KeyCondition, index: str | None = None, **start: Any) -> str | None:
        found: list[str | None] = []
        for descending in (False, True):
            key = to_stored({**START[index], **start})
            try:
                read.query(query(index, *conditions, start=key, descending=descending))
                found.append(None)
            except InvalidRequest as refused:
                found.append(str(refused))
        assert found[0] == found[1], "this one depends on the direction"
        return found[0]

    assert said(h="y") == OUTSIDE
    assert said(index="local", h="y") == OUTSIDE
    assert said(index="global", g="y") == OUTSIDE
    assert said(index="many", p=8) == OUTSIDE
    assert said(index="global", h="y") is None
    for outside in (on("s", ">", 3), on("s", "<", 3), on("s", "between", 4, 5), on("s", "=", 2)):
        assert said(outside) == NOT_IN_RANGE
    for inside in (on("s", "between", 2, 4), on("s", "=", 3), on("s", "<", 4), on("s", ">", 2)):
        assert said(inside) is None
    assert said(on("a", ">=", 1), index="local") == NOT_IN_RANGE
    assert said(on("a", "<=", 0), index="local") is None
    assert said(on("a", "=", 0), on("b", ">", "b"), index="many") == NOT_IN_RANGE
    assert said(on("a", "=", 0), on("b", "<=", "b"), index="many") is None


def test_a_start_at_the_end_of_a_range_of_the_table(cluster: Cluster, read: StoredReader) -> None:
    """No page ends there with something behind it, in this direction."""
    fill(cluster)
    start = to_stored({"h": "x", "s": 3})
    up = query(None, on("s", "<=", 3), start=start)
    down = query(None, on("s", ">=", 3), start=start, descending=True)
    assert refusal(read, up) == refusal(read, down) == NOT_IN_RANGE
    assert numbers([read.query(query(None, on("s", ">=", 3), start=start))]) == list(range(4, 12))


# --- scans -------------------------------------------------------------------------------


def spread(cluster: Cluster, count: int = 30) -> None:
    producer = Producer(cluster)
    for number in range(count):
        producer.put("orders", item(number, h=f"h{number}", g=f"g{number}"))
    catch_up(cluster, "orders")


def scanned(read: StoredReader, index: str | None, total: int, limit: int) -> list[int]:
    found = []
    for segment in range(total):
        start = None
        while True:
            page = read.scan(
                Scan("orders", index, limit=limit, start=start, segment=segment,
                     total_segments=total)
            )  # fmt: skip
            found += numbers([page])
            start = page.last_key
            if start is None:
                break
    return found


def test_segments_and_pages_cover_everything_once(cluster: Cluster, read: StoredReader) -> None:
    spread(cluster)
    for index in SOURCES:
        for total, limit in ((1, 7), (2, 1), (3, 5), (16, 2)):
            assert sorted(scanned(read, index, total, limit)) == list(range(30)), (index, total)


def test_a_start_belongs_to_its_segment(cluster: Cluster, read: StoredReader) -> None:
    spread(cluster)
    for index, segment in itertools.product(SOURCES, range(3)):
        page = read.scan(Scan("orders", index, limit=1, segment=segment, total_segments=3))
        assert page.last_key is not None
        for other in range(3):
            scan = Scan("orders", index, start=page.last_key, segment=other, total_segments=3)
            if other == segment:
                read.scan(scan)
            else:
                assert refusal(read, scan) == (
                    f"{INVALID}: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with "
                    f"correct Segment. TotalSegments: 3 Segment: {other}"
                )
        read.scan(Scan("orders", index, start=page.last_key))


def test_unchecked_segments_would_read_too_much(
    cluster: Cluster, read: StoredReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the start of another segment taken as it is."""
    spread(cluster)
    monkeypatch.setattr(start_keys, "segment_range", lambda *_: segment_range(0, 1))
    first = read.scan(Scan("orders", limit=1, segment=0, total_segments=4))
    rest = read.scan(Scan("orders", start=first.last_key, segment=1, total_segments=4))
    assert rest.scanned_count > 0


# --- what an answer shows ----------------------------------------------------------------


def test_what_select_and_projections_refuse(cluster: Cluster, read: StoredReader) -> None:
    invalid = "One or more parameter values were invalid: "
    for request in (
        query("global_keys", select="ALL_ATTRIBUTES"),
        Scan("orders", "global_keys", select="ALL_ATTRIBUTES"),
    ):
        assert refusal(read, request) == (
            f"{invalid}Select type ALL_ATTRIBUTES is not supported for global secondary index "
            "global_keys because its projection type is not ALL"
        )
    assert refusal(read, query("global_keys", projection=Projection.naming(["x", "g", "a"]))) == (
        f"{invalid}Global secondary index global_keys does not project [a, x]"
    )
    for index in ("global_keys", "local_keys"):
        unprojected = (
            f"{invalid}Secondary index {index} does not project one or more filter attributes: [x]"
        )
        assert refusal(read, query(index, filter=exists("x"))) == unprojected
        assert read.scan(Scan("orders", index, filter=exists("x"))).count == 0
    for request in (query("global", consistent=True), Scan("orders", "global", consistent=True)):
        assert refusal(read, request) == (
            "Consistent reads are not supported on global secondary indexes"
        )


def test_filters_on_keys(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster)
    for index, name in (
        (None, "h"), (None, "s"), ("local", "a"), ("global", "g"), ("many", "p"), ("many", "b"),
    ):  # fmt: skip
        assert refusal(read, query(index, filter=exists(name))) == (
            "Filter Expression can only contain non-primary key attributes: "
            f"Primary key attribute: {name}"
        )
    old = query(filter=exists("s"), filter_name="QueryFilter")
    assert refusal(read, old).startswith("QueryFilter can only contain")
    inside = Condition(AttributeExists(Path("s", (0,))))
    assert refusal(read, query(filter=inside)).startswith("Key attributes must be scalars")
    # Not the keys of what is queried; and in a scan, all of them.
    for index, name in (("local", "s"), ("global", "h"), (None, "a")):
        assert read.query(query(index, filter=exists(name))).count == 12
    assert read.scan(Scan("orders", filter=exists("s"))).count == 12


def test_the_first_of_several_mistakes(cluster: Cluster, read: StoredReader) -> None:
    """Each step removes the mistake that was named."""
    mistakes: list[tuple[str, Any, str]] = [
        ("consistent", True, "Consistent reads"),
        ("key_conditions", (on("x", "=", 1),), "Query condition missed key schema element: g"),
        ("start", {}, INVALID),
        ("filter", exists("g"), "Filter Expression can only"),
        ("filter", exists("x"), "does not project one or more filter"),
        ("projection", Projection.naming(["x"]), "does not project [x]"),
    ]
    for number in range(len(mistakes)):
        made = {name: wrong for name, wrong, _ in reversed(mistakes[number:])}
        made.setdefault("key_conditions", hash_of_x("global"))
        assert mistakes[number][2] in refusal(read, Query("orders", "global_keys", **made))


def test_sizes(cluster: Cluster, read: StoredReader) -> None:
    fill(cluster, 3, pad="p" * 5000)
    stored = [to_stored(item(number, pad="p" * 5000)) for number in range(3)]
    keys = [{name: each[name] for name in ("h", "s", "a")} for each in stored]
    key_size = sum(map(item_size, keys))
    assert read.query(query()).size == sum(map(item_size, stored))
    assert read.query(query(filter=exists("none"))).size == sum(map(item_size, stored))
    projected = read.query(query("local_keys"))
    assert (projected.size, projected.table_size) == (key_size, 0)
    assert projected.items == keys
    wholes: list[dict[str, Any]] = [
        {"select": "ALL_ATTRIBUTES"}, {"projection": Projection.naming(["pad"])}
    ]  # fmt: skip
    for more in wholes:
        fetched = read.query(query("local_keys", **more))
        # Each item that is fetched from the table is read in units of 4 KB.
        assert (fetched.size, fetched.table_size) == (key_size, 3 * 8192)
        assert all("pad" in each for each in fetched.items)
    assert read.query(query("local_keys", select="COUNT")).table_size == 0
    assert read.query(query("local", select="ALL_ATTRIBUTES")).table_size == 0


# --- gets --------------------------------------------------------------------------------


def test_gets_of_many_tables_come_in_order(
    cluster: Cluster, read: StoredReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Producer(cluster)
    for number in range(10):
        producer.put("orders", item(number, h=f"h{number}"))
        producer.put("plain", {"h": f"h{number}", "n": number})
    gets = [Get("orders", to_stored({"h": f"h{n}", "s": n})) for n in (3, 9, 3, 0)]
    gets += [Get("plain", to_stored({"h": f"h{n}"}), Projection.naming(["n"])) for n in (5, 77, 1)]
    gets.append(Get("orders", to_stored({"h": "h1", "s": 0})))
    calls: list[int] = []

    def counted(shard: DynamoDBShard) -> Callable[[], Any]:
        lend = shard.session

        def session() -> Any:
            calls.append(shard.id)
            return lend()

        return session

    with monkeypatch.context() as patch:
        for shard in cluster.shards.values():
            patch.setattr(shard, "session", counted(shard))
        found = read.get_each(gets)
    assert 0 < len(calls) == len(set(calls)) <= 2
    wholes = [to_stored(item(n, h=f"h{n}")) for n in (3, 9, 3, 0)]
    assert [got.item for got in found[:4]] == wholes
    assert [got.size for got in found[:4]] == [item_size(whole) for whole in wholes]
    assert [got.item for got in found[4:]] == [{"n": {"N": "5"}}, None, {"n": {"N": "1"}}, None]
    assert found[4].size == item_size(to_stored({"h": "h5", "n": 5}))
    assert found[5].size == 0
    assert read.get_many("plain", [to_stored({"h": "h2"})])[0] == to_stored({"h": "h2", "n": 2})
    assert read.get_each([]) == []


def test_gets_that_cannot_be(cluster: Cluster, read: StoredReader) -> None:
    for key in ({"h": "x"}, {"h": "x", "s": "1"}, {"h": "x", "s": 1, "z": 1}, {}):
        with pytest.raises(InvalidItem) as refused:
            read.get("orders", to_stored(key))
        assert str(refused.value) == "The provided key element does not match the schema"
    with pytest.raises(InvalidItem, match=r"empty string value. Key: h$"):
        read.get("orders", to_stored({"h": "", "s": 1}))
    with pytest.raises(TableNotFound):
        read.get("nothing", {})


def test_only_what_is_read_is_parsed(
    cluster: Cluster, read: StoredReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cluster)
    parsed: list[bytes] = []

    def counting(data: bytes) -> StoredItem:
        parsed.append(data)
        return load_item(data)

    monkeypatch.setattr(fetching, "load_item", counting)
    read.query(query(limit=3))
    assert len(parsed) == 3
