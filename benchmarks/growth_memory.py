"""The memory of each process of a cluster, with its gateway, over a long run of mixed load."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import http_load
import index_load
from growth_cluster import Servers
from growth_work import Failures
from http_requests import BATCH, LOADED, call, order, table_definition
from rounds import Progress, number, table

TABLE = "orders"
LOADS = ("YCSB-A", "PutItem", "GetItem", "Query", "QueryGSI", "UpdateItem", "BatchWriteItem")
LOAD_SECONDS = 5.0
ITEMS = 50_000
"""More than are put in that time."""
CONNECTIONS = 16
LOOK_SECONDS = 2.0
POLL_SECONDS = 0.1


class Memory:
    """Looks at the memory of all processes, for as long as the block runs.

    Attributes:
        seconds: when it looked, from its beginning.
        megabytes: what each process then had, by name.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._stop = threading.Event()
        self._looking = threading.Thread(target=self._look_all)
        self.seconds: list[float] = []
        self.megabytes: dict[str, list[float]] = {}

    def __enter__(self) -> Memory:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._looking.join()

    def _look_all(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            self.seconds.append(time.monotonic() - began)
            for name, use in self._servers.use().items():
                self.megabytes.setdefault(name, []).append(use.memory_bytes / 1e6)
            self._stop.wait(LOOK_SECONDS)


def run(servers: Servers, minutes: float, failures: Failures) -> dict[str, Any]:
    """Load the gateway with one kind of request after the other, by closed loops."""
    _make_table(servers)
    deadline = time.monotonic() + minutes * 60
    progress = Progress(max(1, round(minutes * 60 / LOAD_SECONDS)))
    answered: dict[str, int] = dict.fromkeys(LOADS, 0)
    first = LOADED
    with Memory(servers) as memory:
        for operation in cycle(LOADS):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            progress.step(f"memory: {operation}")
            plan = http_load.Plan(
                port=servers.port, table=TABLE, operation=operation, connections=CONNECTIONS,
                seconds=min(LOAD_SECONDS, left), first=first, seed=first,
            )  # fmt: skip
            first += ITEMS
            measured = index_load.run(plan, ITEMS)
            answered[operation] += measured["answered"]
            for _ in range(measured["errors"] + measured["wrong"]):
                failures.add(f"memory, {operation}", measured["example"])
        settled = servers.settle()
    progress.end()
    return {
        "minutes": minutes,
        "answered": answered,
        "settle_s": settled,
        "seconds": memory.seconds,
        "megabytes": memory.megabytes,
    }


def report(found: Mapping[str, Any]) -> str:
    """A table of the processes."""
    rows = [
        [
            name,
            *(number(each) for each in (some[0], statistics.median(some), some[-1], max(some))),
            number(statistics.median(_end(some)) / statistics.median(_middle(some))),
        ]
        for name, some in found["megabytes"].items()
    ]
    head = ["process, MB", "first", "median", "last", "most", "last tenth : middle tenth"]
    requests = ", ".join(f"{count:,} {name}" for name, count in found["answered"].items())
    about = f"Memory over {found['minutes']:g} minutes; requests answered: {requests}"
    return f"{about}\n\n{table(head, rows)}"


def plot(path: Path, found: Mapping[str, Any]) -> None:
    """Draw a line for each process."""
    import matplotlib  # type: ignore[import-not-found,unused-ignore]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    figure, axis = pyplot.subplots(figsize=(13, 5), layout="constrained")
    for name, some in found["megabytes"].items():
        axis.plot([at / 60 for at in found["seconds"]], some, label=name)
    axis.set_xlabel("minutes")
    axis.set_ylabel("MB (resident)")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    figure.suptitle("Memory of each process under mixed load")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _middle(some: list[float]) -> list[float]:
    tenth = max(1, len(some) // 10)
    middle = len(some) // 2
    return some[middle : middle + tenth]


def _end(some: list[float]) -> list[float]:
    return some[-max(1, len(some) // 10) :]


def _make_table(servers: Servers) -> None:
    """Make the table, and put the items that reads are for."""
    call(servers.port, "CreateTable", table_definition(TABLE))
    while call(servers.port, "DescribeTable", {"TableName": TABLE})["Table"]["TableStatus"] != (
        "ACTIVE"
    ):
        time.sleep(POLL_SECONDS)
    for first in range(0, LOADED, BATCH):
        puts = [{"PutRequest": {"Item": order(n)}} for n in range(first, first + BATCH)]
        left: Any = {TABLE: puts}
        while left:
            left = call(servers.port, "BatchWriteItem", {"RequestItems": left})["UnprocessedItems"]
    servers.settle()
