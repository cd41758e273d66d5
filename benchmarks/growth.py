"""Measure how latency, throughput and cost of each operation grow with what there is.

    python benchmarks/growth.py                           # all parts; takes 15 minutes
    python benchmarks/growth.py --part items --largest    # 10^7 items too: 20 minutes, 20 GB
    python benchmarks/growth.py --part memory --minutes 60
    python benchmarks/growth.py --quick                   # does it run? The figures mean nothing
    python benchmarks/growth.py --draw benchmarks/results/growth/growth_all.json   # plots again

Operations are the library's, in this process, by 1 thread and by 16; a writer and an indexer run
beside it, and what an operation leaves to them is done before the next one is measured, and counts
in its CPU time (of all processes: this one, the shards' servers, the broker, the workers). Items
have 300 bytes, 10 of them each hash key and each hash key of the GSI; keys are chosen uniformly.
"put" writes new items, and "delete" takes them away again; "batch write" replaces items.

* items: tables of 10^4, 10^5 and 10^6 items on one and the same shard, with one GSI.
* shards: clusters of 1, 2, 4 and 8 shards with 20,000 items each, by 1 thread and by 16 threads per
  shard. Each runs in its turn, with data of its own: idle ones would take CPU time from the others.
  A batch goes to all shards on which its items are; the other operations go to one. With `--grown`
  each stands beside one that was set up with one shard, filled, and grown to as many by `mynamo
  shard add` and `rebalance`.
* indexes: a table with 1 GSI, and one with 20.
* sizes: items of 100 bytes to 400 KB. A query reads a page of 1 MB at most.
* collection: 10^3 and 10^6 items of one hash key, which in the GSI are one collection as well.
* memory: of each process, under mixed load through the gateway for `--minutes`.

Rows are filled in by SQL as the workers would write them (see `growth_work.fill`): loading them
through the pipeline would take longer than what is measured, and the operations would fail, or
`mynamo verify`, if they were wrong. Contenders of a part take turns, in interleaved rounds;
figures are medians of the rounds. What fails is counted, and said.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import growth_memory
from growth_cluster import Servers, add_options, running, workplace
from growth_report import plot, report
from growth_work import ALL_TOGETHER, CollectionWork, Failures, Shape, Work, fill, measure
from peers import say
from rounds import (
    Figures,
    can_draw,
    interleaved,
    machine,
    medians,
    write_json,
)

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.members import add_shard
from mynamo.operations.resharding import mover
from mynamo.operations.resharding.rebalance import rebalance

KILO = 1024
OVERHEAD = 65
"""Bytes of an item besides its longest attribute."""
ITEMS = (10_000, 100_000, 1_000_000)
LARGEST = 10_000_000
SHARDS = (1, 2, 4, 8)
INDEXES = (1, 20)
SIZES = {"100 B": 100, "1 KB": KILO, "10 KB": 10 * KILO, "100 KB": 100 * KILO, "400 KB": 400_000}
SIZE_BYTES = 40_000_000
"""Items of each size make up so much, and are 10,000 at most."""
COLLECTIONS = (1_000, 1_000_000)
SHARDS_ITEMS = 20_000
QUICK = {"seconds": 0.2, "rounds": 1, "items": [1_000, 5_000], "collections": [100, 5_000],
         "shard_counts": [1, 2], "minutes": 0.4}  # fmt: skip
IDLE_SECONDS = 2.0
WARM_UP_SECONDS = 0.2
WARM_UP_THREADS = 16


class Cell(NamedTuple):
    """What is measured with each contender: an operation, by so many threads, of each shard
    where that is said."""

    operation: str
    threads: int
    per_shard: bool = False

    def __str__(self) -> str:
        per_shard = " per shard" if self.per_shard else ""
        return (
            f"{self.operation}, {self.threads} thread{'' if self.threads == 1 else 's'}{per_shard}"
        )


Found = dict[tuple[Cell, str], list[Figures]]


class Part:
    """Contenders on one cluster, measured by turns.

    Args:
        name: of the part.
        asked: the command line.
        failures: where they are counted.
    """

    def __init__(self, name: str, asked: argparse.Namespace, failures: Failures) -> None:
        self.name = name
        self.asked = asked
        self.failures = failures

    def fill(self, servers: Servers, shapes: Mapping[str, Shape]) -> None:
        """Make the tables."""
        for name, shape in shapes.items():
            say(f"{self.name}: filling {name}")
            fill(servers.cluster, shape)

    def measure(
        self, servers: Servers, works: Mapping[str, Work | CollectionWork], rounds: int
    ) -> Found:
        """All operations, by so many threads, with each contender."""
        (first, *_) = works.values()
        self.warm_up(servers, first)
        cells = [Cell(operation, count) for operation in first.acts for count in self.asked.threads]
        return interleaved(
            cells,
            list(works),
            rounds,
            lambda cell, name: self.one(servers, works[name], cell, name),
        )

    def warm_up(self, servers: Servers, work: Work | CollectionWork) -> None:
        """Every operation once: connections, and what the broker compiles at run time."""
        for operation, act in work.acts.items():
            about = f"{self.name}, warming up, {operation}"
            measure(servers, act, WARM_UP_THREADS, WARM_UP_SECONDS, self.failures, about)

    def one(self, servers: Servers, work: Work | CollectionWork, cell: Cell, name: str) -> Figures:
        """One operation with one contender."""
        threads = cell.threads * (len(servers.local.shards) if cell.per_shard else 1)
        about = f"{self.name}, {name}, {cell}"
        return measure(
            servers, work.acts[cell.operation], threads, self.asked.seconds, self.failures, about
        )


def power(count: int) -> str:
    """Such as 10^4."""
    digits = len(str(count)) - 1
    return f"10^{digits}" if count == 10**digits else f"{count:,}"


def on_one_cluster(part: Part, folder: Path, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """All contenders are tables of one cluster."""
    with running(folder, part.asked, part.asked.shards) as servers:
        part.fill(servers, shapes)
        make = CollectionWork if part.name == "collection" else Work
        works = {name: make(servers.cluster, shape) for name, shape in shapes.items()}
        found = part.measure(servers, works, part.asked.rounds)
        return results_of(found, servers)


def items(part: Part, folder: Path) -> dict[str, Any]:
    """See the module."""
    sizes = [*part.asked.items, *([LARGEST] if part.asked.largest else [])]
    return on_one_cluster(part, folder, {power(n): Shape(f"items_{n}", n) for n in sizes})


def indexes(part: Part, folder: Path) -> dict[str, Any]:
    """See the module."""
    size = min(part.asked.items)
    names = {f"{n} GSI{'' if n == 1 else 's'}": n for n in INDEXES}
    shapes = {name: Shape(f"indexes_{n}", size, indexes=n) for name, n in names.items()}
    return on_one_cluster(part, folder, shapes)


def sizes(part: Part, folder: Path) -> dict[str, Any]:
    """See the module."""
    shapes = {
        name: Shape(
            f"size_{size}",
            min(10_000, max(100, SIZE_BYTES // size)) // 10 * 10,
            note=size - OVERHEAD,
        )
        for name, size in SIZES.items()
    }
    return on_one_cluster(part, folder, shapes)


def collection(part: Part, folder: Path) -> dict[str, Any]:
    """See the module."""
    shapes = {
        power(size): Shape(f"collection_{size}", size, note=100 - OVERHEAD, group=ALL_TOGETHER)
        for size in part.asked.collections
    }
    return on_one_cluster(part, folder, shapes)


def shards(part: Part, folder: Path) -> dict[str, Any]:
    """See the module."""
    counts = {f"{n} shard{'' if n == 1 else 's'}": n for n in part.asked.shard_counts}
    grown = {f"{name}, grown from 1": n for name, n in counts.items() if part.asked.grown and n > 1}
    counts |= grown
    about: dict[str, Any] = {}
    idle: dict[str, list[float]] = {name: [] for name in counts}
    found: Found = {}
    single, *more = part.asked.threads

    def turn(_: str, name: str) -> Figures:
        home = folder / re.sub(r"\W+", "_", name)  # Kafka takes a comma for the end of it
        shape = Shape("items", min(SHARDS_ITEMS, max(part.asked.items)))
        is_new = not home.exists()
        first = 1 if is_new and name in grown else None
        with running(home, part.asked, counts[name], members=first) as servers:
            if is_new:
                fill(servers.cluster, shape)
            if first is not None:
                grow(servers.cluster)
            about.update(servers.about())
            idle[name].append(servers.idle_cores(IDLE_SECONDS))
            work = Work(servers.cluster, shape)
            part.warm_up(servers, work)
            for operation in work.acts:
                for cell in (Cell(operation, single), *(Cell(operation, n, True) for n in more)):
                    figures = part.one(servers, work, cell, name)
                    found.setdefault((cell, name), []).append(figures)
        return {}

    interleaved(["all operations"], list(counts), part.asked.rounds, turn)
    middle = {name: statistics.median(cores) for name, cores in idle.items()}
    return {"servers": about, "idle_cores": middle, "cells": as_json(found)}


def grow(cluster: Cluster) -> None:
    """Make all shards of the configuration members, and give each its share of the slots."""
    for shard_id in sorted(cluster.configured.keys() - cluster.shards.keys()):
        add_shard(cluster, shard_id, say)
    mover.CLEAN_AFTER = 0.5
    rebalance(cluster)


def memory(part: Part, folder: Path) -> dict[str, Any]:
    """See the module."""
    workers = ("writer", "indexer", "gateway")
    with running(folder, part.asked, part.asked.shards, workers) as servers:
        found = growth_memory.run(servers, part.asked.minutes, part.failures)
        return {"servers": servers.about(), "memory": found}


PARTS: Mapping[str, Callable[[Part, Path], dict[str, Any]]] = {
    "items": items, "shards": shards, "indexes": indexes, "sizes": sizes,
    "collection": collection, "memory": memory,
}  # fmt: skip


def results_of(found: Found, servers: Servers) -> dict[str, Any]:
    """Results of a part."""
    return {"servers": servers.about(), "cells": as_json(found)}


def as_json(found: Found) -> list[dict[str, Any]]:
    """Rounds and medians; of errors, the sum."""
    cells = []
    for (cell, name), figures in found.items():
        middle = medians(figures)
        middle["errors"] = sum(each["errors"] for each in figures)
        cells.append(
            {
                "operation": str(cell), "threads": cell.threads, "contender": name,
                "median": middle, "rounds": figures,
            }
        )  # fmt: skip
    return cells


def run(asked: argparse.Namespace) -> None:
    """Measure part by part, print and write; what is done is kept if a later part fails."""
    drawing = can_draw()  # said before minutes have gone by
    failures = Failures()
    results: dict[str, Any] = {
        "benchmark": "growth",
        "machine": machine(),
        "options": {
            name: getattr(asked, name)
            for name in ("seconds", "rounds", "threads", "items", "collections", "shard_counts",
                         "shards", "buffer_pool", "minutes")
        },
        "parts": {},
    }  # fmt: skip
    about = results["machine"]
    print(
        f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, "
        f"{about['system']}, {about['date']}; buffer pool of each shard: {asked.buffer_pool}\n"
    )
    for name in PARTS if asked.part == "all" else [asked.part]:
        say(f"{name}: starting servers")
        with workplace(asked.out) as folder:
            result = PARTS[name](Part(name, asked, failures), folder / name)
        results["parts"][name] = result
        results["troubles"] = {"count": failures.count, "examples": failures.examples}
        write_json(asked.out / f"growth_{asked.part}.json", results)
        print(report(name, result), flush=True)
    if failures.count:
        print(f"{failures.count} operations failed, such as:")
        for about_it, example in failures.examples.items():
            print(f"- {about_it}: {example[:300]}")
    if drawing:
        plot(asked.out, results)


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, "growth")
    parser.add_argument("--part", choices=["all", *PARTS], default="all")
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--items", type=int, nargs="+", default=list(ITEMS))
    parser.add_argument("--largest", action="store_true", help=f"{LARGEST:,} items too")
    parser.add_argument("--collections", type=int, nargs="+", default=list(COLLECTIONS))
    parser.add_argument("--shard-counts", type=int, nargs="+", default=list(SHARDS))
    parser.add_argument("--grown", action="store_true", help="clusters that have grown too")
    parser.add_argument("--shards", type=int, default=1, help="of all parts but `shards`")
    parser.add_argument(
        "--minutes", type=float, help="of the memory part  [default: 10; among all parts: 1]"
    )
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only draw results again")
    asked = parser.parse_args()
    if asked.draw is not None:
        if can_draw():
            plot(asked.draw.parent, json.loads(asked.draw.read_text()))
        return
    if asked.minutes is None:
        asked.minutes = 1.0 if asked.part == "all" else 10.0
    if asked.quick:
        vars(asked).update(QUICK)
    run(asked)


if __name__ == "__main__":
    main()
