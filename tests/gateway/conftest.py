"""The gateway in process and over HTTP, each on a cluster with writer and indexer at work.

`service` and `dynamodb` are a test's own, with an empty cluster; the `shared_` ones are one
cluster for a module, for tests that can live with each other's tables (use names of your own).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from kafka import KafkaAdminClient

from mynamo.catalog.cluster import Cluster
from mynamo.gateway.auth.credentials import of_pairs
from mynamo.gateway.http.server import listen
from mynamo.gateway.service import Service
from mynamo.gateway.serving import gateway
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import GatewayConfig
from tests.gateway.blocking import Blocked, watching
from tests.gateway.orders import Orders, orders
from tests.gateway.raw import running
from tests.servers import Servers, drop_topics, own_databases
from tests.workers import pipeline


@pytest.fixture(scope="package", autouse=True)
def blocked() -> Iterator[Blocked]:
    """What blocks an event loop's thread, from before the first gateway starts."""
    with watching() as found:
        yield found


@pytest.fixture(autouse=True)
def never_blocked(blocked: Blocked) -> Iterator[None]:
    """No test's gateway blocks its event loop, whatever it makes of that."""
    yield
    assert blocked.take() == [], "the event loop's thread was blocked"


def client_of(url: str, **options: Any) -> Any:
    """A boto3 client with made-up credentials that tries everything once."""
    return boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=options.pop("key", "anyone"),
        aws_secret_access_key=options.pop("secret", "anything"),
        config=Config(
            retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60,
            max_pool_connections=64, **options,
        ),
    )  # fmt: skip


@contextmanager
def served(
    config: ClusterConfig, gateway_config: GatewayConfig | None = None, *, verify: bool = False
) -> Iterator[str]:
    """Serve a cluster from a thread until the block ends; gives the URL."""
    gateway_config = gateway_config or GatewayConfig(port=0)
    with (
        Cluster(config) as cluster,
        gateway(
            cluster,
            gateway_config,
            listen(gateway_config),
            credentials=of_pairs(gateway_config.credentials) if verify else None,
        ) as server,
        running(server) as url,
    ):
        yield url


@pytest.fixture
def service(config: ClusterConfig) -> Iterator[Service]:
    """The service in process, without HTTP, on a cluster of the test's own."""
    with Cluster(config) as cluster:
        yield Service(cluster, GatewayConfig())


@pytest.fixture
def gateway_url(config: ClusterConfig) -> Iterator[str]:
    """The gateway over HTTP on a cluster of the test's own, which fills its GSIs."""
    with pipeline(config), served(config) as url:
        yield url


@pytest.fixture
def dynamodb(gateway_url: str) -> Iterator[Any]:
    """A boto3 client of `gateway_url`."""
    client = client_of(gateway_url)
    yield client
    client.close()


@pytest.fixture(scope="module")
def shared_config(
    cluster_servers: Servers, kafka_admin: KafkaAdminClient
) -> Iterator[ClusterConfig]:
    """As `config`, for all tests of a module."""
    with own_databases(cluster_servers.config) as own:
        yield own
    drop_topics(kafka_admin, own.kafka)


@pytest.fixture(scope="module")
def shared_url(shared_config: ClusterConfig) -> Iterator[str]:
    """As `gateway_url`, for all tests of a module."""
    with ExitStack() as stack:
        stack.enter_context(pipeline(shared_config))
        yield stack.enter_context(served(shared_config))


@pytest.fixture(scope="module")
def shared_service(shared_config: ClusterConfig) -> Iterator[Service]:
    """As `service`, on the cluster of `shared_url`; GSIs fill if a test uses that too."""
    with Cluster(shared_config) as cluster:
        yield Service(cluster, GatewayConfig())


@pytest.fixture
def table(shared_service: Service) -> Orders:
    """A table of orders of the test's own."""
    return orders(shared_service)


@pytest.fixture(scope="module")
def shared_dynamodb(shared_url: str) -> Iterator[Any]:
    """As `dynamodb`, for all tests of a module."""
    client = client_of(shared_url)
    yield client
    client.close()
