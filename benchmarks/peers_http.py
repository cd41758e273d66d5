"""Compare mynamo's gateway with dynalite and dynoxide: the same requests over HTTP.

    python benchmarks/peers_http.py                   # everything; takes an hour
    python benchmarks/peers_http.py --seconds 1 --rounds 1 --connections 16 --rate 200
    python benchmarks/peers_http.py --draw benchmarks/results/peers_http.json   # the plot again

It needs Node and npm, and cargo. Downloads are kept in `$MYNAMO_CACHE`; `make` has its own in
`.cache`. The plot needs the `bench` extra.

Contenders: `mynamo` and `mynamo-2` (the gateway with one process and with two), and `mynamo-own`
(one process with `index_reads = "own-writes"`), all before one cluster: one MySQL shard
whose commits are synced to disk, a writer and an indexer; `dynalite` and `dynoxide` (on disk), and
`fixed`, a server that does nothing and shows what the load generator can do at most. A server of
the API that already runs on this machine is named by its URL. All run side by side all the time and
are measured by turns, in interleaved rounds; figures are medians of the rounds. Before the next one
is measured, mynamo's GSI must have caught up, and the CPU time for that is counted as well.

Loads: closed loops with so many connections, and open loops with a fixed rate of arrivals
(`--rate`, requests per second; of BatchWriteItem a tenth), whose latencies count from when a
request was due. See `http_requests.py` for the table and the requests, and `http_load.py` for the
load generator.

A request of BatchWriteItem writes 25 items. Answers are checked (see `http_load.py`), and errors
do not count. What each contender costs when it idles, and so the others too, is printed as well.

Prints tables; writes them, the rounds and the machine to `--out` as JSON, with a plot as PNG.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import http_load
from http_requests import (
    BATCH,
    BATCHES,
    GROUP,
    LOADED,
    OPERATIONS,
    PUTS,
    call,
    order,
    product,
    table_definition,
)
from peers import NAMES, Contender, contender_name, contenders, say
from peers_report import Report
from rounds import Progress, can_draw, interleaved, machine, medians, write_json

OPEN_LOOP_CONNECTIONS = 64
OPEN_LOOP_SHARE = {"BatchWriteItem": 0.1}
IDLE_SECONDS = 3.0
PAUSE_SECONDS = 0.2
READY_SECONDS = 60.0
HANGS_SECONDS = 120.0
RESULTS = Path(__file__).with_name("results")


class Cell(NamedTuple):
    """What is measured with each contender.

    Attributes:
        load: its name: a number of connections, or a rate.
        operation: one of `http_requests.OPERATIONS`.
        connections: that many.
        rate: of an open loop, in requests per second.
    """

    load: str
    operation: str
    connections: int
    rate: float | None = None

    def __str__(self) -> str:
        return f"{self.operation}, {self.load}"


class Bench:
    """Measures contenders.

    Args:
        running: the contenders.
        seconds: of each measurement.
    """

    def __init__(self, running: Sequence[Contender], seconds: float) -> None:
        self._running = {one.name: one for one in running}
        self._seconds = seconds
        self._runs = 0
        self.troubles: list[str] = []

    def measure(self, cell: Cell, name: str) -> dict[str, float]:
        """One measurement; what does not work is noted in `troubles`, and the others go on."""
        contender = self._running[name]
        self._runs += 1
        plan = http_load.Plan(
            port=contender.port,
            table=contender.table,
            operation=cell.operation,
            connections=cell.connections,
            seconds=self._seconds,
            first=LOADED + self._runs * max(PUTS, BATCH * BATCHES),
            seed=self._runs,
            rate=cell.rate,
            checked=contender.checked,
        )
        before = contender.cpu_seconds()
        measured = self._load(plan, f"{cell}, {name}")
        if measured is None:
            return {"errors": 1}
        began = time.monotonic()
        if not contender.settle():
            self.troubles.append(f"{cell}, {name}: its GSI does not catch up")
        settled = time.monotonic() - began
        cpu = contender.cpu_seconds() - before
        time.sleep(PAUSE_SECONDS)
        if example := measured.pop("example"):
            self.troubles.append(
                f"{cell}, {name}: {measured['errors']} errors, {measured['wrong']} wrong answers "
                f"of those looked at, such as: {example}"
            )
        measured["settle_s"] = settled
        if answered := measured.pop("answered"):
            measured["cpu_us"] = cpu / answered * 1e6
        return {key: value for key, value in measured.items() if math.isfinite(value)}

    def _load(self, plan: http_load.Plan, about: str) -> dict[str, Any] | None:
        try:
            done = subprocess.run(
                [sys.executable, http_load.__file__],
                input=json.dumps(asdict(plan)),
                capture_output=True,
                text=True,
                timeout=plan.seconds + HANGS_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired:
            self.troubles.append(f"{about}: the load generator got no answer")
        except subprocess.CalledProcessError as failure:
            self.troubles.append(f"{about}: {failure.stderr.strip().splitlines()[-1]}")
        else:
            measured: dict[str, Any] = json.loads(done.stdout)
            return measured
        return None


def set_up(contender: Contender) -> None:
    """Make the table and load its items.

    Raises:
        RuntimeError: a request was refused, or queries do not find the items.
    """
    port, name = contender.port, contender.table
    call(port, "CreateTable", table_definition(name))
    deadline = time.monotonic() + READY_SECONDS
    while call(port, "DescribeTable", {"TableName": name})["Table"]["TableStatus"] != "ACTIVE":
        _not_after(deadline, f"the table of {contender.name} does not become active")
    for first in range(0, LOADED, BATCH):
        numbers = range(first, min(LOADED, first + BATCH))
        left: Any = {name: [{"PutRequest": {"Item": order(one)}} for one in numbers]}
        while left:
            left = call(port, "BatchWriteItem", {"RequestItems": left})["UnprocessedItems"]
    if not contender.settle():
        raise RuntimeError(f"the GSI of {contender.name} does not catch up")
    for one in range(0, LOADED, LOADED // 20):
        query = {
            "TableName": name,
            "IndexName": "by_product",
            "KeyConditionExpression": "product = :product",
            "ExpressionAttributeValues": {":product": {"S": product(one)}},
        }
        found = call(port, "Query", query)["Count"]
        if found != GROUP:
            raise RuntimeError(f"{contender.name} finds {found} items of a product, not {GROUP}")


def _not_after(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(problem)
    time.sleep(PAUSE_SECONDS)


def warm_up(bench: Bench, names: Sequence[str], operations: Sequence[str]) -> None:
    """Every operation once with everyone: compilers at run time, caches."""
    progress = Progress(len(names) * len(operations))
    for name in names:
        for operation in operations:
            progress.step(f"warming up {name}: {operation}")
            bench.measure(Cell("warm-up", operation, OPEN_LOOP_CONNECTIONS), name)
    progress.end()


def idle_cores(running: Iterable[Contender]) -> dict[str, float]:
    """The part of one core that each contender takes when it has nothing to do."""
    before = {one.name: one.cpu_seconds() for one in running}
    time.sleep(IDLE_SECONDS)
    return {one.name: (one.cpu_seconds() - before[one.name]) / IDLE_SECONDS for one in running}


def cells(asked: argparse.Namespace) -> list[Cell]:
    """All that is to be measured."""
    made = [
        Cell(f"{count} connection{'s' if count > 1 else ''}", operation, count)
        for count in asked.connections
        for operation in asked.operations
    ]
    for rate in asked.rate:
        for operation in asked.operations:
            share = rate * OPEN_LOOP_SHARE.get(operation, 1.0)
            name = f"open loop, {rate:g} requests/s"
            made.append(Cell(name, operation, OPEN_LOOP_CONNECTIONS, share))
    return made


def measure_all(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all contenders and measure them.

    Raises:
        LocalServerError: a contender could not be fetched, or does not start.
        RuntimeError: one does not take its table.
    """
    about = machine()
    with contenders(asked.peers, folder) as running:
        for one in running:
            if one.checked:
                say(f"loading {LOADED:,} items: {one.title}")
                set_up(one)
        say("all are loaded")
        bench = Bench(running, asked.seconds)
        warm_up(bench, asked.peers, asked.operations)
        idle = idle_cores(running)
        found = interleaved(cells(asked), asked.peers, asked.rounds, bench.measure)
    return {
        "benchmark": "peers_http",
        "machine": about,
        "options": {
            name: getattr(asked, name)
            for name in ("seconds", "rounds", "connections", "rate", "operations", "peers")
        },
        "contenders": [
            {
                "name": one.name,
                "title": one.title,
                "keeps": one.keeps,
                "idle_cores": idle[one.name],
            }
            for one in running
        ],
        "figures": [
            {
                "load": cell.load,
                "operation": cell.operation,
                "rate_asked": cell.rate,
                "contender": name,
                "median": medians(figures),
                "rounds": figures,
            }
            for (cell, name), figures in found.items()
        ],
        "troubles": bench.troubles,
    }


def run(asked: argparse.Namespace) -> None:
    """Measure, print and write."""
    can_draw()  # said before an hour has gone by
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.out, prefix=".data-") as folder:
        results = measure_all(asked, Path(folder).resolve())
    file = asked.out / "peers_http.json"
    write_json(file, results)
    report = Report(results)
    print(report.text())
    if can_draw():
        report.draw(file.with_suffix(".png"))


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--rate", type=float, nargs="*", default=[200.0])
    every = list(OPERATIONS)
    parser.add_argument("--operations", nargs="+", choices=every, default=every, metavar="NAME")
    peers = parser.add_argument("--peers", nargs="+", type=contender_name, default=list(NAMES))
    peers.metavar = "NAME"
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only draw a result again")
    asked = parser.parse_args()
    if asked.draw is None:
        run(asked)
    elif can_draw():
        Report(json.loads(asked.draw.read_text())).draw(asked.draw.with_suffix(".png"))


if __name__ == "__main__":
    main()
