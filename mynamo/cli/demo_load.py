"""The load of `mynamo demo-grow`: orders are read and written by several threads."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mynamo.catalog.cluster import Cluster
from mynamo.cli.demo_orders import TABLE, order, order_key, orders
from mynamo.cli.demo_threads import WhileInside
from mynamo.cli.loading import Done, Loader
from mynamo.cli.output import print_grid
from mynamo.cli.records import FilePosition, Record
from mynamo.errors import MynamoError
from mynamo.producer import Producer
from mynamo.reader import Reader

THREADS = 4
PAUSE = 0.005
"""Seconds between two requests of a thread: the machine has other work."""
OPERATIONS = ("get", "put", "update", "query by GSI")


def fill(cluster: Cluster, count: int, screen: Console) -> None:
    """Load orders.

    Raises:
        MynamoError: one could not be written.
    """

    def acknowledged(done: Sequence[Done]) -> None:
        bar.update(task, completed=loader.counts.acknowledged)

    def refused(position: FilePosition, reason: str) -> None:
        raise MynamoError(f"order {position.number} was refused: {reason}")

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), console=screen, transient=True, disable=not screen.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("loading orders", total=count)
        loader = Loader(
            cluster, cluster.table(TABLE), threads=8, queued=False,
            acknowledged=acknowledged, refused=refused,
        )  # fmt: skip
        try:
            for number, item in orders(0, count):
                if not loader.add(Record(FilePosition(number, 1, number), item)):
                    break
            loader.finish()
        except BaseException:
            loader.abandon()
            raise
    if loader.trouble is not None:
        raise loader.trouble
    screen.print(f"loaded {count:,} orders in {loader.counts.seconds:.0f} s")


class Load(WhileInside):
    """Reads and writes orders until the block ends. Each thread changes orders of its own.

    Args:
        count: of orders.
        pause: seconds between two requests of a thread.

    Attributes:
        failures: of requests, in words.
    """

    def __init__(self, cluster: Cluster, count: int, pause: float = PAUSE) -> None:
        self.failures: list[str] = []
        self._cluster = cluster
        self._count = count
        self._pause = pause
        self._lock = threading.Lock()
        self._taken = self._none()
        self._recent = self._none()
        super().__init__(*(partial(self._work, number) for number in range(THREADS)))

    @staticmethod
    def _none() -> dict[str, list[float]]:
        return {name: [] for name in OPERATIONS}

    def recent(self) -> dict[str, list[float]]:
        """By operation, the seconds that each request took since the last call."""
        with self._lock:
            found, self._recent = self._recent, self._none()
        return found

    def show(self, screen: Console) -> None:
        """All requests as a table."""
        rows = []
        for name, taken in self._taken.items():
            ordered = sorted(taken)
            figures = [1000 * quantile(ordered, share) for share in (0.5, 0.99, 1.0)]
            rows.append((name, f"{len(taken):,}", *(f"{each:,.0f} ms" for each in figures)))
        screen.print()
        print_grid(
            ["request", "number", "p50", "p99", "longest"], rows,
            right=["number", "p50", "p99", "longest"],
        )  # fmt: skip
        screen.print(f"{len(self.failures)} requests failed")
        for failure in self.failures[:3]:
            screen.print(f"  {failure}")

    def _work(self, thread: int) -> None:
        chosen = random.Random(thread)  # noqa: S311 - which orders
        with Producer(self._cluster) as producer:
            read = Reader(self._cluster)
            while not self._stop.wait(self._pause):
                number = chosen.randrange(self._count // THREADS) * THREADS + thread
                operation = chosen.choice(OPERATIONS)
                self._do(operation, lambda: _do(operation, number, producer, read))  # noqa: B023

    def _do(self, operation: str, work: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            work()
        except MynamoError as failure:
            self.failures.append(f"{operation}: {type(failure).__name__}: {failure}")
        took = time.monotonic() - began
        with self._lock:
            self._taken[operation].append(took)
            self._recent[operation].append(took)


def _do(operation: str, number: int, producer: Producer, read: Reader) -> Any:
    if operation == "get":
        return read.get(TABLE, order_key(number))
    if operation == "put":
        return producer.put(TABLE, order(number))
    if operation == "update":
        return producer.update(
            TABLE, order_key(number), expression="ADD changes :one", values={":one": 1}
        )
    return read.query(TABLE, order(number)["product"], index="by_product", limit=10)


def quantile(ordered: Sequence[float], share: float) -> float:
    """What this share of some numbers does not exceed; 0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
