"""What grows and what is done with it: tables, filling them, and operations of the library."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from growth_cluster import Servers
from rounds import Figures

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.catalog.tables import Index, Table
from mynamo.producer import Producer, Put
from mynamo.reader import Reader, greater_or_equal
from mynamo.schemas.items import dump_item, to_stored
from mynamo.schemas.table import TableSchema

GROUP = 10
BATCH = 25
ALL_TOGETHER = 1 << 30
"""As a group: all items are one collection."""
PAGE_BYTES = 1_000_000
"""About what a page of a query has at most."""
STATEMENT_BYTES = 2_000_000
NUMBER_BITS = 24
"""Of the number of an item: 16 million of them."""
FILLED_VERSION = 1
"""Of rows that are written by hand: no later change has a smaller one."""

Item = dict[str, Any]
Act = Callable[[random.Random], bool]
"""Does an operation once, on items of its choice; returns whether the answer was right. Runs out
(StopIteration) when it has nothing left to work on."""


@dataclass
class Failures:
    """What went wrong, over all measurements: how many, and an example for each kind."""

    count: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, about: str, problem: str) -> None:
        """Count one."""
        with self.lock:
            self.count += 1
            self.examples.setdefault(f"{about}: {problem.partition(':')[0]}", problem)


@dataclass(frozen=True)
class Shape:
    """A table and its items.

    Attributes:
        name: the table's.
        size: how many items it has.
        note: bytes of each item's longest attribute; an item has about 65 more.
        indexes: GSIs.
        projection: of each.
        group: items of one hash key, and of one hash key of the GSIs.
    """

    name: str
    size: int
    note: int = 232
    indexes: int = 1
    projection: str = "ALL"
    group: int = GROUP

    @property
    def schema(self) -> TableSchema:
        """The table's definition."""
        gsi = {"hash_key": "product", "sort_key": "at:N", "projection": {"type": self.projection}}
        return TableSchema.parse(
            {
                "name": self.name, "hash_key": "customer", "sort_key": "at:N",
                "global_indexes": [{"name": f"by_{n}", **gsi} for n in range(self.indexes)],
            }
        )  # fmt: skip

    def item(self, number: int) -> Item:
        """The item of this number."""
        return {
            **self.key(number),
            "product": self.product(number),
            "price": number % 997,
            "note": f"{number:010}".ljust(self.note, "x"),
        }

    def key(self, number: int) -> Item:
        """Its key."""
        return {"customer": self.customer(number), "at": number}

    def customer(self, number: int) -> str:
        """Its hash key: items next to each other share it."""
        return f"customer-{number // self.group:08}"

    def product(self, number: int) -> str:
        """Its hash key in the GSIs: items far from each other share it."""
        groups = max(1, self.size // self.group)
        return f"product-{number // max(self.size, self.group)}-{number % groups:08}"


def fill(cluster: Cluster, shape: Shape) -> None:
    """Make a table and write its rows by SQL, each as the workers would.

    They are written in the order of the primary keys, one table of the shards beside the other.
    """
    table = create_table(cluster, shape.schema)
    with ThreadPoolExecutor(2) as pool:
        structures: list[Table | Index] = [table, *table.global_indexes]
        list(pool.map(lambda structure: _fill_one(cluster, shape, table, structure), structures))
    for shard in cluster.shards.values():
        for structure in structures:
            shard.run((f"ANALYZE TABLE {_physical(structure)}", ()))


def _physical(structure: Table | Index) -> str:
    return (
        sql.main_table(structure.id) if isinstance(structure, Table) else sql.index_table(structure)
    )


def _fill_one(cluster: Cluster, shape: Shape, table: Table, structure: Table | Index) -> None:
    name = _physical(structure)
    for shard_id, rows in _pieces(cluster, _rows(shape, table, structure)):
        one = f"({sql.placeholders(rows[0])})"
        values = [value for row in rows for value in row]
        statement = f"INSERT INTO {name} VALUES {', '.join([one] * len(rows))}"
        with cluster.shards[shard_id].session() as session:
            session.run((statement, values))


def _pieces(
    cluster: Cluster, rows: Iterator[tuple[Any, ...]]
) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Rows of one shard, as many as fit into a statement."""
    waiting: dict[int, list[tuple[Any, ...]]] = {}
    sizes: dict[int, int] = {}
    for row in rows:
        shard_id = cluster.shard_of(row[0]).id
        waiting.setdefault(shard_id, []).append(row)
        sizes[shard_id] = sizes.get(shard_id, 0) + len(row[-1]) + 100
        if sizes[shard_id] > STATEMENT_BYTES:
            yield shard_id, waiting.pop(shard_id)
            sizes[shard_id] = 0
    yield from waiting.items()


def _rows(shape: Shape, table: Table, structure: Table | Index) -> Iterator[tuple[Any, ...]]:
    """The rows of a main table or a GSI, by primary key."""

    def hash_of(number: int) -> bytes:
        key = structure.key_of(to_stored(shape.key(number) | {"product": shape.product(number)}))
        assert key is not None
        return key.hash

    # As one number each, they take a fifth of the memory that pairs would.
    order = [
        int.from_bytes(hash_of(number)[:5]) << NUMBER_BITS | number for number in range(shape.size)
    ]
    order.sort()
    for code in order:
        item = to_stored(shape.item(code & (1 << NUMBER_BITS) - 1))
        row = table.key_of(item)
        if isinstance(structure, Table):
            yield (*row, FILLED_VERSION, dump_item(item))
        else:
            key = structure.key_of(item)
            assert key is not None
            yield (*key, *row, FILLED_VERSION, dump_item(structure.project(item)))


class Work:
    """The operations on one table.

    New items are put by "put" and taken away by "delete", so the table keeps its size.
    """

    def __init__(self, cluster: Cluster, shape: Shape) -> None:
        self.shape = shape
        self._producer = Producer(cluster)
        self._reader = Reader(cluster)
        # Of each hash key one, so that they spread over the shards.
        self._new = itertools.count(shape.size, GROUP + 1)
        self._put: deque[int] = deque()
        self._per_page = max(1, PAGE_BYTES // (shape.note + 65))
        self.acts: Mapping[str, Act] = {
            "put": self._put_new,
            "get": self._get,
            "update, condition": self._update,
            "query 10 by key": self._query,
            "query 10 by GSI": self._query_index,
            "batch get 25": self._get_batch,
            "batch write 25": self._write_batch,
            "delete": self._delete,
        }

    def _any(self, choice: random.Random) -> int:
        return choice.randrange(self.shape.size)

    def _some(self, choice: random.Random) -> list[int]:
        return choice.sample(range(self.shape.size), BATCH)

    def _put_new(self, _: random.Random) -> bool:
        number = next(self._new)
        self._producer.put(self.shape.name, self.shape.item(number))
        self._put.append(number)
        return True

    def _delete(self, _: random.Random) -> bool:
        try:
            number = self._put.popleft()
        except IndexError:
            raise StopIteration from None
        self._producer.delete(self.shape.name, self.shape.key(number))
        return True

    def _get(self, choice: random.Random) -> bool:
        number = self._any(choice)
        found = self._reader.get(self.shape.name, self.shape.key(number))
        return found is not None and found["at"] == number

    def _update(self, choice: random.Random) -> bool:
        self._producer.update(
            self.shape.name,
            self.shape.key(self._any(choice)),
            expression="SET price = :price",
            condition="attribute_exists(customer) AND price >= :zero",
            values={":price": choice.randrange(997), ":zero": 0},
        )
        return True

    def _query(self, choice: random.Random) -> bool:
        return self._found(self.shape.customer(self._any(choice)), None)

    def _query_index(self, choice: random.Random) -> bool:
        return self._found(self.shape.product(self._any(choice)), "by_0")

    def _found(self, value: str, index: str | None) -> bool:
        """Whether the first page of a group has what it must; a page has 1 MB at most."""
        page = self._reader.query(self.shape.name, value, index=index)
        return min(self.shape.group, self._per_page) - 1 <= page.count <= self.shape.group

    def _get_batch(self, choice: random.Random) -> bool:
        keys = [self.shape.key(number) for number in self._some(choice)]
        return None not in self._reader.batch_get(self.shape.name, keys)

    def _write_batch(self, choice: random.Random) -> bool:
        items = [self.shape.item(number) for number in self._some(choice)]
        answers = self._producer.write_batch([Put(self.shape.name, item) for item in items])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return True


class CollectionWork:
    """Operations on one large item collection: all of a table's items share one hash key."""

    def __init__(self, cluster: Cluster, shape: Shape) -> None:
        self._work = Work(cluster, shape)
        self._shape = shape
        self._reader = Reader(cluster)
        self.acts: Mapping[str, Act] = {
            "put": self._work.acts["put"],
            "get": self._work.acts["get"],
            "first 10 by key": lambda _: self._query(None, None),
            "10 from anywhere by key": lambda choice: self._query(None, self._anywhere(choice)),
            "last 10 by key": lambda _: self._query(None, None, descending=True),
            "first 10 by GSI": lambda _: self._query("by_0", None),
            "10 from anywhere by GSI": lambda choice: self._query("by_0", self._anywhere(choice)),
            "last 10 by GSI": lambda _: self._query("by_0", None, descending=True),
            "update, condition": self._work.acts["update, condition"],
            "delete": self._work.acts["delete"],
        }

    def _anywhere(self, choice: random.Random) -> int:
        return choice.randrange(self._shape.size - GROUP)

    def _query(self, index: str | None, first: int | None, *, descending: bool = False) -> bool:
        page = self._reader.query(
            self._shape.name,
            self._shape.customer(0) if index is None else self._shape.product(0),
            index=index,
            sort=None if first is None else greater_or_equal(first),
            descending=descending,
            limit=GROUP,
        )
        return page.count == GROUP and (first is None or page.items[0]["at"] == first)


def measure(
    servers: Servers, act: Act, threads: int, seconds: float, failures: Failures, about: str
) -> Figures:
    """Let threads do an operation as fast as they can, and wait until the indexes have it.

    Returns:
        Operations per second; the latency of those that succeeded, in milliseconds; the CPU time
        for each of them, of all processes and of each kind, until the indexes have it; errors and
        wrong answers.
    """
    latencies: list[list[float]] = [[] for _ in range(threads)]
    bad = [0] * threads
    ready = threading.Barrier(threads + 1)
    stop = threading.Event()

    def work(thread: int) -> None:
        choice = random.Random()  # noqa: S311
        mine = latencies[thread]
        ready.wait()
        while not stop.is_set():
            began = time.perf_counter()
            try:
                right = act(choice)
            except StopIteration:
                return
            except Exception as failure:
                bad[thread] += 1
                failures.add(about, f"{type(failure).__name__}: {failure}")
                continue
            if right:
                mine.append(time.perf_counter() - began)
            else:
                bad[thread] += 1
                failures.add(about, "wrong answer")

    working = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(threads)]
    for thread in working:
        thread.start()
    before = servers.cpu_by_part()
    ready.wait()
    began = time.perf_counter()
    deadline = began + seconds
    for thread in working:
        thread.join(max(0.0, deadline - time.perf_counter()))
    stop.set()
    for thread in working:
        thread.join()
    taken = time.perf_counter() - began
    settled = servers.settle()
    used = {name: cpu - before[name] for name, cpu in servers.cpu_by_part().items()}
    found: dict[str, float] = {"errors": sum(bad), "settle s": settled}
    if ordered := sorted(itertools.chain.from_iterable(latencies)):
        found |= {
            "ops/s": len(ordered) / taken,
            "p50 ms": percentile(ordered, 0.5) * 1000,
            "p99 ms": percentile(ordered, 0.99) * 1000,
            "cpu us": sum(used.values()) / len(ordered) * 1e6,
            **{f"{name} cpu us": cpu / len(ordered) * 1e6 for name, cpu in used.items()},
        }
    return found


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of some values does not exceed; NaN if there are none."""
    if not ordered:
        return math.nan
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
