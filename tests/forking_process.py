"""A program with a manager of its module, busy threads, and children.

Run as `python -m tests.forking_process fork|spawn|forkserver|os [broken]`, with MYNAMO_CONFIG set:
children of `multiprocessing`'s or of `os.fork` use the manager. Says as JSON what all of them saw.
`broken`: without what `mynamo.runtime.forks` does.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress

import mynamo
from mynamo import MynamoError
from mynamo.mysql.pool import Session
from mynamo.runtime import forks

manager = mynamo.connect()

TABLE = "orders"
ITEMS = 40
PROCESSES = 8
THREADS = 6
GETS = 60
ADDITIONS = 5
COUNTER = {"id": "counter"}


def item(n: int) -> dict[str, object]:
    """The item of a number, which says whose it is."""
    return {"id": f"item {n}", "n": n, "text": f"{n} " * 200}


def work(seed: int) -> dict[str, int]:
    """What a child or a thread does: its own items, additions, an insert that it gets back, and
    a queued write."""
    seen = {"foreign": 0, "added": 0, "failed": 0, "published": 0}
    for turn in range(GETS):
        n = (seed * 7 + turn) % ITEMS
        if manager.reader.get(TABLE, {"id": f"item {n}"}) != item(n):
            seen["foreign"] += 1
        if turn % (GETS // ADDITIONS) == 0:
            manager.producer.update(TABLE, COUNTER, expression="ADD n :one", values={":one": 1})
            seen["added"] += 1
    own = {"id": f"{os.getpid()} {seed}", "n": seed}
    manager.insert(TABLE, own)
    if manager.get(TABLE, {"id": own["id"]}) != [own]:
        seen["foreign"] += 1
    return seen


def child(seed: int) -> dict[str, int]:
    """What a process of a pool does."""
    seen = work(seed)
    publish(f"{os.getpid()} {seed}")
    seen["published"] += 1
    return seen


def publish(name: str) -> None:
    """Queue a write."""
    manager.producer.publish(manager.producer.queued_put(TABLE, {"id": name, "queued": True}))


class Busy:
    """Threads that use the manager until told to stop."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.seen: list[dict[str, int]] = []
        self.failures: list[str] = []
        jobs: list[Callable[[int], None]] = [self._work] * THREADS
        jobs += [self._publish, self._refresh, self._wait]
        self._threads = [
            threading.Thread(target=self._run, args=(job, n)) for n, job in enumerate(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop them."""
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, job: Callable[[int], None], n: int) -> None:
        while not self.stop.is_set():
            try:
                job(n)
            except Exception as failure:
                self.failures.append(f"{type(failure).__name__}: {failure}")

    def _work(self, n: int) -> None:
        self.seen.append(work(1000 * (len(self.seen) + 1) + n))

    def _publish(self, n: int) -> None:
        publish(f"parent {n} {len(self.seen)} {os.urandom(8).hex()}")
        self.seen.append({"published": 1})

    def _refresh(self, _: int) -> None:
        manager.cluster.refresh()
        with manager.cluster.catalog.lock():
            pass

    def _wait(self, _: int) -> None:
        """Wait for an answer, with a lock of the connection's reader."""
        with manager.cluster.shards[1].session() as session:
            session.run(("SELECT SLEEP(0.05)", ()))


def pool(method: str) -> list[dict[str, int]]:
    """Children of a pool."""
    count = PROCESSES if method == "fork" else 2  # others begin with nothing of their parent's
    with multiprocessing.get_context(method).Pool(count) as processes:
        return processes.map(child, range(count), chunksize=1)


def _collect() -> None:
    gc.collect()


def own_forks() -> list[dict[str, int]]:
    """Children that end as programs do, after they have done what a child might."""
    found = []
    ends: list[Callable[[], None]] = [lambda: None, manager.close, _collect, lambda: None]
    for n, end in enumerate(ends):
        reads, writes = os.pipe()
        with ExitStack() as inside:
            if n == len(ends) - 1:  # in the midst of a call of this thread's
                session = inside.enter_context(manager.cluster.shards[1].session())
                session.run(("BEGIN", ()))
            process = os.fork()
            if process == 0:
                os.close(reads)
                if n == len(ends) - 1:
                    try:
                        session.run(("ROLLBACK", ()))
                    except mynamo.WriteOutcomeUnknown:
                        inside.pop_all().close()
                    else:
                        os._exit(3)
                seen = child(n)
                os.write(writes, json.dumps(seen).encode())
                end()
                sys.exit(0)  # with everything that Python does then
        os.close(writes)
        with os.fdopen(reads) as answer:
            seen = json.loads(answer.read() or "{}")
        _, status = os.waitpid(process, 0)
        seen["failed"] = seen.get("failed", 0) + (status != 0)
        found.append(seen)
    return found


class _Forgetful:
    """In place of what `mynamo.runtime.forks` knows: nothing."""

    def add(self, _: object) -> None:
        """Forget it."""

    def __iter__(self) -> object:
        return iter(())


def identities() -> set[tuple[int, str]]:
    """The sessions of this process, as its servers know them."""
    sessions = (each for each in gc.get_objects() if isinstance(each, Session))
    return {session.identity for session in sessions if not session.broken}


def main() -> None:
    """Do it; says what was seen, and whether the parent still has the sessions it had."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork among threads, from 3.12 on
    how, *broken = sys.argv[1:]
    if broken:
        forks.noted = _Forgetful()  # type: ignore[assignment]
    for n in range(ITEMS):
        manager.producer.put(TABLE, item(n))
    busy = Busy()
    children = own_forks() if how == "os" else pool(how)
    busy.end()
    kept = identities()
    after = work(10**6)
    totals: dict[str, int] = {}
    for seen in (*children, *busy.seen, after):
        for name, count in seen.items():
            totals[name] = totals.get(name, 0) + count
    counter = manager.reader.get(TABLE, COUNTER) or {}
    said = {
        "counter": int(counter.get("n", 0)),
        "parent": busy.failures,
        "lost": len(kept - identities()),
        "children": len(children),
    }
    sys.stdout.write(json.dumps(totals | said))
    manager.close()


if __name__ == "__main__":
    with suppress(MynamoError, BrokenPipeError):
        main()
