"""Measure filling a new GSI: how fast it is alone, and what it does to writes and to another GSI.

    python benchmarks/index_backfill.py                   # takes 3 minutes
    python benchmarks/index_backfill.py --events 2000 --seconds 2    # does it run?

A cluster as `mynamo dev` has it, as for `index.py`. A table of `--events` items of 300 bytes, with
an LSI and a GSI, gets one more GSI by UpdateTable, `--rounds` times each:

* alone: how long until it is ACTIVE?
* beside: the same while an open loop puts `--rate` new items per second by the gateway for
  `--seconds`, and probes (`index_probe.py`) ask the GSI that is there already. Lags are those of
  the probes that were put while the new GSI was filled.
* without: the same load, and nothing is filled.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from pathlib import Path
from typing import Any

import http_load
import index_load
from growth_cluster import Servers, add_options, running, workplace
from growth_work import percentile
from http_requests import call, table_definition
from index import Bench, shown
from index_probe import Probes
from peers import say
from rounds import Figures, interleaved, machine, write_json

TABLE, ADDED = "orders", "by_price_everywhere"
CONNECTIONS = 32


class BackfillBench(Bench):
    """Measures one cluster whose table has a GSI already."""

    def __init__(self, servers: Servers, asked: argparse.Namespace) -> None:
        super().__init__(servers, asked)
        self._from, self._to = 0.0, math.inf

    def make(self) -> None:
        """Make the table, fill it, and wait until its GSI is there."""
        call(self._servers.port, "CreateTable", table_definition(TABLE))
        self._await("the table does not become ACTIVE", lambda: self._is_there(TABLE))
        self.write(TABLE, self._asked.events)
        self._servers.settle()

    def measure(self, _: str, kind: str) -> Figures:
        """One round of one kind."""
        self._servers.settle()
        if kind == "alone":
            seconds = self._fill()
            return {"active s": seconds, "rows/s": self._asked.events / seconds}
        return self._beside(fills=kind == "beside")

    def _beside(self, fills: bool) -> Figures:
        asked = self._asked
        puts = math.ceil(asked.rate * (asked.seconds + 1))
        self._runs += 1
        plan = http_load.Plan(
            port=self._servers.port, table=TABLE, operation="PutItem", connections=CONNECTIONS,
            seconds=asked.seconds, first=self._take(puts), seed=self._runs, rate=asked.rate,
        )  # fmt: skip
        probes = Probes(self._servers.cluster, TABLE, asked.probes)
        self._from, self._to = 0.0, math.inf
        filling = threading.Timer(1.0, self._fill) if fills else threading.Timer(0, int)
        filling.start()
        measured = index_load.run(plan, puts, probes)
        filling.join()
        lags = sorted(
            max(0.0, probes._found[each] - at)
            for each, at in probes._put_at.items()
            if self._from <= at <= self._to and each in probes._found
        )
        if fills:
            self._drop()
        figures = {
            "lag p50 ms": percentile(lags, 0.5) * 1000,
            "lag p99 ms": percentile(lags, 0.99) * 1000,
            "lag max ms": percentile(lags, 1) * 1000,
            "put p50 ms": measured["p50_ms"],
            "put p99 ms": measured["p99_ms"],
            "put max ms": measured["longest_ms"],
            "probes": len(lags),
            "errors": measured["errors"] + measured["wrong"] + len(probes.failures) + probes.lost,
        }
        if fills:
            figures["active s"] = self._to - self._from
        return figures

    def _fill(self) -> float:
        """Add the GSI; returns seconds until it is ACTIVE. Without load, it goes again."""
        began = self._from = time.monotonic()
        key = [
            {"AttributeName": "price", "KeyType": "HASH"},
            {"AttributeName": "at", "KeyType": "RANGE"},
        ]
        self._change(
            {"Create": {
                "IndexName": ADDED, "KeySchema": key, "Projection": {"ProjectionType": "ALL"},
            }}
        )  # fmt: skip
        self._await("the new GSI does not become ACTIVE", lambda: self._state() == "ACTIVE", 0.1)
        self._to = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._drop()
        return self._to - began

    def _drop(self) -> None:
        self._change({"Delete": {"IndexName": ADDED}})
        self._await("the GSI is not dropped", lambda: self._state() is None, 0.1)

    def _change(self, change: dict[str, Any]) -> None:
        definitions = table_definition(TABLE)["AttributeDefinitions"]
        body = {
            "TableName": TABLE,
            "AttributeDefinitions": definitions,
            "GlobalSecondaryIndexUpdates": [change],
        }
        call(self._servers.port, "UpdateTable", body)

    def _state(self) -> str | None:
        indexes = self._table(TABLE).get("GlobalSecondaryIndexes", ())
        return next((str(i["IndexStatus"]) for i in indexes if i["IndexName"] == ADDED), None)


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, "backfill")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--events", type=int, default=120_000, help="items of the table")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a load")
    parser.add_argument("--rate", type=float, default=300.0, help="puts per second")
    parser.add_argument("--probes", type=float, default=50.0, help="per second")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--kinds", nargs="+", default=["alone", "without", "beside"], help="what to measure"
    )
    asked = parser.parse_args()
    workers = ("writer", "indexer", "gateway")
    with (
        workplace(asked.out) as folder,
        running(Path(folder) / "cluster", asked, asked.shards, workers) as servers,
    ):
        bench = BackfillBench(servers, asked)
        say(f"filling a table with {asked.events:,} items")
        bench.make()
        found = interleaved(["backfill"], asked.kinds, asked.rounds, bench.measure)
        results = {kind: shown(found["backfill", kind]) for kind in asked.kinds}
        write_json(
            asked.out / "backfill.json",
            {"benchmark": "backfill", "machine": machine(), "servers": servers.about()} | results,
        )
    for kind, result in results.items():
        print(kind, {name: round(value, 1) for name, value in result["median"].items()})


if __name__ == "__main__":
    main()
