"""Metrics: their names, what the gateway counts, and the port they are served on."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from mynamo.catalog import shard as shard_module
from mynamo.catalog.cluster import SlotsMoved
from mynamo.errors import ConfigError, ShardUnavailable
from mynamo.metrics import names
from mynamo.metrics.endpoint import new_registry, serving
from mynamo.metrics.request_metrics import OTHER, RequestMetrics
from mynamo.mysql.failures import CircuitOpen, Contention, Deadlock, LostConnection
from mynamo.runtime.counters import Counted, Counters

UNITS = {"seconds", "bytes", "total", "rows", "events", "items", "info", "ratio"}
COUNTS = {  # gauges of things that have no unit
    "mynamo_request_permits_free", "mynamo_breaker_open", "mynamo_pool_connections_in_use",
    "mynamo_pool_connections_idle", "mynamo_shard_up", "mynamo_transaction_intents",
    "mynamo_index_active", "mynamo_slot_moves_open", "mynamo_kafka_up", "mynamo_dead_letters",
    "mynamo_queued_writes", "mynamo_shard_away", "mynamo_verify_findings",
    "mynamo_verify_undecided",
}  # fmt: skip
LINE = re.compile(r"^\| `(mynamo_\w+)` \|", re.MULTILINE)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> RequestMetrics:
    return RequestMetrics(registry, most_tables=2)


def test_names_are_prometheus_own_way() -> None:
    assert len({one.name for one in names.ALL}) == len(names.ALL) > 20
    for one in names.ALL:
        unit = one.name.rpartition("_")[2]
        assert unit in UNITS or one.name in COUNTS, one.name
        assert (unit == "total") == (one.kind == "counter"), one.name
        assert one.text.endswith("."), one.name
    assert names.LATENCY_BUCKETS[0] == 0.0001
    assert names.LATENCY_BUCKETS[-1] == 30


def test_the_documentation_has_all_of_them_and_no_others() -> None:
    documented = Path("docs/metrics.md").read_text()
    for one in names.ALL:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        line = f"| `{one.name}` | {one.kind} | {labels} | {one.source} | {one.text} |"
        assert line in documented
    assert LINE.findall(documented) == [one.name for one in names.ALL]


def test_what_is_counted_has_a_metric_and_is_counted_somewhere() -> None:
    names_of = {one.counted for one in names.ALL if one.counted}
    assert names_of == set(get_args(Counted))
    source = "".join(path.read_text() for path in Path("mynamo").rglob("*.py"))
    counted = re.findall(r'counters\.(?:add|put)\(\s*"(\w+)"', source)
    assert set(counted) == names_of


def test_counters_of_several_threads() -> None:
    counters = Counters()

    def work(_: int) -> None:
        for _ in range(500):
            counters.add("relay_events", 2, 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    counters.add("relay_events", 1, 2)
    counters.put("shard_away", 1, 1)
    counters.put("shard_away", 0, 1)
    assert counters.all() == {
        ("relay_events", ("1",)): 8000, ("relay_events", ("2",)): 1, ("shard_away", ("1",)): 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Deadlock("d"), "deadlock"), (Contention("c"), "lock_wait"), (SlotsMoved("s"), "other"),
        (LostConnection("l"), "lost_connection"), (CircuitOpen("o"), "circuit_open"),
    ],
)  # fmt: skip
def test_retries_are_counted_by_their_reason(
    monkeypatch: pytest.MonkeyPatch, failure: ShardUnavailable, reason: str
) -> None:
    counted = Counters()
    monkeypatch.setattr(shard_module, "counters", counted)
    outcomes: list[ShardUnavailable | None] = [failure, failure, None]

    def once() -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    shard_module.retry(once, mends=(ShardUnavailable,), between=lambda _: None)
    assert counted.all() == {("retries", (reason,)): 2}
    outcomes.append(failure)
    with pytest.raises(ShardUnavailable):  # no other attempt mends it
        shard_module.retry(once, mends=())
    assert counted.all() == {("retries", (reason,)): 2}


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_answers_are_counted(registry: CollectorRegistry, metrics: RequestMetrics) -> None:
    tables = {"orders"}
    for seconds in (0.0002, 0.02):
        metrics.answered("GetItem", "orders", tables, 200, "", seconds)
    metrics.answered("GetItem", "nothing", tables, 400, "ResourceNotFoundException", 0.001)
    metrics.answered("BatchGetItem", None, tables, 200, "", 0.001)
    metrics.refused("GetItem", 400, "UnrecognizedClientException")
    total = "mynamo_requests_total"
    good = {"operation": "GetItem", "table": "orders", "status": "200", "error": ""}
    assert value(registry, total, **good) == 2
    missing = {"table": "", "status": "400", "error": "ResourceNotFoundException"}
    assert value(registry, total, operation="GetItem", **missing) == 1
    assert value(registry, total, **{**good, "operation": "BatchGetItem", "table": ""}) == 1
    refused = {"table": "", "status": "400", "error": "UnrecognizedClientException"}
    assert value(registry, total, operation="GetItem", **refused) == 1
    # What was refused took no time that says anything.
    assert value(registry, "mynamo_request_seconds_count", operation="GetItem") == 3
    bucket = "mynamo_request_seconds_bucket"
    assert value(registry, bucket, operation="GetItem", le="0.00025") == 1
    assert value(registry, bucket, operation="GetItem", le="0.025") == 3


def test_tables_beyond_the_first_have_one_label(
    registry: CollectorRegistry, metrics: RequestMetrics
) -> None:
    tables = {f"t{number}" for number in range(5)}
    for name in [*sorted(tables), "t0", "t4"]:
        metrics.answered("GetItem", name, tables, 200, "", 0.001)
    found = {
        sample.labels["table"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "mynamo_requests_total"
    }
    assert found == {"t0": 2, "t1": 1, OTHER: 4}


def test_what_is_throttled_is_counted_by_table_and_index(
    registry: CollectorRegistry, metrics: RequestMetrics
) -> None:
    for number in (0, 0, 1, 2, 3):
        metrics.throttled(f"t{number}", "by_kind", "write")
    metrics.throttled("t0", "", "read")
    found = {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        if family.name == "mynamo_throttle_events"
        for sample in family.samples
    }
    assert found == {
        ("t0", "by_kind", "write"): 2, ("t1", "by_kind", "write"): 1, (OTHER, "", "write"): 2,
        ("t0", "", "read"): 1,
    }  # fmt: skip


def test_clients_cannot_make_up_labels(
    registry: CollectorRegistry, metrics: RequestMetrics
) -> None:
    for number in range(100):
        metrics.answered("GetItem", f"made-up-{number}", {"orders"}, 400, "Some", 0.001)
    metrics.answered("GetItem", "orders", {"orders"}, 200, "", 0.001)
    count = sum(
        sample.name == "mynamo_requests_total"
        for family in registry.collect()
        for sample in family.samples
    )
    assert count == 2


def test_the_server_is_watched(registry: CollectorRegistry, metrics: RequestMetrics) -> None:
    delays = [0.0]
    metrics.watch(lambda: 7, delays)
    delays += [0.25, 0.01]
    assert value(registry, "mynamo_request_permits_free") == 7
    assert value(registry, "mynamo_event_loop_delay_seconds") == 0.25


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_it_is_served_on_its_own_port() -> None:
    with serving(new_registry("writer"), "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    (build,) = found["mynamo_build_info"].samples
    assert (build.value, build.labels["role"]) == (1, "writer")
    assert {"process_cpu_seconds", "process_resident_memory_bytes"} <= found.keys()
    with pytest.raises(OSError):  # noqa: PT011 - whatever the system calls it
        socket.create_connection(("127.0.0.1", port), 1).close()


def test_a_port_that_is_taken(taken: int) -> None:
    with (
        pytest.raises(ConfigError, match=f"127.0.0.1:{taken} for metrics: .*--metrics-port"),
        serving(new_registry("writer"), "127.0.0.1", taken),
    ):
        pass


def test_who_asks_for_no_metrics_loads_nothing_of_them() -> None:
    program = (
        "import sys, mynamo, mynamo.cli.app, mynamo.cli.workers, mynamo.cli.serve,"
        " mynamo.gateway.serving, mynamo.writer.worker, mynamo.gsi_indexer;"
        "print([name for name in sys.modules if 'prometheus' in name or 'mynamo.metrics' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
