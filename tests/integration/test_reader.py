"""Reading by key, by index and all of it: conditions, order, projections, catalogs, waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.errors import (
    ConsistencyTimeout,
    IndexNotFound,
    IndexNotReady,
    InvalidItem,
    InvalidRequest,
    InvalidToken,
    TableNotFound,
)
from mynamo.mysql.failures import MissingTable
from mynamo.producer import Producer
from mynamo.reader import (
    ALL_ATTRIBUTES,
    Reader,
    SortCondition,
    begins_with,
    between,
    equal,
    greater,
    greater_or_equal,
    less,
    less_or_equal,
    read_page,
    reader,
)
from mynamo.schemas.events import ConsistencyToken
from mynamo.schemas.items import Binary
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema, TableSchema
from mynamo.writer.backfill.indexes import activate_if_backfilled, backfill_chunk
from tests.standing_in import catch_up, sequence
from tests.waiting import eventually

Item = dict[str, Any]


def make(cluster: Cluster, name: str = "orders", **changes: Any) -> None:
    """A table `h`, `s` with an LSI and a GSI on `a`."""
    definition: dict[str, Any] = {
        "name": name,
        "hash_key": "h",
        "sort_key": "s:N",
        "local_indexes": [{"name": "local", "sort_key": "a:N"}],
        "global_indexes": [{"name": "global", "hash_key": "g", "sort_key": "a:N"}],
    }
    definitions.create_table(cluster, TableSchema.parse({**definition, **changes}))


KEYS: dict[str, list[Any]] = {
    "S": ["\x00", "a", "a\x00", "aa", "ab", "b", "z", "é", "€", "\uffff", "\U00010000"],
    "N": [Decimal(n) for n in ("-1E+125", "-12.1", "-12", "-1E-130", "0", "1E-130", "0.5", "2",
                               "10", "10.5", "9.9999999999999999999999999999999999999E+125")],
    "B": [b"\x00", b"\x00\x00", b"a", b"a\xff", b"b", b"\xfe\xff", b"\xff", b"\xff\x00",
          b"\xff\xff", b"\xff\xff\x01", b"x" * 1024],
}  # fmt: skip


Holds = Callable[[Any], bool]


def conditions(kind: str) -> list[tuple[SortCondition | None, Holds]]:
    """Conditions on keys of a type, and what they mean."""
    made: list[tuple[SortCondition | None, Holds]] = [(None, lambda v: True)]
    for key in KEYS[kind]:
        made += _around(key, kind)
    for low, high in ((0, 10), (2, 7), (4, 4), (9, 10)):
        made.append(_between(KEYS[kind][low], KEYS[kind][high]))
    return made


def _around(key: Any, kind: str) -> list[tuple[SortCondition | None, Holds]]:
    at = _order(key)
    made: list[tuple[SortCondition | None, Holds]] = [
        (equal(key), lambda v: bool(v == at)),
        (less(key), lambda v: bool(v < at)),
        (less_or_equal(key), lambda v: bool(v <= at)),
        (greater(key), lambda v: bool(v > at)),
        (greater_or_equal(key), lambda v: bool(v >= at)),
    ]
    if kind != "N":
        made.append((begins_with(key), lambda v: bool(v.startswith(at))))
    return made


def _between(low: Any, high: Any) -> tuple[SortCondition | None, Holds]:
    if _order(low) > _order(high):
        low, high = high, low
    return between(low, high), lambda v: bool(_order(low) <= v <= _order(high))


def _order(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


@pytest.mark.parametrize("kind", ["S", "N", "B"])
def test_conditions_and_order(
    cluster: Cluster, producer: Producer, read: Reader, kind: str
) -> None:
    make(
        cluster,
        sort_key=f"s:{kind}",
        local_indexes=[{"name": "local", "sort_key": f"a:{kind}"}],
        global_indexes=[{"name": "global", "hash_key": "g", "sort_key": f"a:{kind}"}],
    )
    keys = KEYS[kind]
    items: list[Item] = [
        {"h": "one", "g": "one", "s": key, "a": keys[number // 2]}
        for number, key in enumerate(keys)
    ]
    items += [{"h": "other", "g": "other", "s": key, "a": key} for key in keys[:3]]
    for item in items:
        producer.put("orders", item)
    catch_up(cluster, "orders")
    ours = [item for item in items if item["h"] == "one"]
    for index, column in ((None, "s"), ("local", "a"), ("global", "a")):
        for condition, holds in conditions(kind):
            expected = [item for item in ours if holds(_order(item[column]))]
            up = read.query("orders", "one", index=index, sort=condition)
            down = read.query("orders", "one", index=index, sort=condition, descending=True)
            assert _sorted(up.items) == _sorted(expected), (index, condition)
            assert down.items == up.items[::-1], (index, condition)
            values = [_order(item[column]) for item in up.items]
            assert values == sorted(values), (index, condition)
            assert len(up.plan.shards) == 1


def _sorted(items: list[Item]) -> list[Item]:
    return sorted(items, key=lambda item: _order(item["s"]))


def test_get(cluster: Cluster, producer: Producer, read: Reader) -> None:
    make(cluster)
    item = {"h": "a", "s": Decimal(1), "x": {"y": [b"z", None, True, {"q"}]}}
    producer.put("orders", item)
    assert read.get("orders", {"h": "a", "s": 1}) == item
    assert isinstance(read.get("orders", {"h": "a", "s": 1})["x"]["y"][0], Binary)  # type: ignore[index]
    assert read.get("orders", {"h": "a", "s": 2}) is None
    assert read.get("orders", {"h": "a", "s": 1}, projection=["s", "none"]) == {"s": Decimal(1)}
    for wrong in ({"h": "a", "s": 1, "x": 1}, {"h": "a"}, {"h": "a", "s": "1"}, {"h": 1, "x": 1}):
        with pytest.raises(InvalidItem) as refused:
            read.get("orders", wrong)
        assert str(refused.value) == "The provided key element does not match the schema"
        assert "h (type S) and s (type N)" in refused.value.__notes__[0]
    with pytest.raises(InvalidItem, match=r"cannot contain an empty string value. Key: h$"):
        read.get("orders", {"h": "", "s": 1})
    with pytest.raises(TableNotFound):
        read.get("nothing", {"h": "a"})


def test_requests_that_cannot_be(cluster: Cluster, read: Reader) -> None:
    make(cluster)
    make(cluster, "plain", sort_key=None, local_indexes=[])
    with pytest.raises(InvalidItem, match="type"):
        read.query("orders", 5)
    with pytest.raises(InvalidItem, match="empty string"):
        read.query("orders", "")
    with pytest.raises(InvalidItem, match="size limit of2048"):
        read.query("orders", "x" * 2049)
    with pytest.raises(InvalidRequest, match="no sort key"):
        read.query("plain", "x", sort=equal(1))
    with pytest.raises(InvalidRequest, match="does not match schema type"):
        read.query("orders", "x", sort=begins_with("1"))
    with pytest.raises(InvalidRequest, match="begins_with"):
        read.query("orders", "x", sort=begins_with(1))
    with pytest.raises(InvalidRequest, match="upper bound"):
        read.query("orders", "x", sort=between(2, 1))
    for limit in (0, -1, "3"):
        with pytest.raises(InvalidRequest, match="limit"):
            read.query("orders", "x", limit=limit)  # type: ignore[arg-type]
    with pytest.raises(IndexNotFound, match="local, global"):
        read.query("orders", "x", index="none")
    with pytest.raises(InvalidRequest, match="at least one"):
        read.query("orders", "x", projection=[])
    with pytest.raises(InvalidRequest, match="belong together"):
        read.scan("orders", segment=1)
    with pytest.raises(InvalidRequest, match="TotalSegments"):
        read.scan("orders", segment=0, total_segments=1_000_001)
    with pytest.raises(InvalidRequest, match="less than"):
        read.scan("orders", segment=4, total_segments=4)


def test_projections(cluster: Cluster, producer: Producer, read: Reader) -> None:
    keys_only = {"type": "KEYS_ONLY"}
    include = {"type": "INCLUDE", "attributes": ["x"]}
    make(
        cluster,
        local_indexes=[
            {"name": "local_keys", "sort_key": "a:N", "projection": keys_only},
            {"name": "local_x", "sort_key": "a:N", "projection": include},
        ],
        global_indexes=[
            {"name": "global_keys", "hash_key": "g", "projection": keys_only},
            {"name": "global_x", "hash_key": "g", "sort_key": "a:N", "projection": include},
            {"name": "global_all", "hash_key": "g"},
        ],
    )
    whole = {"h": "h", "s": Decimal(1), "a": Decimal(2), "g": "g", "x": "x", "y": "y"}
    producer.put("orders", whole)
    catch_up(cluster, "orders")

    def answer(index: str | None, projection: Any = None) -> set[str]:
        value = "g" if index and index.startswith("global") else "h"
        page = read.query("orders", value, index=index, projection=projection)
        if projection is not ALL_ATTRIBUTES:  # a scan must say the same
            assert read.scan("orders", index=index, projection=projection).items == page.items
        (item,) = page.items
        assert item.items() <= whole.items()
        return set(item)

    assert answer(None) == set(whole)
    assert answer(None, ["y", "none"]) == {"y"}
    assert answer("local_keys") == {"h", "s", "a"}
    assert answer("local_x") == {"h", "s", "a", "x"}
    assert answer("local_x", ["x"]) == {"x"}
    assert answer("local_keys", ["y"]) == {"y"}  # fetched from the table
    assert answer("local_keys", ALL_ATTRIBUTES) == set(whole)
    assert answer("global_keys") == {"h", "s", "g"}
    assert answer("global_x") == {"h", "s", "g", "a", "x"}
    assert answer("global_x", ["x", "h"]) == {"x", "h"}
    assert answer("global_all", ["y"]) == {"y"}
    assert answer("global_all", ALL_ATTRIBUTES) == set(whole)
    for index, projection in (("global_keys", ["x"]), ("global_x", ["x", "y", "z"])):
        with pytest.raises(InvalidRequest, match=rf"index {index} does not project \["):
            answer(index, projection)
    with pytest.raises(InvalidRequest, match="ALL_ATTRIBUTES is not supported"):
        answer("global_x", ALL_ATTRIBUTES)


def test_plans(cluster: Cluster, producer: Producer, read: Reader) -> None:
    make(cluster)
    receipt = producer.put("orders", {"h": "x", "s": 1, "a": 1, "g": "x"})
    catch_up(cluster, "orders")
    shard = receipt.shard
    plans = {
        str(read.query("orders", "x").plan): f"primary key on shard {shard}: range of (hash)",
        str(read.query("orders", "x", sort=less(9)).plan): (
            f"primary key on shard {shard}: range of (hash, sort)"
        ),
        str(read.query("orders", "x", index="local", sort=less(9)).plan): (
            f"local index local on shard {shard}: range of (hash, index_sort), each with its row "
            "of the table"
        ),
        str(read.query("orders", "x", index="global", sort=less(9)).plan): (
            f"global index global on shard {shard}: range of (index_hash, index_sort)"
        ),
        str(read.scan("orders").plan): "scan on shards 1, 2: all of the table by hash",
        str(read.scan("orders", index="global", segment=1, total_segments=2).plan): (
            "scan on shard 2: all of GSI global by index_hash, segment 1 of 2"
        ),
    }
    for plan, expected in plans.items():
        assert plan == expected
    explanation = read.explain("orders", "x", index="local", sort=less(9), descending=True)
    assert explanation.plan == read.query("orders", "x", index="local", sort=less(9)).plan
    assert [row["key"] for row in explanation.rows] == ["PRIMARY", "PRIMARY"]
    assert explanation.statement.startswith("SELECT")
    assert "on PRIMARY" in str(explanation)


def test_iterators(cluster: Cluster, producer: Producer, read: Reader) -> None:
    make(cluster)
    items = [{"h": "x", "s": Decimal(n), "pad": "p" * 200_000} for n in range(12)]
    for item in items:
        producer.put("orders", item)
    assert list(read.query_all("orders", "x")) == items
    names = iter(["s"])  # used for page after page
    found = list(read.query_all("orders", "x", descending=True, projection=names))
    assert [item["s"] for item in found] == list(range(11, -1, -1))
    assert sorted(item["s"] for item in read.scan_all("orders")) == list(range(12))


# --- after -------------------------------------------------------------------------------


def test_a_query_waits_for_the_write(cluster: Cluster, producer: Producer, read: Reader) -> None:
    make(cluster)
    receipt = producer.put("orders", {"h": "x", "s": 1, "a": 1, "g": "x"})
    with pytest.raises(ConsistencyTimeout, match=r"1 of the writes.*mynamo lag"):
        read.query("orders", "x", index="global", after=receipt, timeout=0.05)
    sequence(cluster.shards[receipt.shard])  # published, and not applied
    with pytest.raises(ConsistencyTimeout):
        read.query("orders", "x", index="global", after=receipt, timeout=0)
    found: list[Item] = []

    def ask() -> None:
        found.extend(read.query("orders", "x", index="global", after=receipt, timeout=30).items)

    asking = threading.Thread(target=ask)
    asking.start()
    catch_up(cluster, "orders")
    asking.join(30)
    assert len(found) == 1


def test_what_after_accepts(cluster: Cluster, producer: Producer, read: Reader) -> None:
    make(cluster)
    receipts = [producer.put("orders", {"h": str(n), "s": 1, "a": 1, "g": "x"}) for n in range(9)]
    nothing = producer.delete("orders", {"h": "none", "s": 1})
    tokens = [receipt.token for receipt in receipts]
    # What is always consistent need not wait.
    assert read.query("orders", "1", after=receipts, timeout=0).count == 1
    assert read.query("orders", "1", index="local", after=tokens, timeout=0).count == 1
    assert read.query("orders", "x", index="global", after=nothing, timeout=0).count == 0
    assert read.query("orders", "x", index="global", after=[], timeout=0).count == 0
    for after in (receipts, tokens, tokens[0], iter(receipts), (tokens[0], receipts[1])):
        with pytest.raises(ConsistencyTimeout):
            read.query("orders", "x", index="global", after=after, timeout=0)
    catch_up(cluster, "orders")
    assert read.query("orders", "x", index="global", after=receipts, timeout=0).count == 9
    for shard in cluster.shards.values():  # as the relay does in the end
        shard.run(("DELETE FROM mynamo_outbox", ()))
    assert read.query("orders", "x", index="global", after=tokens, timeout=0).count == 9


def test_tokens_that_cannot_be(cluster: Cluster, producer: Producer, read: Reader) -> None:
    make(cluster)
    token = ConsistencyToken.parse(producer.put("orders", {"h": "x", "s": 1}).token)
    foreign = ConsistencyToken(token.cluster ^ 1, token.shard, token.partition, token.version)
    elsewhere = ConsistencyToken(token.cluster, 99, token.partition, token.version)
    for after in (str(foreign), str(elsewhere), "abc", str(token)[:-1]):
        with pytest.raises(InvalidToken):
            read.query("orders", "x", after=after)


def test_writes_that_no_index_waits_for(cluster: Cluster, producer: Producer, read: Reader) -> None:
    make(cluster, global_indexes=[])
    receipt = producer.put("orders", {"h": "x", "s": 1, "g": "x"})
    schema = GlobalIndexSchema(name="late", hash_key="g")
    index = definitions.add_index(cluster, "orders", schema)
    cluster.catalog.activate_index(index.id)
    assert read.query("orders", "x", index="late", after=receipt, timeout=0).count == 0


def test_without_waiting_a_query_misses_the_write(
    cluster: Cluster, producer: Producer, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    make(cluster)
    monkeypatch.setattr(read_page, "wait_until_applied", lambda *_: None)
    receipt = producer.put("orders", {"h": "x", "s": 1, "a": 1, "g": "x"})
    assert read.query("orders", "x", index="global", after=receipt, timeout=5).count == 0


# --- what other processes do to the catalog ----------------------------------------------


def drop_and_make_again(cluster: Cluster, other: Cluster) -> Reader:
    """A reader that knows a table that is another one by now."""
    make(cluster)
    Producer(cluster).put("orders", {"h": "x", "s": 1, "a": 1, "g": "x"})
    read = Reader(other)
    assert read.query("orders", "x").count == 1
    definitions.drop_table(cluster, "orders")
    make(cluster)
    Producer(cluster).put("orders", {"h": "x", "s": 2, "a": 1, "g": "x"})
    catch_up(cluster, "orders")
    return read


def test_a_table_that_was_dropped_and_made_again(cluster: Cluster, other: Cluster) -> None:
    read = drop_and_make_again(cluster, other)
    assert read.get("orders", {"h": "x", "s": 1}) is None
    for page in (
        read.query("orders", "x"),
        read.query("orders", "x", index="local"),
        read.query("orders", "x", index="global"),
        read.scan("orders"),
    ):
        assert [item["s"] for item in page.items] == [2]
    definitions.drop_table(cluster, "orders")
    with pytest.raises(TableNotFound, match="orders not found"):
        read.query("orders", "x")


def test_an_outdated_catalog_would_be_believed(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: without the second attempt."""
    monkeypatch.setattr(reader, "by_newest_catalog", lambda cluster, table, read: read())
    read = drop_and_make_again(cluster, other)
    with pytest.raises(MissingTable):
        read.query("orders", "x")


def test_an_index_that_others_make_and_drop(
    cluster: Cluster, other: Cluster, producer: Producer
) -> None:
    make(cluster, local_indexes=[], global_indexes=[])
    for number in range(5):
        producer.put("orders", {"h": "x", "s": number, "a": number})
    read = Reader(other)
    with pytest.raises(IndexNotFound, match="none"):
        read.query("orders", "x", index="local")
    schema = LocalIndexSchema(name="local", sort_key="a:N")
    index = definitions.add_index(cluster, "orders", schema)
    with pytest.raises(IndexNotReady, match=r"CREATING: 0% of the table is read, 0 items"):
        read.query("orders", "x", index="local")
    for shard in cluster.shards.values():
        backfill_chunk(cluster, shard, index)
    with pytest.raises(IndexNotReady, match=r"100% of the table is read, 5 items"):
        read.scan("orders", index="local")
    assert activate_if_backfilled(cluster, index)
    assert read.query("orders", "x", index="local", sort=greater(2)).count == 2
    definitions.drop_index(cluster, "orders", "local")
    with pytest.raises(IndexNotFound):
        read.query("orders", "x", index="local")


def test_threads_share_a_reader(cluster: Cluster, producer: Producer, read: Reader) -> None:
    make(cluster)
    for number in range(20):
        producer.put("orders", {"h": str(number % 4), "s": number, "a": number})
    failures: list[BaseException] = []

    def work(mine: int) -> None:
        try:
            for turn in range(25):
                key = {"h": str(mine), "s": mine + 4 * (turn % 5)}
                assert (read.get("orders", key) or {})["a"] == key["s"]
                page = read.query("orders", str(mine), index="local", limit=3, descending=True)
                assert [int(item["s"]) for item in page.items] == [16 + mine, 12 + mine, 8 + mine]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(n % 4,)) for n in range(8)]
    for thread in threads:
        thread.start()
    eventually(lambda: not any(thread.is_alive() for thread in threads), 60)
    assert not failures
