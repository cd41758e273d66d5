"""Filling a GSI beside writes and the indexer: what happens between any two of its steps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mynamo.catalog import definitions, sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, RowKey
from mynamo.errors import ShardUnavailable
from mynamo.local.state import config_toml
from mynamo.mysql.pool import Session
from mynamo.runtime.crash_points import VARIABLE
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item
from mynamo.schemas.keys import hash_of_parts
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.writer.backfill import backfiller, global_index, indexes, read_ahead
from mynamo.writer.backfill.chunks import Chunk, read_chunk
from mynamo.writer.backfill.indexes import activate_if_backfilled, backfill_chunk
from mynamo.writer.backfill.read_ahead import ReadAhead
from mynamo.writer.outbox.back_pressure import Waiting
from tests.amounts import one_of
from tests.comparing import gsi_damage, gsi_rows
from tests.fake_log import Bench
from tests.rows import everywhere
from tests.waiting import eventually

pytestmark = pytest.mark.slow

BY_COLOUR = GlobalIndexSchema.model_validate({"name": "by_colour", "hash_key": "colour"})
STEPS = [f"fill.{number}" for number in range(1, 8)]


def colour_of(cluster: Cluster, shard_id: int, start: str = "c") -> str:
    """A colour whose index rows lie on a shard."""
    names = (f"{start}{number}" for number in range(1000))
    return next(n for n in names if cluster.shard_of(hash_of_parts([n.encode()])).id == shard_id)


def home_of(cluster: Cluster, key: str) -> DynamoDBShard:
    return cluster.shard_of(
        cluster.table("orders").key_of({"id": {"S": key}, "at": {"S": "1"}}).hash
    )


def put(bench: Bench, key: str, colour: str) -> None:
    bench.producer.put("orders", {"id": key, "at": "1", "colour": colour})


def add(bench: Bench) -> Index:
    return definitions.add_index(bench.cluster, "orders", BY_COLOUR)


def backfill_all(bench: Bench, index: Index) -> None:
    for shard in bench.cluster.shards.values():
        while backfill_chunk(bench.cluster, shard, index).more:
            pass


def once_at(patch: pytest.MonkeyPatch, label: str, action: Callable[[], object]) -> None:
    """Do something once, when the backfill has taken a step."""
    waiting = [action]

    def reached(point: str) -> None:
        if point == label and waiting:
            waiting.pop()()

    patch.setattr(indexes, "crash_point", reached)
    patch.setattr(global_index, "crash_point", reached)


@pytest.mark.parametrize("comparing", [True, False], ids=["", "control"])
@pytest.mark.parametrize("away", [True, False], ids=["other shard", "own shard"])
def test_an_item_that_changes_before_its_checkpoints_are_locked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, away: bool, comparing: bool
) -> None:
    """Its event is applied before the row of the old version is written."""
    home = home_of(bench.cluster, "a").id
    lies = 3 - home if away else home
    put(bench, "a", colour_of(bench.cluster, lies))
    index, one = add(bench), bench.indexer()
    if not comparing:
        monkeypatch.setattr(global_index, "is_current", lambda *_: True)

    def change() -> None:
        put(bench, "a", colour_of(bench.cluster, lies, "new"))
        bench.catch_up(one)

    with monkeypatch.context() as patch:
        once_at(patch, "fill.2", change)
        backfill_all(bench, index)
    bench.catch_up(one)
    assert activate_if_backfilled(bench.cluster, index)
    assert (gsi_damage(bench.cluster, "orders") == []) == comparing


class Noted:
    """What was read ahead, and when that was done.

    Attributes:
        chunks: those that were read.
        done: set once there is one.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.chunks: list[Chunk] = []
        self.done = threading.Event()
        self._rows_of = global_index.rows_of
        patch.setattr(read_ahead, "rows_of", self._noted)

    def _noted(self, index: Index, chunk: Chunk) -> Any:
        rows = self._rows_of(index, chunk)
        self.chunks.append(chunk)
        self.done.set()
        return rows


def on_one_shard(cluster: Cluster, shard: DynamoDBShard, count: int) -> list[str]:
    """Keys of items that lie on a shard."""
    names = (f"k{number}" for number in range(10_000))
    return list(islice((n for n in names if home_of(cluster, n) is shard), count))


@pytest.mark.parametrize("comparing", [True, False], ids=["", "control"])
def test_items_that_change_once_they_were_read_ahead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, comparing: bool
) -> None:
    cluster, (shard, *_) = bench.cluster, bench.cluster.shards.values()
    names = on_one_shard(cluster, shard, 12)
    for name in names:
        put(bench, name, "old")
    index, one, noted = add(bench), bench.indexer(), Noted(monkeypatch)
    if not comparing:
        monkeypatch.setattr(global_index, "is_current", lambda *_: True)
    with ReadAhead(cluster, shard, index) as ahead:
        assert backfill_chunk(cluster, shard, index, 4, None, ahead).more
        assert noted.done.wait(20)
        changed = [key for key in names if key_in(cluster, key) in keys_of(noted.chunks[0])]
        assert len(changed) == 4
        for name in changed[:2]:
            put(bench, name, "new")
        bench.producer.delete("orders", {"id": changed[2], "at": "1"})
        bench.catch_up(one)
        while backfill_chunk(cluster, shard, index, 4, None, ahead).more:
            pass
    backfill_all(bench, index)
    bench.catch_up(one)
    assert activate_if_backfilled(cluster, index)
    assert (gsi_damage(cluster, "orders") == []) == comparing
    assert sum(len(chunk.rows) for chunk in noted.chunks) == 8, "each chunk but the first, once"


def key_in(cluster: Cluster, name: str) -> RowKey:
    return cluster.table("orders").key_of({"id": {"S": name}, "at": {"S": "1"}})


def keys_of(chunk: Chunk) -> set[RowKey]:
    return {row.key for row in chunk.rows}


def test_what_was_read_ahead_of_another_position_is_not_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has taken that chunk, or the backfill has begun again, or few are wanted."""
    cluster, (shard, *_) = bench.cluster, bench.cluster.shards.values()
    for name in on_one_shard(cluster, shard, 12):
        put(bench, name, "red")
    index, snapshot = add(bench), cluster.snapshot
    with ReadAhead(cluster, shard, index) as ahead:
        first = backfill_chunk(cluster, shard, index, 2, None, ahead)
        assert ahead.take(snapshot, (None, None), 2) is None
        assert ahead.take(snapshot, first.end, 2) is None, "it is given once"
        table = cluster.table("orders")
        ahead.begin(snapshot, table, first.end, 2)
        assert ahead.take(snapshot, first.end, 1) is None
        ahead.begin(snapshot, table, first.end, 2)
        cluster.refresh()
        assert ahead.take(replace(snapshot), first.end, 2) is None
        ahead.begin(snapshot, table, first.end, 2)
        found = ahead.take(snapshot, first.end, 2)
        assert found is not None
        assert len(found.rows) == 2
        assert found.index_rows == global_index.rows_of(index, found)


@pytest.mark.parametrize("locking", [True, False], ids=["", "control"])
def test_an_item_that_changes_once_its_version_was_compared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, locking: bool
) -> None:
    """The write goes through; its event waits until the row of the old version is there."""
    away = 3 - home_of(bench.cluster, "a").id
    put(bench, "a", colour_of(bench.cluster, away))
    index, one = add(bench), bench.indexer()
    applying: list[Future[Any]] = []
    if not locking:
        monkeypatch.setattr(
            global_index, "hold_checkpoints",
            lambda session, _, *before, owner: session.run(*before) if before else None,
        )  # fmt: skip

    def change() -> None:
        put(bench, "a", colour_of(bench.cluster, away, "new"))  # no lock of ours is in its way
        bench.publish()
        applying.append(pool.submit(one.step, 0))
        with suppress(TimeoutError):
            applying[0].result(0.7)

    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            once_at(patch, "fill.4", change)
            backfill_all(bench, index)
        applying[0].result(20)
    bench.catch_up(one)
    assert activate_if_backfilled(bench.cluster, index)
    assert (gsi_damage(bench.cluster, "orders") == []) == locking


def sessions_on(shard: DynamoDBShard) -> set[int]:
    """The numbers of all sessions on a shard's database."""
    rows = shard.run(
        ("SELECT id FROM information_schema.processlist WHERE db = %s", (shard.config.database,))
    )[0].rows
    return {number for (number,) in rows}


def end_sessions(shard: DynamoDBShard, numbers: Iterable[int]) -> None:
    """End sessions, as their server ends those that are silent for too long."""
    for number in numbers:
        with suppress(ShardUnavailable):  # the server was faster
            shard.run((f"KILL {number:d}", ()))


@pytest.mark.parametrize("proving", [True, False], ids=["", "control"])
def test_a_backfill_worker_that_is_late_shows_nothing_to_readers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, proving: bool
) -> None:
    """It sleeps while another one fills the index, and wakes up when that is ACTIVE: were it to
    go on, a query would find an item twice, until the event of its last change is applied."""
    home = home_of(bench.cluster, "a")
    away = 3 - home.id
    put(bench, "a", colour_of(bench.cluster, away))
    index, one = add(bench), bench.indexer()

    begin, sessions = indexes.begin_chunk, list[Session]()

    def noted(session: Session, *rest: Any) -> Any:
        sessions.append(session)
        return begin(session, *rest)

    def overtake() -> None:
        end_sessions(home, [sessions[-1].identity[0]])
        monkeypatch.setattr(indexes, "crash_point", lambda _: None)
        backfill_all(bench, index)
        bench.catch_up(one)
        assert activate_if_backfilled(bench.cluster, index)
        put(bench, "a", colour_of(bench.cluster, away, "new"))
        if not proving:
            believe_without_asking(monkeypatch, home)

    monkeypatch.setattr(indexes, "begin_chunk", noted)
    once_at(monkeypatch, "fill.1", overtake)
    backfill_all(bench, index)
    assert (len(gsi_rows(bench.cluster, index)) == 1) == proving
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "orders") == []


def believe_without_asking(patch: pytest.MonkeyPatch, home: DynamoDBShard) -> None:
    """Read items and versions without finding out that the transaction on the source is over."""
    read, versions = read_chunk, global_index.current_versions

    def read_elsewhere(_: Session, *rest: Any) -> Any:
        with home.session() as session:
            return read(session, *rest)

    def versions_elsewhere(_: Session, table: Any, chunk: Any, note: Any) -> Any:
        with home.session() as session:
            return versions(session, table, chunk, ("DO 0", ()))

    patch.setattr(indexes, "read_chunk", read_elsewhere)
    patch.setattr(global_index, "current_versions", versions_elsewhere)


@pytest.mark.parametrize("waiting", [True, False], ids=["", "control"])
def test_an_index_waits_for_events_that_take_it_back(bench: Bench, waiting: bool) -> None:
    """An older event is applied after the row was written; the index is not ACTIVE before the
    events have come to the item's version."""
    cluster = bench.cluster
    index, one = add(bench), bench.indexer()
    put(bench, "a", "red")
    bench.publish()
    put(bench, "a", "blue")
    backfill_all(bench, index)
    assert gsi_damage(cluster, "orders") == []
    one.step(0)
    assert gsi_damage(cluster, "orders"), "the older event brings its row back"
    if not waiting:
        everywhere_run(cluster, "UPDATE mynamo_backfill SET last_outbox_id = 0")
    assert activate_if_backfilled(cluster, index) == (not waiting)
    bench.catch_up(one)
    assert activate_if_backfilled(cluster, index)
    assert gsi_damage(cluster, "orders") == []


def everywhere_run(cluster: Cluster, statement: str) -> None:
    for shard in cluster.shards.values():
        shard.run((statement, ()))


def test_a_row_that_a_server_refuses_becomes_a_dead_letter(bench: Bench) -> None:
    for number in range(30):
        put(bench, str(number), "red" if number != 7 else "r" * 300)
    index = add(bench)
    table = sql.index_table(index)
    everywhere_run(bench.cluster, f"ALTER TABLE {table} MODIFY item VARBINARY(200)")
    backfill_all(bench, index)
    bench.catch_up(bench.indexer())
    assert activate_if_backfilled(bench.cluster, index)
    assert len(gsi_rows(bench.cluster, index)) == 29
    assert [dead_letter.kind for dead_letter in bench.log.dead_letters] == ["event"]


def test_an_index_that_is_dropped_during_its_backfill(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        put(bench, str(number), f"c{number}")
    index = add(bench)
    drop = f"DROP TABLE {sql.index_table(index)}"
    once_at(monkeypatch, "fill.2", lambda: everywhere_run(bench.cluster, drop))
    backfill_all(bench, index)
    definitions.drop_index(bench.cluster, "orders", "by_colour")
    backfill_all(bench, index)
    assert everywhere(bench.cluster, "SELECT * FROM mynamo_backfill") == []


def test_a_worker_leaves_a_backfill_that_another_one_does(bench: Bench) -> None:
    for number in range(40):
        put(bench, str(number), f"c{number}")
    index, (shard, *_) = add(bench), bench.cluster.shards.values()
    first = backfill_chunk(bench.cluster, shard, index, 3)
    second = backfill_chunk(bench.cluster, shard, index, 3)
    late = backfill_chunk(bench.cluster, shard, index, 3, first.end)
    assert (first.others, second.others, late.others, late.end) == (False, False, True, second.end)


def test_a_backfill_pauses_while_changes_wait() -> None:
    assert backfiller.rest_after(0.1, Waiting()) == 0
    beside = backfiller.rest_after(0.01, Waiting(5, 0.02))
    behind = [backfiller.rest_after(0.01, w) for w in (Waiting(5, 3.0), Waiting(9_000, 0.02))]
    assert 0.01 <= beside < min(behind)
    assert backfiller.rest_after(60, Waiting(5, 3.0)) <= 2, "it always gets on"


# -- processes that die and freeze ------------------------------------------------------


@pytest.fixture
def backfill_process_at(config: ClusterConfig, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Starts writer workers without relay that end or freeze at a step."""
    path = tmp_path / "backfill.toml"
    path.write_text(config_toml(config))
    running: list[subprocess.Popen[bytes]] = []

    def start(where: str = "") -> subprocess.Popen[bytes]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.worker_process", str(path)],
                cwd=Path(__file__).parents[2], env=os.environ | {VARIABLE: where},
            )
        )  # fmt: skip
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def many_items(bench: Bench, count: int) -> None:
    """Items of two colours on each shard, as plain rows."""
    table = bench.cluster.table("orders")
    colours = [colour_of(bench.cluster, shard_id) for shard_id in bench.cluster.shards]
    parts: dict[int, list[Any]] = {}
    for number in range(count):
        item = {"id": {"S": str(number)}, "at": {"S": "1"}, "colour": {"S": colours[number % 2]}}
        row = table.key_of(item)
        parts.setdefault(bench.cluster.shard_of(row.hash).id, []).extend((*row, 1, dump_item(item)))
    for shard_id, values in parts.items():
        places = ", ".join(["(%s, %s, %s, %s)"] * (len(values) // 4))
        bench.cluster.shards[shard_id].run((f"INSERT INTO t{table.id} VALUES {places}", values))


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


@pytest.mark.parametrize("step", one_of(2, STEPS))
def test_backfill_workers_die_and_freeze_at_a_step(
    bench: Bench, backfill_process_at: Callable[..., subprocess.Popen[bytes]], step: str
) -> None:
    """One dies there, one freezes there and wakes up late; a third one fills the index, beside
    writes of the same items."""
    many_items(bench, 3_000)
    index, one = add(bench), bench.indexer()

    def write(turn: int) -> None:
        for number in range(0, 20, 2):
            colour = colour_of(bench.cluster, 1 + (number // 2 + turn) % 2, f"t{turn}")
            put(bench, str(number), colour)
            bench.producer.delete("orders", {"id": str(number + 1), "at": "1"})

    backfill_process_at(step).wait(120)
    write(1)
    shards = bench.cluster.shards.values()
    before = [sessions_on(shard) for shard in shards]
    frozen = backfill_process_at(f"{step}:1:freeze")
    eventually(lambda: is_stopped(frozen), 120)
    its = [sessions_on(shard) - known for shard, known in zip(shards, before, strict=True)]
    write(2)
    bench.publish()
    for shard, numbers in zip(shards, its, strict=True):
        end_sessions(shard, numbers)
    third = backfill_process_at()

    def is_active() -> bool:
        bench.publish()
        one.step(0)
        return bench.cluster.refresh().names["orders"].index("by_colour").status == "ACTIVE"

    eventually(is_active, 120)
    write(3)
    frozen.send_signal(18)
    bench.catch_up(one, 100)
    write(4)
    bench.catch_up(one, 100)
    assert gsi_damage(bench.cluster, "orders") == []
    assert len(gsi_rows(bench.cluster, index)) > 2_900
    assert frozen.poll() is None
    assert third.poll() is None
