"""Traces of requests, from a client through the gateway and the pipeline to the index."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError

from mynamo.catalog.cluster import Cluster
from mynamo.cli.log_lines import JsonLines
from mynamo.gateway import log_throttle, slow_requests
from mynamo.gateway.http import request_spans
from mynamo.gateway.http.api_protocol import App
from mynamo.gateway.http.cors import Cors
from mynamo.gateway.http.messages import Request
from mynamo.gateway.service import OPERATIONS
from mynamo.runtime import tasks, tracing
from mynamo.schemas.config import ClusterConfig, LogConfig, TracingConfig
from tests.collector import Collector, Recorded, flush, of_this_process, traceparent
from tests.gateway.asking import defined, index, keyed
from tests.gateway.by_hand import connect, get, post
from tests.gateway.conftest import client_of, served
from tests.rows import everywhere
from tests.waiting import eventually
from tests.workers import pipeline

CLIENTS = 40
REQUESTS = 400


@pytest.fixture
def collector() -> Collector:
    return of_this_process()


@pytest.fixture
def traced_config(config: ClusterConfig, collector: Collector) -> ClusterConfig:
    tracing, log = TracingConfig(enabled=True), LogConfig(slow_request_seconds=1e-9)
    return config.model_copy(update={"tracing": tracing, "log": log})


@pytest.fixture
def url(traced_config: ClusterConfig) -> Iterator[str]:
    with ExitStack() as stack:
        stack.enter_context(pipeline(traced_config))
        yield stack.enter_context(served(traced_config))


class Client:
    """A client with a table, that says whose span its requests are beneath."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.header = threading.local()
        self.api = client_of(url)
        self.api.meta.events.register("before-sign.dynamodb", self._add)
        self.api.create_table(
            TableName="orders",
            KeySchema=keyed("id"),
            AttributeDefinitions=defined("id", "name"),
            BillingMode="PAY_PER_REQUEST",
            GlobalSecondaryIndexes=[index("by_name", "name")],
        )
        self.api.get_waiter("table_exists").wait(
            TableName="orders", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def _add(self, request: Any, **_: object) -> None:
        if value := getattr(self.header, "value", None):
            request.headers["traceparent"] = value

    def call(self, operation: str, *, sampled: bool = True, **request: Any) -> tuple[str, str]:
        """Send a request; returns the ids of its trace and of the client's span."""
        trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.header.value = traceparent(trace_id, span_id, sampled=sampled)
        try:
            getattr(self.api, operation)(**request)
        except ClientError as error:
            self.error = error
        finally:
            self.header.value = None
        return trace_id, span_id

    def put(self, key: str, *, sampled: bool = True, **more: Any) -> tuple[str, str]:
        item = {"id": {"S": key}, "name": {"S": f"name-{key}"}}
        return self.call("put_item", sampled=sampled, TableName="orders", Item=item, **more)


@pytest.fixture
def client(url: str) -> Client:
    return Client(url)


def names(spans: list[Recorded]) -> Counter[str]:
    return Counter("SQL" if span.is_sql else span.name for span in spans)


def only(spans: list[Recorded], name: str) -> Recorded:
    """The one of that beginning."""
    (found,) = [span for span in spans if span.name.startswith(name) and not span.is_sql]
    return found


def beneath(spans: list[Recorded], above: Recorded) -> list[Recorded]:
    return [span for span in spans if span.parent_id == above.span_id]


def has_been_indexed(spans: list[Recorded]) -> bool:
    """Its last span is there, and the request's."""
    found = names(spans)
    return bool(
        sum(n for name, n in found.items() if name.startswith("process "))
        and sum(n for name, n in found.items() if name.startswith("DynamoDB."))
    )


def test_a_put_is_one_trace_to_the_index(
    client: Client, collector: Collector, traced_config: ClusterConfig
) -> None:
    trace_id, client_span = client.put("a")
    spans = collector.wait_for(trace_id, has_been_indexed)

    request = only(spans, "DynamoDB.PutItem")
    assert (request.kind, request.parent_id) == ("server", client_span)
    told = {
        "rpc.system": "aws-api", "rpc.service": "DynamoDB", "rpc.method": "PutItem",
        "http.request.method": "POST", "http.response.status_code": 200, "url.path": "/",
        "url.scheme": "http", "client.address": "127.0.0.1",
        "aws.dynamodb.table_names": ["orders"],
    }  # fmt: skip
    assert told.items() <= request.attributes.items()
    assert len(request.attributes["aws.request_id"]) == 52
    assert not request.failed

    commit = only(spans, "group commit")
    assert commit.parent_id == request.span_id
    assert commit.attributes["mynamo.batch.callers"] == 1
    lock, write = beneath(spans, commit)
    assert (lock.kind, write.kind) == ("client", "client")
    assert "BEGIN; SELECT" in lock.attributes["db.query.summary"]
    assert write.attributes["db.query.summary"].endswith("COMMIT")
    assert write.attributes["db.operation.batch.size"] > 2
    where = {shard.database: shard.port for shard in traced_config.shards}
    assert write.attributes["server.port"] == where[write.attributes["db.namespace"]]

    topic = traced_config.kafka.changes_topic
    send, process = only(spans, f"send {topic}"), only(spans, f"process {topic}")
    assert (send.kind, process.kind) == ("producer", "consumer")
    assert {send.parent_id, process.parent_id} == {request.span_id}
    assert process.attributes["messaging.consumer.group.name"] == traced_config.kafka.indexer_group
    trips = beneath(spans, process)
    assert all(span.is_sql for span in trips)
    done = [s.name for s in trips if s.attributes["db.namespace"] in where]
    first, last = [name for name in done if "BEGIN" in name or "COMMIT" in name]
    assert first.startswith("BEGIN; SELECT")
    assert last.endswith("COMMIT")


def test_reads_have_their_round_trip(client: Client, collector: Collector) -> None:
    client.put("a", sampled=False)
    got, _ = client.call("get_item", TableName="orders", Key={"id": {"S": "a"}})
    found, _ = client.call(
        "query", TableName="orders", IndexName="by_name", KeyConditionExpression="#n = :n",
        ExpressionAttributeNames={"#n": "name"}, ExpressionAttributeValues={":n": {"S": "name-a"}},
    )  # fmt: skip
    spans = collector.wait_for(got, lambda spans: "DynamoDB.GetItem" in names(spans))
    assert names(spans) == {"DynamoDB.GetItem": 1, "get items": 1, "SQL": 1}
    spans = collector.wait_for(found, lambda spans: "DynamoDB.Query" in names(spans))
    assert names(spans) == {"DynamoDB.Query": 1, "read rows": 1, "SQL": 1}
    assert only(spans, "DynamoDB.Query").attributes["aws.dynamodb.index_name"] == "by_name"


def send_many(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Send many requests at once, every other one sampled; returns the ids of each one's trace and
    client's span. Each greenlet of the gateway serves several of them."""
    made: list[tasks.Task] = []
    begin = tasks.Task.__init__

    def counted(self: tasks.Task, *given: Any) -> None:
        made.append(self)
        begin(self, *given)

    monkeypatch.setattr(tasks.Task, "__init__", counted)

    def put(number: int) -> tuple[str, str]:
        return client.put(f"key-{number}", sampled=number % 2 == 0)

    with ThreadPoolExecutor(CLIENTS) as threads:
        sent = list(threads.map(put, range(REQUESTS)))
    assert 0 < len(made) <= CLIENTS, "greenlets serve several requests"
    made.clear()
    return sent


def check_own_traces(collector: Collector, sent: list[tuple[str, str]]) -> None:
    """See that each sampled request has its own spans, and nobody else's, and that of the others
    there are none."""
    sampled = dict(sent[::2])

    def all_there() -> bool:
        flush()
        return all(has_been_indexed(collector.of(trace_id)) for trace_id in sampled)

    eventually(all_there, 60)
    spans = collector.spans
    assert not [s for s in spans if s.trace_id in {trace_id for trace_id, _ in sent[1::2]}]
    by_id = {span.span_id: span for span in spans}
    shared = 0
    for trace_id, client_span in sampled.items():
        own = collector.of(trace_id)
        request = only(own, "DynamoDB.PutItem")
        assert request.parent_id == client_span
        assert only(own, "send ").parent_id == request.span_id
        assert len(beneath(own, request)) == 3, names(own)
        for name in ("group commit", "process "):
            (part,) = [span for span in beneath(own, request) if span.name.startswith(name)]
            batches = [by_id[each] for each in part.links if by_id[each].name.endswith(" batch")]
            batches += [span for span in beneath(own, part) if span.name.endswith(" batch")]
            if not batches:  # nobody else was traced
                assert beneath(own, part)
                assert all(span.is_sql for span in beneath(own, part))
                continue
            (batch,) = batches
            assert part.span_id in batch.links or batch.parent_id == part.span_id
            assert [s for s in spans if s.parent_id == batch.span_id and s.is_sql]
            shared += 1
    assert shared, "some had a batch in common"


def test_each_of_many_requests_has_its_own_trace(
    client: Client, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests share batches, and greenlets serve one after another: none sees another one's
    span."""
    check_own_traces(collector, send_many(client, monkeypatch))


def test_control_a_span_that_stays_is_found(
    client: Client, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request's span that its greenlet keeps has the next request's spans beneath it."""

    @contextmanager
    def staying(span: tracing.Span | None) -> Iterator[tracing.Span | None]:
        if span is not None:
            tracing.current_span.set(span)
        yield span
        if span is not None:
            span.end()

    monkeypatch.setattr(request_spans, "within", staying)
    sent = send_many(client, monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        check_own_traces(collector, sent)


def test_requests_in_threads_have_their_own_traces(client: Client, collector: Collector) -> None:
    """A scan has a thread, which serves one request after another."""
    for number in range(3):
        client.put(f"key-{number}", sampled=False)

    def scan(number: int) -> tuple[str, str]:
        return client.call("scan", sampled=number % 2 == 0, TableName="orders")

    with ThreadPoolExecutor(CLIENTS) as threads:
        sent = list(threads.map(scan, range(3 * CLIENTS)))

    def all_there() -> bool:
        flush()
        return all("DynamoDB.Scan" in names(collector.of(each)) for each, _ in sent[::2])

    eventually(all_there)
    for trace_id, client_span in sent[::2]:
        own = collector.of(trace_id)
        assert only(own, "DynamoDB.Scan").parent_id == client_span
        reads = beneath(own, only(own, "DynamoDB.Scan"))
        assert {span.name for span in reads} == {"read rows"}
        assert len(reads) <= 4, "two shards, and their slot guards where they have no rows"
    assert not [span for each, _ in sent[1::2] for span in collector.of(each)]


def test_a_request_without_a_permit_has_a_span(
    traced_config: ClusterConfig, collector: Collector
) -> None:
    nobody: Any = None
    with Cluster(traced_config) as cluster:
        app = App(
            nobody, nobody, nobody, Cors(None), traced_config.gateway, OPERATIONS,
            tracer=cluster.tracer,
        )  # fmt: skip
    headers = {
        "x-amz-target": "DynamoDB_20120810.PutItem",
        "traceparent": traceparent("bc" * 16, "cd" * 8),
    }
    assert app.overloaded(Request("POST", "/", headers)).status == 503
    (span,) = collector.wait_for("bc" * 16, len)
    assert (span.name, span.parent_id, span.failed) == ("DynamoDB.PutItem", "cd" * 8, True)
    assert span.attributes["error.type"] == "ServiceUnavailableException"


def test_errors(client: Client, collector: Collector) -> None:
    client.put("a", sampled=False)
    trace_id, _ = client.put("a", ConditionExpression="attribute_not_exists(id)")
    spans = collector.wait_for(trace_id, lambda spans: "DynamoDB.PutItem" in names(spans))
    request = only(spans, "DynamoDB.PutItem")
    assert request.attributes["error.type"] == "ConditionalCheckFailedException"
    assert request.attributes["http.response.status_code"] == 400
    assert not request.failed, "a client's error is none of the server's"
    assert not [span for span in spans if span.name.startswith(("send ", "process "))]

    refused = traceparent("ab" * 16, "cd" * 8)
    assert post(connect(client.url), "Nonsense", {"traceparent": refused}) == 400
    (span,) = collector.wait_for("ab" * 16, len)
    assert (span.name, span.parent_id) == ("POST", "cd" * 8)
    assert span.attributes["error.type"] == "UnknownOperationException"


def test_a_path_that_is_no_address_is_not_found(client: Client, collector: Collector) -> None:
    connection = connect(client.url)
    connection.request("POST", "//[?a", "{}", {"traceparent": traceparent("ef" * 16, "cd" * 8)})
    assert connection.getresponse().status == 404
    (span,) = collector.wait_for("ef" * 16, len)
    assert span.attributes["url.path"] == "//["


def test_a_damaged_header_begins_a_trace(client: Client, collector: Collector) -> None:
    for header in ("nonsense", f"00-{'0' * 32}-{'0' * 16}-01", "00-" + "f" * 600):
        before = len([s for s in collector.spans if s.name == "DynamoDB.ListTables"])
        assert post(connect(client.url), "ListTables", {"traceparent": header}) == 200

        def found(before: int = before) -> Recorded:
            flush()
            return [s for s in collector.spans if s.name == "DynamoDB.ListTables"][before]

        eventually(lambda find=found: find().parent_id == "")  # type: ignore[misc]


def test_health_checks_are_not_traced(client: Client, collector: Collector) -> None:
    before = len(collector.spans)
    header = {"traceparent": traceparent("ef" * 16, "cd" * 8)}
    assert get(connect(client.url), "/health", header) == 200
    flush()
    assert [s for s in collector.spans[before:] if s.trace_id == "ef" * 16] == []


def test_only_events_of_sampled_traces_have_a_context(
    config: ClusterConfig, traced_config: ClusterConfig
) -> None:
    """What is not traced is stored byte for byte as by a gateway that traces nothing."""

    def payloads() -> dict[str, bytes]:
        with Cluster(config) as cluster:
            rows = everywhere(cluster, "SELECT payload FROM mynamo_outbox")
        return {orjson.loads(row[0])["keys"]["id"]["S"]: row[0] for row in rows}

    with served(traced_config) as url:
        client = Client(url)
        client.put("sampled")
        client.put("unsampled", sampled=False)
    with served(config) as url:
        plain = client_of(url)
        item = {"id": {"S": "off"}, "name": {"S": "name-off"}}
        plain.put_item(TableName="orders", Item=item)
    found = payloads()
    assert b"traceparent" in found["sampled"]
    assert found["unsampled"] == found["off"].replace(b"off", b"unsampled")


def test_json_lines_name_the_trace(
    client: Client, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_throttle, "EVERY_SECONDS", 0.0)
    lines: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    handler = Kept()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(slow_requests.__name__)
    logger.addHandler(handler)
    try:
        trace_id, _ = client.put("a")
        client.put("b", sampled=False)
        eventually(lambda: len(lines) == 2)
    finally:
        logger.removeHandler(handler)
    traced, untraced = lines
    spans = collector.wait_for(trace_id, has_been_indexed)
    request = only(spans, "DynamoDB.PutItem")
    assert (traced["trace_id"], traced["span_id"]) == (trace_id, request.span_id)
    assert traced["request"] == request.attributes["aws.request_id"]
    assert "trace_id" not in untraced
