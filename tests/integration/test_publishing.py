"""Queued writes and a broker that comes back as another one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.errors import LogUnavailable
from mynamo.local import LocalCluster
from mynamo.log import publisher
from mynamo.producer import Producer
from tests.rows import make_table
from tests.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def servers(private_cluster: Callable[..., LocalCluster]) -> LocalCluster:
    """With a broker that keeps nothing on its disk.

    It makes a topic anew, with four partitions, as soon as a client asks for it.
    """
    return private_cluster(shards=1, buffer_pool="64M", partitions=4)


def publishes(producer: Producer) -> bool:
    """Whether Kafka takes a queued write."""
    command = producer.queued_put("orders", {"id": "a", "at": "1"})
    try:
        producer.publish(command)
    except LogUnavailable:
        return False
    return True


@pytest.mark.parametrize("replaced", [True, False])
def test_a_producer_outlives_its_broker(
    servers: LocalCluster, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python's own producer may never find its way to topics that were made anew; so
    one that failed is replaced. Should the control fail, that is no longer needed."""
    monkeypatch.setattr(publisher, "PATIENCE", 5.0)
    with Cluster(servers.config) as cluster, Producer(cluster) as producer:
        make_table(cluster)
        assert publishes(producer)
        if not replaced:
            monkeypatch.setattr(publisher.Publisher, "discard", lambda *_: None)
        servers.kill_broker()
        servers.start_broker()
        if replaced:
            eventually(lambda: publishes(producer), 60)
        else:
            assert not publishes(producer)
            assert not publishes(producer)
