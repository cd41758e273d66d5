"""HTTP: what clients of all kinds send, and that none of them costs another anything."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mynamo.errors import ConfigError
from mynamo.gateway.http.bodies import MOST_MEMBERS
from mynamo.gateway.http.guard import PIPELINED, GuardedProtocol
from mynamo.gateway.http.server import listen
from mynamo.local.ports import is_free
from mynamo.schemas.gateway_config import GatewayConfig
from tests.gateway.raw import Heard, Wire, has_ipv6, post, wire
from tests.gateway.stand_in import TIMEOUT, StandIn, stand_in
from tests.waiting import eventually

Served = tuple[StandIn, str]
SMALL: dict[str, Any] = {"body_bytes": 200_000, "header_bytes": 8_192, "buffered_bytes": 1_048_576}
FAST: dict[str, Any] = dict.fromkeys(
    ("header_seconds", "body_seconds", "idle_seconds", "answer_seconds"), 0.4
)
UNKNOWN_OPERATION = {"__type": "com.amazon.coral.service#UnknownOperationException"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with stand_in() as made:
        yield made


@pytest.fixture
def small() -> Iterator[Served]:
    with stand_in(**SMALL) as made:
        yield made


@pytest.fixture
def hurried() -> Iterator[Served]:
    with stand_in(**FAST) as made:
        yield made


def ask(url: str, data: bytes) -> Heard:
    """One request on a connection of its own."""
    with wire(url) as client:
        client.send(data)
        return client.hear()


def chunked(body: bytes, size: int = 1000) -> bytes:
    """A body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def chunked_head() -> bytes:
    """A request up to its chunked body."""
    return post(b"", headers={"Content-Length": "-", "Transfer-Encoding": "chunked"})


# Answers.


def test_an_answer_has_what_sdks_look_for(served: Served) -> None:
    heard = ask(served[1], post(b'{"a": 1}'))
    assert (heard.status, heard.body) == (200, b'{"a": 1}')
    assert heard.headers["content-type"] == "application/x-amz-json-1.0"
    assert heard.headers["x-amz-crc32"] == str(zlib.crc32(heard.body))
    assert re.fullmatch("[0-9A-Z]{52}", heard.headers["x-amzn-requestid"])
    assert heard.headers["x-mynamo-consistency-token"] == "t"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", heard.headers["date"])
    assert ask(served[1], post()).headers["x-amzn-requestid"] != heard.headers["x-amzn-requestid"]


def test_the_greeting_and_the_health(served: Served) -> None:
    heard = ask(served[1], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (heard.status, heard.body) == (200, b"healthy: dynamodb.us-east-1.amazonaws.com ")
    for path in (b"/health", b"/healthz", b"/health?x=1"):
        heard = ask(served[1], b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert (heard.status, json.loads(heard.body)) == (200, {"status": "ok"})


def test_head_announces_a_body_and_sends_none(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = client.until(b"\r\n\r\n")
        assert b"content-length: 42" in head
        client.send(post())
        assert client.hear().body == b"{}"


@pytest.mark.parametrize(
    "headers",
    [{"X-Amz-Target": target} for target in ("-", "", "ListTables", "DynamoDB_20120810.No",
     "DynamoDB_20111205.ListTables", "DynamoDB_20120810.listtables")],
)  # fmt: skip
def test_an_operation_that_does_not_exist(served: Served, headers: dict[str, str]) -> None:
    heard = ask(served[1], post(headers=headers))
    assert (heard.status, json.loads(heard.body)) == (400, UNKNOWN_OPERATION)


@pytest.mark.parametrize(
    "operation", ["DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"]
)
def test_operations_of_streams_have_a_prefix_of_their_own(served: Served, operation: str) -> None:
    target = {"X-Amz-Target": f"DynamoDBStreams_20120810.{operation}"}
    assert ask(served[1], post(b"[1]", headers=target)).status == 200
    assert served[0].calls[-1] == (operation, b"[1]")
    for unknown in ("DynamoDBStreams_20120810.ListTables", f"DynamoDB_20120810.{operation}"):
        heard = ask(served[1], post(headers={"X-Amz-Target": unknown}))
        assert (heard.status, json.loads(heard.body)) == (400, UNKNOWN_OPERATION)


@pytest.mark.parametrize("kind", ["-", "", "text/plain", "application/x-amz-json-1.1", "json"])
def test_another_content_type(served: Served, kind: str) -> None:
    heard = ask(served[1], post(headers={"Content-Type": kind}))
    assert (heard.status, heard.body) == (404, b"<UnknownOperationException/>\n")


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-amz-json-1.0; charset=utf-8", "Application/JSON"]
)
def test_content_types_that_mean_the_same(served: Served, kind: str) -> None:
    assert ask(served[1], post(headers={"Content-Type": kind})).status == 200


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH", b"TRACE"])
def test_other_methods(served: Served, method: bytes) -> None:
    assert ask(served[1], post().replace(b"POST", method, 1)).status == 404


@pytest.mark.parametrize("path", [b"/x", b"/health", b"/healthz", b"//", b"/health/"])
def test_only_one_path_takes_requests(served: Served, path: bytes) -> None:
    called = len(served[0].calls)
    for data in (post(), post(headers={"Authorization": "-"}), post(b"{")):
        heard = ask(served[1], data.replace(b"POST /", b"POST %s" % path, 1))
        assert (heard.status, heard.body) == (404, b"<UnknownOperationException/>\n")
    assert len(served[0].calls) == called
    assert ask(served[1], post().replace(b"POST /", b"POST /?x", 1)).status == 200


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_other_paths_are_not_there(served: Served, method: bytes) -> None:
    for path, status in (
        (b"/", 200), (b"/?x", 200), (b"/health", 200), (b"/healthz", 200), (b"/shell", 404),
        (b"/favicon.ico", 404), (b"/health/x", 404), (b"//", 404), (b"/x?/health", 404),
    ):  # fmt: skip
        with wire(served[1]) as client:
            client.send(b"%s %s HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path))
            assert client.until(b"\r\n").split()[1] == str(status).encode(), path


def test_the_signature_comes_before_all_else(served: Served) -> None:
    for body, headers in (
        (b"{}", {}),
        (b"{", {}),
        (b"{}", {"X-Amz-Target": "DynamoDB_20120810.No"}),
        (b"{}", {"X-Amz-Target": "-"}),
        (b"no gzip", {"Content-Encoding": "gzip"}),
        (b"{}", {"Content-Encoding": "br"}),
    ):
        heard = ask(served[1], post(body, headers={"Authorization": "-", **headers}))
        assert json.loads(heard.body) == {
            "__type": "com.amazon.coral.service#MissingAuthenticationTokenException",
            "message": "Request is missing Authentication Token",
        }
    heard = ask(served[1], post(b"{", headers={"X-Amz-Target": "-"}))
    assert json.loads(heard.body) == {"__type": "com.amazon.coral.service#SerializationException"}


def test_what_nobody_foresaw_is_logged_and_says_nothing(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: bytes) -> bytes:
        raise RuntimeError("the secret is 42")

    before, served[0].reply = served[0].reply, fail
    try:
        heard = ask(served[1], post())
    finally:
        served[0].reply = before
    assert heard.status == 500
    assert json.loads(heard.body) == {
        "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError",
        "message": "Internal server error",
    }
    (logged,) = [each for each in caplog.records if each.exc_info]
    assert vars(logged)["fields"] == {"request": heard.headers["x-amzn-requestid"]}
    assert "the secret is 42" in caplog.text


# Compression.


INFLATED: dict[str | None, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    None: lambda body: body,
}


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"), ("GZip", "gzip"), ("x-gzip", "gzip"), ("deflate", "deflate"),
        ("deflate, gzip", "gzip"), ("deflate, gzip;q=0.5", "deflate"), ("br, zstd", None),
        ("Deflate;Q=0.2,\tGZIP ; q=0.8", "gzip"), ("gzip;q=0", None), ("gzip;q=0.000", None),
        ("gzip;q=0.3, identity", None), ("gzip;q=0.3, identity;q=0.2", "gzip"), ("*", "gzip"),
        ("gzip;q=0, *", "deflate"), ("*;q=0", None), ("gzip, *;q=0", "gzip"),
        ("identity;q=0, deflate", "deflate"), ("identity;q=0", None), ("identity", None),
        ("gzip;q=high", None), ("gzip;level=9", "gzip"), (",;,", None), ("", None), ("-", None),
    ],
)  # fmt: skip
def test_compressed_answers(served: Served, accepted: str, coding: str | None) -> None:
    large = json.dumps({"a": "b" * 20_000}).encode()
    heard = ask(served[1], post(large, headers={"Accept-Encoding": accepted}))
    assert heard.headers.get("content-encoding") == coding
    assert heard.headers["x-amz-crc32"] == str(zlib.crc32(heard.body))  # of what is sent
    assert INFLATED[coding](heard.body) == large
    heard = ask(served[1], post(b"{}", headers={"Accept-Encoding": accepted}))
    assert heard.body == b"{}"  # too small to be worth it


BODY = json.dumps({"a": "b" * 20_000}).encode()
gzipped = partial(gzip.compress, mtime=0)  # the same bytes whenever tests are collected
GZIPPED = gzipped(BODY)


def raw_deflate(body: bytes) -> bytes:
    """A deflate stream without zlib's header, as some clients send it."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        ("gzip", GZIPPED),
        ("GZip", GZIPPED),
        ("x-gzip", GZIPPED),
        ("gzip", gzipped(BODY[:7]) + gzipped(b"") + gzipped(BODY[7:])),
        ("gzip", b"".join(gzipped(BODY[at : at + 100]) for at in range(0, len(BODY), 100))),
        ("gzip", GZIPPED + b"more"),
        ("gzip", GZIPPED + bytes(100_000)),
        ("gzip", gzipped(BODY[:9]) + gzipped(BODY[9:]) + b"\x1f\x8b"),
        ("gzip", gzipped(BODY, 0)),  # in several pieces
        ("deflate", zlib.compress(BODY)),
        ("Deflate", zlib.compress(BODY) + b"more"),
        ("deflate", raw_deflate(BODY)),
        ("identity", BODY),
        ("", BODY),
    ],
)
def test_compressed_requests(served: Served, coding: str, sent: bytes) -> None:
    heard = ask(served[1], post(sent, headers={"Content-Encoding": coding}))
    assert (heard.status, heard.body) == (200, BODY)


@pytest.mark.parametrize(
    ("coding", "sent"),
    [
        ("gzip", b"no gzip"),
        ("gzip", b""),
        ("gzip", GZIPPED[:-9]),
        ("gzip", GZIPPED[:40] + b"!" + GZIPPED[41:]),
        ("gzip", gzipped(BODY) + GZIPPED[:-9]),
        ("gzip", zlib.compress(BODY)),
        ("deflate", b"no deflate"),
        ("deflate", b""),
        ("deflate", zlib.compress(BODY)[:-1]),
        ("deflate", raw_deflate(BODY)[:-1]),
        ("deflate", GZIPPED),
    ],
)
def test_damaged_requests(served: Served, coding: str, sent: bytes) -> None:
    called = len(served[0].calls)
    heard = ask(served[1], post(sent, headers={"Content-Encoding": coding}))
    assert (heard.status, json.loads(heard.body)) == (
        400,
        {
            "__type": "com.amazon.coral.service#SerializationException",
            "Message": f"The body is not valid {coding}",
        },
    )
    assert ask(served[1], post(headers={"Content-Encoding": "br"})).status == 400
    assert len(served[0].calls) == called


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzipped), ("deflate", zlib.compress), ("deflate", raw_deflate),
     ("gzip", lambda body: gzipped(body[:1000]) + gzipped(body[1000:]))],
)  # fmt: skip
def test_requests_that_inflate_too_far(
    small: Served, coding: str, compress: Callable[[bytes], bytes]
) -> None:
    coded = {"Content-Encoding": coding}
    bomb = compress(b" " * 100_000_000)
    assert len(bomb) < SMALL["body_bytes"]
    before = resident()
    assert ask(small[1], post(bomb, headers=coded)).status == 413
    assert resident() - before < 20_000_000
    exactly = b'"' + b"x" * (SMALL["body_bytes"] - 2) + b'"'
    assert ask(small[1], post(compress(exactly), headers=coded)).status == 200
    assert ask(small[1], post(compress(exactly + b" "), headers=coded)).status == 413


def test_a_request_of_too_many_members(small: Served) -> None:
    coded = {"Content-Encoding": "gzip"}
    assert ask(small[1], post(gzipped(b"") * MOST_MEMBERS, headers=coded)).body == b""
    more = gzipped(b"") * (MOST_MEMBERS + 1)
    assert ask(small[1], post(more, headers=coded)).status == 413


# CORS.


def test_pages_of_this_machine_may_call_and_others_may_not(served: Served) -> None:
    for origin in ("http://localhost:8001", "http://127.0.0.1", "https://[::1]:3000"):
        heard = ask(served[1], post(headers={"Origin": origin}))
        assert heard.status == 200
        assert heard.headers["access-control-allow-origin"] == origin
        assert "x-amzn-RequestId" in heard.headers["access-control-expose-headers"]
        assert heard.headers["vary"] == "origin"
    called = len(served[0].calls)
    for origin in ("http://evil.example", "http://localhost.evil.example", "null", "file://",
                   "http://[", ""):  # fmt: skip
        heard = ask(served[1], post(headers={"Origin": origin}))
        assert heard.status == 403
        assert (
            f"cors_origins in its configuration, or the option --cors-origin, names {origin}"
            in json.loads(heard.body)["Message"]
        )
        assert "access-control-allow-origin" not in heard.headers
    assert len(served[0].calls) == called


def test_a_browsers_question_beforehand(served: Served) -> None:
    question = (
        b"OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:8001\r\n"
        b"Access-Control-Request-Method: POST\r\n"
        b"Access-Control-Request-Headers: authorization,x-amz-target\r\n\r\n"
    )
    heard = ask(served[1], question)
    assert (heard.status, heard.body) == (200, b"")
    assert heard.headers["access-control-allow-methods"] == "POST"
    assert heard.headers["access-control-allow-headers"] == "authorization,x-amz-target"
    assert heard.headers["access-control-max-age"] == "172800"
    exposed = heard.headers["access-control-expose-headers"].lower().split(",")
    assert {"x-amzn-requestid", "x-amz-crc32", "x-mynamo-consistency-token"} <= set(exposed)
    refused = ask(served[1], question.replace(b"localhost", b"example.org"))
    assert refused.status == 403
    assert b"cors_origins" in refused.body
    assert not any(name.startswith("access-control") for name in refused.headers)


def test_pages_out_of_files_may_call_if_they_are_named() -> None:
    with stand_in(origins=("localhost", "null", "file://")) as (_, url):
        for origin in ("null", "file://", "http://localhost:8001"):
            heard = ask(url, post(headers={"Origin": origin}))
            assert (heard.status, heard.headers["access-control-allow-origin"]) == (200, origin)
        assert ask(url, post(headers={"Origin": "https://example.com"})).status == 403
    with stand_in(origins=("null",)) as (_, url):
        assert ask(url, post(headers={"Origin": "http://localhost:8001"})).status == 403


def test_every_page_may_call_where_requests_are_signed() -> None:
    with stand_in(origins=("*",)) as (_, url):
        heard = ask(url, post(headers={"Origin": "https://anywhere.example"}))
        assert (heard.status, heard.headers["access-control-allow-origin"]) == (200, "*")


# HTTP itself.


def test_keep_alive_and_its_end(served: Served) -> None:
    with wire(served[1]) as client:
        for n in range(3):
            client.send(post(b"[%d]" % n))
            heard = client.hear()
            assert heard.body == b"[%d]" % n
            assert "connection" not in heard.headers
        client.send(post(headers={"Connection": "close"}))
        assert client.hear().headers["connection"] == "close"
        assert client.ended()
    with wire(served[1]) as client:
        client.send(post().replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        assert client.hear().status == 200
        assert client.ended()


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    bodies = [b"[%d]" % n for n in range(PIPELINED)]
    with wire(served[1]) as client:
        client.send(b"".join(map(post, bodies)))
        assert [client.hear().body for _ in bodies] == bodies
        client.send(post())
        assert client.hear().status == 200


def test_pipelined_requests_are_bounded(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(b"".join(post(b"[%d]" % n) for n in range(PIPELINED + 100)))
        for n in range(PIPELINED):
            assert client.hear().body == b"[%d]" % n
        assert client.hear().headers["connection"] == "close"
        assert client.ended()


def test_a_request_byte_by_byte(served: Served) -> None:
    with wire(served[1]) as client:
        for byte in post(b'{"a": "b"}') + post(b"[2]"):
            client.send(bytes([byte]))
        assert client.hear().body == b'{"a": "b"}'
        assert client.hear().body == b"[2]"


def test_a_chunked_body(served: Served) -> None:
    body = json.dumps({"a": "b" * 100_000}).encode()
    with wire(served[1]) as client:
        client.send(chunked_head() + chunked(body))
        assert client.hear().body == body
        trailed = chunked(b"[1]")[:-2] + b"X-Trailer: y\r\nX-Amz-Target: z\r\n\r\n"
        client.send(chunked_head() + trailed)
        assert client.hear().body == b"[1]"


def test_a_client_that_waits_for_100(served: Served) -> None:
    request = post(b"[1]", headers={"Expect": "100-continue"})
    with wire(served[1]) as client:
        client.send(request[:-3])
        assert client.hear().status == 100
        client.send(b"[1]")
        assert client.hear().body == b"[1]"


def test_a_client_that_offers_http_2_gets_http_1(served: Served) -> None:
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMA"}
    with wire(served[1]) as client:
        client.send(post(b"[1]", headers=offer))
        assert client.hear().body == b"[1]"
        client.send(post(b"[2]"))
        assert client.hear().body == b"[2]"
    with wire(served[1]) as client:
        client.send(post(b"[1]", headers=offer) + post(b"[2]", headers=offer))
        assert [client.hear().body, client.hear().body] == [b"[1]", b"[2]"]


def test_a_client_that_has_said_all_gets_its_answer(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(post(b"[1]"))
        client.socket.shutdown(1)
        assert client.hear().body == b"[1]"
        assert client.ended()


def test_clients_that_leave_are_no_failure(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served[0].hold()
    try:
        for count in (1, 3):
            with wire(served[1]) as client:
                client.send(post(b"[1]") * count + b"POST /")  # and leave in the midst of the next
                served[0].await_calls(1)
        with wire(served[1]) as clock:  # its end comes after theirs
            clock.send(b"nonsense\r\n\r\n")
            assert clock.hear().status == 400
        served[0].let_go()
        assert ask(served[1], post(b"[1]")).body == b"[1]"
    finally:
        served[0].let_go()
    assert not caplog.records


NOT_HTTP = [
    b"\x00\x01\x02\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # somebody tries TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/9.9\r\n\r\n",
    b"POST / HTTP/1.1\r\nNo colon\r\n\r\n",
    b"POST / HTTP/1.1\r\nSpace : before\r\n\r\n",
    b"POST / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
    b"POST / HTTP/1.1\r\nA: nul\x00\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("data", NOT_HTTP)
def test_what_is_not_http(served: Served, data: bytes) -> None:
    with wire(served[1]) as client:
        client.send(data)
        heard = client.hear()
        assert (heard.status, heard.body) == (400, b"")
        assert heard.headers["connection"] == "close"
        assert client.ended()


def test_nonsense_after_a_request_does_not_cost_it_its_answer(served: Served) -> None:
    served[0].hold()
    try:
        with wire(served[1]) as client:
            client.send(post(b"[1]") + b"\x00nonsense\r\n\r\n")
            served[0].let_go()
            assert client.hear().body == b"[1]"
            assert client.ended()
    finally:
        served[0].let_go()


# Limits.


def test_too_large_a_body(small: Served) -> None:
    limit = SMALL["body_bytes"]
    assert ask(small[1], post(b'"' + b"x" * (limit - 2) + b'"')).status == 200
    announced = post(b"", headers={"Content-Length": str(limit + 1)})
    with wire(small[1]) as client:
        client.send(announced)
        heard = client.hear()  # without waiting for what it announces
        assert (heard.status, heard.headers["connection"]) == (413, "close")
        client.send(b"x" * limit)
        assert client.ended()
    heard = ask(small[1], chunked_head() + chunked(b"x" * (limit + 1)))
    assert heard.status == 413
    with wire(small[1]) as client:  # one that sends on and on still reads the answer
        client.send(announced + b"x" * 5_000_000)
        assert client.hear().status == 413
    waits = {"Content-Length": str(limit + 1), "Expect": "100-continue"}
    assert ask(small[1], post(b"", headers=waits)).status == 413


def test_too_large_a_head(small: Served) -> None:
    limit = SMALL["header_bytes"]
    assert ask(small[1], post(headers={"X-Long": "x" * (limit - 600)})).status == 200
    for head in (
        post(headers={"X-Long": "x" * limit}),
        post(headers={f"X-{n}": "x" * 90 for n in range(100)}),
        post().replace(b"POST /", b"POST /" + b"x" * limit, 1),
    ):
        assert ask(small[1], head).status == 431


def test_a_header_that_never_ends_costs_little(served: Served) -> None:
    before = resident()
    with wire(served[1]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        for _ in range(1000):
            client.send(b"x" * 100_000)
        assert client.hear().status == 431
    assert resident() - before < 20_000_000


def test_a_body_of_framing_only_costs_little(small: Served) -> None:
    with wire(small[1]) as client:
        client.send(chunked_head())
        for _ in range(200):
            client.send(b"1;" + b"x" * 1000 + b"\r\ny\r\n")
        assert client.hear().status == 400
    with wire(small[1]) as client:
        client.send(chunked_head() + b"1\r\ny\r\n0\r\n")
        for _ in range(200):
            client.send(b"X-Trailer: " + b"x" * 1000 + b"\r\n")
        assert client.hear().status in (400, 431)


def test_more_requests_than_the_queue_holds_are_told_to_come_again() -> None:
    with stand_in(threads=2, queue=3) as (service, url), ExitStack() as stack:
        service.hold()
        clients = [stack.enter_context(wire(url)) for _ in range(5)]
        for client in clients:
            client.send(post(b"[1]"))
        service.await_calls(2)
        late = stack.enter_context(wire(url))

        def refused() -> Heard:
            late.send(post(b"[9]"))
            heard = late.hear()
            assert heard.status == 503
            return heard

        heard = eventually(refused)
        assert json.loads(heard.body)["__type"] == (
            "com.amazon.coral.service#ServiceUnavailableException"
        )
        service.let_go()
        assert [client.hear().body for client in clients] == [b"[1]"] * 5
        late.send(post(b"[2]"))
        assert late.hear().body == b"[2]"
        assert (b"[9]" in [body for _, body in service.calls]) is False


def test_large_requests_leave_threads_to_small_ones() -> None:
    with stand_in(threads=1) as (service, url), ExitStack() as stack:
        service.hold()
        large = b'"' + b"x" * 100_000 + b'"'
        clients = [stack.enter_context(wire(url)) for _ in range(6)]
        for client in clients:
            client.send(post(large))
        service.await_calls(4)  # all threads for large ones are taken
        other = stack.enter_context(wire(url))
        other.send(post(b"[1]"))
        service.await_calls(1)
        service.let_go()
        assert other.hear().body == b"[1]"
        assert all(client.hear().body == large for client in clients)


# Slow clients.


def test_slow_clients_are_left(hurried: Served) -> None:
    request = post(b"[1]")
    for sent, status in ((b"P", 408), (request[:50], 408), (request[:-1], 408), (b"", None)):
        with wire(hurried[1]) as client:
            client.send(sent)
            if status is not None:
                assert client.hear().status == status
            assert client.ended()


def test_trickling_does_not_help(hurried: Served) -> None:
    with wire(hurried[1]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n")
        client.socket.settimeout(0.05)

        def trickle() -> Heard | None:
            client.send(b"X-A: b\r\n")
            try:
                return client.hear()
            except TimeoutError:
                return None

        heard = eventually(trickle)
        assert heard is not None
        assert heard.status == 408


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(hurried: Served) -> None:
    service, url = hurried
    service.hold()
    with wire(url) as busy, wire(url) as idle:
        idle.send(post(b"[1]"))
        busy.send(post(b"[2]"))
        service.await_calls(2)
        with wire(url) as clock:
            assert clock.ended()  # longer than any of the limits
        service.let_go()
        assert busy.hear().body == b"[2]"
        assert idle.hear().body == b"[1]"
        assert idle.ended()


@pytest.mark.parametrize("requests", [1, 2])  # the second answer waits for the first to be taken
def test_a_client_that_does_not_take_its_answer_is_left(hurried: Served, requests: int) -> None:
    service, url = hurried
    service.reply = lambda _: b"x" * 30_000_000
    with wire(url) as client:
        client.send(post() * requests)
        service.await_calls(1)
        with wire(url) as clock:
            assert clock.ended()

        def broken() -> bool:
            try:
                client.hear()
            except (EOFError, ConnectionError):
                return True
            return False

        assert broken()


def test_200_slow_clients_cost_a_fast_one_nothing() -> None:
    """With two threads: not one of them may wait for a client."""
    request = post(b"[1]" + b" " * 1000)
    with stand_in(threads=2, queue=0) as (service, url), ExitStack() as stack:
        slow = [stack.enter_context(wire(url)) for _ in range(200)]
        for n, client in enumerate(slow):
            client.send(request[: 60 if n % 2 else -500])
        for _ in range(20):
            assert ask(url, post(b"[2]")).body == b"[2]"
        assert len(service.calls) == 20
        slow[0].send(request[-500:])
        assert slow[0].hear().status == 200  # they were connected all the while


def test_large_bodies_of_slow_clients_are_bounded_together() -> None:
    large = b"x" * 900_000
    with stand_in(buffered_bytes=3_000_000) as (_, url), ExitStack() as stack:
        before = resident()
        slow = [stack.enter_context(wire(url)) for _ in range(80)]
        head = post(b"", headers={"Content-Length": "1000000"})
        for client in slow:
            client.send(head + large)
        left = [client for client in slow if not gone(client)]
        assert 1 <= len(left) <= 4
        assert slow[-1] in left  # the slowest go first
        assert resident() - before < 30_000_000
        slow[-1].send(b"y" * 100_000)
        assert slow[-1].hear().status == 200
        assert ask(url, post(b"[1]")).body == b"[1]"


def gone(client: Wire) -> bool:
    """Whether the server has hung up on a client that waits."""
    client.socket.settimeout(1)
    try:
        return client.hear().status == 408
    except TimeoutError:
        return False


def test_with_too_many_clients_the_slowest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mynamo.gateway.http.guard.SLOW_SECONDS", 0.0)
    with stand_in(connections=20) as (_, url), ExitStack() as stack:
        slow = []
        for _ in range(20):
            slow.append(stack.enter_context(wire(url)))
            slow[-1].send(b"POST / HTTP/1.1\r\n")
            if len(slow) == 1:
                ask(url, post(b"[1]"))  # so that it is the first beyond doubt
        for _ in range(30):
            assert ask(url, post(b"[1]")).body == b"[1]"
        assert slow[0].ended()


def test_with_too_many_clients_a_new_one_is_refused_and_kept_connections_stay() -> None:
    with stand_in(connections=5) as (_, url), ExitStack() as stack:
        kept = [stack.enter_context(wire(url)) for _ in range(5)]
        for client in kept:
            client.send(post(b"[1]"))
            assert client.hear().body == b"[1]"
        for _ in range(10):
            with wire(url) as refused:
                heard = refused.hear()
                assert (heard.status, heard.headers["connection"]) == (503, "close")
                assert refused.ended()
        for client in kept:  # also the one that has rested for longest
            client.send(post(b"[2]"))
            assert client.hear().body == b"[2]"
        kept[0].socket.close()
        eventually(lambda: served_at(url))


def served_at(url: str) -> bool:
    """Whether a new client is answered, and not refused."""
    try:
        return ask(url, post(b"[3]")).status == 200
    except ConnectionError:
        return False


def test_control_where_resting_clients_count_as_slow_a_kept_connection_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mynamo.gateway.http.guard.SLOW_SECONDS", 0.0)
    monkeypatch.setattr(GuardedProtocol, "sending_since", property(lambda one: one._since))
    with stand_in(connections=2) as (_, url), ExitStack() as stack:
        kept = [stack.enter_context(wire(url)) for _ in range(2)]
        for client in kept:
            client.send(post(b"[1]"))
            assert client.hear().body == b"[1]"
        assert ask(url, post(b"[2]")).body == b"[2]"
        assert kept[0].ended()


def test_a_rush_of_clients_is_bounded() -> None:
    def open_still(client: Wire) -> bool:
        client.socket.settimeout(0.01)
        try:
            while client.socket.recv(4096):
                pass  # it was refused
        except TimeoutError:
            return True
        except ConnectionError:
            pass
        return False

    with stand_in(connections=5) as (_, url), ExitStack() as stack:
        rush = [stack.enter_context(wire(url)) for _ in range(100)]
        eventually(lambda: sum(map(open_still, rush)) <= 5)
        eventually(lambda: served_at(url))  # those that send nothing make room


def test_what_takes_too_long_when_the_server_stops_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mynamo.gateway.http.server.GRACE_SECONDS", 1)
    with ExitStack() as stack:
        with stand_in() as (service, url):
            worked_on, half = (stack.enter_context(wire(url)) for _ in range(2))
            half.send(post(b"[1]")[:-1])
            service.hold()
            worked_on.send(post(b"[1]"))
            service.await_calls(1)
            heard: list[Heard] = []

            def hear() -> None:
                heard.extend((worked_on.hear(), half.hear()))
                service.let_go()

            hearing = threading.Thread(target=hear)
            hearing.start()
        hearing.join()
        assert [(one.status, one.headers["connection"]) for one in heard] == [(503, "close")] * 2
        assert worked_on.ended()
        assert half.ended()


def test_answers_are_a_connections_last_once_the_server_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also those to a request that comes while the server waits for others."""
    monkeypatch.setattr("mynamo.gateway.http.connection.LAST_REQUEST_SECONDS", TIMEOUT)
    with ExitStack() as stack, stand_in() as (service, url):
        idle, busy, piped = (stack.enter_context(wire(url)) for _ in range(3))
        idle.send(post(b"[1]"))
        assert "connection" not in idle.hear().headers
        service.hold()
        busy.send(post(b"[2]"))
        piped.send(post(b"[3]") + post(b"[4]"))
        service.await_calls(3)
        made = service.server
        made.stop()
        eventually(lambda: not connects(url))
        idle.send(post(b"[5]"))
        service.await_calls(1)
        service.let_go()
        for client, body in ((idle, b"[5]"), (busy, b"[2]")):
            heard = client.hear()
            assert (heard.status, heard.body) == (200, body)
            assert heard.headers["connection"] == "close"
            assert client.ended()
        assert "connection" not in piped.hear().headers
        heard = piped.hear()
        assert (heard.body, heard.headers["connection"]) == (b"[4]", "close")
        assert piped.ended()


def connects(url: str) -> bool:
    """Whether a server takes connections."""
    try:
        with wire(url):
            return True
    except ConnectionRefusedError:
        return False


def test_localhost_is_both_addresses_of_this_machine() -> None:
    with stand_in(host="localhost") as (_, url):
        port = int(url.rpartition(":")[2])
        assert url == f"http://127.0.0.1:{port}"
        for host in ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",):
            with socket.create_connection((host, port), TIMEOUT) as connection:
                client = Wire(connection)
                client.send(post(b"[1]"))
                assert client.hear().body == b"[1]"


def test_a_port_that_is_taken_on_one_of_them_is_taken() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(ConfigError, match=f"localhost:{port}.*in use"):
            listen(GatewayConfig(host="localhost", port=port))
        socket.create_server(("127.0.0.1", port)).close()  # nothing of it is left


def test_a_machine_without_ipv6_has_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    create_server = socket.create_server

    def without_ipv6(address: Any, **options: Any) -> socket.socket:
        if options.get("family") == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return create_server(address, **options)

    monkeypatch.setattr("socket.create_server", without_ipv6)
    (listener,) = listen(GatewayConfig(host="localhost", port=0))
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_memory_is_steady(served: Served) -> None:
    def spend() -> None:
        for _ in range(30):
            with ExitStack() as stack:
                for n in range(10):
                    client = stack.enter_context(wire(served[1]))
                    client.send(post(b'"' + b"x" * 200_000 + b'"')[: n * 20_000])

    spend()
    before = resident()
    spend()
    assert resident() - before < 10_000_000


def resident() -> int:
    """Bytes of memory that this process has, server and all."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
