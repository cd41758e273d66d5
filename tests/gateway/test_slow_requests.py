"""The log of slow requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.gateway import log_throttle, slow_requests
from mynamo.gateway.service import Service
from mynamo.schemas.config import ClusterConfig, LogConfig
from mynamo.schemas.gateway_config import GatewayConfig
from tests.rows import make_table

SECRET = "nobody may read this"
ITEM = {"id": {"S": SECRET}, "at": {"S": "1"}, "name": {"S": SECRET}}


@pytest.fixture
def slow_config(config: ClusterConfig) -> ClusterConfig:
    """Every request is slow."""
    return config.model_copy(update={"log": LogConfig(slow_request_seconds=1e-9)})


@pytest.fixture
def service(slow_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(log_throttle, "EVERY_SECONDS", 0.0)
    with Cluster(slow_config) as cluster:
        make_table(cluster)
        yield Service(cluster, GatewayConfig())


def call(service: Service, operation: str, **request: Any) -> int:
    body = orjson.dumps({"TableName": "orders", **request})
    return service.call(operation, body, {}, "ID").status


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of the lines, without what differs each time."""
    found = [vars(r)["fields"] for r in caplog.records if r.name == slow_requests.__name__]
    return [{k: v for k, v in each.items() if k not in ("seconds", "request")} for each in found]


def test_it_says_what_was_slow_and_nothing_of_items(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    assert call(service, "PutItem", Item=ITEM) == 200
    key = {name: ITEM[name] for name in ("id", "at")}
    assert call(service, "GetItem", Key=key) == 200
    query = {"KeyConditionExpression": "id = :id", "ExpressionAttributeValues": {":id": ITEM["id"]}}
    assert call(service, "Query", **query) == 200
    assert (
        call(service, "PutItem", Item=ITEM, ConditionExpression="attribute_not_exists(id)") == 400
    )
    assert call(service, "GetItem", Key={"id": ITEM["id"]}) == 400
    put, get, found, refused, wrong = told(caplog)
    shard = put["shard"]
    assert put == {"operation": "PutItem", "table": "orders", "shard": shard}
    assert get == {"operation": "GetItem", "table": "orders", "shard": shard}
    assert found["plan"].startswith(f"primary key on shard {shard}")
    assert refused["error"] == "ConditionalCheckFailedException"
    assert wrong == {"operation": "GetItem", "table": "orders", "error": "ValidationException"}
    assert SECRET not in str([vars(each) for each in caplog.records])
    assert all(vars(each)["fields"]["request"] == "ID" for each in caplog.records)


def test_one_line_a_second_and_how_many_there_were_besides(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_throttle, "EVERY_SECONDS", 3600.0)
    for _ in range(4):
        call(service, "ListTables")
    monkeypatch.setattr(log_throttle, "EVERY_SECONDS", 0.0)
    call(service, "ListTables")
    first, last = told(caplog)
    assert "more" not in first
    assert last["more"] == 3


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_what_is_quick_is_not_logged(
    config: ClusterConfig, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    quick = config.model_copy(update={"log": LogConfig(slow_request_seconds=seconds)})
    with Cluster(quick) as cluster:
        assert call(Service(cluster, GatewayConfig()), "ListTables") == 200
    assert told(caplog) == []
