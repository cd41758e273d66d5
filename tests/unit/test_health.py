"""The health endpoint's report on servers that answer, fail, or do neither."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import Stream
from mynamo.errors import ShardUnavailable
from mynamo.gateway import health
from mynamo.gateway.health import Health
from mynamo.operations import standstill
from mynamo.operations.standstill import Waiting


class Shard:
    """A shard in some state of health."""

    def __init__(self, number: int, answer: Any = None) -> None:
        self.id = number
        self.asked = 0
        self.overdue: set[Waiting] | Exception = set()
        self._answer = answer

    def health(self) -> float:
        self.asked += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer is not None:
            self._answer.wait(30)
        return 0.001


def cluster_of(*shards: Shard) -> Any:
    """Whose shards own a slot each."""
    by_id = {shard.id: shard for shard in shards}
    slots = [SimpleNamespace(shard_id=id_) for id_ in by_id]
    snapshot = SimpleNamespace(slots=slots)
    return SimpleNamespace(
        refresh=lambda: snapshot, snapshot=snapshot, shards=by_id, configured=by_id
    )


def checked(*shards: Shard) -> Health:
    return Health(cast(Cluster, cluster_of(*shards)))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    def overdue(shard: Shard) -> set[Waiting]:
        if isinstance(shard.overdue, Exception):
            raise shard.overdue
        return shard.overdue

    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(standstill, "overdue", overdue)


def test_all_is_well() -> None:
    made = checked(Shard(1), Shard(2))
    servers = {"catalog": "ok", "shard 1": "ok", "shard 2": "ok"}
    assert made.report() == (True, {"status": "ok", "servers": servers, "indexes": "ok"})
    made.close()


def test_a_shard_that_is_not_configured_counts_once_slots_are_there() -> None:
    cluster = cluster_of(Shard(1), Shard(2))
    cluster.shards, cluster.configured = {1: cluster.shards[1]}, {1: cluster.configured[1]}
    made = Health(cluster)
    servers = {"catalog": "ok", "shard 1": "ok", "shard 2": "not configured"}
    unwell = {"status": "unavailable", "servers": servers, "indexes": "ok"}
    assert made.report() == (False, unwell)
    made.close()
    cluster.snapshot.slots.pop()
    made = Health(cluster)
    del servers["shard 2"]
    assert made.report() == (True, {"status": "ok", "servers": servers, "indexes": "ok"})
    made.close()


def test_a_server_that_fails_is_named_without_its_address() -> None:
    away = ShardUnavailable("shard 2 (10.0.0.7:3306/secret) does not answer")
    made = checked(Shard(1), Shard(2, away), Shard(3, RuntimeError("10.0.0.8")))
    well, details = made.report()
    assert well is False
    assert details == {
        "status": "unavailable",
        "servers": {
            "catalog": "ok",
            "shard 1": "ok",
            "shard 2": "unavailable",
            "shard 3": "failed",
        },
        "indexes": "ok",
    }
    made.close()


def test_a_server_that_hangs_is_not_waited_for_nor_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    hanging = threading.Event()
    shards = Shard(1), Shard(2, hanging)
    made = checked(*shards)
    for _ in range(3):
        well, details = made.report()
        assert (well, cast(dict[str, str], details["servers"])["shard 2"]) == (False, "no answer")
    assert [shard.asked for shard in shards] == [3, 1]
    hanging.set()
    made.close()


def test_asking_often_costs_the_servers_nothing() -> None:
    shard = Shard(1)
    made = checked(shard)
    for _ in range(100):
        made.report()
    assert shard.asked <= 2  # once a second
    made.close()


def test_indexes_that_do_not_move_are_told_of_and_do_not_make_the_gateway_unwell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    now = 1_000.0
    monkeypatch.setattr("mynamo.operations.standstill.time.monotonic", lambda: now)
    one, other = Shard(1), Shard(2)
    made = checked(one, other)

    def indexes() -> object:
        well, details = made.report()
        assert well
        return details["indexes"]

    one.overdue = {Waiting(Stream(1, 3), 500)}
    other.overdue = {Waiting(Stream(2, 3), 500)}
    assert indexes() == "ok"  # they may move before the next look
    now += standstill.UNMOVED
    one.overdue, other.overdue = {Waiting(Stream(1, 3), 600)}, set()
    assert indexes() == "ok"  # behind, but they move
    now += standstill.UNMOVED
    assert indexes() == "standing still"
    one.overdue = set()
    assert indexes() == "ok"
    other.overdue = ShardUnavailable("shard 2 does not answer")
    assert indexes() == "not known"
    made.close()
