"""How long a call waits is its caller's to say, or its manager's, for whatever it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.errors import InvalidRequest, ShardUnavailable, Unavailable, WriteOutcomeUnknown
from mynamo.manager import HashBasedShardManager
from mynamo.mysql.pool import Session
from mynamo.producer import Put
from mynamo.runtime import deadlines
from mynamo.schemas.config import ClusterConfig
from mynamo.writer.transaction.commit import row_mutexes_of
from tests.proxy import Proxy
from tests.rows import items_of

pytestmark = pytest.mark.slow

KEY = {"id": "a", "at": "1"}
SHORT = 0.4
NAMED = r"timeout of 0\.4 s"
BOUND = 25.0
"""Seconds in which a call with a short timeout ends, be the machine ever so busy, and one without
does not."""
Call = Callable[[HashBasedShardManager], object]
WRITES: dict[str, Call] = {
    "put": lambda m: m.producer.put("orders", KEY, timeout=SHORT),
    "update": lambda m: m.producer.update("orders", KEY, set={"n": 1}, timeout=SHORT),
    "delete": lambda m: m.producer.delete("orders", KEY, timeout=SHORT),
    "insert": lambda m: m.insert("orders", KEY, timeout=SHORT),
    "write_batch": lambda m: raised(m.producer.write_batch([Put("orders", KEY)], timeout=SHORT)),
}
READS: dict[str, Call] = {
    "get": lambda m: m.reader.get("orders", KEY, timeout=SHORT),
    "batch_get": lambda m: m.reader.batch_get({"orders": [KEY]}, timeout=SHORT),
    "transact_get": lambda m: m.reader.transact_get([("orders", KEY)], timeout=SHORT),
    "query": lambda m: m.reader.query("orders", "a", timeout=SHORT),
    "scan": lambda m: m.reader.scan("orders", timeout=SHORT),
    "query_all": lambda m: list(m.reader.query_all("orders", "a", timeout=SHORT)),
    "manager": lambda m: m.get("orders", KEY, timeout=SHORT),
}


def raised(outcomes: list[Any]) -> None:
    """Raise the first of a batch's errors."""
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture
def manager(through: ClusterConfig) -> Iterator[HashBasedShardManager]:
    with HashBasedShardManager(through) as opened:
        opened.get("orders", KEY)  # shards have been looked at
        opened.get("orders", {"id": "b", "at": "1"})
        yield opened


def bounded(call: Callable[[], object]) -> None:
    """Make a call, which must end long before any limit that is not its own."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(call).result(BOUND)


@pytest.mark.parametrize("name", [*WRITES, *READS])
def test_a_shard_that_says_nothing_is_waited_for_as_long_as_the_call_says(
    manager: HashBasedShardManager, proxy: Proxy, name: str
) -> None:
    proxy.on(b"BEGIN" if name in WRITES else b"SELECT", "stall")
    with pytest.raises(ShardUnavailable, match=NAMED):
        bounded(lambda: (WRITES | READS)[name](manager))
    assert proxy.struck.is_set()
    proxy.release()


def test_control_the_clusters_own_limit_is_longer(
    manager: HashBasedShardManager, proxy: Proxy
) -> None:
    proxy.on(b"SELECT", "stall")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(manager.reader.get, "orders", KEY)
        assert proxy.struck.wait(BOUND)
        with pytest.raises(TimeoutError):
            waiting.result(2 * SHORT)
        proxy.release()
        assert waiting.result(BOUND) is None


@pytest.mark.parametrize("call", [*WRITES.values(), *READS.values()], ids=[*WRITES, *READS])
def test_so_is_one_that_refuses(manager: HashBasedShardManager, proxy: Proxy, call: Call) -> None:
    proxy.refuse()
    with pytest.raises(ShardUnavailable, match=NAMED):
        bounded(lambda: call(manager))


def test_what_became_of_a_commit_is_asked_for_as_long_as_the_call_says(
    manager: HashBasedShardManager, proxy: Proxy, cluster: Cluster, orders: Table
) -> None:
    proxy.on(b";COMMIT", "lose_server")
    with pytest.raises(WriteOutcomeUnknown, match=r"outcome_timeout of 0\.3 s"):
        bounded(lambda: manager.producer.put("orders", KEY, timeout=20, outcome_timeout=0.3))
    assert len(items_of(cluster, orders)) == 1


@pytest.mark.parametrize("call", [*WRITES.values(), *READS.values()], ids=[*WRITES, *READS])
def test_a_manager_has_timeouts_for_all_calls(
    through: ClusterConfig, proxy: Proxy, call: Call
) -> None:
    with HashBasedShardManager(through, timeout=0.7, outcome_timeout=0.2) as manager:
        proxy.refuse()
        with pytest.raises(ShardUnavailable, match=r"timeout of 0\.7 s"):
            bounded(lambda: manager.producer.put("orders", KEY))
        with pytest.raises(ShardUnavailable, match=r"timeout of 0\.7 s"):
            bounded(lambda: manager.get("orders", KEY))
        with pytest.raises(ShardUnavailable, match=NAMED):
            bounded(lambda: call(manager))
        proxy.accept()
        proxy.on(b";COMMIT", "lose_server")
        with pytest.raises(WriteOutcomeUnknown, match=r"outcome_timeout of 0\.2 s"):
            bounded(lambda: manager.producer.put("orders", KEY))


def test_an_item_that_somebody_holds(cluster: Cluster, orders: Table, manager: Any) -> None:
    shard = cluster.shard_of(orders.key_of({"id": {"S": "a"}, "at": {"S": "1"}}).hash)
    place = (orders.id, orders.key_of({"id": {"S": "a"}, "at": {"S": "1"}}))
    mine = manager.cluster.shards[shard.id]
    with (
        row_mutexes_of(mine).held([place]),
        pytest.raises(ShardUnavailable, match=r"0\.4 s \(timeout"),
    ):
        bounded(lambda: manager.producer.put("orders", KEY, timeout=SHORT))
    with shard.session() as session:
        session.run(("BEGIN", ()), ("SELECT version FROM mynamo_fence FOR UPDATE", ()))
        with pytest.raises(ShardUnavailable, match=NAMED):
            bounded(lambda: manager.producer.put("orders", KEY, timeout=SHORT))
        session.rollback()
    assert manager.producer.put("orders", KEY, timeout=BOUND).version


def test_connections_that_are_all_busy(through: ClusterConfig) -> None:
    pool = through.pool.model_copy(update={"size": 2})
    small = through.model_copy(update={"pool": pool})
    with HashBasedShardManager(small) as manager, ExitStack() as stack:
        for shard in [s for s in manager.cluster.shards.values() for _ in range(2)]:
            stack.enter_context(shard.session())
        with pytest.raises(ShardUnavailable, match=NAMED):
            bounded(lambda: manager.reader.get("orders", KEY, timeout=SHORT))


def test_a_connection_has_no_deadline_once_its_call_has_ended(
    manager: HashBasedShardManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines_of: dict[Session, float | None] = {}
    end_at = Session.end_at

    def noted(session: Session, ends_at: float | None) -> None:
        deadlines_of[session] = ends_at
        end_at(session, ends_at)

    monkeypatch.setattr(Session, "end_at", noted)
    for _ in range(3):
        manager.producer.put("orders", KEY, timeout=BOUND)
    assert any(deadlines_of.values())
    for shard in manager.cluster.shards.values():
        with shard.session() as session:
            assert deadlines_of[session] is None
    assert deadlines.end() is None


WRONG: list[Any] = [0, -1, float("nan"), "5", True]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_no_timeout_is_refused(manager: HashBasedShardManager, wrong: Any) -> None:
    calls: list[Callable[..., object]] = [
        lambda **t: manager.producer.put("orders", KEY, **t),
        lambda **t: manager.producer.delete("orders", KEY, **t),
        lambda **t: manager.producer.write_batch([], **t),
        lambda **t: manager.insert("orders", KEY, **t),
    ]
    for name in ("timeout", "outcome_timeout"):
        for call in calls:
            with pytest.raises(InvalidRequest, match=f"^{name} must be a number of seconds"):
                call(**{name: wrong})
    with pytest.raises(InvalidRequest, match=r"^timeout must be a number"):
        manager.producer.publish(timeout=wrong)
    with pytest.raises(InvalidRequest, match=r"^timeout must be a number"):
        manager.wait_until_active("orders", timeout=wrong)
    if wrong != 0 or wrong is False:
        with pytest.raises(InvalidRequest, match=r"^timeout must be a number"):
            manager.reader.query("orders", "a", timeout=wrong)
    with pytest.raises(InvalidRequest, match=r"^timeout must be a number"):
        manager.reader.get("orders", KEY, timeout=wrong)


def test_kafka_that_does_not_answer(manager: HashBasedShardManager) -> None:
    command = manager.producer.queued_put("orders", KEY)
    with pytest.raises(Unavailable, match="Kafka"):
        bounded(lambda: manager.producer.publish(command, timeout=SHORT))
