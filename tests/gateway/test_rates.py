"""Limits of rates at the gateway: in which order they count, and what an SDK makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from mynamo.catalog.cluster import Cluster
from mynamo.gateway.auth.credentials import of_pairs
from mynamo.gateway.http.server import listen
from mynamo.gateway.rates import RateLimits
from mynamo.gateway.serving import gateway
from mynamo.metrics.request_metrics import RequestMetrics
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import AccessKey, GatewayConfig, RequestRate
from tests.gateway.conftest import client_of
from tests.gateway.raw import running

SECRET = "a-long-secret"
THROTTLED = ("ThrottlingException", 400)
KEY = {"id": {"S": "1"}}


class Clock:
    """Stands still unless a test moves it; in ns."""

    def __init__(self) -> None:
        self.now = 1

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def limited(
    config: ClusterConfig, clock: Clock, folder: Path, *rates: RequestRate
) -> Iterator[tuple[str, CollectorRegistry]]:
    """A gateway with users ANN and BOB, and EVE, who has no rights."""
    path = folder / "none.json"
    path.write_text(json.dumps({"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}))
    secret = SecretStr(SECRET)
    pairs = tuple(
        AccessKey(access_key_id=name, secret_access_key=secret, policies=policies)
        for name, policies in (("ANN", ()), ("BOB", ()), ("EVE", (path,)))
    )
    served = GatewayConfig(port=0, credentials=pairs, rates=rates)
    registry = CollectorRegistry()
    with (
        Cluster(config) as cluster,
        gateway(
            cluster, served, listen(served),
            credentials=of_pairs(pairs), rates=RateLimits(rates, clock),
            metrics=RequestMetrics(registry, 10),
        ) as server,
        running(server) as url,
    ):  # fmt: skip
        yield url, registry


def outcome(call: Any, **request: Any) -> tuple[str, int]:
    """Error and status of an answer."""
    try:
        call(**request)
    except ClientError as error:
        code = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return error.response["Error"]["Code"], code
    return "", 200


def test_an_sdk_gets_through_by_trying_again(
    shared_config: ClusterConfig, clock: Clock, tmp_path: Path
) -> None:
    rate = RequestRate(user="ANN", requests_per_second=1, burst=2)
    with limited(shared_config, clock, tmp_path, rate) as (url, registry):
        ann = client_of(url, key="ANN", secret=SECRET)
        bob = client_of(url, key="BOB", secret=SECRET)
        answers = [outcome(ann.list_tables) for _ in range(3)]
        assert answers == [("", 200), ("", 200), THROTTLED]
        assert outcome(bob.list_tables) == ("", 200)

        patient = boto3.client(
            "dynamodb", endpoint_url=url, region_name="us-east-1",
            aws_access_key_id="ANN", aws_secret_access_key=SECRET,
        )  # fmt: skip

        def wait(response: Any, **_: Any) -> None:
            if response[0].status_code == 400:
                clock.now += 1_000_000_000

        patient.meta.events.register_first("needs-retry.dynamodb.ListTables", wait)
        assert patient.list_tables()["ResponseMetadata"]["RetryAttempts"] == 1
        labels = {"operation": "ListTables", "table": "", "status": "400", "error": THROTTLED[0]}
        assert registry.get_sample_value("mynamo_requests_total", labels) == 2
        for client in (ann, bob, patient):
            client.close()


def test_a_table_has_its_rate_whoever_asks_and_who_may_not_does_not_count(
    shared_config: ClusterConfig, clock: Clock, tmp_path: Path
) -> None:
    """It is refused before the table is looked up: there is none."""
    rate = RequestRate(table="nowhere", requests_per_second=1, burst=2)
    with limited(shared_config, clock, tmp_path, rate) as (url, _):
        ann, bob, eve = (client_of(url, key=name, secret=SECRET) for name in ("ANN", "BOB", "EVE"))
        for _ in range(5):
            denied = outcome(eve.get_item, TableName="nowhere", Key=KEY)
            assert denied == ("AccessDeniedException", 400)
        not_found = ("ResourceNotFoundException", 400)
        assert outcome(ann.get_item, TableName="nowhere", Key=KEY) == not_found
        assert outcome(bob.describe_table, TableName="nowhere") == not_found
        assert outcome(bob.describe_table, TableName="nowhere") == THROTTLED
        assert outcome(ann.get_item, TableName="nowhere", Key=KEY) == THROTTLED
        assert outcome(ann.get_item, TableName="elsewhere", Key=KEY) == not_found
        for client in (ann, bob, eve):
            client.close()


def test_a_user_is_held_to_his_rate_before_his_rights_are_looked_at(
    shared_config: ClusterConfig, clock: Clock, tmp_path: Path
) -> None:
    rate = RequestRate(user="EVE", requests_per_second=1, burst=1)
    with limited(shared_config, clock, tmp_path, rate) as (url, _):
        stranger = client_of(url, key="EVE", secret="another-secret")
        assert outcome(stranger.list_tables) == ("InvalidSignatureException", 400)
        eve = client_of(url, key="EVE", secret=SECRET)  # whose burst the stranger has not used up
        assert outcome(eve.list_tables) == ("AccessDeniedException", 400)
        assert outcome(eve.list_tables) == THROTTLED
        for client in (stranger, eve):
            client.close()
