"""`verify` finds each kind of damage, `repair` mends it, and neither mistakes live writes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index, drop_index
from mynamo.errors import TableNotFound
from mynamo.operations import Action, Finding, Progress, lag, repair, verify, wait_until_applied
from mynamo.operations.checksums import Ledger
from mynamo.operations.mend import DELETED, INSERTED, RE_EMITTED
from mynamo.operations.recheck import Decision, Rechecker, Suspect
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema
from tests.comparing import gsi_damage
from tests.damages import ITEMS, do_all_damage, locations
from tests.operations import Damage, fill, key_of, order
from tests.small_chunks import small_chunks
from tests.workers import pipeline

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("parallel", "rows", "size"),
    [(2, 500, 4 << 20), (1, 3, 4 << 20), (4, 2, 4 << 20), (2, 500, 400)],
)
def test_every_kind_of_damage_is_found_and_mended(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    monkeypatch: pytest.MonkeyPatch,
    parallel: int,
    rows: int,
    size: int,
) -> None:
    small_chunks(monkeypatch.setattr, rows, size)
    progress: list[Progress] = []
    verdict = verify(cluster, "orders", parallel=parallel, on_progress=progress.append)
    assert verdict.ok, str(verdict)
    assert verdict.items == len(ITEMS)
    assert [index.rows for index in verdict.indexes] == [len(ITEMS), len(ITEMS), 35]
    fractions = [seen.fraction for seen in progress]
    assert fractions == sorted(fractions)
    assert (fractions[-1], progress[-1].seconds_left) == (1.0, 0.0)

    expected = do_all_damage(damage)
    verdict = verify(cluster, "orders", parallel=parallel)
    assert locations(verdict) == expected
    assert [index.rows for index in verdict.indexes] == rows_there(cluster)
    assert not verdict.ok
    assert not verdict.undecided
    assert "mynamo repair orders" in str(verdict)

    with pipeline(config):
        actions: list[Action] = []
        report = repair(cluster, "orders", parallel=parallel, on_action=actions.append)
    assert report.ok, str(report)
    # What mends an item in one index mends it in the others too, perhaps before its turn came.
    mended = [a.finding for a in actions if isinstance(a.finding, Finding)]
    acted_on = Counter((finding.kind, finding.index.name) for finding in mended)
    found = Counter((kind, index) for kind, index, _ in expected.elements())
    assert acted_on <= found
    assert set(acted_on) == set(found)
    assert report.mended == acted_on.total()
    assert {action.fate for action in actions} == {"mended"}
    assert {action.did for action in actions} == {RE_EMITTED, DELETED, INSERTED}
    assert verify(cluster, "orders").ok
    assert gsi_damage(cluster, "orders") == []


def rows_there(cluster: Cluster) -> list[int]:
    """How many rows each index has, by plain SQL."""
    return [
        sum(
            shard.run((f"SELECT COUNT(*) FROM {sql.index_table(index)}", ()))[0].rows[0][0]
            for shard in cluster.shards.values()
        )
        for index in cluster.table("orders").indexes
    ]


def test_where_sums_agree_nothing_is_looked_for(
    cluster: Cluster, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above: the ledger is what leads to damage."""
    do_all_damage(damage)
    monkeypatch.setattr(Ledger, "different", lambda *_: frozenset())
    assert verify(cluster, "orders").ok


def test_a_dry_run_changes_nothing(cluster: Cluster, damage: Damage) -> None:
    expected = do_all_damage(damage)
    report = repair(cluster, "orders", dry_run=True)
    assert not report.ok
    assert report.mended == 0
    assert "planned: by_price: missing" in str(report)
    assert "would insert the row" in str(report)
    assert wait_until_applied(cluster, 0)  # nothing was queued
    assert locations(verify(cluster, "orders")) == expected


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
    damage.on_main(ITEMS[5], "UPDATE {table} SET item = ''")
    damage.on_main(ITEMS[6], "UPDATE {table} SET item = REPLACE(item, 'order-3', 'order-9')")
    for name in ("by_name", "by_city"):
        damage.on_row(name, ITEMS[2], "DELETE FROM {table}")
    owner, _ = damage.home(ITEMS[3])
    damage.insert_main(ITEMS[3], damage.other(owner))
    damage.delete_local(ITEMS[1])
    report = repair(cluster, "orders", wait=1)
    assert report.verdict.unreadable == 5
    assert report.verdict.findings == 0
    assert not report.ok
    # The rows in the indexes may be all that is left of the items.
    rows = [index.rows for index in verify(cluster, "orders").indexes]
    assert rows == rows_there(cluster)
    named = "\n".join(report.verdict.unreadable_examples)
    # By what an index still says; where none does, by the sort key; by what it claims to be.
    assert named.count('item {"order_id":{"S":"order-0"},"line":{"N":"1"}}') == 1
    assert "with the hash" in named
    assert 'and the sort key {"line":{"N":"0"}} (shard' in named
    assert 'its bytes are those of the item {"order_id":{"S":"order-9"},"line":{"N":"0"}}' in named
    assert f"but belongs on shard {owner.id}" in named


def test_an_index_that_is_being_backfilled_is_left_out(cluster: Cluster, damage: Damage) -> None:
    add_index(cluster, "orders", GlobalIndexSchema(name="by_pad", hash_key="pad"))
    verdict = verify(cluster, "orders")
    assert verdict.ok
    assert verdict.left_out == ("by_pad",)
    assert "by_pad: left out" in str(verdict)


def test_an_index_may_be_dropped_meanwhile(cluster: Cluster, damage: Damage) -> None:
    damage.on_row("by_city", ITEMS[1], "DELETE FROM {table}")

    def drop(_: Progress) -> None:
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


def test_rows_agree_with_items_beside_live_writes(config: ClusterConfig, cluster: Cluster) -> None:
    """Every item is in these indexes, whatever was on its way when they were counted."""
    fill(cluster, ITEMS)
    stop = threading.Event()

    def write() -> None:
        with Cluster(config) as own, Producer(own) as producer:
            turn = 0
            while not stop.wait(0.001):
                turn += 1
                item = order(turn % 90, name=f"name {turn % 7}", price=turn, city="everywhere")
                producer.delete("orders", key_of(item)) if turn % 3 else producer.put(
                    "orders", item
                )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pipeline(config):
            for parallel in (1, 2, 4):
                verdict = verify(cluster, "orders", parallel=parallel)
                assert verdict.ok, str(verdict)
                rows = {index.name: index.rows for index in verdict.indexes}
                assert rows["by_name"] == rows["by_price"] == verdict.items
    finally:
        stop.set()
        writer.join(30)


def test_without_rechecking_live_writes_look_like_damage(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    fill(cluster, ITEMS)

    def believe(self: Rechecker, suspects: Sequence[Suspect]) -> Decision:
        findings = [
            Finding("ghost" if s.location else "missing", s.index, s.row, 0, s.row, 0, None, "")  # type: ignore[arg-type]
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
