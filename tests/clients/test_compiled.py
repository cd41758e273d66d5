"""The AWS SDKs for Java, Go and Rust, and libraries upon them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.operations.resharding import mover, rebalance
from mynamo.schemas.config import ClusterConfig
from tests.clients.conftest import WORKS
from tests.commands import Dev

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("program", ["Enhanced", "Transactions", "Locks", "Streams"])
def test_java(program: str, java: Callable[[str], str]) -> None:
    assert java(program).splitlines()[-1] == WORKS


def test_consumers_in_java_of_a_stream_whose_slots_move(
    java: Callable[..., str], dev: Dev | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dev is None:
        assert java("Consumers").splitlines()[-1] == WORKS
        return
    config = ClusterConfig.load(dev.config)
    monkeypatch.setattr(mover, "CLEAN_AFTER", 1.0)

    def there_and_back() -> None:
        with Cluster(config) as cluster:
            owner = cluster.refresh().slots[0].shard_id
            other = next(id_ for id_ in cluster.shards if id_ != owner)
            rebalance.move_slots(cluster, 0, 511, other)
            rebalance.move_slots(cluster, 0, 511, owner)

    said = java("Consumers", "moves", when={"slots should move": there_and_back})
    assert said.splitlines()[-1] == WORKS


def test_go(go: Callable[[], str]) -> None:
    assert go().splitlines()[-1] == WORKS


def test_rust(rust: Callable[[], str]) -> None:
    assert rust().splitlines()[-1] == WORKS
