"""What several integration tests begin with: a cluster, its parts, a proxy to a shard, a bench."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.local.state import config_toml
from mynamo.log import Publisher
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from tests.damages import to_damage
from tests.fake_log import Bench
from tests.operations import Damage
from tests.proxy import Proxy
from tests.rows import make_table


@pytest.fixture
def config_file(config: ClusterConfig, tmp_path: Path) -> Path:
    """The configuration of the test's own cluster, as commands read it."""
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(config))
    return path


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    """The test's own cluster; a file that overrides `config` has it of that configuration."""
    with Cluster(config) as opened:
        yield opened


@pytest.fixture
def other(config: ClusterConfig, cluster: Cluster) -> Iterator[Cluster]:
    """The same cluster in another process, which hears of nothing that the first one does."""
    with Cluster(config) as opened:
        yield opened


@pytest.fixture
def orders(cluster: Cluster) -> Table:
    """The table `orders`."""
    return make_table(cluster)


@pytest.fixture
def producer(cluster: Cluster) -> Iterator[Producer]:
    with Producer(cluster) as opened:
        yield opened


@pytest.fixture
def read(cluster: Cluster) -> Reader:
    return Reader(cluster)


@pytest.fixture
def publisher(config: ClusterConfig) -> Iterator[Publisher]:
    opened = Publisher(config.kafka)
    yield opened
    opened.close()


@pytest.fixture
def damage(config: ClusterConfig, cluster: Cluster) -> Damage:
    """A table whose indexes are complete, for a test to damage."""
    return to_damage(config, cluster)


@pytest.fixture
def proxy(engine_config: ClusterConfig) -> Iterator[Proxy]:
    """A proxy before the server of the shards."""
    shard = engine_config.shards[0]
    with Proxy(shard.host, shard.port) as standing_between:
        yield standing_between


@pytest.fixture
def through(engine_config: ClusterConfig, proxy: Proxy, orders: Table) -> ClusterConfig:
    """The way to the shards through the proxy."""
    shards = tuple(s.model_copy(update={"port": proxy.port}) for s in engine_config.shards)
    return engine_config.model_copy(update={"shards": shards})


@pytest.fixture
def bench(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A cluster with the table `orders`, whose relays and indexers move when the test says so."""
    bench = Bench(config, monkeypatch)
    make_table(bench.cluster, local_indexes=[], global_indexes=[])
    yield bench
    bench.close()
