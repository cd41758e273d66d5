"""`mynamo dev` and `mynamo demo` as their users run them: processes that start others."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mynamo.cli.serve import MOST_WORKERS
from tests.commands import CREATE_ORDERS, WORKER_SECONDS, Dev, processes_of, start
from tests.gateway.conftest import client_of
from tests.gateway.raw import has_ipv6
from tests.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    made = Dev(tmp_path)
    made.start()
    made.run(*CREATE_ORDERS)
    yield made
    made.end_if_running()


def test_it_serves_ends_cleanly_and_comes_back(dev: Dev) -> None:
    for host in ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",):
        socket.create_connection((host, dev.port), WORKER_SECONDS).close()
    assert dev.open_orders(dev.put(1)) == [1]
    client = client_of(dev.endpoint)
    for at in range(100, 110):  # through the API, the next line finds it
        order = {"customer": {"S": "bob"}, "at": {"N": str(at)}, "status": {"S": f"bobs-{at}"}}
        client.put_item(TableName="orders", Item=order)
        found = client.query(
            TableName="orders",
            IndexName="by_status",
            KeyConditionExpression="#s = :s",
            ExpressionAttributeNames={"#s": "status"},
            ExpressionAttributeValues={":s": order["status"]},
        )
        assert found["Items"] == [order]
    assert all(any(part in line for line in dev.processes) for part in ("writer", "indexer"))
    gateways = [line for line in dev.processes if " serve" in line]
    cores = len(os.sched_getaffinity(0))
    assert len(gateways) == (1 if cores == 1 else 1 + min(cores, MOST_WORKERS))
    assert dev.end(signal.SIGTERM) == 0
    assert dev.processes == []
    assert "the data stays in" in dev.said
    dev.start()
    assert dev.open_orders(dev.put(2)) == [1, 2]
    assert dev.end(signal.SIGINT) == 0
    assert dev.processes == []


def test_the_environment_has_settings_of_its_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/gateway.md says of provisioned throughput."""
    page = Path(__file__).parents[2] / "docs" / "gateway.md"
    (told,) = re.findall(r"`(MYNAMO_GATEWAY__\w+)=(true) mynamo dev`", page.read_text())
    monkeypatch.setenv(*told)
    dev = Dev(tmp_path)
    dev.start()
    try:
        client = client_of(dev.endpoint)
        client.create_table(
            TableName="items",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        )
        client.get_waiter("table_exists").wait(TableName="items", WaiterConfig={"Delay": 1})
        large = {"id": {"S": "1"}, "text": {"S": "x" * 390_000}}  # of more units than there are
        client.put_item(TableName="items", Item=large)
        with pytest.raises(ClientError, match="ProvisionedThroughputExceeded"):
            client.put_item(TableName="items", Item=large)
        client.close()
    finally:
        dev.end(signal.SIGTERM)


def test_workers_and_servers_that_die_are_started_again(dev: Dev) -> None:
    processes = dev.processes
    for part in (" indexer", " writer", " serve", "tansu"):
        lines = [line for line in processes if part in line and "mynamo dev" not in line]
        os.kill(min(int(line.split()[0]) for line in lines), signal.SIGKILL)
    eventually(lambda: dev.said.count("starting it again") >= 4, WORKER_SECONDS)
    assert dev.open_orders(dev.put(1)) == [1]
    eventually(lambda: client_of(dev.endpoint).list_tables()["TableNames"] == ["orders"])
    assert dev.end(signal.SIGHUP) == 0  # its terminal is closed
    assert dev.processes == []
    assert "the data stays in" in dev.said


def test_kill_9_loses_nothing_that_was_acknowledged(dev: Dev, tmp_path: Path) -> None:
    receipts = tmp_path / "receipts.jsonl"
    items = tmp_path / "items.jsonl"
    with items.open("w") as file:
        for n in range(50_000):
            item = {"customer": f"c{n % 50}", "at": n, "status": f"s{n % 7}", "price": n % 10}
            file.write(f"{json.dumps(item)}\n")
    loading = start(
        "--config", str(dev.config), "load", "orders", str(items),
        "--receipts", str(receipts), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with loading:
        eventually(lambda: len(acknowledged(receipts)) > 300, WORKER_SECONDS)
        dev.end(signal.SIGKILL)
        eventually(lambda: others(dev.processes, loading.pid) == [], 20)  # the kernel's doing
        loading.send_signal(signal.SIGINT)
        assert loading.wait(60) == 130
    written = acknowledged(receipts)
    assert 300 < len(written) < 50_000
    dev.start()
    assert written - stored(dev) == set()
    eventually(lambda: json.loads(dev.run("lag", "--json"))["events"] == 0, WORKER_SECONDS)
    verdict = json.loads(dev.run("verify", "orders", "--json"))
    assert verdict["ok"] is True
    assert verdict["items"] == len(stored(dev))
    # The control: an acknowledged item that is gone would have been noticed.
    customer, at = next(iter(written))
    dev.run("delete", "orders", f"customer={customer}", f"at={at}")
    assert written - stored(dev) == {(customer, at)}


def test_the_demo_is_clean_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start("demo", "--orders", "400", stdout=subprocess.PIPE, text=True) as demo:
        out, _ = demo.communicate(timeout=180)
    assert demo.returncode == 0, out
    assert "CLEAN: order_table, 390 items on 2 shards" in out
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start("demo", "--orders", "1000000", stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        next(line for line in demo.stdout if line.startswith("first order"))
        demo.send_signal(signal.SIGINT)
        out, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "interrupted; everything is stopped" in out
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def acknowledged(receipts: Path) -> set[tuple[str, int]]:
    """The keys of all whole lines of the file."""
    if not receipts.exists():
        return set()
    whole = receipts.read_bytes().rpartition(b"\n")[0]
    entries: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
    return {(entry["key"]["customer"], entry["key"]["at"]) for entry in entries}


def stored(dev: Dev) -> set[tuple[str, int]]:
    """The keys of all items in the table."""
    lines = dev.run("scan", "orders", "--lines", "--limit", "5000").splitlines()
    return {(item["customer"], item["at"]) for item in map(json.loads, lines)}


def others(processes: list[str], pid: int) -> list[str]:
    """Those that are not this process."""
    return [line for line in processes if int(line.split()[0]) != pid]
