"""Authentication over HTTP: botocore's own requests, and those of strangers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from pydantic import SecretStr

from mynamo.gateway.auth.credentials import of_pairs
from mynamo.gateway.auth.signatures import Signatures
from mynamo.schemas.gateway_config import AccessKey
from tests.gateway.conftest import client_of
from tests.gateway.raw import post, wire
from tests.gateway.stand_in import StandIn, stand_in

KEYS = (
    AccessKey(access_key_id="FIRST", secret_access_key=SecretStr("first-secret")),
    AccessKey(access_key_id="SECOND", secret_access_key=SecretStr("second-secret")),
)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[StandIn, str]]:
    with stand_in(Signatures(of_pairs(KEYS).get, "us-east-1")) as made:
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


@pytest.mark.parametrize(
    ("hours", "kind", "message"),
    [
        (-1, "InvalidSignatureException", "Signature expired: "),
        (+1, "InvalidSignatureException", "Signature not yet current: "),
        (None, "MissingAuthenticationTokenException", "Request is missing Authentication Token"),
        (0, "InvalidSignatureException", "The request signature we calculated does not match"),
    ],
)
def test_the_signature_comes_before_all_else(
    served: tuple[StandIn, str], hours: int | None, kind: str, message: str
) -> None:
    """A request that is wrong in all its parts hears of its signature."""
    time = (datetime.now(UTC) + timedelta(hours=hours or 0)).strftime("%Y%m%dT%H%M%SZ")
    signature = {
        "X-Amz-Date": time,
        "Authorization": f"AWS4-HMAC-SHA256 Credential=FIRST/{time[:8]}/us-east-1/dynamodb/"
        "aws4_request, SignedHeaders=host;x-amz-target, Signature=abc",
    }
    stated = {"Authorization": "-"} if hours is None else signature
    for body, headers in (
        (b"{}", {}),
        (b"{", {}),
        (b"{" * 100_000, {}),
        (b"{}", {"X-Amz-Target": "DynamoDB_20120810.No"}),
        (b"no gzip", {"Content-Encoding": "gzip"}),
        (gzip.compress(b"{"), {"Content-Encoding": "gzip"}),
    ):
        with wire(served[1]) as client:
            client.send(post(body, headers=stated | headers))
            heard = client.hear()
        said = json.loads(heard.body)
        assert heard.status == 400
        assert said["__type"] == f"com.amazon.coral.service#{kind}"
        assert said["message"].startswith(message)


def test_no_other_path_is_answered(served: tuple[StandIn, str]) -> None:
    """Whether a signature is right or not, which only the answer to `/` says."""
    called = len(served[0].calls)
    request = AWSRequest(
        "POST", served[1] + "/orders", data=b"{}",
        headers={"Content-Type": "application/x-amz-json-1.0",
                 "X-Amz-Target": "DynamoDB_20120810.ListTables"},
    )  # fmt: skip
    SigV4Auth(Credentials("FIRST", "first-secret"), "dynamodb", "us-east-1").add_auth(request)
    for headers in (dict(request.headers.items()), {"Authorization": "-"}, {}):
        with wire(served[1]) as client:
            client.send(post(headers=headers).replace(b"POST /", b"POST /orders", 1))
            assert client.hear().status == 404
    assert len(served[0].calls) == called


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
