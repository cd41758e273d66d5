"""Authentication over HTTP: botocore's own requests, and those of strangers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from mynamo.gateway.auth import Signatures
from mynamo.schemas.gateway import AccessKey
from tests.gateway.conftest import client_of
from tests.gateway.raw import post, wire
from tests.gateway.stand_in import StandIn, stand_in

KEYS = (
    AccessKey(access_key_id="FIRST", secret_access_key=SecretStr("first-secret")),
    AccessKey(access_key_id="SECOND", secret_access_key=SecretStr("second-secret")),
)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[StandIn, str]]:
    with stand_in(Signatures(KEYS, "us-east-1")) as made:
        yield made


def refusal(client: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        client.list_tables()
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.mark.parametrize(
    ("key", "secret"), [("FIRST", "first-secret"), ("SECOND", "second-secret")]
)
def test_each_pair_counts(served: tuple[StandIn, str], key: str, secret: str) -> None:
    client = client_of(served[1], key=key, secret=secret)
    for text in ("plain", 'with "quotes", \u00e9 and \U0001f600', "x" * 100_000):
        client.put_item(TableName="orders", Item={"id": {"S": text}})
        assert json.loads(served[0].calls[-1][1])["Item"]["id"]["S"] == text


def test_pairs_are_not_mixed(served: tuple[StandIn, str]) -> None:
    called = len(served[0].calls)
    assert refusal(client_of(served[1], key="FIRST", secret="second-secret"))[0] == (
        "InvalidSignatureException"
    )
    assert refusal(client_of(served[1], key="THIRD", secret="first-secret")) == (
        "UnrecognizedClientException", "The security token included in the request is invalid."
    )  # fmt: skip
    assert len(served[0].calls) == called


def test_another_region(served: tuple[StandIn, str]) -> None:
    import boto3

    client = boto3.client(
        "dynamodb", endpoint_url=served[1], region_name="eu-west-1",
        aws_access_key_id="FIRST", aws_secret_access_key="first-secret",
    )  # fmt: skip
    assert refusal(client) == (
        "InvalidSignatureException",
        "Credential should be scoped to a valid region, not 'eu-west-1'. ",
    )


def test_an_unsigned_request_costs_no_parsing_of_megabytes(served: tuple[StandIn, str]) -> None:
    """What an unsigned request is told depends on its JSON only where that is small."""
    for body, kind in ((b"{", "Serialization"), (b"{" * 100_000, "MissingAuthenticationToken")):
        with wire(served[1]) as client:
            client.send(post(body, headers={"Authorization": "-"}))
            assert kind in json.loads(client.hear().body)["__type"]
    with wire(served[1]) as client:
        coded = {"Authorization": "-", "Content-Encoding": "gzip"}
        client.send(post(gzip.compress(b"{"), headers=coded))
        assert "MissingAuthenticationToken" in json.loads(client.hear().body)["__type"]


def test_health_and_greeting_need_no_signature(served: tuple[StandIn, str]) -> None:
    for path in (b"/", b"/health"):
        with wire(served[1]) as client:
            client.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            assert client.hear().status == 200


def test_nothing_unsigned_gets_through(served: tuple[StandIn, str]) -> None:
    called = len(served[0].calls)
    for headers in ({"Authorization": "-"}, {}, {"Authorization": "Bearer x"}):
        with wire(served[1]) as client:
            client.send(post(headers=headers))
            assert client.hear().status == 400
    assert len(served[0].calls) == called
