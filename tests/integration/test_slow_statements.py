"""A statement that takes long is no sign that its server is away."""

from __future__ import annotations

import pytest

from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import ShardUnavailable
from mynamo.mysql import sockets
from mynamo.mysql.circuit_breaker import CircuitBreaker, State
from mynamo.mysql.failures import LostConnection
from mynamo.mysql.pool import ConnectionPool
from mynamo.schemas.config import ClusterConfig, PoolConfig

LIMITS = PoolConfig(breaker_opens_after=0.2)
SLOW = ("SELECT SLEEP(3)", ())


@pytest.fixture
def shard(engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> DynamoDBShard:
    monkeypatch.setattr(sockets, "LOOK_AFTER", 0.3)
    return DynamoDBShard.of(engine_config.shards[0], LIMITS)


def test_a_slow_statement_is_waited_for(
    shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    end_look = CircuitBreaker.end_look

    def noting(self: CircuitBreaker) -> None:
        looks.append(True)
        end_look(self)

    monkeypatch.setattr(CircuitBreaker, "end_look", noting)
    assert shard.run(SLOW)[0].rows == ((0,),)
    assert looks
    assert shard.breaker.state is State.CLOSED
    shard.disconnect()


def test_control_it_is_not_if_no_new_connection_is_answered(
    shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shard.session() as session:

        def frozen(self: ConnectionPool, ends_at: float | None) -> None:
            failure = LostConnection("frozen")
            self.breaker.failed(self.breaker.answered_at + 0.01, failure)
            raise failure

        monkeypatch.setattr(ConnectionPool, "open", frozen)
        with pytest.raises(ShardUnavailable, match="nor does the server answer others"):
            session.run(SLOW)
    assert shard.breaker.state is not State.CLOSED
    shard.disconnect()
