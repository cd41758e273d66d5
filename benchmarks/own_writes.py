"""What `index_reads = "own-writes"` costs a gateway where nothing waits: CPU time, without servers.

    python benchmarks/own_writes.py

What it costs where reads wait is for `peers_http.py --peers mynamo mynamo-own` to show.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mynamo.gateway.own_writes import AnsweredWrites, OwnWrites

TABLE = 7
SHARDS = 2
PARTITIONS = 8
TIMES = 20_000
ROUNDS = 15


def cpu_us(act: Callable[[], object]) -> float:
    """CPU time of one call: the least of some rounds, as others take from all of them."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TIMES):
            act()
        found.append((time.process_time() - began) / TIMES * 1e6)
    return min(found)


def own_writes(processes: int) -> tuple[OwnWrites, AnsweredWrites]:
    """Of a cluster that is none, with one table that has a GSI."""
    shards: Any = {number: SimpleNamespace(id=number) for number in range(1, SHARDS + 1)}
    snapshot = SimpleNamespace(tables={TABLE: SimpleNamespace(global_indexes=(1,))})
    cluster: Any = SimpleNamespace(shards=shards, snapshot=snapshot)
    answered = AnsweredWrites(processes, shards, PARTITIONS)
    return OwnWrites(cluster, answered), answered


def main() -> None:
    """Measure and print."""
    index: Any = SimpleNamespace(table_id=TABLE, name="by_product")
    print(f"CPU time in us; {SHARDS} shards of {PARTITIONS} partitions")
    for processes in (1, 2, 4, 8):
        own, answered = own_writes(processes)
        read = cpu_us(lambda: own.wait(index))  # noqa: B023
        write = cpu_us(lambda: own.count(TABLE, 1, 3))  # noqa: B023
        look = cpu_us(lambda: answered.by_stream(TABLE))  # noqa: B023
        print(
            f"{processes} processes: a write {write:.2f}, a read where nothing is under way "
            f"{read:.2f}; where something is {look:.2f} more to see where"
        )


if __name__ == "__main__":
    main()
