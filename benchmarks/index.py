"""Measure the index: which rate of puts it keeps up with, its lag, a backlog, filling a new GSI.

    python benchmarks/index.py                            # everything; takes 11 minutes
    python benchmarks/index.py --engine mariadb --broker embedded
    python benchmarks/index.py --drains 0                 # maximum and lag only
    python benchmarks/index.py --quick                    # does it run? The figures mean nothing
    python benchmarks/index.py --draw benchmarks/results/index/index.json   # the plot again

The cluster is that of `mynamo dev`: shards whose commits are synced to disk, a broker, a writer
(with the relay), an indexer and a gateway, each a process of its own; and beside them, on the same
machine, the load generator (`http_load.py`) and the probes (`index_probe.py`).

* Maximum: PutItem of new items with one LSI and one GSI by a closed loop of `--connections`, while
  the indexer works. `applied` is the part of them that the index took in as they came (see
  `index_probe.part_applied`): 1 means that it keeps up, and that its lag does not grow.
* Lag: open loops with 2, 25, 50, 75 and 100 % of the median maximum, by turns. It counts from the
  acknowledgement of a put until a query of the GSI answers with it. `settle` is how long the
  index needs for the rest once the load has ended. The same again without wake-ups between the
  processes (`local_wakeups = false`), as if each ran on a machine of its own.
* Backlog: the indexer is stopped, `--events` items are put by the library, and it is started
  again: how long until every event is applied? Once with all events published in Kafka already,
  once so with two indexers, and once with the writer stopped too, so that they have to be numbered
  and published as well.
  Starting and joining the group in Kafka is told apart: the rate counts from the first event that
  is applied.
* Backfill: a GSI is added by UpdateTable to a table of `--events` items: how long until ACTIVE?

All in interleaved rounds; figures are medians of the rounds, longest lags the longest of all.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import http_load
import index_load
from growth_cluster import SECOND, Servers, add_options, running, workplace
from growth_work import percentile
from http_requests import call, order, table_definition
from index_probe import Probes, part_applied
from index_report import plot, report
from peers import say
from rounds import (
    Figures,
    can_draw,
    interleaved,
    machine,
    medians,
    write_json,
)

from mynamo.operations import lag
from mynamo.producer import Producer, Put
from mynamo.schemas.items import from_stored

SHARES = (0.02, 0.25, 0.5, 0.75, 1.0)
WAKEUPS = {"open loop": "true", "open loop without wake-ups": "false"}
"""Loads, and whether processes wake each other under them."""
BACKLOGS = {
    "all in Kafka": ("indexer",),
    "all in Kafka, two indexers": ("indexer", SECOND),
    "nothing in Kafka": ("indexer", "writer"),
}
"""What is stopped while a backlog is made, and then started."""
TABLE, FILLED, ADDED = "orders", "filled", "added"
OPEN_LOOP_CONNECTIONS = 64
FIRST_ROOM = 15_000
"""Puts per second that the first run has items for."""
ROOM = 1.5
"""So many times as many items are prepared as the median maximum takes."""
BATCH = 200
HANGS_SECONDS = 600.0
POLL_SECONDS = 0.02
QUICK = {"seconds": 2.0, "rounds": 1, "drains": 1, "events": 4000}


class Bench:
    """Measures one cluster.

    Attributes:
        troubles: what did not work, for people.
    """

    def __init__(self, servers: Servers, asked: argparse.Namespace) -> None:
        self._servers = servers
        self._asked = asked
        self._next = 0
        self._runs = 0
        self._kind = next(iter(WAKEUPS))
        self.troubles: list[str] = []

    def load(self, connections: int, room: float, rate: float | None = None) -> Figures:
        """Put new items through the gateway, with probes beside them, and let the index settle.

        Args:
            connections: that many.
            room: puts per second that there are items for.
            rate: puts per second of an open loop; None: closed loop.
        """
        asked = self._asked
        seconds = asked.seconds
        puts = math.ceil(room * (seconds + 1))
        self._runs += 1
        plan = http_load.Plan(
            port=self._servers.port, table=TABLE, operation="PutItem", connections=connections,
            seconds=seconds, first=self._take(puts), seed=self._runs, rate=rate,
        )  # fmt: skip
        cpu = self._servers.cpu_seconds()
        probes = Probes(self._servers.cluster, TABLE, asked.probes)
        measured = index_load.run(plan, puts, probes)
        self._servers.settle()
        settled = time.monotonic() - probes.stopped_at
        return self._figures(measured, probes, settled, self._servers.cpu_seconds() - cpu)

    def lag(self, kind: str, rate: float) -> Figures:
        """The same with an open loop, with or without wake-ups."""
        self.restart(kind)
        return self.load(OPEN_LOOP_CONNECTIONS, rate * 1.05, rate=rate)

    def restart(self, kind: str) -> None:
        """Restart writer and indexer with or without wake-ups, if they run otherwise."""
        if kind == self._kind:
            return
        self._kind = kind
        servers = self._servers
        servers.stop("indexer", "writer")
        servers.start("writer", "indexer", env={"MYNAMO_LOCAL_WAKEUPS": WAKEUPS[kind]})
        servers.await_indexer()
        self.write(TABLE, BATCH)  # this warms up
        servers.settle()

    def drain(self, _: str, kind: str) -> Figures:
        """Make a backlog, and let the workers take it off."""
        stopped = BACKLOGS[kind]
        servers, events = self._servers, self._asked.events
        servers.settle()
        servers.stop(*stopped)
        began = time.monotonic()
        self.write(TABLE, events)
        written = time.monotonic() - began
        if "writer" not in stopped:
            self._await("events are not published", lambda: not self._unpublished(), 0.5)
        applied = self._applied()
        began = time.monotonic()
        servers.start(*reversed(stopped))
        self._await("no event is applied", lambda: self._applied() != applied)
        first = time.monotonic()
        servers.settle()
        ended = time.monotonic()
        servers.stop(SECOND)
        return {
            "written/s": events / written,
            "until first s": first - began,
            "drained s": ended - first,
            "events/s": events / (ended - first),
        }

    def backfill(self, _: str, __: str) -> Figures:
        """Add a GSI to the table that is filled, and take it away again."""
        servers = self._servers
        self._await("events are not published", lambda: not self._unpublished(), 0.5)
        servers.settle()
        definition = table_definition(FILLED)
        (index,) = definition["GlobalSecondaryIndexes"]
        began = time.monotonic()
        self._update({"Create": {**index, "IndexName": ADDED}})
        self._await("the new GSI does not become ACTIVE", lambda: self._status() == "ACTIVE", 0.1)
        seconds = time.monotonic() - began
        self._update({"Delete": {"IndexName": ADDED}})
        self._await("the GSI is not dropped", lambda: self._status() is None, 0.1)
        return {"active s": seconds, "rows/s": self._asked.events / seconds}

    def write(self, name: str, events: int) -> None:
        """Put new items with the library.

        Raises:
            RuntimeError: some were refused.
        """
        first = self._take(events)
        ranges = [
            range(start, min(first + events, start + BATCH))
            for start in range(first, first + events, BATCH)
        ]
        with Producer(self._servers.cluster) as producer, ThreadPoolExecutor(2) as pool:

            def write(numbers: range) -> list[object]:
                answers = producer.write_batch([Put(name, from_stored(order(n))) for n in numbers])
                return [answer for answer in answers if isinstance(answer, Exception)]

            refused = [each for some in pool.map(write, ranges) for each in some]
        if refused:
            raise RuntimeError(f"{len(refused)} of {events} puts failed, such as: {refused[0]}")

    def make_tables(self) -> None:
        """Make the tables, and fill the one that gets a GSI later."""
        definition = table_definition(FILLED)
        del definition["GlobalSecondaryIndexes"]
        definition["AttributeDefinitions"] = [
            each
            for each in definition["AttributeDefinitions"]
            if each["AttributeName"] != "product"
        ]
        for each in (table_definition(TABLE), definition):
            call(self._servers.port, "CreateTable", each)
            problem = f"table {each['TableName']} does not become ACTIVE"
            self._await(problem, partial(self._is_there, each["TableName"]))
        if self._asked.drains:
            self.write(FILLED, self._asked.events)

    def _figures(
        self, measured: dict[str, Any], probes: Probes, settled: float, cpu: float
    ) -> Figures:
        lags = sorted(probes.lags)
        bad = measured["errors"] + measured["wrong"] + len(probes.failures) + probes.lost
        if bad:
            example = measured["example"] or str(next(iter(probes.failures), "")) or "a lost probe"
            self.troubles.append(f"run {self._runs}: {bad} errors, such as: {example}")
        figures = {
            "puts/s": measured["rate"],
            "put p50 ms": measured["p50_ms"],
            "put p99 ms": measured["p99_ms"],
            "applied": part_applied(probes.lags, self._asked.seconds),
            "lag p50 ms": percentile(lags, 0.5) * 1000,
            "lag p99 ms": percentile(lags, 0.99) * 1000,
            "lag max ms": percentile(lags, 1) * 1000,
            "probes": len(lags),
            "settle s": settled,
            "cpu us": cpu / max(1, measured["answered"]) * 1e6,
            "errors": bad,
        }
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def _take(self, items: int) -> int:
        """Numbers for so many new items; the first of them."""
        first, self._next = self._next, self._next + items
        return first

    def _unpublished(self) -> int:
        return sum(shard.unpublished for shard in lag(self._servers.cluster).shards)

    def _applied(self) -> int:
        """A figure that grows when an indexer has applied something."""
        statement = ("SELECT COALESCE(SUM(applied_seq), 0) FROM mynamo_stream", ())
        shards = self._servers.cluster.shards.values()
        return sum(int(shard.run(statement)[0].rows[0][0]) for shard in shards)

    def _table(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = call(self._servers.port, "DescribeTable", {"TableName": name})
        return dict(found["Table"])

    def _is_there(self, name: str) -> bool:
        return bool(self._table(name)["TableStatus"] == "ACTIVE")

    def _update(self, change: dict[str, Any]) -> None:
        body = {
            "TableName": FILLED,
            "AttributeDefinitions": table_definition(FILLED)["AttributeDefinitions"],
            "GlobalSecondaryIndexUpdates": [change],
        }
        call(self._servers.port, "UpdateTable", body)

    def _status(self) -> str | None:
        """Of the added GSI; None if there is none."""
        indexes = self._table(FILLED).get("GlobalSecondaryIndexes", ())
        return next((str(index["IndexStatus"]) for index in indexes), None)

    def _await(self, problem: str, done: Callable[[], bool], pause: float = POLL_SECONDS) -> None:
        deadline = time.monotonic() + HANGS_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise RuntimeError(problem)
            time.sleep(pause)


def measure_all(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the cluster and measure.

    Raises:
        LocalServerError: a server does not start.
        RuntimeError: something does not work at all.
    """
    say("starting servers")
    about = machine()
    results: dict[str, Any] = {"benchmark": "index", "machine": about}
    results["options"] = {
        name: getattr(asked, name)
        for name in ("shards", "seconds", "rounds", "connections", "probes", "events")
    }
    workers = ("writer", "indexer", "gateway")
    with running(folder / "cluster", asked, asked.shards, workers) as servers:
        results["servers"] = servers.about()
        bench = Bench(servers, asked)
        results["troubles"] = bench.troubles
        say("making tables")
        bench.make_tables()
        say("warming up")
        room = ROOM * bench.load(asked.connections, FIRST_ROOM)["puts/s"]  # this warms up as well
        found = interleaved(
            ["closed loop"], ["maximum"], asked.rounds,
            lambda *_: bench.load(asked.connections, room),
        )  # fmt: skip
        results["maximum"] = shown(found["closed loop", "maximum"])
        most = results["maximum"]["median"]["puts/s"]
        rates = {f"{share:.0%}": share * most for share in SHARES}
        found = interleaved(
            list(WAKEUPS), list(rates), asked.rounds,
            lambda kind, name: bench.lag(kind, rates[name]),
        )  # fmt: skip
        for key, kind in zip(("lag", "lag without wake-ups"), WAKEUPS, strict=True):
            results[key] = {name: shown(found[kind, name]) for name in rates}
        if not asked.drains:
            return results
        bench.restart(next(iter(WAKEUPS)))
        found = interleaved(["backlog"], list(BACKLOGS), asked.drains, bench.drain)
        results["backlog"] = {name: shown(found["backlog", name]) for name in BACKLOGS}
        found = interleaved(["backfill"], ["one GSI"], asked.drains, bench.backfill)
        results["backfill"] = shown(found["backfill", "one GSI"])
    return results


def shown(figures: Sequence[Figures]) -> dict[str, Any]:
    """Rounds and their medians; of the longest lags and of errors, all of them count."""
    middle = medians(figures)
    for name in ("lag max ms", "errors"):
        if name in middle:
            middle[name] = max(each.get(name, 0) for each in figures)
    return {"median": middle, "rounds": list(figures)}


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, "index")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of loads")
    parser.add_argument("--drains", type=int, default=2, help="rounds of backlogs, backfills")
    parser.add_argument("--connections", type=int, default=64, help="of the closed loop")
    parser.add_argument("--probes", type=float, default=50.0, help="per second")
    parser.add_argument("--events", type=int, default=200_000, help="of a backlog, and a backfill")
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only draw a result again")
    asked = parser.parse_args()
    if asked.draw is not None:
        if can_draw():
            plot(asked.draw.with_suffix(".png"), json.loads(asked.draw.read_text()))
        return
    if asked.quick:
        vars(asked).update(QUICK)
    drawing = can_draw()  # said before minutes have gone by
    with workplace(asked.out) as folder:
        results = measure_all(asked, folder)
    file = asked.out / "index.json"
    write_json(file, results)
    print(report(results))
    if drawing:
        plot(file.with_suffix(".png"), results)


if __name__ == "__main__":
    main()
