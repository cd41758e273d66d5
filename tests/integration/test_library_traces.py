"""Traces of services that embed the library, and of what waits in Kafka and on several shards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from opentelemetry import trace

from mynamo.errors import ConditionFailed
from mynamo.manager import HashBasedShardManager
from mynamo.producer import MUST_NOT_EXIST, Put
from mynamo.runtime import tracing
from mynamo.schemas.config import ClusterConfig, TracingConfig
from tests.collector import Collector, Recorded, of_this_process
from tests.rows import everywhere, make_table
from tests.workers import pipeline

SERVICE = "a service's work"


@pytest.fixture
def collector() -> Collector:
    return of_this_process()


@pytest.fixture
def traced_config(config: ClusterConfig, collector: Collector) -> ClusterConfig:
    return config.model_copy(update={"tracing": TracingConfig(enabled=True)})


@pytest.fixture
def manager(traced_config: ClusterConfig) -> Iterator[HashBasedShardManager]:
    with HashBasedShardManager(traced_config) as opened:
        make_table(opened.cluster)
        yield opened


class Work:
    """A span of the service's, current while the block runs.

    Attributes:
        trace_id, span_id: of it.
    """

    def __enter__(self) -> Work:
        self._span = trace.get_tracer("service").start_as_current_span(SERVICE)
        context = self._span.__enter__().get_span_context()
        self.trace_id, self.span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
        return self

    def __exit__(self, *_: object) -> None:
        self._span.__exit__(None, None, None)


def item(key: str) -> dict[str, Any]:
    return {"id": key, "at": "1", "name": f"name-{key}"}


def called(spans: list[Recorded]) -> dict[str, Recorded]:
    return {span.name: span for span in spans if not span.is_sql}


def ended(spans: list[Recorded]) -> bool:
    return SERVICE in called(spans)


def test_calls_are_beneath_the_services_span(
    manager: HashBasedShardManager, collector: Collector
) -> None:
    producer, reader = manager.producer, manager.reader
    key = {"id": "a", "at": "1"}
    with Work() as work:
        producer.put("orders", item("a"))
        producer.update("orders", key, set={"n": 1})
        reader.get("orders", key)
        reader.batch_get("orders", [key])
        reader.transact_get([("orders", key)])
        reader.query("orders", "a")
        reader.scan("orders")
        producer.write_batch([Put("orders", item("b"))])
        producer.transact([Put("orders", item("c"))])
        producer.delete("orders", key)
        with pytest.raises(ConditionFailed):
            producer.put("orders", item("c"), condition=MUST_NOT_EXIST)
    spans = collector.wait_for(work.trace_id, ended)
    calls = [span for span in spans if span.parent_id == work.span_id]
    assert [(span.name, span.failed) for span in calls] == [
        ("put orders", False), ("update orders", False), ("get orders", False),
        ("batch_get orders", False), ("transact_get", False), ("query orders", False),
        ("scan orders", False), ("write_batch", False), ("transact", False),
        ("delete orders", False), ("put orders", True),
    ]  # fmt: skip
    assert calls[-1].attributes["error.type"] == "ConditionFailed"
    assert calls[0].attributes["db.collection.name"] == "orders"
    by_id = {span.span_id: span for span in spans}
    trips = [span for span in spans if span.is_sql]
    for call in calls:
        assert [t for t in trips if call.span_id in _above(t, by_id)], call.name


def _above(span: Recorded, by_id: dict[str, Recorded]) -> set[str]:
    found = set()
    while span.parent_id in by_id:
        span = by_id[span.parent_id]
        found.add(span.span_id)
    return found


def test_what_is_written_is_in_no_span(
    manager: HashBasedShardManager, collector: Collector
) -> None:
    """Neither items nor texts of errors, which quote them."""
    secret = "nobody may read this"
    with Work() as work:
        manager.producer.put("orders", item(secret))
        with pytest.raises(ConditionFailed):
            manager.producer.put("orders", item(secret), condition=MUST_NOT_EXIST)
        manager.reader.query("orders", secret)
    spans = collector.wait_for(work.trace_id, ended)
    assert len(spans) > 6
    assert secret not in str(spans)


def test_nothing_without_tracing(config: ClusterConfig, collector: Collector) -> None:
    """A cluster that is not traced takes no part in the service's span, whatever others do."""
    with HashBasedShardManager(config) as manager:
        make_table(manager.cluster)
        with Work() as work:
            manager.producer.put("orders", item("a"))
        assert tracing.current_span.get() is None
        ((payload,),) = everywhere(manager.cluster, "SELECT payload FROM mynamo_outbox")
    assert b"traceparent" not in payload
    assert len(collector.wait_for(work.trace_id, ended)) == 1


def test_a_queued_write_is_one_trace_to_the_index(
    manager: HashBasedShardManager, traced_config: ClusterConfig, collector: Collector
) -> None:
    producer, kafka = manager.producer, traced_config.kafka
    untraced = producer.queued_put("orders", item("untraced"))
    with pipeline(traced_config):
        with Work() as work:
            producer.publish(*(producer.queued_put("orders", item(key)) for key in "ab"))
        producer.publish(untraced)  # begins a trace of its own
        spans = collector.wait_for(
            work.trace_id,
            lambda spans: (
                len([s for s in spans if s.name == f"process {kafka.changes_topic}"]) == 2
            ),
            60,
        )
    publish = called(spans)["publish"]
    queued = [span for span in spans if span.name == f"process {kafka.writes_topic}"]
    sent = [span for span in spans if span.name == f"send {kafka.writes_topic}"]
    assert {span.parent_id for span in (*queued, *sent)} == {publish.span_id}
    assert (len(queued), len(sent)) == (2, 2)
    indexed = [span for span in spans if span.name == f"process {kafka.changes_topic}"]
    assert {span.parent_id for span in indexed} == {span.span_id for span in queued}


def test_a_transaction_over_several_shards(
    manager: HashBasedShardManager, traced_config: ClusterConfig, collector: Collector
) -> None:
    """The events of all its shards have the context."""
    shard_of = manager.cluster.shard_id_of
    table = manager.cluster.table("orders")
    keys: dict[int, str] = {}
    for key in (f"key-{number}" for number in range(20)):
        keys.setdefault(shard_of(table.key_of({"id": {"S": key}, "at": {"S": "1"}}).hash), key)
    assert len(keys) == 2
    with Work() as work:
        manager.producer.transact([Put("orders", item(key)) for key in keys.values()])
    spans = collector.wait_for(work.trace_id, ended)
    (call,) = [span for span in spans if span.name == "transact"]
    assert [span for span in spans if span.name == "transaction step"]
    rows = everywhere(manager.cluster, "SELECT payload FROM mynamo_outbox")
    stored = [orjson.loads(row[0])["traceparent"] for row in rows]
    assert stored == [f"00-{work.trace_id}-{call.span_id}-01"] * 2
