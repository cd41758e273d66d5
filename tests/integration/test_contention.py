"""Many writers of one item, on both engines: every write takes effect, and none fails."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mynamo.catalog import shard as shard_module
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.sql import main_table
from mynamo.catalog.tables import Table
from mynamo.errors import ConditionFailed, ShardUnavailable
from mynamo.local.state import config_toml
from mynamo.mysql import pool as pool_module
from mynamo.mysql.failures import translate
from mynamo.mysql.pool import Session
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig, PoolConfig
from mynamo.writer.transaction import commit, group_commit
from tests.adding_process import KEY, add
from tests.meeting import together
from tests.rows import damage, items_of, leave_out, select
from tests.waiting import eventually

pytestmark = pytest.mark.slow

STORED_KEY = {name: {"S": value} for name, value in KEY.items()}


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@contextmanager
def small_pool(config: ClusterConfig, size: int, wait: float = 30.0) -> Iterator[Producer]:
    """A producer that shares few connections between many threads."""
    pool = PoolConfig(size=size, wait_timeout=wait)
    with Cluster(config.model_copy(update={"pool": pool})) as opened:
        yield Producer(opened)


def at_once(work: list[Callable[[], Any]]) -> list[Future[Any]]:
    """Run each in a thread of its own, and wait for all."""
    with ThreadPoolExecutor(len(work)) as pool:
        return [pool.submit(each) for each in work]


def count_of(cluster: Cluster, orders: Table) -> int:
    return int(items_of(cluster, orders)[orders.key_of(STORED_KEY)][1]["n"]["N"])


# -- counting -------------------------------------------------------------------------


def test_a_hundred_threads_that_add_one_end_at_a_hundred(cluster: Cluster, orders: Table) -> None:
    producer = Producer(cluster)
    for done in at_once([lambda: add(producer)] * 100):
        done.result()
    assert count_of(cluster, orders) == 100
    assert damage(cluster, orders) == []


def test_so_do_four_processes(cluster: Cluster, orders: Table, tmp_path: Path) -> None:
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(cluster.config))
    command = [sys.executable, "-m", "tests.adding_process", str(path), "25"]
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert count_of(cluster, orders) == 100
    assert damage(cluster, orders) == []


@pytest.mark.parametrize("locking", [True, False])
def test_additions_are_lost_only_without_the_row_lock(
    engine_config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
    locking: bool,
) -> None:
    with Cluster(engine_config) as other:
        producers = [Producer(cluster), Producer(other)]
        add(producers[0])
        together(monkeypatch)
        if not locking:
            leave_out(monkeypatch, " FOR UPDATE")
        for done in at_once([lambda p=p: add(p) for p in producers]):  # type: ignore[misc]
            done.result()
    monkeypatch.undo()
    assert (count_of(cluster, orders) == 3) == locking


def take(producer: Producer) -> bool:
    """Take one from the stock, if there is any."""
    with suppress(ConditionFailed):
        producer.update(
            "orders", KEY, expression="SET n = n - :one", condition="n >= :one", values={":one": 1}
        )
        return True
    return False


def test_a_stock_is_never_oversold(
    engine_config: ClusterConfig, cluster: Cluster, orders: Table
) -> None:
    Producer(cluster).put("orders", {**KEY, "n": 17})
    with ExitStack() as stack:
        producers = [Producer(stack.enter_context(Cluster(engine_config))) for _ in range(3)]
        sold = at_once([lambda n=n: take(producers[n % 3]) for n in range(40)])  # type: ignore[misc]
        assert Counter(done.result() for done in sold) == {True: 17, False: 23}
    assert count_of(cluster, orders) == 0


def test_control_without_the_row_lock_it_is_oversold(
    engine_config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Producer(cluster).put("orders", {**KEY, "n": 1})
    with Cluster(engine_config) as other:
        producers = [Producer(cluster), Producer(other)]
        together(monkeypatch)
        leave_out(monkeypatch, " FOR UPDATE")
        sold = at_once([lambda p=p: take(p) for p in producers])  # type: ignore[misc]
        assert [done.result() for done in sold] == [True, True]


# -- contention is no error -----------------------------------------------------------


def test_a_key_that_comes_and_goes(
    engine_config: ClusterConfig, cluster: Cluster, orders: Table
) -> None:
    """Deadlocks and duplicate keys between processes are tried again."""
    with ExitStack() as stack:
        producers = [Producer(stack.enter_context(Cluster(engine_config))) for _ in range(4)]

        def work(number: int) -> None:
            producer = producers[number % 4]
            for turn in range(10):
                if (number + turn) % 2:
                    producer.put("orders", {**KEY, "price": number})
                else:
                    producer.delete("orders", KEY)

        for done in at_once([lambda n=n: work(n) for n in range(12)]):  # type: ignore[misc]
            done.result()
    assert damage(cluster, orders) == []


def test_many_threads_share_two_connections(
    engine_config: ClusterConfig, cluster: Cluster, orders: Table
) -> None:
    with small_pool(engine_config, 2) as producer:

        def work(number: int) -> None:
            producer.put("orders", {"id": f"i{number}", "at": "1"})
            add(producer)

        for done in at_once([lambda n=n: work(n) for n in range(60)]):  # type: ignore[misc]
            done.result()
    assert len(items_of(cluster, orders)) == 61
    assert count_of(cluster, orders) == 60


@contextmanager
def locked(cluster: Cluster, orders: Table) -> Iterator[None]:
    """Hold the counter's row, as somebody else's transaction does."""
    row = orders.key_of(STORED_KEY)
    with cluster.shard_of(row.hash).session() as session:
        session.run(
            ("BEGIN", ()),
            (
                f"SELECT 1 FROM {main_table(orders.id)} WHERE hash = %s AND sort = %s FOR UPDATE",
                row,
            ),
        )
        yield
        session.rollback()


@pytest.mark.parametrize("ended", [True, False])
def test_a_frozen_writer_stops_others_only_if_its_session_is_never_ended(
    engine_config: ClusterConfig, orders: Table, monkeypatch: pytest.MonkeyPatch, *, ended: bool
) -> None:
    silence = 2 if ended else 600
    rewrite_session(monkeypatch, f"wait_timeout = {pool_module.WAIT_TIMEOUT}", silence)
    rewrite_session(monkeypatch, "innodb_lock_wait_timeout = 2", 1)
    monkeypatch.setattr(shard_module, "PATIENCE", 30.0 if ended else 4.0)
    with ExitStack() as stack:
        frozen, other = (stack.enter_context(Cluster(engine_config)) for _ in range(2))
        stack.callback(frozen.close)
        stack.enter_context(suppress(ShardUnavailable))  # what the frozen one gets at last
        add(Producer(other))
        with locked(frozen, orders):
            if ended:
                add(Producer(other))
                assert count_of(other, orders) == 2
            else:
                with pytest.raises(ShardUnavailable, match="Lock wait timeout"):
                    add(Producer(other))


def same_shard(cluster: Cluster, orders: Table, count: int) -> list[dict[str, str]]:
    """Keys of other items on the counter's shard."""
    home = cluster.shard_of(orders.key_of(STORED_KEY).hash)
    found = []
    for number in range(1000):
        key = {"id": f"n{number}", "at": "1"}
        stored = {name: {"S": value} for name, value in key.items()}
        if cluster.shard_of(orders.key_of(stored).hash) is home:
            found.append(key)
    return found[:count]


def rewrite_session(monkeypatch: pytest.MonkeyPatch, setting: str, value: int) -> None:
    """Give new connections another value of a setting."""
    name = setting.partition(" = ")[0]
    changed = [text.replace(setting, f"{name} = {value}") for text in pool_module.SESSION_SETTINGS]
    assert tuple(changed) != pool_module.SESSION_SETTINGS
    monkeypatch.setattr(pool_module, "SESSION_SETTINGS", tuple(changed))


def noting_timeouts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let MySQL give up a lock after a second, and note when it does."""
    rewrite_session(monkeypatch, "innodb_lock_wait_timeout = 2", 1)
    timeouts: list[int] = []

    def noting(error: Exception, where: str) -> Any:
        if error.args and error.args[0] == 1205:
            timeouts.append(1205)
        return translate(error, where)

    monkeypatch.setattr(pool_module, "translate", noting)
    return timeouts


def test_a_lock_that_is_held_for_longer_than_the_servers_patience(
    engine_config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those who wait for the item come through afterwards, those of other items at once."""
    add(Producer(cluster))
    others = same_shard(cluster, orders, 20)
    timeouts = noting_timeouts(monkeypatch)
    with small_pool(engine_config, 2) as producer, ThreadPoolExecutor(40) as pool:
        with locked(cluster, orders):
            waiting = [pool.submit(add, producer) for _ in range(40)]
            eventually(lambda: len(timeouts) >= 2)
            for key in others:
                producer.put("orders", key)
            assert not any(done.done() for done in waiting)
        for done in waiting:
            done.result(60)
    assert count_of(cluster, orders) == 41
    assert damage(cluster, orders) == []


@contextmanager
def no_mutexes(*_: object) -> Iterator[float]:
    yield float("inf")


def test_control_without_mutexes_a_hot_item_takes_all_connections(
    engine_config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoMutexes:
        held = staticmethod(no_mutexes)

    add(Producer(cluster))
    (other,) = same_shard(cluster, orders, 1)
    monkeypatch.setattr(commit, "row_mutexes_of", lambda _: NoMutexes)
    monkeypatch.setattr(group_commit, "AT_ONCE", 2)  # so that two wait at once
    shard = cluster.shard_of(orders.key_of(STORED_KEY).hash)
    with small_pool(engine_config, 2, wait=0.5) as producer, ThreadPoolExecutor(2) as pool:
        with locked(cluster, orders):
            waiting = [pool.submit(add, producer) for _ in range(2)]
            eventually(lambda: locks_waited_for(shard) >= 2)
            with pytest.raises(ShardUnavailable, match="connections were busy"):
                producer.put("orders", other)
        for done in waiting:
            done.result(60)


def locks_waited_for(shard: DynamoDBShard) -> int:
    """How many sessions are at the statement that locks an item's row."""
    rows = select(
        shard,
        "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE id <> CONNECTION_ID() AND info LIKE %s",
        "SELECT hash, sort, version, item FROM %",
    )
    return int(rows[0][0])


def test_all_writes_of_a_hot_item_use_few_connections(
    engine_config: ClusterConfig, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[int] = set()
    run = Session.run

    def noting(self: Session, *statements: Any) -> Any:
        if any(text.startswith("INSERT INTO mynamo_outbox") for text, _ in statements):
            used.add(self.identity[0])
        return run(self, *statements)

    with Cluster(engine_config) as cluster:
        producer = Producer(cluster)
        add(producer)
        monkeypatch.setattr(Session, "run", noting)
        for done in at_once([lambda: add(producer)] * 30):
            done.result()
    assert len(used) <= group_commit.AT_ONCE
