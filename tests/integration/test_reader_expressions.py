"""`Reader` with expressions: filters, projections, key conditions, counts, batches."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.errors import InvalidExpression, InvalidItem, InvalidRequest
from mynamo.producer import Producer
from mynamo.reader import ALL_ATTRIBUTES, Page, Reader, begins_with, between, greater, read_page
from mynamo.reader.fetching import fetch
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import TableSchema
from tests.standing_in import catch_up


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    definition = {
        "name": "orders",
        "hash_key": "h",
        "sort_key": "s:N",
        "local_indexes": [{"name": "local", "sort_key": "a:N"}],
        "global_indexes": [
            {"name": "places", "hash_key": ["country", "city"], "sort_key": ["year:N", "name"]}
        ],
    }
    with Cluster(config) as opened:
        definitions.create_table(opened, TableSchema.parse(definition))
        producer = Producer(opened)
        for number in range(9):
            producer.put("orders", item(number))
        catch_up(opened, "orders")
        yield opened


def item(number: int) -> dict[str, Any]:
    return {
        "h": "x",
        "s": Decimal(number),
        "a": Decimal(number),
        "status": "odd" if number % 2 else "even",
        "country": "no",
        "city": "oslo" if number < 6 else "bergen",
        "year": Decimal(2020 + number // 3),
        "name": f"n{number}",
        "deep": {"list": [Decimal(number), "b"], "other": True},
    }


def numbers(page: Page) -> list[int]:
    return [int(each["s"]) for each in page.items]


ODD: dict[str, Any] = {
    "filter": "#s = :odd",
    "names": {"#s": "status"},
    "values": {":odd": "odd"},
}


def test_filters(read: Reader) -> None:
    page = read.query("orders", "x", **ODD)
    assert (numbers(page), page.count, page.scanned_count) == ([1, 3, 5, 7], 4, 9)
    assert numbers(read.query("orders", "x", sort=greater(3), **ODD)) == [5, 7]
    scanned = read.scan("orders", filter="a BETWEEN :a AND :b", values={":a": 2, ":b": 4})
    assert (sorted(numbers(scanned)), scanned.scanned_count) == ([2, 3, 4], 9)
    counted = read.query("orders", "x", count=True, **ODD)
    assert (counted.items, counted.count, counted.scanned_count) == ([], 4, 9)


def test_pages_of_a_filter(read: Reader) -> None:
    """`limit` counts what is read; and no page is offered where nothing is left to read."""
    found: list[Page] = []
    token = None
    while not found or token is not None:
        found.append(read.query("orders", "x", limit=3, page_token=token, **ODD))
        token = found[-1].page_token
    assert [numbers(page) for page in found] == [[1], [3, 5], [7]]
    assert list(read.query_all("orders", "x", **ODD)) == [item(n) for n in (1, 3, 5, 7)]
    assert len(list(read.scan_all("orders", **ODD))) == 4


def test_looking_ahead_is_what_spares_the_empty_page(
    read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(
        read_page, "fetch", lambda *args, **more: fetch(*args, **{**more, "look_ahead": False})
    )
    assert read.query("orders", "x", limit=9).page_token is not None
    monkeypatch.undo()
    assert read.query("orders", "x", limit=9).page_token is None


def test_key_conditions_as_text(read: Reader) -> None:
    where: dict[str, Any] = {
        "key_condition": "h = :h AND s > :s",
        "values": {":h": "x", ":s": 5},
    }
    assert numbers(read.query("orders", **where)) == [6, 7, 8]
    assert numbers(read.query("orders", descending=True, limit=2, **where)) == [8, 7]
    values = {**where["values"], ":odd": "odd"}
    both = read.query("orders", **{**where, **ODD, "values": values})
    assert numbers(both) == [7]
    assert len(list(read.query_all("orders", **where))) == 3
    assert read.explain("orders", **where).plan == read.query("orders", **where).plan
    with pytest.raises(InvalidRequest, match="takes the place of the hash value"):
        read.query("orders", "x", **where)
    with pytest.raises(InvalidExpression, match="unused in expressions"):
        read.query("orders", **{**where, "values": {**where["values"], ":z": 1}})
    with pytest.raises(InvalidRequest, match="missed key schema element: h"):
        read.query("orders", key_condition="s > :s", values={":s": 5})


def test_keys_of_several_attributes(read: Reader) -> None:
    oslo = {"country": "no", "city": "oslo"}
    whole = read.query("orders", oslo, index="places")
    assert numbers(whole) == [0, 1, 2, 3, 4, 5]
    assert len(whole.plan.shards) == 1
    one_year = read.query("orders", oslo, index="places", sort={"year": 2021})
    assert numbers(one_year) == [3, 4, 5]
    named = {"year": 2021, "name": begins_with("n4")}
    assert numbers(read.query("orders", oslo, index="places", sort=named)) == [4]
    years = read.query("orders", oslo, index="places", sort=between(2021, 2030), descending=True)
    assert numbers(years) == [5, 4, 3]
    text = read.query(
        "orders",
        index="places",
        key_condition="country = :c AND city = :t AND #y = :y AND #n > :n",
        names={"#y": "year", "#n": "name"},
        values={":c": "no", ":t": "oslo", ":y": 2020, ":n": "n0"},
    )
    assert numbers(text) == [1, 2]
    with pytest.raises(InvalidRequest, match="the hash key of places is country, city"):
        read.query("orders", "no", index="places")
    with pytest.raises(InvalidRequest, match="missed key schema element: city"):
        read.query("orders", {"country": "no"}, index="places")
    with pytest.raises(InvalidRequest, match="missed key schema element: year"):
        read.query("orders", oslo, index="places", sort={"name": "n1"})
    assert numbers(read.query("orders", {"h": "x"}, sort=greater(7))) == [8]


def test_projections(read: Reader) -> None:
    key = {"h": "x", "s": 3}
    deep = {"deep": {"list": [Decimal(3)]}}
    assert read.get("orders", key, projection="deep.#l[0]", names={"#l": "list"}) == deep
    # Paths one by one, where no name is a reserved word.
    assert read.get("orders", key, projection=["deep.list[0]"]) == deep
    assert read.get("orders", key, projection=["status", "deep.other"]) == {
        "status": "odd",
        "deep": {"other": True},
    }
    page = read.query("orders", "x", index="local", projection=iter(["s", "s"]), limit=2)
    assert page.items == [{"s": 0}, {"s": 1}]
    assert read.scan("orders", projection="s", limit=1).items[0].keys() == {"s"}
    with pytest.raises(InvalidExpression, match="reserved keyword"):
        read.get("orders", key, projection="status")
    wrong: Any
    for wrong in ([], [5], ["a..b"], ["a[x]"], [""], [".a"], ["a."]):
        with pytest.raises(InvalidRequest):
            read.get("orders", key, projection=wrong)
    with pytest.raises(InvalidRequest, match="a count has no projection"):
        read.query("orders", "x", projection=ALL_ATTRIBUTES, count=True)


def test_batch_get(read: Reader) -> None:
    keys = [{"h": "x", "s": n} for n in (5, 99, 0, 5)]
    assert read.batch_get("orders", keys) == [item(5), None, item(0), item(5)]
    assert read.batch_get("orders", keys[:2], projection=["a"]) == [{"a": 5}, None]
    assert read.batch_get("orders", []) == []
    with pytest.raises(InvalidItem, match="does not match the schema"):
        read.batch_get("orders", [*keys, {"h": "x"}])


def test_arguments_that_cannot_be(read: Reader) -> None:
    wrong: Any = 5
    for name in ("filter", "key_condition"):
        with pytest.raises(InvalidRequest, match=f"{name} must be an expression"):
            read.query("orders", **{name: wrong})
    for timeout in (float("nan"), -3):
        with pytest.raises(InvalidRequest, match="timeout"):
            read.query("orders", "x", timeout=timeout)
    with pytest.raises(TypeError, match="descnding"):
        list(read.query_all("orders", "x", descnding=True))  # type: ignore[call-arg]
