"""Signatures: what botocore signs is accepted, and nothing else is."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlencode, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from mynamo.gateway.auth.claims import AnyCredentials
from mynamo.gateway.auth.credentials import of_pairs
from mynamo.gateway.auth.signatures import MISMATCH, Signatures
from mynamo.gateway.http.messages import Request
from mynamo.gateway.service_errors import ServiceError
from mynamo.schemas.gateway_config import AccessKey

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
STAMP = "20260304T050607Z"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEY = AccessKey(access_key_id="AKIDEXAMPLE", secret_access_key=SecretStr(SECRET))
OTHER = AccessKey(access_key_id="OTHER", secret_access_key=SecretStr("another-secret"))
TEMPORARY = AccessKey(
    access_key_id="ASIATEMP",
    secret_access_key=SecretStr("temporary-secret"),
    session_token=SecretStr("the-token"),
)
SIGNATURES = Signatures(of_pairs([KEY, OTHER, TEMPORARY]).get, "us-east-1", clock=NOW.timestamp)
TARGET = "DynamoDB_20120810.PutItem"


def sign(
    url: str = "http://localhost:8000/",
    body: bytes = b"{}",
    headers: dict[str, str] | None = None,
    *,
    key: AccessKey = KEY,
    secret: str | None = None,
    token: str | None = None,
    region: str = "us-east-1",
    service: str = "dynamodb",
    when: dt.datetime = NOW,
    signer: Any = botocore.auth.SigV4Auth,
    **options: Any,
) -> Request:
    """A request as botocore signs it, and as our server receives it."""
    credentials = Credentials(
        key.access_key_id, secret or key.secret_access_key.get_secret_value(), token
    )
    request = AWSRequest(
        "POST", url, data=body, headers={"X-Amz-Target": TARGET, **(headers or {})}
    )
    with mock.patch("botocore.auth.get_current_datetime", return_value=when.replace(tzinfo=None)):
        signer(credentials, service, region, **options).add_auth(request)
    parts = urlsplit(request.url)
    sent = {name.lower(): value for name, value in request.headers.items()}
    as_received = {
        name: (value if isinstance(value, str) else value.decode("latin-1"))
        .encode("utf-8")
        .decode("latin-1")
        .strip(" \t")
        for name, value in sent.items()
    }
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return Request("POST", target or "/", {"host": parts.netloc, **as_received}, body)


def refusal(request: Request, signatures: Signatures = SIGNATURES) -> tuple[str, str | None]:
    """Kind and message of what a request is refused with."""
    with pytest.raises(ServiceError) as caught:
        signatures.check(request)
    assert caught.value.status == 400
    return caught.value.kind, caught.value.message


def changed(request: Request, **headers: str | None) -> Request:
    """A request with other headers; None takes one away."""
    kept = {**request.headers, **{n.replace("_", "-"): v for n, v in headers.items()}}
    return Request(
        request.method,
        request.target,
        {name: value for name, value in kept.items() if value is not None},
        request.body,
    )


NOT_SIGNED_OR_NOT_OURS = {"expect", "host", "date", "authorization", "content-length", "user-agent"}
HEADER_NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{0,12}\Z").filter(
    lambda name: name not in NOT_SIGNED_OR_NOT_OURS and not name.startswith(("x-am", "transfer-"))
)
HEADER_VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "))
SEGMENTS = st.sampled_from(["a", ".", "..", "", "b%20c", "%C3%A9", "~x", "a+b"])


@given(
    body=st.binary(max_size=200),
    headers=st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=4),
    segments=st.lists(SEGMENTS, max_size=5),
    key=st.sampled_from([KEY, OTHER]),
)
def test_what_botocore_signs_is_accepted(
    body: bytes, headers: dict[str, str], segments: list[str], key: AccessKey
) -> None:
    SIGNATURES.check(sign("http://localhost:8000/" + "/".join(segments), body, headers, key=key))


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"\A[A-Za-z0-9_.~-]{1,5}\Z"),
            st.sampled_from(["", "a", "%20", "a%2Fb", "%C3%A9", "~", "%2B"]),
        ),
        max_size=4,
    )
)
def test_queries_are_part_of_the_signature(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    request = sign(f"http://localhost:8000/?{query}")
    SIGNATURES.check(request)
    request.target = f"/?{query}&more=1" if query else "/?more=1"
    assert refusal(request) == ("InvalidSignatureException", MISMATCH)


@given(st.data())
def test_one_bit_more_or_less_is_refused(data: st.DataObject) -> None:
    request = sign(body=b'{"TableName": "t"}', headers={"X-Extra": "some value"})
    SIGNATURES.check(request)
    what = data.draw(st.sampled_from(["signature", "body", "x-amz-target", "x-extra", "host"]))
    if what == "body":
        request.body = _flipped(request.body, data)
    elif what == "signature":
        before, _, signature = request.headers["authorization"].rpartition("=")
        flipped = _flipped(signature.encode(), data).decode("latin-1")
        request = changed(request, authorization=f"{before}={flipped}")
        with pytest.raises(ServiceError):  # a comma or a space in it makes it another header
            SIGNATURES.check(request)
        return
    else:
        value = _flipped(request.headers[what].encode(), data).decode("latin-1")
        request = changed(request, **{what.replace("-", "_"): value})
    assert refusal(request) == ("InvalidSignatureException", MISMATCH)


def _flipped(text: bytes, data: st.DataObject) -> bytes:
    place = data.draw(st.integers(0, len(text) - 1))
    bit = data.draw(st.integers(0, 6))
    return text[:place] + bytes([text[place] ^ (1 << bit)]) + text[place + 1 :]


def test_header_values_are_compared_without_their_extra_spaces() -> None:
    request = sign(headers={"X-Extra": "a b"})
    SIGNATURES.check(changed(request, x_extra="  a   b "))
    assert refusal(changed(request, x_extra="ab")) == ("InvalidSignatureException", MISMATCH)


def test_several_headers_of_one_name_count_in_their_order() -> None:
    request = sign(headers={"X-Extra": "one,two"})
    SIGNATURES.check(request)  # as the server joins them
    assert refusal(changed(request, x_extra="two,one"))[1] == MISMATCH


@pytest.mark.parametrize("stated", ["e3b0c442", "UNSIGNED-PAYLOAD"])
def test_a_stated_hash_must_be_the_bodys(stated: str) -> None:
    assert refusal(sign(headers={"X-Amz-Content-SHA256": stated}))[1] == MISMATCH


def test_a_wrong_secret() -> None:
    assert refusal(sign(secret="not-the-secret")) == ("InvalidSignatureException", MISMATCH)


def test_an_unknown_key() -> None:
    stranger = AccessKey(access_key_id="STRANGER", secret_access_key=SecretStr("x" * 20))
    assert refusal(sign(key=stranger)) == (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )


@pytest.mark.parametrize("token", [None, "", "another", "the-tokem"])
def test_a_session_token_must_be_the_right_one(token: str | None) -> None:
    SIGNATURES.check(sign(key=TEMPORARY, token="the-token"))
    assert refusal(sign(key=TEMPORARY, token=token))[0] == "UnrecognizedClientException"


def test_a_session_token_that_nobody_gave_out() -> None:
    assert refusal(sign(token="invented"))[0] == "UnrecognizedClientException"


def test_credentials_that_have_expired() -> None:
    for expires, good in ((NOW + dt.timedelta(seconds=1), True), (NOW - dt.timedelta(1), False)):
        key = TEMPORARY.model_copy(update={"expires": expires})
        signatures = Signatures(of_pairs([key]).get, "us-east-1", clock=NOW.timestamp)
        request = sign(key=key, token="the-token")
        if good:
            signatures.check(request)
        else:
            assert refusal(request, signatures) == (
                "ExpiredTokenException", "The security token included in the request is expired"
            )  # fmt: skip


def test_the_window_of_time() -> None:
    for seconds in (-900, -899, 0, 899, 900):
        SIGNATURES.check(sign(when=NOW + dt.timedelta(seconds=seconds)))
    assert refusal(sign(when=NOW - dt.timedelta(seconds=901))) == (
        "InvalidSignatureException",
        "Signature expired: 20260304T045106Z is now earlier than 20260304T045107Z "
        "(20260304T050607Z - 15 min.)",
    )
    assert refusal(sign(when=NOW + dt.timedelta(seconds=901))) == (
        "InvalidSignatureException",
        "Signature not yet current: 20260304T052108Z is still later than 20260304T052107Z "
        "(20260304T050607Z + 15 min.)",
    )


def test_the_scope() -> None:
    assert refusal(sign(region="eu-west-1")) == (
        "InvalidSignatureException",
        "Credential should be scoped to a valid region, not 'eu-west-1'. ",
    )
    assert refusal(sign(service="s3")) == (
        "InvalidSignatureException",
        "Credential should be scoped to correct service: 'dynamodb'. ",
    )
    request = sign()
    header = request.headers["authorization"]
    term = changed(request, authorization=header.replace("aws4_request", "aws5_request"))
    assert "'aws4_request', not 'aws5_request'" in str(refusal(term)[1])
    day = changed(request, authorization=header.replace("/20260304/", "/20260303/"))
    assert str(refusal(day)[1]).startswith("Date in Credential scope does not match YYYYMMDD")


def test_the_operation_and_the_host_must_be_signed() -> None:
    request = sign()
    header = request.headers["authorization"]
    for name, wording in (("host", "'Host' or ':authority'"), ("x-amz-target", "'X-Amz-Target'")):
        kept = header.replace(f"{name};", "").replace(f";{name}", "")
        kind, message = refusal(changed(request, authorization=kept))
        assert kind == "InvalidSignatureException"
        assert message == f"{wording} must be a 'SignedHeader' in the AWS Authorization."


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer x"])
def test_no_signature_at_all(header: str | None) -> None:
    for check in (SIGNATURES.check, AnyCredentials().check):
        with pytest.raises(ServiceError) as caught:
            check(changed(sign(), authorization=header))
        assert caught.value.kind == "MissingAuthenticationTokenException"
        assert caught.value.message == "Request is missing Authentication Token"


INCOMPLETE = [
    (
        "AWS4-HMAC-SHA256 ",
        "Authorization header requires 'Credential' parameter. "
        "Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. "
        "Authorization=AWS4-HMAC-SHA256 ",
    ),
    (
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, Signature=",
        "Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. "
        "Authorization=AWS4-HMAC-SHA256 Credential=a/b/c/d/e, Signature=",
    ),
    (
        "AWS4-HMAC-SHA256 Credential=a b, SignedHeaders=host, Signature=x",
        "'b' not a valid key=value pair (missing equal-sign) in Authorization header: "
        "'AWS4-HMAC-SHA256 Credential=a b, SignedHeaders=host, Signature=x'.",
    ),
    ("AWS4-FOO Credential=a", "Unsupported AWS 'algorithm': 'AWS4-FOO'."),
]  # fmt: skip


@pytest.mark.parametrize(("header", "message"), INCOMPLETE)
def test_a_signature_of_the_wrong_form(header: str, message: str) -> None:
    for check in (SIGNATURES.check, AnyCredentials().check):
        with pytest.raises(ServiceError) as caught:
            check(changed(sign(), authorization=header))
        assert (caught.value.kind, caught.value.message) == (
            "IncompleteSignatureException", message
        )  # fmt: skip


def test_no_date() -> None:
    request = changed(sign(), x_amz_date=None)
    kind, message = refusal(request)
    assert kind == "IncompleteSignatureException"
    assert message == (
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
        f"Authorization={request.headers['authorization']}"
    )


def test_a_date_in_the_headers_of_http() -> None:
    """The signature names X-Amz-Date; a client that signs Date instead is understood too."""
    request = changed(sign(), x_amz_date=None, date="Wed, 04 Mar 2026 05:06:07 GMT")
    assert refusal(request) == ("InvalidSignatureException", MISMATCH)  # understood, not signed
    assert refusal(changed(sign(), x_amz_date="yesterday")) == (
        "IncompleteSignatureException",
        "Date must be in ISO-8601 'basic format'. Got 'yesterday'. "
        "See http://en.wikipedia.org/wiki/ISO_8601",
    )


def test_a_credential_without_its_scope() -> None:
    request = sign()
    header = request.headers["authorization"].replace("/us-east-1/dynamodb/aws4_request", "")
    kind, message = refusal(changed(request, authorization=header))
    assert kind == "IncompleteSignatureException"
    assert message == (
        "Credential must have exactly 5 slash-delimited elements, e.g. "
        "keyid/date/region/service/term, got 'AKIDEXAMPLE/20260304'"
    )


def test_presigned_requests() -> None:
    def presigned(when: dt.datetime = NOW, expires: int = 120) -> Request:
        return sign(body=b"", signer=botocore.auth.SigV4QueryAuth, when=when, expires=expires)

    request = presigned()
    assert "authorization" not in request.headers
    SIGNATURES.check(request)
    SIGNATURES.check(presigned(NOW - dt.timedelta(seconds=120)))
    assert refusal(presigned(NOW - dt.timedelta(seconds=121))) == (
        "InvalidSignatureException",
        "Signature expired: 20260304T050406Z is now earlier than 20260304T050407Z "
        "(20260304T050607Z - 2 min.)",
    )
    over = presigned(NOW - dt.timedelta(seconds=1), expires=0)
    assert "expired" in str(refusal(over)[1])
    longer = Request(
        "POST", request.target.replace("Expires=120", "Expires=999"), request.headers, request.body
    )
    assert refusal(longer) == ("InvalidSignatureException", MISMATCH)
    both = changed(request, authorization=sign().headers["authorization"])
    assert "Found both 'X-Amz-Algorithm'" in str(refusal(both)[1])
    cut = Request("POST", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256", request.headers, request.body)
    assert str(refusal(cut)[1]).startswith("AWS query-string parameters must include 'X-Amz-Cred")


@given(
    st.dictionaries(
        st.sampled_from(["Credential", "Signature", "SignedHeaders", "Date", "Expires"]),
        st.text(),
        min_size=1,
    )
)
@example({"SignedHeaders": "host;x-amz-target;\u0151"})
@example({"SignedHeaders": "host;x-amz-target;\U0001f600"})
@example({"Credential": "AKIDEXAMPLE/20260304/us-east-1/dynamodb/\u0151"})
def test_presigned_requests_of_strangers(parts: dict[str, str]) -> None:
    """Whatever stands in the query, it is refused as AWS would: nothing fails."""
    request = sign(body=b"", signer=botocore.auth.SigV4QueryAuth, expires=120)
    target = urlsplit(request.target)
    query = dict(parse_qsl(target.query))
    query |= {f"X-Amz-{name}": text for name, text in parts.items()}
    request.target = f"{target.path}?{urlencode(query, errors='replace')}"
    with pytest.raises(ServiceError):
        SIGNATURES.check(request)


def test_secrets_are_not_shown() -> None:
    assert SECRET not in repr(KEY)
    assert SECRET not in str(KEY.model_dump())


# -- AWS's own test vectors ----------------------------------------------------------------

VECTORS_AT = dt.datetime(2015, 8, 30, 12, 36, tzinfo=dt.UTC)
VECTOR_TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSP"
    "fIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7"
    "WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8"
    "FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
FORM = b"Param1=value1"
FORM_HASH = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
FORM_HEADERS = {"content-length": "13", "x-amz-content-sha256": FORM_HASH}
FORM_TYPE = "application/x-www-form-urlencoded"
VECTORS: dict[str, tuple[str, dict[str, str], bytes, str]] = {
    "post-vanilla": (
        "/", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-header-key-sort": (
        "/", {"my-header1": "value1"}, b"",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-header-value-case": (
        "/", {"my-header1": "VALUE1"}, b"",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "post-sts-header-before": (
        "/", {"x-amz-security-token": VECTOR_TOKEN}, b"",
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    ),
    "post-vanilla-query": (
        "/?Param1=value1", {}, b"",
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    "post-x-www-form-urlencoded": (
        "/", FORM_HEADERS | {"content-type": FORM_TYPE}, FORM,
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    ),
    "post-x-www-form-urlencoded-parameters": (
        "/", FORM_HEADERS | {"content-type": f"{FORM_TYPE}; charset=utf-8"}, FORM,
        "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
    ),
}  # fmt: skip
"""Target, headers besides host and date, body and signature, of AWS's test suite of Signature
Version 4 as it is in github.com/awslabs/aws-c-auth (tests/aws-signing-test-suite/v4, Apache License
2.0): requests that are posted to "/", as all of DynamoDB's are, and signed in a header."""
PRESIGNED = (
    "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2F"
    "service%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
    "&X-Amz-Signature=2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b"
)
"""The target of the suite's post-vanilla when it is signed in the query."""


@pytest.fixture
def of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite signs for a service that is named "service"."""
    monkeypatch.setattr("mynamo.gateway.auth.signatures.SERVICE", "service")


def from_vector(name: str) -> tuple[Request, Signatures]:
    """A request of the suite, and who checks it, at its time."""
    target, more, body, digits = VECTORS[name]
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", **more}
    headers["authorization"] = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={';'.join(sorted(headers))}, Signature={digits}"
    )
    token = more.get("x-amz-security-token")
    key = KEY.model_copy(update={"session_token": SecretStr(token)}) if token else KEY
    signatures = Signatures(of_pairs([key]).get, "us-east-1", clock=VECTORS_AT.timestamp)
    return Request("POST", target, headers, body), signatures


@pytest.mark.usefixtures("of_the_suite")
@pytest.mark.parametrize("name", VECTORS)
def test_requests_of_the_test_suite_of_aws_are_accepted_and_no_others(name: str) -> None:
    request, signatures = from_vector(name)
    signatures.check(request)
    for part in (name for name in request.headers if name not in ("authorization", "x-amz-date")):
        other = changed(request, **{part: request.headers[part] + "x"})
        with pytest.raises(ServiceError):
            signatures.check(other)
    with pytest.raises(ServiceError):
        signatures.check(Request("POST", request.target, request.headers, request.body + b"x"))
    with pytest.raises(ServiceError):
        signatures.check(Request("PUT", request.target, request.headers, request.body))


@pytest.mark.usefixtures("of_the_suite")
def test_a_presigned_request_of_the_test_suite_of_aws() -> None:
    signatures = Signatures(of_pairs([KEY]).get, "us-east-1", clock=VECTORS_AT.timestamp)
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    signatures.check(Request("POST", PRESIGNED, headers))
    assert refusal(Request("POST", PRESIGNED, headers, b"x"), signatures)[1] == MISMATCH


def test_a_body_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the client states the hash or not."""
    body = b'{"TableName": "orders"}'
    hashed: list[bytes] = []
    sha256 = hashlib.sha256

    def noting(data: bytes) -> Any:
        hashed.append(data)
        return sha256(data)

    request = sign(body=body, headers={"X-Amz-Content-SHA256": sha256(body).hexdigest()})
    monkeypatch.setattr(hashlib, "sha256", noting)
    SIGNATURES.check(request)
    assert hashed.count(body) == 1
    other = Request(request.method, request.target, request.headers, body + b" ")
    assert refusal(other) == ("InvalidSignatureException", MISMATCH)
