"""Traces of mynamo's processes as their users run them: what is exported, when, and what happens
without a collector."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mynamo.cli.trace_export import FLUSH_SECONDS
from mynamo.gateway.http.connection_counts import ENOUGH
from mynamo.gsi_indexer import READING
from mynamo.local import free_port
from mynamo.schemas.config import ClusterConfig
from tests.collector import Collector, Recorded, collecting, traceparent
from tests.commands import start
from tests.gateway.asking import defined, index, keyed
from tests.gateway.by_hand import connect, post
from tests.gateway.conftest import client_of
from tests.gateway.test_serve import serving
from tests.waiting import eventually

pytestmark = pytest.mark.slow

NEVER = "3600000"
LOST = "the collector of traces does not take them"


def toml(url: str, more: str = "") -> str:
    return f'\n[tracing]\nenabled = true\nendpoint = "{url}"\n{more}\n'


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@contextmanager
def worker(folder: Path, command: str, started: str) -> Iterator[subprocess.Popen[Any]]:
    """A worker with the configuration of the folder's gateway.

    Args:
        started: what its log says once it is at work.
    """
    path, log = folder / "mynamo.toml", folder / f"log-{command}"
    with log.open("w") as writing, start("--config", str(path), command, stderr=writing) as process:
        try:
            eventually(lambda: started in log.read_text(), 60)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def create(client: Any) -> None:
    client.create_table(
        TableName="orders", KeySchema=keyed("id"), AttributeDefinitions=defined("id", "name"),
        BillingMode="PAY_PER_REQUEST", GlobalSecondaryIndexes=[index("by_name", "name")],
    )  # fmt: skip
    waiter = client.get_waiter("table_exists")
    waiter.wait(TableName="orders", WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def list_tables(client: Any, times: int = 1) -> None:
    for _ in range(times):
        client.list_tables()


def send_traced(client: Any, operation: str, **request: Any) -> str:
    """Send a request beneath a span; returns the id of its trace."""
    trace_id = secrets.token_hex(16)
    header = traceparent(trace_id, secrets.token_hex(8))

    def add(request: Any, **_: object) -> None:
        request.headers["traceparent"] = header

    client.meta.events.register("before-sign.dynamodb", add, unique_id="traceparent")
    getattr(client, operation)(**request)
    client.meta.events.unregister("before-sign.dynamodb", unique_id="traceparent")
    return trace_id


def services(spans: list[Recorded]) -> set[str]:
    return {span.resource["service.name"] for span in spans}


def test_processes_export_their_last_spans_when_they_end(
    config: ClusterConfig, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put through the processes of a cluster; nothing is exported before they are told to end."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", NEVER)
    with ExitStack() as stack:
        served = stack.enter_context(
            serving(config, tmp_path, "--no-auth", "--workers", "1", toml=toml(collector.url))
        )
        stack.enter_context(worker(tmp_path, "writer", "relay"))
        stack.enter_context(worker(tmp_path, "indexer", READING))
        client = client_of(served.url)
        create(client)
        item = {"id": {"S": "a"}, "name": {"S": "ann"}}
        trace_id = send_traced(client, "put_item", TableName="orders", Item=item)

        def is_indexed() -> bool:
            found = client.query(
                TableName="orders", IndexName="by_name", KeyConditionExpression="#n = :n",
                ExpressionAttributeNames={"#n": "name"},
                ExpressionAttributeValues={":n": {"S": "ann"}},
            )  # fmt: skip
            return bool(found["Items"])

        eventually(is_indexed, 60)
        assert collector.spans == []
    spans = collector.of(trace_id)
    assert services(spans) == {"mynamo-gateway", "mynamo-writer", "mynamo-indexer"}
    (request,) = [span for span in spans if span.name == "DynamoDB.PutItem"]
    kinds = {span.kind for span in spans if span.parent_id == request.span_id}
    assert kinds == {"internal", "producer", "consumer"}
    for log in tmp_path.glob("log*"):
        assert "Traceback" not in log.read_text()
        assert "lost" not in log.read_text()


def test_each_of_several_processes_exports(
    config: ClusterConfig, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that takes the place of another one."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    options = ("--no-auth", "--workers", "2")
    with serving(config, tmp_path, *options, toml=toml(collector.url)) as served:

        def all_export() -> bool:
            clients = [connect(served.url) for _ in range(2 * ENOUGH + 4)]
            with suppress(ConnectionError):  # of a process that was killed just now
                for client in clients:  # few connections would all be in one process
                    assert post(client, "ListTables", {}) == 200
            for client in clients:
                client.close()
            pids = {span.resource["process.pid"] for span in collector.spans}
            children = served.children
            return len(children) == 2 and pids >= set(children)

        eventually(all_export, 60)
        killed = served.children[0]
        subprocess.run(["kill", "-KILL", str(killed)], check=True)
        eventually(lambda: len(served.children) == 2 and killed not in served.children, 30)
        eventually(all_export, 60)


@pytest.mark.parametrize("answers", [False, True], ids=["refuses", "hangs"])
def test_without_a_collector_requests_go_on(
    config: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """A warning says so, once; a process that ends does not wait for long."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1" if not answers else "3")
    log = tmp_path / "log"
    with ExitStack() as stack:
        port = free_port()
        if answers:  # it takes connections, and says nothing
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = listener.getsockname()[1]
        options = ("--no-auth", "--workers", "1")
        served = stack.enter_context(
            serving(config, tmp_path, *options, toml=toml(f"http://127.0.0.1:{port}"))
        )
        client = client_of(served.url)

        def warned() -> bool:
            list_tables(client, 5)
            return LOST in log.read_text()

        eventually(warned, 60)
        until = time.monotonic() + 8  # several batches more are lost
        while time.monotonic() < until:
            list_tables(client, 5)
        asked_at = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
        assert time.monotonic() - asked_at < FLUSH_SECONDS + 5
    said = log.read_text()
    assert said.count(LOST) == 1
    assert "Traceback" not in said
    others = [line for line in said.splitlines() if "opentelemetry" in line]
    assert all("Queue full, dropping" in line for line in others), said


def test_a_sampler_of_the_environment_may_ignore_what_clients_say(
    config: ClusterConfig, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    options = ("--no-auth", "--workers", "1")
    with serving(config, tmp_path, *options, toml=toml(collector.url)) as served:
        send_traced(client_of(served.url), "list_tables")
    assert collector.spans == []


def test_sampling_and_names(
    config: ClusterConfig, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is recorded but what a client records."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    more = 'sampling_ratio = 0\nservice_name = "orders-db"'
    options = ("--no-auth", "--workers", "1")
    with serving(config, tmp_path, *options, toml=toml(collector.url, more)) as served:
        client = client_of(served.url)
        list_tables(client, 20)
        trace_id = send_traced(client, "list_tables")
        list_tables(client, 20)
    (span,) = [span for span in collector.spans if not span.is_sql]
    assert (span.trace_id, span.name) == (trace_id, "DynamoDB.ListTables")
    assert span.resource["service.name"] == "orders-db"
    assert span.resource["deployment.environment.name"] == "test"
