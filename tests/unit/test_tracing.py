"""Traces without servers: the configuration, contexts in payloads and headers, what is missing."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, StaticSampler
from pydantic import ValidationError

from mynamo.cli import otlp_exporter
from mynamo.cli.otlp_exporter import LoggedExporter
from mynamo.log.message_spans import process_span
from mynamo.log.record_format import Record, read_records, records_of
from mynamo.runtime import tracing
from mynamo.runtime.batching import Batcher, Entry
from mynamo.schemas.config import TracingConfig
from mynamo.schemas.events import (
    complete_event,
    head_of,
    load_event,
    outbox_payload,
    read_event,
    without_traceparent,
)
from tests.collector import of_this_process
from tests.waiting import eventually

HEADER = f"00-{'ab' * 16}-{'cd' * 8}-01"
KEYS = {"id": {"S": "a"}}
IMAGES = st.none() | st.dictionaries(
    st.sampled_from(["id", "traceparent", '"}', HEADER]),
    st.fixed_dictionaries(
        {"S": st.sampled_from(["a", '"}', HEADER, f',"traceparent":"{HEADER}"}}'])}
    ),
)


def payload(
    image: dict[str, dict[str, str]] | None, stream: bool, traceparent: str | None
) -> bytes:
    return outbox_payload(
        table_id=1, table="orders", schema_version=1, operation="MODIFY", keys=KEYS,
        old_image=image, new_image=image, traceparent=traceparent,
        stream=(3, "NEW_IMAGE", 7) if stream else None,
    )  # fmt: skip


@given(IMAGES, st.booleans())
def test_a_context_comes_out_of_a_payload_as_it_went_in(
    image: dict[str, dict[str, str]] | None, stream: bool
) -> None:
    """Whatever the items look like, and what is left is what is stored without traces."""
    plain = payload(image, stream, None)
    assert without_traceparent(plain) == (plain, None)
    assert without_traceparent(payload(image, stream, HEADER)) == (plain, HEADER.encode())
    assert head_of(payload(image, stream, HEADER)) == head_of(plain)


def test_a_last_member_of_a_later_release_is_left_alone() -> None:
    later = b'{"format":1,"whatever":"of a later release, and as long as the context of a trace"}'
    assert without_traceparent(later) == (later, None)


def test_readers_of_events_pass_over_a_context_that_a_relay_has_left() -> None:
    """As the relay of the release before does."""
    message = complete_event(
        payload(KEYS, False, HEADER), shard=1, outbox_id=5, version=5, partition=0, sequence=1,
        previous=0, feeds=True, committed_at=1,
    )  # fmt: skip
    assert orjson.loads(message)["traceparent"] == HEADER
    assert load_event(message).event_id == "1-5"
    assert read_event(message).event_id == "1-5"


def test_one_header_of_a_message() -> None:
    (batch,) = records_of(
        [(b"k", b"v", [("table", b"traceparent"), ("traceparent", b"x")]), (b"k", b"v", [])], 1000
    )
    first, second = read_records(batch.data, 2, "topic", 0, 0, 0)
    assert isinstance(first, Record)
    assert (first.header("traceparent"), first.header("nothing")) == (b"x", None)
    assert first.header("table") == b"traceparent"
    assert second.header("traceparent") is None


def test_damaged_headers_stop_no_indexer() -> None:
    """Without traces nobody reads them."""
    of_this_process()
    damaged = Record("topic", 0, 5, 1, b"k", b"v", b"\x7ftraceparent")
    with pytest.raises(ValueError, match="headers"):
        damaged.header("traceparent")
    assert process_span(tracing.Tracer(), damaged, "group", 1) is None


def test_what_is_recorded_but_not_sampled_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may have such a sampler."""
    ended: list[ReadableSpan] = []
    provider = TracerProvider(sampler=StaticSampler(Decision.RECORD_ONLY))
    provider.add_span_processor(_Ending(ended))
    tracer = tracing.Tracer()
    monkeypatch.setattr(tracer, "otel", provider.get_tracer("test"))
    assert tracer.start("a", "internal", {}) is None
    assert [span.name for span in ended] == ["a"]


class _Ending(SpanProcessor):
    def __init__(self, ended: list[ReadableSpan]) -> None:
        self._ended = ended

    def on_end(self, span: ReadableSpan) -> None:
        self._ended.append(span)


@pytest.mark.parametrize(
    ("endpoint", "whole"),
    [
        ("http://jaeger:4318", "http://jaeger:4318/v1/traces"),
        ("http://jaeger:4318/", "http://jaeger:4318/v1/traces"),
        ("https://collector/own/path", "https://collector/own/path"),
    ],
)
def test_endpoints(endpoint: str, whole: str) -> None:
    TracingConfig(endpoint=endpoint)
    assert otlp_exporter._whole(endpoint) == whole


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "jaeger:4318"}, {"endpoint": "ftp://jaeger"}, {"sampling_ratio": 1.1},
        {"endpoint": "http://user:secret@jaeger:4318"}, {"sampling_ratio": -1},
        {"service_name": ""}, {"protocol": "grpc"},
    ],
)  # fmt: skip
def test_wrong_configurations(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TracingConfig.model_validate(wrong)


def test_names_of_services(monkeypatch: pytest.MonkeyPatch) -> None:
    def name(config: TracingConfig) -> object:
        return otlp_exporter._resource(config, "writer").attributes["service.name"]

    assert name(TracingConfig()) == "mynamo-writer"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "by-environment")
    assert name(TracingConfig()) == "by-environment"
    assert name(TracingConfig(service_name="configured")) == "configured"


class Failing(SpanExporter):
    """An exporter that fails as long as it is told to."""

    def __init__(self) -> None:
        self.result = SpanExportResult.FAILURE

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self.result


def test_lost_spans_are_said_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, otlp_exporter.__name__)
    failing = Failing()
    logged = LoggedExporter(failing)
    spans: list[ReadableSpan] = [ReadableSpan("a"), ReadableSpan("b")]
    for _ in range(5):
        logged.export(spans)
    (line,) = caplog.messages
    assert "2 spans are lost" in line
    monkeypatch.setattr(otlp_exporter, "WARN_EVERY", 0.0)
    logged.export(spans)
    assert "12 spans are lost" in caplog.messages[1]
    failing.result = SpanExportResult.SUCCESS
    logged.export(spans)
    logged.export(spans)
    assert caplog.messages[2:] == ["spans are exported again"]


def test_nothing_is_loaded_without_tracing() -> None:
    program = (
        "import sys, mynamo.cli.app, mynamo.manager, mynamo.gateway.serving, mynamo.writer.worker,"
        " mynamo.gsi_indexer, mynamo.cli.serve;"
        " print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("command", ["serve", "writer"])
def test_without_the_packages_it_says_what_to_install(tmp_path: Path, command: str) -> None:
    config = tmp_path / "mynamo.toml"
    config.write_text(
        '[catalog]\ndatabase = "none"\n[[shards]]\nid = 1\ndatabase = "one"\n'
        "[tracing]\nenabled = true\n"
    )
    words = {"serve": ["serve", "--no-auth"], "writer": ["writer"]}
    program = (
        "import sys; sys.modules['opentelemetry'] = None;"
        f" sys.argv = {['mynamo', '--config', str(config), *words[command]]!r};"
        " import mynamo.cli; mynamo.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1, done
    assert "mynamo[tracing]" in done.stderr
    assert "Traceback" not in done.stderr


def started(name: str) -> tracing.Span:
    of_this_process()
    span = tracing.Tracer().start(name, "internal", {})
    assert span is not None
    return span


def fails(_: object) -> None:
    raise ValueError


@pytest.mark.parametrize("work", [lambda _: None, fails], ids=["ends", "fails"])
def test_what_is_current_is_as_before_when_work_has_ended(work: Callable[[object], None]) -> None:
    """Threads and tasks go on to something else."""
    for before in (None, started("before")):
        token = tracing.current_span.set(before)
        try:
            with suppress(ValueError), tracing.within(started("one")) as one:
                assert tracing.current_span.get() is one
                work(None)
            assert tracing.current_span.get() is before
            several = [started("first"), started("second")]
            for spans in (several, several[:1]):
                with suppress(ValueError), tracing.together(spans, "batch", {}):
                    assert tracing.current_span.get() not in (None, before)
                    work(None)
                assert tracing.current_span.get() is before
            with tracing.within(started("caller")):
                call = tracing.carried(lambda: work(tracing.current_span.get()))
            with suppress(ValueError):
                call()
            assert tracing.current_span.get() is before
        finally:
            tracing.current_span.reset(token)


def test_who_leads_a_batch_takes_no_other_callers_span_along() -> None:
    """A leader that is not traced runs a batch within the span of a caller that is."""
    held, seen = threading.Semaphore(0), []

    def run(entries: Sequence[Entry[str, str]]) -> None:
        assert held.acquire(timeout=20)
        seen.append(([entry.request for entry in entries], tracing.current_span.get()))
        for entry in entries:
            entry.answer = entry.request

    batcher: Batcher[str, str] = Batcher(run, max_running=1, max_count=10, max_size=10)

    def submit(name: str, span: tracing.Span | None) -> tracing.Span | None:
        token = tracing.current_span.set(span)
        assert batcher.submit(Entry(name, 1, 1)) == name
        after = tracing.current_span.get()
        tracing.current_span.reset(token)
        return after

    caller = started("caller")
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(submit, "first", None)
        eventually(lambda: batcher._running)
        leader = threads.submit(submit, "leader", None)
        eventually(lambda: batcher.waiting == 1)
        traced = threads.submit(submit, "traced", caller)
        eventually(lambda: batcher.waiting == 2)
        held.release(2)
        assert (first.result(20), leader.result(20), traced.result(20)) == (None, None, caller)
    assert [requests for requests, _ in seen] == [["first"], ["leader", "traced"]]
    assert seen[0][1] is None
    assert seen[1][1] is not None
    assert seen[1][1].trace_id == caller.trace_id
