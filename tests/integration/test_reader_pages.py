"""Pages: nothing is lost or repeated, whatever changes in between, and tokens are honest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest

from mynamo.catalog import definitions, sql
from mynamo.catalog.cluster import Cluster
from mynamo.errors import InvalidToken
from mynamo.mysql.pool import Statement
from mynamo.producer import Producer
from mynamo.reader import Page, Reader, between, fetching, greater, less_or_equal, read_plans
from mynamo.reader import access_paths as access_module
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import item_size, to_stored
from mynamo.schemas.keys import segment_range
from mynamo.schemas.table import TableSchema
from tests.standing_in import catch_up

Item = dict[str, Any]
SOURCES = (None, "local", "global")
PLACES = [(number // 4, number) for number in range(20)]
"""Index sort key and sort key of the test items: four of them share each index key."""


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    with Cluster(config) as opened:
        make(opened, "orders")
        yield opened


def make(cluster: Cluster, name: str) -> None:
    definition = {
        "name": name,
        "hash_key": "h",
        "sort_key": "s:N",
        "local_indexes": [{"name": "local", "sort_key": "a:N"}],
        "global_indexes": [{"name": "global", "hash_key": "g", "sort_key": "a:N"}],
    }
    definitions.create_table(cluster, TableSchema.parse(definition))


def item(place: tuple[int, int], **more: Any) -> Item:
    return {"h": "x", "g": "x", "s": Decimal(place[1]), "a": Decimal(place[0]), **more}


def fill(producer: Producer, cluster: Cluster) -> None:
    for place in PLACES:
        producer.put("orders", item(place))
    catch_up(cluster, "orders")


def pages(read: Reader, limit: int | None = None, **arguments: Any) -> list[Page]:
    """All pages of a query."""
    found: list[Page] = []
    token = None
    while True:
        page = read.query("orders", "x", limit=limit, page_token=token, **arguments)
        found.append(page)
        token = page.page_token
        if token is None:
            return found


def numbers(found: Sequence[Page]) -> list[Decimal]:
    return [each["s"] for page in found for each in page.items]


READINGS = [(index, descending) for index in SOURCES for descending in (False, True)]


def test_pages_make_up_the_query(cluster: Cluster, producer: Producer, read: Reader) -> None:
    fill(producer, cluster)
    for index, descending in READINGS:
        expected = sorted(range(20), reverse=descending)
        for limit in (1, 3, 4, 5, 10, 19, 20, 21, None):
            found = pages(read, limit, index=index, descending=descending)
            assert numbers(found) == expected, (index, descending, limit)
            # No token where nothing is left, even when the last page is full.
            assert len(found) == (-(-20 // limit) if limit else 1)
            assert all(page.count == limit for page in found[:-1])


def test_later_pages_keep_the_bounds(cluster: Cluster, producer: Producer, read: Reader) -> None:
    fill(producer, cluster)
    for descending in (False, True):
        for sort, low, high in (
            (between(3, 11), 3, 11), (greater(15), 16, 19), (less_or_equal(6), 0, 6),
        ):  # fmt: skip
            expected = sorted(range(low, high + 1), reverse=descending)
            assert numbers(pages(read, 2, sort=sort, descending=descending)) == expected
        for index in ("local", "global"):
            found = pages(read, 3, index=index, sort=between(1, 2), descending=descending)
            assert numbers(found) == sorted(range(4, 12), reverse=descending)


def without_bounds(
    access: Any, bounds: Any, after: Any, *rest: Any, guarded: bool = False
) -> Statement:
    """A later page that has its hash key and its position, and no upper bound."""
    kept = bounds if after is None else bounds[:1]
    return access_module.select(access, kept, after, *rest, guarded=guarded)


def test_a_later_page_without_its_bounds_reads_too_far(
    cluster: Cluster, producer: Producer, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    fill(producer, cluster)
    monkeypatch.setattr(fetching, "select", without_bounds)
    assert numbers(pages(read, 2, sort=between(3, 11))) == list(range(3, 20))


def paged_amid_changes(
    cluster: Cluster, producer: Producer, read: Reader, index: str | None, descending: bool
) -> list[Page]:
    """Page through the items while others come and go, also where a page has just ended."""
    fill(producer, cluster)
    found: list[Page] = []
    token = None
    fresh = 100
    while True:
        page = read.query(
            "orders", "x", index=index, descending=descending, limit=3, page_token=token
        )
        found.append(page)
        token = page.page_token
        if token is None:
            return found
        last = page.items[-1]
        # The row that the token names goes; rows come before and behind it.
        producer.delete("orders", {"h": "x", "s": last["s"]})
        for sort in (Decimal(-fresh), last["s"] - Decimal("0.5"), Decimal(fresh)):
            producer.put("orders", {**item((0, 0)), "s": sort, "a": last["a"], "new": True})
        fresh += 1
        catch_up(cluster, "orders")


@pytest.mark.parametrize("index", SOURCES)
@pytest.mark.parametrize("descending", [False, True])
def test_pages_stay_right_while_items_change(
    cluster: Cluster, producer: Producer, read: Reader, index: str | None, descending: bool
) -> None:
    found = paged_amid_changes(cluster, producer, read, index, descending)
    assert max(Counter(numbers(found)).values()) == 1
    there_throughout = [each["s"] for page in found for each in page.items if "new" not in each]
    assert there_throughout == sorted(range(20), reverse=descending)


def by_index_key_alone(position: Any, descending: bool) -> Any:
    """A position that leaves out the table's own key."""
    return whole_position(position[:1], descending)


whole_position = access_module.beyond


def test_index_keys_alone_lose_items(
    cluster: Cluster, producer: Producer, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: what shares its index key with a page's last row is lost."""
    fill(producer, cluster)
    monkeypatch.setattr(access_module, "beyond", by_index_key_alone)
    kept = [number for number in range(20) if number % 4 != 3]
    for index in ("local", "global"):
        assert numbers(pages(read, 3, index=index)) == kept


def test_tokens_belong_to_one_query(cluster: Cluster, producer: Producer, read: Reader) -> None:
    fill(producer, cluster)
    make(cluster, "others")

    def token(**arguments: Any) -> Any:
        return read.query("orders", "x", limit=2, **arguments).page_token

    good = token(sort=between(1, 9))
    assert read.query("orders", "x", sort=between(1, 9), limit=7, page_token=good).count == 7
    misuse: list[dict[str, Any]] = [
        {"sort": between(1, 10)},
        {"sort": greater(1)},
        {},
        {"descending": True, "sort": between(1, 9)},
        {"index": "local", "sort": between(1, 9)},
        {"index": "global", "sort": between(1, 9)},
    ]
    for arguments in misuse:
        with pytest.raises(InvalidToken):
            read.query("orders", "x", page_token=good, **arguments)
    with pytest.raises(InvalidToken):
        read.query("orders", "y", sort=between(1, 9), page_token=good)
    with pytest.raises(InvalidToken, match="another table"):
        read.query("others", "x", sort=between(1, 9), page_token=good)
    with pytest.raises(InvalidToken, match="order"):
        read.scan("orders", page_token=good)
    scanned = read.scan("orders", limit=1, segment=0, total_segments=1).page_token
    with pytest.raises(InvalidToken, match="conditions"):
        read.scan("orders", page_token=scanned, segment=0, total_segments=2)
    with pytest.raises(InvalidToken, match="another index"):
        read.scan("orders", page_token=scanned, index="local")
    damaged: Any
    for damaged in ("", "abc", good[:-1], good[:-6] + "AAAAAA", 5):
        with pytest.raises(InvalidToken):
            read.query("orders", "x", sort=between(1, 9), page_token=damaged)
    definitions.drop_table(cluster, "orders")
    make(cluster, "orders")
    with pytest.raises(InvalidToken, match="another table"):
        read.query("orders", "x", sort=between(1, 9), page_token=good)


def test_pages_end_at_one_megabyte(
    cluster: Cluster, producer: Producer, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def noting(*arguments: Any, guarded: bool) -> Statement:
        asked.append(arguments[-1])
        return access_module.select(*arguments, guarded=guarded)

    monkeypatch.setattr(fetching, "select", noting)
    for place in PLACES:
        size = 300_000 if place[1] % 3 == 0 else 100_000 if place[1] % 3 == 1 else 10
        producer.put("orders", item(place, pad="p" * size))
    catch_up(cluster, "orders")
    for index, descending in READINGS:
        found = pages(read, 1000, index=index, descending=descending)
        assert numbers(found) == sorted(range(20), reverse=descending)
        for page in found[:-1]:
            # The item that reaches 1 MB is the page's last one, as in DynamoDB.
            *sizes, last = [item_size(to_stored(each)) for each in page.items]
            assert sum(sizes) < fetching.PAGE_BYTES <= sum(sizes) + last
        # A projection makes answers smaller, and pages no longer: as in DynamoDB.
        assert len(pages(read, index=index, descending=descending, projection=["s"])) == len(found)
    assert max(asked) <= fetching.MAX_CHUNK


def test_a_page_of_many_small_items_is_read_in_bounded_statements(
    cluster: Cluster, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FIRST_CHUNK", 3)
    monkeypatch.setattr(fetching, "MAX_CHUNK", 7)
    producer = Producer(cluster)
    for number in range(40):
        producer.put("orders", item((0, number)))
    assert numbers(pages(read)) == list(range(40))
    assert numbers(pages(read, 9, descending=True)) == list(range(39, -1, -1))


# --- scans -------------------------------------------------------------------------------

EDGES = (b"\x00" * 16, b"\x7f" + b"\xff" * 15, b"\x80" + b"\x00" * 15, b"\xff" * 16)
"""Hashes at the ends of the shards' ranges, the lowest and the highest of all."""


def put_at(cluster: Cluster, hash16: bytes, sort: bytes, name: str) -> None:
    """An item wherever a test wants it, whatever its key hashes to."""
    table = cluster.table("orders")
    cluster.shard_of(hash16).run(
        (f"INSERT INTO {sql.main_table(table.id)} VALUES (%s, %s, 1, %s)",
         (hash16, sort, f'{{"name":{{"S":"{name}"}}}}'.encode()))
    )  # fmt: skip


def fill_edges(cluster: Cluster) -> set[str]:
    names = set()
    for hash16 in EDGES:
        for sort in (b"", b"\xff" * 1024):
            names.add(name := f"{hash16.hex()}-{len(sort)}")
            put_at(cluster, hash16, sort, name)
    return names


def scanned(
    read: Reader, total: int | None, limit: int | None, index: str | None = None, name: str = "name"
) -> list[Any]:
    """An attribute of all items of all segments, page by page."""
    found: list[Any] = []
    for segment in range(total) if total else [None]:
        token = None
        while True:
            page = read.scan(
                "orders", index=index, segment=segment, total_segments=total, limit=limit,
                page_token=token,
            )  # fmt: skip
            found += [each[name] for each in page.items]
            token = page.page_token
            if token is None:
                break
    return found


def test_segments_cover_everything_once(cluster: Cluster, read: Reader) -> None:
    names = fill_edges(cluster)
    for total in (None, 1, 2, 3, 7, 64):
        for limit in (1, 2, 3, None):
            assert Counter(scanned(read, total, limit)) == Counter(names), (total, limit)


def test_segments_smaller_than_slots(cluster: Cluster, read: Reader) -> None:
    names = fill_edges(cluster)
    most = 1_000_000
    found = [
        each["name"]
        for segment in (0, 1, most // 2 - 1, most // 2, most - 2, most - 1)
        for each in read.scan("orders", segment=segment, total_segments=most).items
    ]
    assert Counter(found) == Counter(names)


def test_a_bound_below_the_highest_hash_would_miss_it(
    cluster: Cluster, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the last segment ends at the highest hash instead of behind it."""

    def short(segment: int, total: int) -> tuple[bytes, bytes | None]:
        low, high = segment_range(segment, total)
        return low, high or b"\xff" * 16

    monkeypatch.setattr(read_plans, "segment_range", short)
    names = fill_edges(cluster)
    assert names - set(scanned(read, None, None)) == {f"{'f' * 32}-0", f"{'f' * 32}-1024"}


def test_scans_of_indexes(cluster: Cluster, producer: Producer, read: Reader) -> None:
    for number in range(30):
        more = {} if number % 3 else {"a": number % 5, "g": f"g{number % 7}"}
        producer.put("orders", {"h": f"h{number}", "s": number, **more})
    catch_up(cluster, "orders")
    third = range(0, 30, 3)
    for index, members in ((None, range(30)), ("local", third), ("global", third)):
        for total in (None, 4):
            assert sorted(scanned(read, total, 2, index, "s")) == list(members), (index, total)
