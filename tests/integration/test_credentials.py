"""Credentials: of the configuration and of the catalog, from their commands to refused requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from pydantic import SecretStr

from mynamo.catalog import catalog
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.stored_credentials import add_credential, read_credentials
from mynamo.cli.app import root
from mynamo.errors import AlreadyExists, ConfigError
from mynamo.gateway import catalog_changes
from mynamo.gateway.auth.secrets_at_rest import new_key_pair, sealed, unsealed
from mynamo.local.state import config_toml
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import AccessKey, GatewayConfig
from tests.certificates import Authority
from tests.gateway.conftest import client_of, served
from tests.waiting import eventually

KEY = base64.b64encode(bytes(range(32))).decode()
OWN_ITEMS = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Action": ["dynamodb:*Item", "dynamodb:Query"],
        "Resource": "arn:aws:dynamodb:*:*:table/*",
        "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "${aws:username}"}},
    },
}


ALLOWED = {"Effect": "Allow", "Action": "dynamodb:*"}


def item(owner: str, n: int = 1) -> dict[str, Any]:
    return {"owner": {"S": owner}, "n": {"N": str(n)}}


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "own-items.json"
    path.write_text(json.dumps(OWN_ITEMS))
    return path


@pytest.fixture
def command(engine_config: ClusterConfig, tmp_path: Path) -> Any:
    """Runs `mynamo credentials ...`; gives status and output."""
    path = tmp_path / "mynamo.toml"
    path.write_text(
        config_toml(engine_config)
        + f"""
[gateway]
credentials_key = "{KEY}"
credentials = [{{ access_key_id = "ADMIN", secret_access_key = "admin-secret" }}]
"""
    )

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(root, ["--config", str(path), "credentials", *words])
        return done.exit_code, done.output

    return run


@contextmanager
def clients(config: ClusterConfig, policy: Path) -> Iterator[tuple[str, Any, Any]]:
    """A gateway's URL, and clients of an administrator and of Ann, who has her items only."""
    pairs = (
        AccessKey(access_key_id="ADMIN", secret_access_key=SecretStr("admin-secret")),
        AccessKey(
            access_key_id="ANN", secret_access_key=SecretStr("anns-secret"), name="ann",
            policies=(policy,),
        ),
    )  # fmt: skip
    gateway = GatewayConfig(port=0, credentials=pairs, credentials_key=SecretStr(KEY))
    with served(config, gateway, verify=True) as url:
        admin = client_of(url, key="ADMIN", secret="admin-secret")
        ann = client_of(url, key="ANN", secret="anns-secret")
        yield url, admin, ann
        admin.close()
        ann.close()


def refusal(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_from_the_command_to_a_refused_request(
    engine_config: ClusterConfig, policy: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_changes, "LOOK_EVERY", 0.05)
    with clients(engine_config, policy) as (url, admin, ann):
        admin.create_table(
            TableName="scores",
            AttributeDefinitions=[{"AttributeName": "owner", "AttributeType": "S"},
                                  {"AttributeName": "n", "AttributeType": "N"}],
            KeySchema=[{"AttributeName": "owner", "KeyType": "HASH"},
                       {"AttributeName": "n", "KeyType": "RANGE"}],
            BillingMode="PAY_PER_REQUEST",
        )  # fmt: skip
        admin.put_item(TableName="scores", Item=item("bob"))
        ann.put_item(TableName="scores", Item=item("ann"))
        assert ann.get_item(TableName="scores", Key=item("ann"))["Item"] == item("ann")
        kind, message = refusal(ann.get_item, TableName="scores", Key=item("bob"))
        assert (kind, message) == (
            "AccessDeniedException",
            "User: arn:aws:iam::000000000000:user/ann is not authorized to perform: "
            "dynamodb:GetItem on resource: arn:aws:dynamodb:us-east-1:000000000000:table/scores "
            "because no identity-based policy allows the dynamodb:GetItem action",
        )
        nowhere = refusal(ann.get_item, TableName="nowhere", Key=item("bob"))
        assert nowhere == (kind, message.replace("table/scores", "table/nowhere"))
        assert refusal(ann.scan, TableName="scores")[0] == kind
        both = [
            {"Put": {"TableName": "scores", "Item": item(owner, 2)}} for owner in ("ann", "bob")
        ]
        assert refusal(ann.transact_write_items, TransactItems=both)[0] == kind
        for n, one in enumerate((ann, admin), 2):  # a token is its user's own
            put = {"Put": {"TableName": "scores", "Item": item("ann", n)}}
            one.transact_write_items(TransactItems=[put], ClientRequestToken="t")
            one.delete_item(TableName="scores", Key=item("ann", n))
        assert admin.scan(TableName="scores", Select="COUNT")["Count"] == 2  # nothing of it

        status, output = command("create", "carl", "--policy", str(policy), "--json")
        assert status == 0
        pair = json.loads(output)
        carl = client_of(url, key=pair["access_key_id"], secret=pair["secret_access_key"])

        def answered() -> str:
            """Nothing, if a request was answered; else the error."""
            try:
                carl.put_item(TableName="scores", Item=item("carl"))
            except ClientError as error:
                return str(error.response["Error"]["Code"])
            return ""

        eventually(lambda: answered() == "")
        assert refusal(carl.get_item, TableName="scores", Key=item("ann"))[0] == kind
        everything = policy.with_name("everything.json")
        everything.write_text(json.dumps({"Statement": dict(ALLOWED, Resource="*")}))
        status, output = command(
            "set-policies", "carl", "--policy", str(policy), "--policy", str(everything)
        )
        assert (status, output) == (0, "carl has the policies own-items.json, everything.json\n")

        def sees_anns() -> bool:
            try:
                carl.get_item(TableName="scores", Key=item("ann"))
            except ClientError as error:
                assert error.response["Error"]["Code"] == kind  # noqa: PT017
                return False
            return True

        eventually(sees_anns)
        assert command("set-policies", "carl", "--policy", str(policy))[0] == 0
        eventually(lambda: not sees_anns())
        assert answered() == ""
        assert command("set-policies", "carl", "--no-policies") == (0, "carl may do everything\n")
        eventually(sees_anns)
        assert command("rotate", "carl")[0] == 0
        eventually(lambda: answered() == "UnrecognizedClientException")
        carl.close()
        assert command("revoke", "carl")[0] == 0


SAVED = ("mynamo_cluster", "mynamo_credential")


def saved(cluster: Cluster) -> dict[str, Any]:
    """A backup of what a catalog knows of credentials, and of its version."""
    with cluster.catalog.session() as session:
        return {name: session.run((f"SELECT * FROM {name}", ()))[0].rows for name in SAVED}


def restore(cluster: Cluster, backup: dict[str, Any], version: int | None = None) -> None:
    """Bring it back, with the version that it had, or another one."""
    with cluster.catalog.session() as session:
        for name, rows in backup.items():
            session.run((f"DELETE FROM {name}", ()))
            for row in rows:
                marks = ", ".join(["%s"] * len(row))
                session.run((f"INSERT INTO {name} VALUES ({marks})", row))
        if version is not None:
            session.run(("UPDATE mynamo_cluster SET version = %s", (version,)))


@pytest.mark.parametrize("same_version", [False, True])
def test_a_restored_catalog_counts_with_the_credentials_that_it_has(
    engine_config: ClusterConfig,
    policy: Path,
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
    same_version: bool,
) -> None:
    """Also if its version is by chance the one that the gateway knows."""
    monkeypatch.setattr(catalog_changes, "LOOK_EVERY", 0.05)
    if same_version:
        monkeypatch.setattr(catalog, "READ_ALL_EVERY", 0.2)

    def new(name: str) -> Any:
        pair = json.loads(command("create", name, "--policy", str(policy), "--json")[1])
        return client_of(url, key=pair["access_key_id"], secret=pair["secret_access_key"])

    def counts(client: Any) -> bool:
        kind, _ = refusal(client.list_tables)  # which the policy does not allow
        assert kind in ("AccessDeniedException", "UnrecognizedClientException")
        return kind == "AccessDeniedException"

    with clients(engine_config, policy) as (url, _, _), Cluster(engine_config) as cluster:
        ann = new("ann")
        before = saved(cluster)
        bob = new("bob")
        assert command("revoke", "ann")[0] == 0
        eventually(lambda: counts(bob) and not counts(ann))
        after = saved(cluster)
        now = cluster.refresh().version
        restore(cluster, before, now if same_version else None)
        eventually(lambda: counts(ann) and not counts(bob))
        restore(cluster, after, now if same_version else None)
        eventually(lambda: counts(bob) and not counts(ann))
        for client in (ann, bob):
            client.close()


def with_condition(tmp_path: Path, name: str, **condition: Any) -> AccessKey:
    """A key pair that may list tables under a condition."""
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"Statement": {
        "Effect": "Allow", "Action": "dynamodb:ListTables", "Resource": "*", "Condition": condition,
    }}))  # fmt: skip
    secret = SecretStr("a-long-secret")
    return AccessKey(access_key_id=name, secret_access_key=secret, policies=(path,))


@pytest.mark.parametrize("tls", [False, True])
def test_where_a_request_comes_from_and_how(
    engine_config: ClusterConfig, tmp_path: Path, tls: bool
) -> None:
    pairs = (
        with_condition(tmp_path, "HERE", IpAddress={"aws:SourceIp": "127.0.0.1"}),
        with_condition(tmp_path, "AWAY", NotIpAddress={"aws:SourceIp": "127.0.0.1"}),
        with_condition(tmp_path, "SECURE", Bool={"aws:SecureTransport": "true"}),
        with_condition(tmp_path, "PLAIN", Bool={"aws:SecureTransport": "false"}),
    )
    authority = Authority(tmp_path / "tls")
    cert, key = authority.issue("127.0.0.1") if tls else (None, None)
    gateway = GatewayConfig(port=0, credentials=pairs, cert=cert, key=key)
    allowed = []
    with served(engine_config, gateway, verify=True) as url:
        for pair in pairs:
            client = boto3.client(
                "dynamodb", endpoint_url=url.replace("http:", "https:") if tls else url,
                region_name="us-east-1", aws_access_key_id=pair.access_key_id,
                aws_secret_access_key="a-long-secret", verify=str(authority.file),
            )  # fmt: skip
            try:
                client.list_tables()
                allowed.append(pair.access_key_id)
            except ClientError as error:
                assert error.response["Error"]["Code"] == "AccessDeniedException"  # noqa: PT017
            client.close()
    assert allowed == ["HERE", "SECURE" if tls else "PLAIN"]


def test_a_secret_is_shown_once_and_not_stored(command: Any, engine_config: ClusterConfig) -> None:
    status, output = command("create", "ann")
    assert status == 0
    assert "it may do everything" in output
    lines = dict(line.split("=", 1) for line in output.splitlines() if line.startswith("AWS_"))
    secret = lines["AWS_SECRET_ACCESS_KEY"]
    with Cluster(engine_config) as cluster:
        (stored,) = read_credentials(cluster.catalog)
        with cluster.catalog.session() as session:
            everything = repr(session.run(("SELECT * FROM mynamo_credential", ()))[0].rows)
    assert secret not in everything
    assert stored.access_key_id == lines["AWS_ACCESS_KEY_ID"]
    assert unsealed(stored.sealed, base64.b64decode(KEY), stored.access_key_id) == secret
    status, output = command("list")
    assert (status, secret in output, stored.access_key_id in output) == (0, False, True)


def test_commands_that_are_refused(command: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"Statement": {"Effect": "Allow"}}')
    status, output = command("list")
    assert status == 0
    assert "the catalog has no credentials; see `mynamo credentials create --help`" in output
    status, output = command("create", "ann", "--policy", str(wrong))
    assert status == 1
    assert "wrong.json, Statement: write one of Action and NotAction" in output
    assert command("create", "a b")[0] == 2
    status, output = command("create", "ADMIN")
    assert status == 1
    assert "the configuration has a credential ADMIN; choose another name" in output
    for words in (("rotate",), ("revoke",), ("set-policies", "--no-policies")):
        status, output = command(*words, "ann")
        assert status == 1
        assert "there is no credential ann; `mynamo credentials list` shows" in output
    assert command("create", "ann")[0] == 0
    for options in ((), ("--no-policies", "--policy", str(wrong))):
        status, output = command("set-policies", "ann", *options)
        assert status == 2
        assert "name all policies that it shall have" in output
    status, output = command("set-policies", "ann", "--policy", str(wrong))
    assert status == 1
    assert "wrong.json, Statement: write one of Action and NotAction" in output
    assert json.loads(command("list", "--json")[1])[0]["policies"] == []
    status, output = command("create", "ann")
    assert status == 1
    assert "there is a credential ann; `mynamo credentials rotate ann` gives it" in output


def test_a_repeated_attempt_is_known(engine_config: ClusterConfig) -> None:
    with Cluster(engine_config) as cluster:
        for _ in range(2):
            add_credential(cluster.catalog, "ann", "AKIA1", b"x", [])
        with pytest.raises(AlreadyExists):
            add_credential(cluster.catalog, "ann", "AKIA2", b"x", [])


def test_secrets_can_be_opened_by_their_key_alone() -> None:
    key, other = bytes(32), bytes(31) + b"1"
    access_key_id, secret = new_key_pair()
    data = sealed(secret, key, access_key_id)
    assert unsealed(data, key, access_key_id) == secret
    for opener, identity in ((other, access_key_id), (key, "AKIA" + "A" * 16)):
        with pytest.raises(ConfigError, match="encrypted by another key") as caught:
            unsealed(data, opener, identity)
        assert secret not in str(caught.value)
