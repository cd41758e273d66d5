"""`verify` finds each kind of damage, `repair` mends it, and neither mistakes live writes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from mynamo.errors import TableNotFound
from mynamo.operations import Finding, Verdict, lag, repair, statements, verify, wait_until_applied
from mynamo.operations.recheck import Decision, Rechecker, Suspect
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.shards.cluster import Cluster
from mynamo.shards.definitions import add_index, drop_index
from tests.comparing import gsi_damage
from tests.operations import Damage, fill, in_slot, key_of, order
from tests.workers import pipeline

LAST = in_slot(4095, "last-")
ITEMS = [order(number) for number in range(40)] + [
    order(40, order_id=LAST, line=0),
    order(41, name=LAST, city=LAST),
]
"""The last two: at the very end of a main table and of the GSI tables."""

Place = tuple[str, str, str]
"""Kind of finding, index, item."""


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    with Cluster(config) as cluster:
        yield cluster


@pytest.fixture
def damage(config: ClusterConfig, cluster: Cluster) -> Damage:
    """A table whose indexes are complete, and nothing that runs."""
    table = fill(cluster, ITEMS)
    with pipeline(config):
        assert wait_until_applied(cluster, 60), str(lag(cluster))
    return Damage(cluster, table)


def places(verdict: Verdict) -> Counter[Place]:
    return Counter(
        (example.kind, index.name, name_of(example))
        for index in verdict.indexes
        for example in index.examples
    )


def name_of(finding: Finding) -> str:
    if finding.keys is None:
        return "unknown"
    return f"{finding.keys['order_id']['S']}/{finding.keys['line']['N']}"


def item_name(item: dict[str, Any]) -> str:
    return f"{item['order_id']}/{item['line']}"


def do_all_damage(damage: Damage) -> Counter[Place]:
    """Damage of every kind, each to items of its own; returns what must be found."""
    found: list[tuple[str, str, dict[str, Any] | None]] = []
    # Rows of a GSI that are gone, among them the very first and last ones of a shard.
    for item in (ITEMS[0], ITEMS[1], ITEMS[40], ITEMS[41]):
        damage.on_row("by_name", item, "DELETE FROM {table}")
        found.append(("missing", "by_name", item))
    # Rows of an older version, of a newer one, with other content.
    damage.on_row("by_name", ITEMS[2], "UPDATE {table} SET version = version - 1")
    damage.on_row("by_name", ITEMS[3], "UPDATE {table} SET version = version + 100000")
    damage.on_row("by_city", ITEMS[4], "UPDATE {table} SET item = '{{}}'")
    damage.on_main(ITEMS[6], "UPDATE {table} SET item = REPLACE(item, 'xxx', 'yyy')")
    found += [("stale", "by_name", ITEMS[n]) for n in (2, 3, 6)]
    found += [("stale", "by_city", ITEMS[4])]
    # Rows of no item: of one that never was, and under keys that an item does not have.
    nobody, renamed, last = order(90), ITEMS[7] | {"name": "other"}, order(92, name=LAST)
    damage.insert_row("by_name", nobody)
    damage.insert_row("by_name", renamed)
    damage.insert_row("by_name", last, version=10**9)
    found += [("ghost", "by_name", item) for item in (nobody, renamed, last)]
    # Rows that their own content does not lead to.
    damage.insert_row("by_name", ITEMS[8] | {"name": "lost"}, content=b"junk")
    damage.insert_row("by_city", order(94), content=b"{}")
    found += [("ghost", "by_name", ITEMS[8]), ("ghost", "by_city", None)]
    # Rows on a shard that does not own them: beside the right one, and in its stead.
    for item in (ITEMS[9], ITEMS[11]):
        owner, _ = damage.place("by_city", item)
        damage.insert_row("by_city", item, damage.other(owner))
        found.append(("ghost", "by_city", item))
    damage.on_row("by_city", ITEMS[11], "DELETE FROM {table}")
    found.append(("missing", "by_city", ITEMS[11]))
    # An item that is gone, and one that came, past all indexes.
    damage.on_main(ITEMS[12], "DELETE FROM {table}")
    found += [("ghost", "by_name", ITEMS[12]), ("ghost", "by_city", ITEMS[12])]
    found += [("ghost", "by_price", None)]
    damage.insert_main(order(95))
    found += [("missing", "by_name", order(95)), ("missing", "by_price", order(95))]
    # LSI rows: gone, of no item, and under a key that the item does not have.
    for item in (ITEMS[13], ITEMS[40]):
        damage.delete_local(item)
        found.append(("missing", "by_price", item))
    damage.insert_local(order(96))
    damage.insert_local(ITEMS[14] | {"price": 777})
    found += [("ghost", "by_price", None), ("ghost", "by_price", ITEMS[14])]
    return Counter((k, i, item_name(item) if item else "unknown") for k, i, item in found)


@pytest.mark.parametrize(("rows", "size"), [(500, 4 << 20), (3, 4 << 20), (500, 400)])
def test_every_kind_of_damage_is_found_and_mended(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    size: int,
) -> None:
    monkeypatch.setattr(statements, "CHUNK_ROWS", rows)
    monkeypatch.setattr(statements, "CHUNK_BYTES", size)
    progress: list[float] = []
    verdict = verify(cluster, "orders", on_progress=progress.append)
    assert verdict.ok, str(verdict)
    assert verdict.items == len(ITEMS)
    assert [index.rows for index in verdict.indexes] == [len(ITEMS), len(ITEMS), 33]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0

    expected = do_all_damage(damage)
    verdict = verify(cluster, "orders")
    assert places(verdict) == expected
    assert not verdict.ok
    assert not verdict.undecided
    assert "mynamo repair orders" in str(verdict)

    with pipeline(config):
        report = repair(cluster, "orders")
    assert report.ok, str(report)
    assert report.mended == expected.total()
    assert verify(cluster, "orders").ok
    assert gsi_damage(cluster, "orders") == []


def test_a_dry_run_changes_nothing(cluster: Cluster, damage: Damage) -> None:
    expected = do_all_damage(damage)
    report = repair(cluster, "orders", dry_run=True)
    assert not report.ok
    assert report.mended == 0
    assert "would mend missing" in str(report)
    assert wait_until_applied(cluster, 0)  # nothing was queued
    assert places(verify(cluster, "orders")) == expected


def test_without_indexers_differences_are_undecided(
    config: ClusterConfig, cluster: Cluster
) -> None:
    fill(cluster, ITEMS)
    verdict = verify(cluster, "orders", wait=0.1)
    assert verdict.findings == 0
    assert verdict.index("by_name").undecided == len(ITEMS)
    assert verdict.index("by_price").ok
    assert not verdict.ok
    assert "mynamo indexer" in str(verdict)
    with pipeline(config):
        verdict = verify(cluster, "orders")
    assert verdict.ok, str(verdict)


def test_a_repair_without_indexers_waits_for_them(
    config: ClusterConfig, cluster: Cluster, damage: Damage
) -> None:
    damage.on_row("by_name", ITEMS[1], "DELETE FROM {table}")
    damage.delete_local(ITEMS[2])
    report = repair(cluster, "orders", wait=0.1)
    assert (report.mended, report.waiting, report.failed) == (1, 1, 0)
    assert not report.ok
    assert "mynamo indexer" in str(report)
    with pipeline(config):
        assert wait_until_applied(cluster, 60), str(lag(cluster))
    assert verify(cluster, "orders").ok


def test_damaged_items_are_reported_and_left_alone(cluster: Cluster, damage: Damage) -> None:
    damage.on_main(ITEMS[1], "UPDATE {table} SET item = 'junk'")
    damage.on_main(ITEMS[2], "UPDATE {table} SET item = '{{}}'")
    owner, _ = damage.home(ITEMS[3])
    damage.insert_main(ITEMS[3], damage.other(owner))
    damage.delete_local(ITEMS[1])
    report = repair(cluster, "orders", wait=1)
    assert report.verdict.unreadable == 3
    assert report.verdict.findings == 0
    assert not report.ok
    # The rows in the indexes may be all that is left of the items.
    assert verify(cluster, "orders").index("by_name").rows == len(ITEMS)


def test_an_index_that_is_being_filled_is_left_out(cluster: Cluster, damage: Damage) -> None:
    add_index(cluster, "orders", GlobalIndexSchema(name="by_pad", hash_key="pad"))
    verdict = verify(cluster, "orders")
    assert verdict.ok
    assert verdict.left_out == ("by_pad",)
    assert "by_pad: left out" in str(verdict)


def test_an_index_may_be_dropped_meanwhile(cluster: Cluster, damage: Damage) -> None:
    damage.on_row("by_city", ITEMS[1], "DELETE FROM {table}")

    def drop(_: float) -> None:
        if len(cluster.table("orders").global_indexes) == 2:
            drop_index(cluster, "orders", "by_city")

    verdict = verify(cluster, "orders", on_progress=drop)
    assert verdict.ok
    assert [index.name for index in verdict.indexes] == ["by_price", "by_name"]


def test_there_must_be_such_a_table(cluster: Cluster) -> None:
    with pytest.raises(TableNotFound, match="nothing"):
        verify(cluster, "nothing")
    with pytest.raises(TableNotFound, match="nothing"):
        repair(cluster, "nothing")


@contextmanager
def writing(config: ClusterConfig) -> Iterator[None]:
    """Four threads that put, update and delete, one item of them all the time."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            with Cluster(config) as cluster, Producer(cluster) as producer:
                turn = 0
                while not stop.wait(0.002):
                    turn += 1
                    item = order(thread * 10 + turn % 10, name=f"name {turn % 7}", price=turn)
                    if turn % 4 == 0:
                        producer.delete("orders", key_of(item))
                    elif turn % 4 == 1:
                        producer.update("orders", key_of(item), set={"city": f"c{turn % 5}"})
                    else:
                        producer.put("orders", item)
                    producer.update("orders", key_of(ITEMS[41]), set={"price": turn})
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not failures, failures


def count_suspects(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many suspicions each decision was about."""
    numbers: list[int] = []
    decide = Rechecker.decide

    def counted(self: Rechecker, suspects: Sequence[Suspect]) -> Decision:
        numbers.append(len(suspects))
        return decide(self, suspects)

    monkeypatch.setattr(Rechecker, "decide", counted)
    return numbers


def test_live_writes_are_no_damage(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = fill(cluster, ITEMS)
    suspected = count_suspects(monkeypatch)
    with pipeline(config):
        with writing(config):
            for _ in range(4):
                verdict = verify(cluster, "orders")
                assert verdict.ok, str(verdict)
            # Real damage is still seen, and what is mended beside the writes is right.
            Damage(cluster, table).insert_row("by_name", order(90))
            Damage(cluster, table).insert_row("by_name", ITEMS[41] | {"name": "other"})
            report = repair(cluster, "orders")
            assert report.ok, str(report)
            assert report.mended == 2
        assert wait_until_applied(cluster, 60), str(lag(cluster))
    assert sum(suspected) > 0
    assert gsi_damage(cluster, "orders") == []


def test_without_rechecking_live_writes_look_like_damage(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    fill(cluster, ITEMS)

    def believe(self: Rechecker, suspects: Sequence[Suspect]) -> Decision:
        findings = [
            Finding("ghost" if s.place else "missing", s.index, s.row, 0, s.row, 0, None, "")  # type: ignore[arg-type]
            for s in suspects
        ]
        return Decision(findings, (), ())

    monkeypatch.setattr(Rechecker, "decide", believe)
    with pipeline(config), writing(config):
        assert sum(verify(cluster, "orders").findings for _ in range(4)) > 0


def test_without_following_its_events_a_busy_item_stays_undecided(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control for `follow`, on which `test_live_writes_are_no_damage` relies."""
    monkeypatch.setattr("mynamo.operations.recheck.follow", lambda *_: None)
    fill(cluster, ITEMS)
    with pipeline(config), writing(config):
        assert wait_until_applied(cluster, 60), str(lag(cluster))
        assert sum(verify(cluster, "orders", wait=1).undecided for _ in range(4)) > 0
