"""The `[gateway]` section: its defaults, its mistakes, and that it shows no secret."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from pydantic import ValidationError

from mynamo.cli.dev import gateway_options
from mynamo.cli.serve import serve
from mynamo.errors import ConfigError
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import GatewayConfig

CLUSTER = """
[catalog]
database = "catalog"

[[shards]]
id = 1
database = "one"
"""
RATE = '{ user = "a", requests_per_second = 1 }'
PAIR = '{ access_key_id = "AKIDEXAMPLE", secret_access_key = "a-secret-of-ours" }'


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MYNAMO_CONFIG", "MYNAMO_SHARD_PASSWORD", "MYNAMO_SHARDS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "mynamo.toml"


def load(path: Path, gateway: str) -> ClusterConfig:
    path.write_text(f"{CLUSTER}\n{gateway}")
    return ClusterConfig.load(path)


def test_what_holds_when_nothing_is_said(path: Path) -> None:
    gateway = load(path, "").gateway
    assert (gateway.host, gateway.port, gateway.region) == ("127.0.0.1", 8000, "us-east-1")
    assert gateway.account_id == "000000000000"
    assert gateway.credentials == ()
    assert gateway.limits.body_bytes == 16 * 1024 * 1024  # as DynamoDB's


def test_several_key_pairs_and_limits(path: Path) -> None:
    other = PAIR.replace("AKIDEXAMPLE", "OTHER").replace(" }", ', session_token = "t" }')
    gateway = load(
        path, f"[gateway]\ncredentials = [{PAIR}, {other}]\n[gateway.limits]\nthreads = 8\n"
    ).gateway
    assert [pair.access_key_id for pair in gateway.credentials] == ["AKIDEXAMPLE", "OTHER"]
    assert gateway.credentials[0].secret_access_key.get_secret_value() == "a-secret-of-ours"
    assert gateway.limits.threads == 8
    assert "a-secret-of-ours" not in repr(gateway)


def test_the_environment_overrides_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNAMO_GATEWAY__PORT", "9000")
    monkeypatch.setenv(
        "MYNAMO_GATEWAY__CREDENTIALS",
        '[{"access_key_id": "FROMOUTSIDE", "secret_access_key": "from-outside"}]',
    )
    gateway = load(path, '[gateway]\nregion = "eu-west-1"\n').gateway
    assert (gateway.port, gateway.region) == (9000, "eu-west-1")
    assert gateway.credentials[0].access_key_id == "FROMOUTSIDE"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (f"credentials = [{PAIR}, {PAIR}]", "two credentials have the same access_key_id"),
        ('credentials = [{ access_key_id = "AKID" }]', "secret_access_key: is missing"),
        ("credentials = [" + PAIR.replace("a-secret-of-ours", "short") + "]", "secret_access_key"),
        ('region = "us east"', "region"),
        ('account_id = "12"', "account_id"),
        ("port = 70000", "port"),
        ('cert = "/nowhere/cert.pem"', "cert"),
        (f'key = "{__file__}"', "a private key needs its certificate"),
        ("limit = 3", "limit"),
        ("credentials = [" + PAIR.replace(" }", ', name = "a b" }') + "]", "name"),
        ("credentials = [" + PAIR.replace(" }", ', policies = ["/nowhere"] }') + "]", "policies"),
        ('credentials_key = "a-secret-of-ours"', "credentials_key: .*openssl rand -base64 32"),
        (f'credentials_key = "{"A" * 40}"', "credentials_key: .*32 bytes in base64"),
        ("rates = [{ requests_per_second = 1 }]", "write one of user and table"),
        (
            'rates = [{ user = "a", table = "abc", requests_per_second = 1 }]',
            "one of user and table",
        ),
        ('rates = [{ user = "a" }]', "requests_per_second: is missing"),
        ('rates = [{ user = "a", requests_per_second = 0 }]', "requests_per_second"),
        ('rates = [{ table = "a b", requests_per_second = 1 }]', "table"),
        (f"rates = [{RATE}, {RATE}]", "two rates are of the same user or table"),
    ],
)
def test_mistakes_are_named_without_secrets(path: Path, wrong: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(path, f"[gateway]\n{wrong}\n")
    assert "a-secret-of-ours" not in str(caught.value)


def test_the_key_of_stored_secrets(path: Path) -> None:
    text = base64.b64encode(bytes(range(32))).decode()
    gateway = load(path, f'[gateway]\ncredentials_key = "{text}"\n').gateway
    assert gateway.stored_secrets_key() == bytes(range(32))
    assert text not in repr(gateway)
    with pytest.raises(ConfigError, match="set it to what `openssl rand -base64 32` prints"):
        load(path, "").gateway.stored_secrets_key()


def test_dev_hands_its_options_on_to_the_gateway() -> None:
    assert gateway_options((), "eventual") == ["--index-reads", "eventual"]
    words = gateway_options(("null", "https://example.com"), "own-writes")
    given = serve.make_context("serve", words).params
    assert given["index_reads"] == "own-writes"
    assert given["cors_origins"] == ("localhost", "null", "https://example.com")


def test_reads_of_indexes_are_eventual_unless_told() -> None:
    assert GatewayConfig().index_reads == "eventual"
    assert GatewayConfig(index_reads="own-writes").index_reads == "own-writes"
    with pytest.raises(ValidationError):
        GatewayConfig.model_validate({"index_reads": "strong"})
