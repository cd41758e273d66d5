"""Definitions change once, whichever connection is lost in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from mynamo.catalog import catalog as catalog_module
from mynamo.catalog import definitions, time_to_live
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.roll_forward import is_complete
from mynamo.catalog.tables import Table
from mynamo.errors import AlreadyExists, ShardUnavailable
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema, TableSchema
from tests.expiring import enabled
from tests.proxy import Fault, Proxy
from tests.rows import everywhere

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("orders")]

SECOND = TableSchema.parse(
    {
        "name": "second",
        "hash_key": "id",
        "sort_key": "at",
        "local_indexes": [{"name": "by_price", "sort_key": "price:N"}],
        "global_indexes": [{"name": "by_name", "hash_key": "name"}],
    }
)
BY_SIZE = GlobalIndexSchema.model_validate({"name": "by_size", "hash_key": "size:N"})
COMMITTED = b"version = version + 1;COMMIT"
"""Ends a change of the catalog."""


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture
def changing(through: ClusterConfig, proxy: Proxy) -> Iterator[Cluster]:
    """A process whose connections to all servers lead through the proxy."""
    catalog = through.catalog.model_copy(update={"port": proxy.port})
    with Cluster(through.model_copy(update={"catalog": catalog})) as opened:
        yield opened


@pytest.fixture(params=["lose_request", "lose_answer"])
def fault(request: pytest.FixtureRequest) -> Fault:
    """Each way to lose a statement."""
    return cast(Fault, request.param)


@contextmanager
def losing(proxy: Proxy, words: bytes, fault: Fault) -> Iterator[None]:
    """Lose a statement, which there must be, and its connection."""
    proxy.on(words, fault)
    yield
    assert proxy.struck.is_set()


def known_everywhere(cluster: Cluster, table: Table) -> bool:
    """Whether every shard has the table's definition, and nothing is left to do."""
    versions = everywhere(cluster, "SELECT version FROM mynamo_fence WHERE id = %s", table.id)
    return is_complete(table) and versions == [(table.version,)] * len(cluster.shards)


@pytest.mark.parametrize(
    "lost",
    [
        b"INSERT INTO mynamo_tables", b"INSERT INTO mynamo_indexes", COMMITTED, b"GET_LOCK",
        b"CREATE TABLE", b"INSERT INTO mynamo_fence", b"'ACTIVE'",
    ],
)  # fmt: skip
def test_a_table_is_made_once_whatever_is_lost(
    cluster: Cluster, changing: Cluster, proxy: Proxy, lost: bytes, fault: Fault
) -> None:
    with losing(proxy, lost, fault):
        made = definitions.create_table(changing, SECOND)
    found = cluster.refresh().names["second"]
    assert found == made
    assert [index.name for index in found.indexes] == ["by_price", "by_name"]
    assert known_everywhere(cluster, found)
    with pytest.raises(AlreadyExists):  # which is the truth now
        definitions.create_table(changing, SECOND)


def test_two_that_make_a_table_at_once_are_told_apart(
    cluster: Cluster, changing: Cluster, proxy: Proxy
) -> None:
    """Also where the one that is too late has lost its first attempt."""
    proxy.on(b"INSERT INTO mynamo_tables", "lose_request")
    open_session = changing.catalog.pool.session
    calls: list[int] = []

    def overtaken() -> Any:
        calls.append(1)
        if len(calls) == 2:
            definitions.create_table(cluster, SECOND)
        return open_session()

    changing.catalog.pool.session = overtaken  # type: ignore[method-assign]
    with pytest.raises(AlreadyExists):
        definitions.create_table(changing, SECOND)
    assert proxy.struck.is_set()


def without_retry(once: Callable[[], Any], *_: Any) -> Any:
    return once()


def test_control_without_another_attempt_the_callers_own_table_is_in_the_way(
    changing: Cluster, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "retry", without_retry)
    proxy.on(COMMITTED, "lose_answer")
    with pytest.raises(ShardUnavailable):
        definitions.create_table(changing, SECOND)
    with pytest.raises(AlreadyExists):
        definitions.create_table(changing, SECOND)


def test_control_without_a_mark_the_second_attempt_takes_the_first_ones_table_for_anothers(
    changing: Cluster, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_table_with", lambda *_: None)
    proxy.on(COMMITTED, "lose_answer")
    with pytest.raises(AlreadyExists):
        definitions.create_table(changing, SECOND)


@pytest.mark.parametrize(
    "lost",
    [
        b"SELECT status FROM mynamo_indexes", b"'DELETING'", COMMITTED, b"GET_LOCK",
        b"UPDATE mynamo_fence", b"DROP TABLE", b"DELETE FROM mynamo_indexes",
    ],
)  # fmt: skip
def test_an_index_is_dropped_once_whatever_is_lost(
    cluster: Cluster, changing: Cluster, orders: Table, proxy: Proxy, lost: bytes, fault: Fault
) -> None:
    with losing(proxy, lost, fault):
        definitions.drop_index(changing, "orders", "by_name")
    found = cluster.refresh().names["orders"]
    assert [index.name for index in found.indexes] == ["by_price"]
    assert found.version == orders.version + 1
    assert known_everywhere(cluster, found)


def test_control_what_is_not_looked_at_again_is_dropped_twice(
    cluster: Cluster,
    changing: Cluster,
    orders: Table,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A version more, for which every writer reads the catalog again."""
    monkeypatch.setattr(catalog_module, "_index_status", lambda *_: "ACTIVE")
    proxy.on(COMMITTED, "lose_answer")
    definitions.drop_index(changing, "orders", "by_name")
    assert cluster.refresh().names["orders"].version == orders.version + 2


@pytest.mark.parametrize(
    "lost", [b"'PLANNED'", COMMITTED, b"GET_LOCK", b"CREATE TABLE", b"UPDATE mynamo_fence"]
)
def test_an_index_is_added_once_whatever_is_lost(
    cluster: Cluster, changing: Cluster, orders: Table, proxy: Proxy, lost: bytes, fault: Fault
) -> None:
    with losing(proxy, lost, fault):
        index = definitions.add_index(changing, "orders", BY_SIZE)
    found = cluster.refresh().names["orders"]
    assert found.index("by_size") == index
    assert (index.status, index.since) == ("CREATING", orders.version + 1)
    assert found.version == orders.version + 1
    assert known_everywhere(cluster, found)


@pytest.mark.parametrize(
    "lost",
    [
        b"'PLANNED'", b"INSERT INTO mynamo_indexes", COMMITTED, b"GET_LOCK", b"CREATE TABLE",
        b"UPDATE mynamo_fence",
    ],
)  # fmt: skip
def test_time_to_live_is_enabled_once_whatever_is_lost(
    cluster: Cluster, changing: Cluster, orders: Table, proxy: Proxy, lost: bytes, fault: Fault
) -> None:
    with losing(proxy, lost, fault):
        index = time_to_live.enable(changing, "orders", "until")
    found = cluster.refresh().names["orders"]
    assert found.time_to_live == index
    assert (index.status, index.since) == ("CREATING", orders.version + 1)
    assert found.version == orders.version + 1
    assert known_everywhere(cluster, found)


@pytest.mark.parametrize(
    "lost",
    [
        b"'DELETING'", COMMITTED, b"GET_LOCK", b"UPDATE mynamo_fence", b"DROP TABLE",
        b"DELETE FROM mynamo_indexes",
    ],
)  # fmt: skip
def test_time_to_live_is_disabled_once_whatever_is_lost(
    cluster: Cluster, changing: Cluster, proxy: Proxy, lost: bytes, fault: Fault
) -> None:
    enabled(cluster)
    version = cluster.table("orders").version
    with losing(proxy, lost, fault):
        time_to_live.disable(changing, "orders")
    found = cluster.refresh().names["orders"]
    assert found.time_to_live is None
    assert found.version == version + 1
    assert known_everywhere(cluster, found)
