"""`mynamo dev` and `mynamo demo` as their users run them: processes that start others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mynamo
from mynamo.producer import MUST_NOT_EXIST, Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.shards import sql
from mynamo.shards.cluster import Cluster
from tests.waiting import eventually

START_SECONDS = 120.0
WORKER_SECONDS = 60.0
CREATE = (
    "table", "create", "orders", "--hash-key", "customer", "--sort-key", "at:N",
    "--lsi", "by_price=price:N", "--gsi", "by_status=status,at:N",
)  # fmt: skip


class Dev:
    """`mynamo dev` in a folder, and commands that talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "dev.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.data / "mynamo.toml"

    def start(self) -> None:
        """Start it and wait for the line that says it is ready."""
        self.log.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mynamo", "dev", "--data", str(self.data)],
                cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        eventually(self._is_ready, START_SECONDS)

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"it ended: {self.log.read_text()}")
        return "Ready after" in self.log.read_text()

    def signal(self, kind: signal.Signals) -> int:
        """Send a signal, wait for the end, and return the status."""
        assert self._process is not None
        self._process.send_signal(kind)
        return self._process.wait(START_SECONDS)

    def kill_if_running(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)

    def run(self, *words: str, status: int = 0, **options: Any) -> str:
        """Run a command against it; returns its stdout."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=180, **options
        )
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return str(done.stdout)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "mynamo", "--config", str(self.config), *words]

    def processes(self) -> list[str]:
        """Every process that has this folder in its command line or as its working directory."""
        return processes_of(self.folder)


def processes_of(folder: Path) -> list[str]:
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            words = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            inside = (proc / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue
        if words and int(proc.name) != os.getpid() and (inside or f"{folder}/" in words):
            found.append(f"{proc.name} {words}")
    return found


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in other folders, and need not be installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(mynamo.__file__).parents[1]))


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    made = Dev(tmp_path)
    yield made
    made.kill_if_running()


def put(dev: Dev, at: int) -> str:
    """Put an order; returns the consistency token."""
    item = f'{{"customer": "ann", "at": {at}, "status": "open", "price": {at}}}'
    token: str = json.loads(dev.run("put", "orders", item, "--json"))["token"]
    return token


def ats(dev: Dev, token: str) -> list[int]:
    """The orders that the GSI has, once it has applied that write."""
    page = dev.run(
        "query", "orders", "open", "--index", "by_status", "--after", token,
        "--timeout", str(WORKER_SECONDS), "--json",
    )  # fmt: skip
    return [item["at"] for item in json.loads(page)["items"]]


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_serves_and_leaves_nothing_behind(dev: Dev, kind: signal.Signals) -> None:
    dev.start()
    dev.run(*CREATE)
    assert ats(dev, put(dev, 1)) == [1]
    assert any("writer" in line for line in dev.processes())
    assert any("indexer" in line for line in dev.processes())
    assert dev.signal(kind) == 0
    assert dev.processes() == []
    assert "the data stays in" in dev.log.read_text()
    dev.start()
    assert ats(dev, put(dev, 2)) == [1, 2]


def test_workers_and_servers_that_die_are_started_again(dev: Dev) -> None:
    dev.start()
    dev.run(*CREATE)
    before = dev.processes()
    for what in (" indexer", " writer", "tansu"):
        (victim,) = [line for line in before if what in line and "mynamo dev" not in line]
        os.kill(int(victim.split()[0]), signal.SIGKILL)
    eventually(lambda: dev.log.read_text().count("starting it again") >= 3, WORKER_SECONDS)
    assert ats(dev, put(dev, 1)) == [1]


def test_kill_9_loses_nothing_that_was_acknowledged(dev: Dev, tmp_path: Path) -> None:
    dev.start()
    dev.run(*CREATE)
    receipts = tmp_path / "receipts.jsonl"
    items = tmp_path / "items.jsonl"
    items.write_text(
        "".join(
            f'{{"customer": "c{n % 50}", "at": {n}, "status": "s{n % 7}", "price": {n % 10}}}\n'
            for n in range(20_000)
        )
    )
    env = {**os.environ, "MYNAMO_POOL__CONNECT_TIMEOUT": "1"}
    words = dev.command("load", str(items), "--table", "orders", "--receipts", str(receipts))
    with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL) as load:
        eventually(lambda: receipts.exists() and count_lines(receipts) > 500, WORKER_SECONDS)
        dev.signal(signal.SIGKILL)
        eventually(lambda: not dev_processes_but(dev, load.pid), 20)  # the kernel ended them all
        load.send_signal(signal.SIGINT)
        assert load.wait(90) != 0
    acknowledged = {(e["key"]["customer"], e["key"]["at"]) for e in read_lines(receipts)}
    assert 500 < len(acknowledged) < 20_000
    dev.start()
    assert not missing(dev, acknowledged)
    eventually(lambda: json.loads(dev.run("lag", "--json"))["events"] == 0, WORKER_SECONDS)
    verdict = json.loads(dev.run("verify", "orders", "--json"))
    assert verdict["ok"] is True
    assert verdict["items"] >= len(acknowledged)
    # The control: an item that is gone would have been noticed.
    customer, at = next(iter(acknowledged))
    dev.run("delete", "orders", f"customer={customer}", f"at={at}")
    assert missing(dev, acknowledged) == {(customer, at)}


def test_verify_and_repair_tell_damage_by_their_status(dev: Dev) -> None:
    dev.start()
    dev.run(*CREATE)
    ats(dev, put(dev, 1))
    assert "CLEAN" in dev.run("verify", "orders")
    damage(dev)
    verdict = json.loads(dev.run("verify", "orders", "--json", status=1))
    assert verdict["findings"] == 1
    assert "DAMAGED" in dev.run("verify", "orders", status=1)
    assert "1 index rows would be mended" in dev.run("repair", "orders", "--plan", status=1)
    assert "mended 1 of 1" in dev.run("repair", "orders")
    assert "CLEAN" in dev.run("verify", "orders")


def test_a_global_index_is_added_with_its_items(dev: Dev) -> None:
    dev.start()
    dev.run(*CREATE)
    for at in range(3):
        put(dev, at)
    added = dev.run("index", "add", "orders", "--gsi", "by_any_price=price:N:KEYS_ONLY")
    assert "index by_any_price is ACTIVE: 3 items" in added
    page = json.loads(dev.run("query", "orders", "2", "--index", "by_any_price", "--json"))
    assert page["items"] == [{"customer": "ann", "at": 2, "price": 2}]


def test_queued_writes_and_dead_letters(dev: Dev, tmp_path: Path) -> None:
    dev.start()
    dev.run(*CREATE)
    assert (
        "no dead letters"
        in subprocess.run(
            dev.command("dlq", "list"), capture_output=True, text=True, check=True
        ).stderr
    )
    items = tmp_path / "items.jsonl"
    items.write_text("".join(f'{{"customer": "ann", "at": {n}}}\n' for n in range(300)))
    loaded = json.loads(dev.run("load", str(items), "--table", "orders", "--queued", "--json"))
    assert loaded["acknowledged"] == 300
    eventually(lambda: len(dev.run("scan", "orders", "--lines").splitlines()) == 300, 60)
    with Cluster(ClusterConfig.load(dev.config)) as cluster, Producer(cluster) as producer:
        item = {"customer": "ann", "at": 7}
        producer.publish(producer.queued_put("orders", item, condition=MUST_NOT_EXIST))
    letters = eventually(lambda: json.loads(dev.run("dlq", "list", "--json")), WORKER_SECONDS)
    assert "the item exists" in letters[0]["reason"]
    assert letters[0]["message"]["table"] == "orders"
    assert letters[0]["letter_id"] in dev.run("dlq", "list")
    dev.run("dlq", "replay", "nobody", status=1)
    dev.run("dlq", "replay", status=2)
    dev.run("delete", "orders", "customer=ann", "at=7")
    replayed = dev.run("dlq", "replay", letters[0]["letter_id"])
    assert replayed == "1 replayed, 0 failed\n"
    eventually(lambda: len(dev.run("scan", "orders", "--lines").splitlines()) == 300, 60)


def test_the_demo_is_clean_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "mynamo", "demo", "--orders", "400"],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CLEAN: order_table, 390 items on 2 shards" in done.stdout
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = [sys.executable, "-m", "mynamo", "demo", "--orders", "1000000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        next(line for line in demo.stdout if line.startswith("first order"))
        demo.send_signal(signal.SIGINT)
        out, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "interrupted; everything is stopped" in out
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def dev_processes_but(dev: Dev, pid: int) -> list[str]:
    return [line for line in dev.processes() if int(line.split()[0]) != pid]


def missing(dev: Dev, keys: set[tuple[str, int]]) -> set[tuple[str, int]]:
    lines = dev.run("scan", "orders", "--lines", "--limit", "5000").splitlines()
    return keys - {(item["customer"], item["at"]) for item in map(json.loads, lines)}


def damage(dev: Dev) -> None:
    """Delete the one row of the GSI behind mynamo's back."""
    with Cluster(ClusterConfig.load(dev.config)) as cluster:
        index = cluster.table("orders").index("by_status")
        for shard in cluster.shards.values():
            shard.run((f"DELETE FROM {sql.index_table(index)}", ()))
