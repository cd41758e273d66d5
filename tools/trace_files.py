"""Print the files of mynamo that one request enters, in order.

    python tools/trace_files.py                 # a conditional PutItem, a query by GSI, an event
    python tools/trace_files.py --summary       # how many files, and how often another is entered

It starts MySQL and the embedded broker on this machine, does each once to load what is loaded
once, and then once more under `sys.setprofile`. A line is a run of calls within one file. Left out
are the files of HTTP, and the MySQL connection pool and driver with all that they call.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mynamo"
SECONDS = 30.0
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request,"
    " SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)
HTTP = "gateway/http/"
MYSQL = ("mysql/driver", "mysql/pool", "mysql/sockets")
TABLE = {
    "TableName": "orders",
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"} for name in ("id", "status")
    ],
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by_status",
            "KeySchema": [{"AttributeName": "status", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
}
PUT = {
    "TableName": "orders",
    "Item": {"id": {"S": "1"}, "status": {"S": "open"}},
    "ConditionExpression": "attribute_not_exists(id) OR #s = :s",
    "ExpressionAttributeNames": {"#s": "status"},
    "ExpressionAttributeValues": {":s": {"S": "open"}},
}
QUERY = {
    "TableName": "orders",
    "IndexName": "by_status",
    "KeyConditionExpression": "#s = :s",
    "ExpressionAttributeNames": {"#s": "status"},
    "ExpressionAttributeValues": {":s": {"S": "open"}},
}


class Trace:
    """The files that calls enter, runs of one file together, of all threads that are traced."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """See `sys.setprofile`."""
        if event != "call":
            return
        name = _name(frame)
        if name is None or name.startswith(HTTP) or (self.files and self.files[-1] == name):
            return
        caller: FrameType | None = frame
        while caller is not None:
            if (_name(caller) or "").startswith(MYSQL):
                return
            caller = caller.f_back
        self.files.append(name)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Trace this thread and the threads that are started meanwhile."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def _name(frame: FrameType) -> str | None:
    path = frame.f_code.co_filename
    return path.removeprefix(f"{PACKAGE}/") if path.startswith(str(PACKAGE)) else None


def report(title: str, trace: Trace, summary: bool) -> None:
    """Print one trace."""
    print(f"{title}: {len(set(trace.files))} files, entered {len(trace.files)} times")
    if not summary:
        for number, name in enumerate(trace.files, 1):
            print(f"{number:4}  {name}")
        print()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--summary", action="store_true", help="only count")
    asked = parser.parse_args()
    os.environ.setdefault("MYNAMO_CACHE", str(ROOT / ".cache"))
    with ExitStack() as stack:
        trace_all(stack, asked.summary)


def trace_all(stack: ExitStack, summary: bool) -> None:
    """Start the servers, trace, print."""
    from mynamo.catalog.cluster import Cluster
    from mynamo.gateway.auth.claims import AnyCredentials
    from mynamo.gateway.health import Health
    from mynamo.gateway.http.api_protocol import App
    from mynamo.gateway.http.cors import Cors
    from mynamo.gateway.http.messages import Request
    from mynamo.gateway.service import OPERATIONS, Service
    from mynamo.gsi_indexer.indexer import Indexer
    from mynamo.local import LocalCluster
    from mynamo.log import ensure_topics
    from mynamo.log.publisher import Publisher
    from mynamo.schemas.gateway_config import GatewayConfig
    from mynamo.writer.outbox.relay import Relay

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mynamo-trace-")))
    local = stack.enter_context(LocalCluster(folder, 1).start(lambda _: None))
    ensure_topics(local.config.kafka)
    cluster = stack.enter_context(Cluster(local.config))
    config = GatewayConfig()
    health = Health(cluster)
    stack.callback(health.close)
    app = App(
        Service(cluster, config), AnyCredentials(), health, Cors(None), config, OPERATIONS.keys()
    )

    def ask(operation: str, body: dict[str, Any]) -> None:
        headers = {
            "x-amz-target": f"DynamoDB_20120810.{operation}",
            "content-type": "application/x-amz-json-1.0",
            "x-amz-date": "20260101T000000Z",
            "authorization": AUTHORIZATION,
        }
        answer = app.answer(Request("POST", "/", headers, json.dumps(body).encode()))
        if answer.status != 200:
            sys.exit(f"{operation}: {answer.body.decode()}")

    def traced(title: str, act: Callable[[], object]) -> None:
        trace = Trace()
        with trace.on():
            act()
        report(title, trace, summary)

    ask("CreateTable", TABLE)
    ask("PutItem", PUT)
    traced("a conditional PutItem", lambda: ask("PutItem", PUT))
    publisher = Publisher(local.config.kafka)
    stack.callback(publisher.close)
    relay = Relay(cluster, cluster.shards[1], "trace", publisher)
    indexer = stack.enter_context(Indexer(cluster))

    def until_applied() -> None:
        """Publish what is in the outbox, and apply it."""
        deadline = time.monotonic() + SECONDS
        while relay.step():
            pass
        while not indexer.step():
            if time.monotonic() > deadline:
                sys.exit("no event came")

    until_applied()
    ask("Query", QUERY)
    traced("a query by GSI", lambda: ask("Query", QUERY))
    ask("PutItem", PUT)
    while relay.step():
        pass
    traced("a change event's application", until_applied)


if __name__ == "__main__":
    main()
