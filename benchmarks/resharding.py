"""Measure moving slots: rows per second, what clients feel, and the pause at each switch.

    python benchmarks/resharding.py                       # takes some minutes
    python benchmarks/resharding.py --items 20000 --rate 5000

Shards whose commits are synced to disk, a broker, a writer and an indexer are processes of their
own. One shard has all items, of a table with one LSI and two GSIs. Four threads read and write
(`mynamo.cli.demo_load`): gets, puts, updates, queries by a GSI. A second shard is added, and half
of the slots are moved to it by `mynamo shard rebalance`, a process of its own; once with `--rate`,
and, after they were moved back by draining, once without. The figures of clients are those of the
phases before, during and after. Pauses are those of all attempts, also of those taken back.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from growth_cluster import BROKERS
from peers import say
from rounds import machine, table, write_json

from mynamo.catalog import definitions, moves
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.members import add_shard
from mynamo.cli.children import Workers
from mynamo.cli.demo_load import Load, fill, quantile
from mynamo.cli.demo_orders import SCHEMA
from mynamo.cli.output import console
from mynamo.local import LocalCluster
from mynamo.local.cache import find_fetched
from mynamo.log import ensure_topics
from mynamo.operations.pipeline import wait_until_applied

QUIET_SECONDS = 15.0
COMMAND = (
    "from mynamo.operations.resharding import mover; mover.CLEAN_AFTER = 1.0;"
    "from mynamo.cli import main; main()"
)
"""`mynamo`, which deletes a moved range from its old shard after one second instead of a minute."""


def main() -> None:
    """Run it, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=3_000, help="rows per second, when bounded")
    parser.add_argument("--pause", type=float, default=20, help="ms between a thread's requests")
    parser.add_argument("--engine", choices=["mysql", "mariadb"])
    parser.add_argument(
        "--broker", choices=list(BROKERS), default="kafka" if find_fetched("kafka") else "embedded"
    )
    parser.add_argument("--out", type=Path, help="a folder for the figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mynamo-resharding-") as folder:
        local = LocalCluster(folder, 2, given.engine, BROKERS[given.broker], fetch=True)
        workers: Workers | None = None
        try:
            local.start()
            ensure_topics(local.config.kafka)
            with Cluster(local.config.model_copy(update={"shards": local.config.shards[:1]})):
                pass  # set up with one shard
            workers = Workers(local)
            workers.start()
            with Cluster(local.config) as cluster:
                figures = measure(cluster, local.config_file, given)
        finally:
            if workers is not None:
                workers.stop()
            local.stop()
    print(machine())
    show(figures)
    if given.out:
        write_json(given.out / "resharding.json", {"machine": machine(), "phases": figures})


def measure(cluster: Cluster, config: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """All phases, each with what clients felt in it."""
    items, rate = given.items, given.rate
    definitions.create_table(cluster, SCHEMA)
    fill(cluster, items, console())
    wait_until_applied(cluster, 600)
    phases: list[dict[str, Any]] = []
    with Load(cluster, items, given.pause / 1000) as load:
        time.sleep(3)
        phases.append(phase("one shard", load, QUIET_SECONDS))
        add_shard(cluster, 2, lambda _: None)
        phases.append(moving(f"to two shards, {rate:,.0f} rows/s", load, config, "rebalance",
                             "--rate", str(rate)))  # fmt: skip
        phases.append(phase("two shards", load, QUIET_SECONDS))
        phases.append(moving("back to one", load, config, "drain", "2"))
        moves.set_draining(cluster.catalog, 2, False)
        phases.append(moving("to two shards again", load, config, "rebalance"))
        failures = load.failures
    if failures:
        print(f"{len(failures)} requests failed: {failures[:3]}")
    return phases


def phase(name: str, load: Load, seconds: float) -> dict[str, Any]:
    """Clients alone."""
    say(name)
    load.recent()
    time.sleep(seconds)
    return felt(name, load, seconds)


def moving(name: str, load: Load, config: Path, *words: str) -> dict[str, Any]:
    """Clients beside a command that moves slots."""
    say(name)
    load.recent()
    began = time.monotonic()
    path = os.pathsep.join(p for p in (str(Path.cwd()), os.environ.get("PYTHONPATH")) if p)
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--config", str(config), "shard", *words, "--json"],
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdout is not None
    moved_at, rows, told = began, {}, {}
    for line in process.stdout:
        told = orjson.loads(line)
        if "move" in told:
            rows[told["move"]] = max(told["rows"], rows.get(told["move"], 0))
            if told["doing"].startswith("moved"):
                moved_at = time.monotonic()
    if process.wait():
        raise SystemExit(f"mynamo shard {' '.join(words)} ended with {process.returncode}")
    seconds = time.monotonic() - began
    figures = felt(name, load, seconds)
    figures["rows"] = sum(rows.values())
    figures["rows_per_second"] = sum(rows.values()) / (moved_at - began)
    figures["pauses_ms"] = told["pauses_ms"]
    return figures


def felt(name: str, load: Load, seconds: float) -> dict[str, Any]:
    """What clients felt since the last call."""
    taken = {operation: sorted(each) for operation, each in load.recent().items()}
    return {
        "phase": name,
        "requests_per_second": sum(map(len, taken.values())) / seconds,
        "operations": {
            operation: {
                "p50_ms": 1000 * quantile(each, 0.5),
                "p99_ms": 1000 * quantile(each, 0.99),
                "longest_ms": 1000 * quantile(each, 1.0),
            }
            for operation, each in taken.items()
        },
        "seconds": seconds,
    }


def show_requests(phases: list[dict[str, Any]]) -> None:
    """Print what clients felt as a table."""
    operations = list(phases[0]["operations"])
    rows = [
        [
            each["phase"],
            f"{each['requests_per_second']:,.0f}",
            *(
                " / ".join(f"{found[name]:,.1f}" for name in ("p50_ms", "p99_ms", "longest_ms"))
                for found in each["operations"].values()
            ),
        ]
        for each in phases
    ]
    print("\nRequests: p50 / p99 / longest, in ms\n")
    print(table(["phase", "requests/s", *operations], rows))


def show(phases: list[dict[str, Any]]) -> None:
    """Print the figures as tables."""
    show_requests(phases)
    rows = [
        [
            each["phase"], f"{each['rows']:,}", f"{each['rows_per_second']:,.0f}",
            str(len(each["pauses_ms"])),
            *(f"{quantile(each['pauses_ms'], share):,.0f}" for share in (0.5, 0.99, 1.0)),
        ]
        for each in phases if "pauses_ms" in each
    ]  # fmt: skip
    print("\nMoves: writes of a range pause at its switch, in ms\n")
    head = ["phase", "rows", "rows/s", "switches", "pause p50", "pause p99", "longest pause"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
