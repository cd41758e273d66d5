"""The log of who changed tables and settings, and of who was refused for lack of rights."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from mynamo.catalog.cluster import Cluster
from mynamo.gateway import log_throttle
from mynamo.gateway.context import Sender, Signer
from mynamo.gateway.http.messages import Peer
from mynamo.gateway.policies.policy_decisions import Principal
from mynamo.gateway.service import Service
from mynamo.schemas.config import AUDIT_LOGGER, ClusterConfig, LogConfig
from mynamo.schemas.gateway_config import AccessKey, GatewayConfig
from tests.gateway.conftest import client_of, served

SECRET = "nobody-may-read-this"
KEY = {"id": {"S": SECRET}}
DEFINED: dict[str, Any] = {
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}
ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/"
ANN = Sender(Signer("ann", Principal("ann", ())), Peer("192.0.2.1", False))
BOB = Sender(Signer("bob", Principal("bob", ())), Peer("192.0.2.2", False))


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=AUDIT_LOGGER)


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of the lines."""
    return [vars(record)["fields"] for record in caplog.records if record.name == AUDIT_LOGGER]


def test_who_did_what_to_which_table(
    shared_config: ClusterConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "reads.json"
    allow = {"Effect": "Allow", "Action": "dynamodb:Get*", "Resource": f"{ARN}mine"}
    path.write_text(json.dumps({"Statement": allow}))
    secret = SecretStr(SECRET)
    pairs = (
        AccessKey(access_key_id="AKIAADMIN", secret_access_key=secret),
        AccessKey(
            access_key_id="AKIAANN", secret_access_key=secret, name="ann", policies=(path,)
        ),
    )  # fmt: skip
    config = GatewayConfig(port=0, credentials=pairs)
    with served(shared_config, config, verify=True) as url:
        admin = client_of(url, key="AKIAADMIN", secret=SECRET)
        ann = client_of(url, key="AKIAANN", secret=SECRET)
        first = admin.create_table(TableName="audited", **DEFINED)
        admin.update_table(TableName=f"{ARN}audited", DeletionProtectionEnabled=False)
        admin.tag_resource(ResourceArn=f"{ARN}audited", Tags=[{"Key": "a", "Value": SECRET}])
        admin.untag_resource(ResourceArn=f"{ARN}audited", TagKeys=["a"])
        expiry = {"AttributeName": SECRET, "Enabled": True}
        admin.update_time_to_live(TableName="audited", TimeToLiveSpecification=expiry)
        off = {"PointInTimeRecoveryEnabled": False}
        admin.update_continuous_backups(TableName="audited", PointInTimeRecoverySpecification=off)
        admin.put_item(TableName="audited", Item=KEY)
        admin.get_item(TableName="audited", Key=KEY)
        admin.describe_table(TableName="audited")
        admin.list_tables()
        admin.delete_table(TableName="audited")
        with pytest.raises(ClientError, match="ResourceNotFound"):
            admin.delete_table(TableName="audited")
        with pytest.raises(ClientError, match="AccessDenied"):
            ann.get_item(TableName="audited", Key=KEY)
        admin.close()
        ann.close()
    lines = told(caplog)
    assert lines[0]["request"] == first["ResponseMetadata"]["RequestId"]
    assert all(len(line.pop("request")) == 52 for line in lines)
    by_admin = {"table": "audited", "user": "AKIAADMIN", "address": "127.0.0.1"}
    assert lines == [
        *(
            {"operation": operation, **by_admin, "outcome": "success"}
            for operation in (
                "CreateTable", "UpdateTable", "TagResource", "UntagResource", "UpdateTimeToLive",
                "UpdateContinuousBackups", "DeleteTable",
            )
        ),
        {"operation": "DeleteTable", **by_admin, "outcome": "ResourceNotFoundException"},
        {
            "operation": "GetItem", "table": "audited", "user": "ann", "address": "127.0.0.1",
            "outcome": "AccessDeniedException",
        },
    ]  # fmt: skip
    assert SECRET not in str([vars(record) for record in caplog.records])


def denied(service: Service, sender: Sender, operation: str, **request: Any) -> None:
    answer = service.call(operation, orjson.dumps(request), {}, "ID", sender)
    assert b"AccessDeniedException" in answer.body


@pytest.fixture
def service(shared_config: ClusterConfig) -> Iterator[Service]:
    with Cluster(shared_config) as cluster:
        yield Service(cluster, GatewayConfig())


def test_refusals_of_all_operations_name_their_tables(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_throttle, "EVERY_SECONDS", 0.0)
    both = {name: {"Keys": [KEY]} for name in ("orders", "debts")}
    denied(service, ANN, "BatchGetItem", RequestItems=both)
    denied(service, ANN, "ListTables")
    denied(service, ANN, "TagResource", ResourceArn=f"{ARN}orders", Tags=[])
    elsewhere = "arn:aws:dynamodb:us-east-1:999999999999:table/orders"
    denied(service, ANN, "DescribeTable", TableName=elsewhere)
    found = [(line["operation"], line.get("table")) for line in told(caplog)]
    assert found == [
        ("BatchGetItem", "debts,orders"), ("ListTables", None), ("TagResource", "orders"),
        ("DescribeTable", None),
    ]  # fmt: skip
    assert SECRET not in str([vars(record) for record in caplog.records])


def test_of_failures_a_user_has_one_line_a_second(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_throttle, "EVERY_SECONDS", 3600.0)
    for _ in range(3):
        denied(service, ANN, "ListTables")
    assert service.call("CreateTable", b"{}", {}, "ID", ANN).status == 400
    denied(service, BOB, "ListTables")  # not hidden by Ann's
    off = {"PointInTimeRecoveryEnabled": False}
    body = orjson.dumps({"TableName": "seldom", "PointInTimeRecoverySpecification": off})
    service.call("CreateTable", orjson.dumps({"TableName": "seldom", **DEFINED}), {})
    for _ in range(2):  # what succeeds has a line each time
        assert service.call("UpdateContinuousBackups", body, {}).status == 200
    monkeypatch.setattr(log_throttle, "EVERY_SECONDS", 0.0)
    denied(service, ANN, "ListTables")
    found = [(line.get("user"), line["outcome"], line.get("more")) for line in told(caplog)]
    refused = "AccessDeniedException"
    assert found == [
        ("ann", refused, None), ("bob", refused, None), *[(None, "success", None)] * 3,
        ("ann", refused, 3),
    ]  # fmt: skip


def test_it_can_be_switched_off(
    shared_config: ClusterConfig, caplog: pytest.LogCaptureFixture
) -> None:
    silent = shared_config.model_copy(update={"log": LogConfig(audit=False)})
    with Cluster(silent) as cluster:
        denied(Service(cluster, GatewayConfig()), ANN, "ListTables")
    assert told(caplog) == []
