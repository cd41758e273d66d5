"""A client process: threads that write and read, and write down what they did and saw.

    python -m tests.faults.workload --config CONFIG.toml --history FILE --client 3 --seed 1

It runs until SIGTERM or for `--seconds`. Its mode says how it reaches the cluster: `library`
(Producer and Reader), `gateway` (HTTP), `queue` (writes through Kafka, reads by the library).
"""

from __future__ import annotations

import argparse
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import mynamo.errors
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import TableSchema
from tests.faults import sessions
from tests.faults.access import (
    Answer,
    BatchWrite,
    Failure,
    GatewayAccess,
    LibraryAccess,
    failure_of,
)
from tests.faults.history import Key, Operation, Recorder, load
from tests.faults.model import INDEXES, PUTS, SCHEMA, TABLE
from tests.faults.transacting import MIX, Known, Transactor
from tests.faults.transactions import ACCOUNT_KEYS, ACCOUNTS, OPENING, SCHEMAS, Part

MODES = ("library", "gateway", "queue")
HOT_KEYS: tuple[Key, ...] = tuple((f"hot-{h}", n) for h in range(2) for n in range(3))
COLD_HASHES = 100
COLD_SORTS = 2
HOT = 0.35
"""Share of the operations that go to the hot keys."""
STATUSES = ("new", "open", "done", "void")
GRADES = 6
MOST_IN_BATCH = 6
_ENDING = 15.0
"""Seconds that operations under way at the end have; those that take longer stay open."""

BY_LIBRARY = {
    "put": 16, "put_if_absent": 8, "put_if_version": 12, "update_add": 18, "update_set": 12,
    "delete": 8, "get": 12, "query_index": 10, "query_local": 4, "batch_write": 4, "batch_get": 3,
}  # fmt: skip
BY_GATEWAY = {
    "put_if_op" if kind == "put_if_version" else kind: share for kind, share in BY_LIBRARY.items()
}
BY_QUEUE = {
    "queued_put": 25, "queued_add": 40, "queued_delete": 4, "get": 20, "query_index": 8,
    "query_local": 3,
}  # fmt: skip
"""How often each kind of operation is drawn."""


class Access(Protocol):
    """A way to the cluster, for one thread. Every method may raise anything."""

    def write(self, kind: str, key: Key, argument: dict[str, Any], twice: bool) -> Answer:
        """Write."""

    def write_batch(self, writes: Sequence[BatchWrite]) -> list[Answer | Exception]:
        """Put and delete several items at once; each has an answer of its own."""

    def get(self, key: Key, table: str = TABLE) -> Answer:
        """Read consistently."""

    def update(self, table: str, part: Part) -> Answer:
        """Update one item of another table, in no transaction."""

    def transact(self, table: str, parts: Sequence[Part], token: str) -> Answer:
        """Write several items, all or none."""

    def transact_get(self, table: str, keys: Sequence[Key]) -> Answer:
        """Read several items as of one moment."""

    def get_batch(self, keys: Sequence[Key]) -> list[Answer | Exception]:
        """Read several items at once; each has an answer of its own."""

    def query_index(self, index: str, value: Any, tokens: Sequence[str]) -> Answer:
        """All rows of a value of a global index."""

    def query_local(self, hash_value: str) -> Answer:
        """All rows of the local index."""

    def close(self) -> None:
        """Close what is open."""


class Worker:
    """One thread's operations.

    Args:
        client: number of this thread.
        access: made when needed, and anew after a failure that says so.
        known: shared by the process's threads.
        pause: seconds between operations, on average.
        once: send no transaction again.
    """

    def __init__(
        self,
        client: int,
        recorder: Recorder,
        opening: Callable[[], Access],
        mix: dict[str, int],
        known: dict[Key, Known],
        pause: float,
        seed: int,
        once: bool = False,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._opening = opening
        self._access: Access | None = None
        self._mix = mix
        self._known = known
        self._pause = pause
        self._choice = random.Random(seed * 10_007 + client)
        self._run = f"{time.monotonic_ns() // 1_000_000:x}"
        self._count = 0
        self._kinds = list(mix)
        self._transactor = Transactor(
            self._do, self._choice, lambda: self._new_argument()["op"], self._key,
            self._index_values, known, once,
        )  # fmt: skip
        self._sessions = sessions.Sessions(self._do, self._choice, client, self._run)

    def run(self, stop: threading.Event, again: Sequence[Operation] = ()) -> None:
        """Work until told to stop.

        Args:
            again: what a client that is no more has done; its transactions are sent again.
        """
        self._transactor.send_again(again)
        while not stop.is_set():
            self.step()
            stop.wait(self._choice.expovariate(1.0) * self._pause)
        if self._access is not None:
            self._access.close()

    def step(self) -> None:
        """One operation."""
        kind = self._choice.choices(self._kinds, list(self._mix.values()))[0]
        if kind in MIX:
            self._transactor.step(kind)
            return
        if kind in sessions.MIX:
            self._sessions.step(kind)
            return
        key = self._key()
        if kind == "query_index":
            self._query_index(key)
        elif kind == "query_local":
            self._do(kind, (key[0], 0), {}, lambda access: access.query_local(key[0]))
        elif kind == "get":
            self._do(kind, key, {}, lambda access: access.get(key))
        elif kind == "batch_get":
            keys = self._keys()
            self._do_batch([(kind, key, {}) for key in keys], lambda access: access.get_batch(keys))
        elif kind == "batch_write":
            writes = [self._batch_write(key) for key in self._keys()]
            self._do_batch(writes, lambda access: access.write_batch(writes))
        else:
            self._write(kind, key)

    def _key(self) -> Key:
        if self._choice.random() < HOT:
            return self._choice.choice(HOT_KEYS)
        number = self._choice.randrange(COLD_HASHES)
        return f"cold-{number}", self._choice.randrange(COLD_SORTS)

    def _keys(self) -> list[Key]:
        """The keys of a batch, each once."""
        return list({self._key(): None for _ in range(self._choice.randint(2, MOST_IN_BATCH))})

    def _batch_write(self, key: Key) -> BatchWrite:
        argument = self._new_argument()
        if self._choice.random() < 0.2:
            return "batch_delete", key, argument
        argument |= {"counter": self._choice.choice((0, 0, 100)), **self._index_values()}
        return "batch_put", key, argument

    def _new_argument(self) -> dict[str, Any]:
        self._count += 1
        return {"op": f"{self._client}.{self._run}-{self._count}"}

    def _write(self, kind: str, key: Key) -> None:
        argument = self._new_argument()
        if kind in ("put_if_version", "put_if_op"):
            known = self._known.get(key)
            if known is None or (kind == "put_if_version" and not known.version):
                kind = "put"
            else:
                argument["expected"] = known.op if kind == "put_if_op" else known.version
        if kind in PUTS:
            argument |= {"counter": self._choice.choice((0, 0, 100)), **self._index_values()}
        elif kind == "update_set":
            argument |= self._index_values()
        elif kind in ("update_add", "queued_add"):
            argument["add"] = self._choice.randint(1, 9)
        twice = kind.startswith("queued") and self._choice.random() < 0.1
        answer = self._do(
            kind, key, argument, lambda access: access.write(kind, key, argument, twice)
        )
        if isinstance(answer, Answer) and answer.version and answer.token:
            items = [argument, answer.result.get("new"), answer.result.get("old")]
            self._known[key] = Known(
                argument["op"], answer.version, answer.token, [item for item in items if item]
            )

    def _index_values(self) -> dict[str, Any]:
        return {
            "status": self._choice.choice(STATUSES) if self._choice.random() < 0.9 else None,
            "grade": self._choice.randrange(GRADES) if self._choice.random() < 0.9 else None,
        }

    def _query_index(self, key: Key) -> None:
        index = self._choice.choice(list(INDEXES.values()))
        value: Any = self._choice.choice(STATUSES if index.hash_key == "status" else range(GRADES))
        known = self._known.get(key)
        after: list[Known] = []
        if known is not None and self._choice.random() < 0.5:
            found = self._choice.choice(known.items).get(index.hash_key)
            if found is not None:
                value, after = found, [known]
        argument = {"index": index.name, "value": value, "after": [k.op for k in after]}
        tokens = [k.token for k in after]
        self._do(
            "query_index", (str(value), 0), argument,
            lambda access: access.query_index(index.name, value, tokens),
        )  # fmt: skip

    def _do(
        self,
        kind: str,
        key: Key,
        argument: dict[str, Any],
        call: Callable[[Access], Answer],
        table: str = TABLE,
    ) -> Answer | Failure | None:
        """Carry out and write down one operation; None if it could not begin."""
        answers = self._do_batch([(kind, key, argument)], lambda access: [call(access)], table)
        return answers[0] if answers else None

    def _do_batch(
        self,
        operations: Sequence[BatchWrite],
        call: Callable[[Access], Sequence[Answer | Exception]],
        table: str = TABLE,
    ) -> list[Answer | Failure]:
        """Carry out and write down operations of one call; none if it could not begin."""
        try:
            if self._access is None:
                self._access = self._opening()
        except mynamo.errors.Unavailable:
            time.sleep(0.3)
            return []
        begun = [self._recorder.begin(self._client, k, table, key, a) for k, key, a in operations]
        answers: Sequence[Answer | Exception]
        try:
            answers = call(self._access)
        except Exception as error:
            answers = [error] * len(operations)
        found: list[Answer | Failure] = []
        for (kind, _, _), one, answer in zip(operations, begun, answers, strict=True):
            if isinstance(answer, Answer):
                one.end("ok", answer.result, answer.version)
                found.append(answer)
                continue
            failure = failure_of(answer, kind)
            one.end(failure.outcome, failure.result)
            found.append(failure)
        if any(isinstance(each, Failure) and each.reopen for each in found):
            self._access.close()
            self._access = None
        return found


def ensure_table(config: ClusterConfig) -> None:
    """Make the workload's table, unless it is there."""
    with Cluster(config) as cluster, suppress(mynamo.errors.AlreadyExists):
        create_table(cluster, TableSchema.parse(SCHEMA))


def ensure_transactions(config: ClusterConfig) -> None:
    """Make the tables that are for transactions alone, and open the accounts; and the table of
    sessions."""
    with Cluster(config) as cluster:
        for schema in SCHEMAS:
            with suppress(mynamo.errors.AlreadyExists):
                create_table(cluster, TableSchema.parse(schema))
        producer = Producer(cluster)
        for hash_value, number in ACCOUNT_KEYS:
            producer.put(ACCOUNTS, {"h": hash_value, "n": number, "balance": OPENING})
    sessions.ensure_sessions(config)


def all_keys(operations: Sequence[Operation]) -> set[tuple[str, Key]]:
    """Every table and key that a write or a read of items was for."""
    found = {(o.table, o.key) for o in operations if not o.kind.startswith("query")}
    for o in operations:
        if o.kind.startswith("transact"):
            parts = o.argument.get("parts") or [{"h": h, "n": n} for h, n in o.argument["keys"]]
            found |= {(o.table, (part["h"], part["n"])) for part in parts}
    return found


def final_reads(
    config: ClusterConfig, history: Path, places: set[tuple[str, Key]], client: int = 0
) -> None:
    """Read every item once, and write it down as a client's history.

    Call when nothing writes any more, and all queued writes have been applied.
    """
    with Cluster(config) as cluster, Recorder(history) as recorder:
        access = LibraryAccess(cluster)
        for table, key in sorted(places):
            begun = recorder.begin(client, "get", table, key, {"final": True})
            begun.end("ok", access.get(key, table).result)


def run_clients(
    config: ClusterConfig,
    history: Path,
    *,
    client: int,
    mode: str,
    seed: int,
    threads: int,
    rate: float,
    stop: threading.Event,
    endpoint: str = "",
    transactions: bool = False,
    before: Path | None = None,
    once: bool = False,
) -> None:
    """Work with several threads until told to stop.

    Args:
        client: number of this process; its threads get 100 numbers from 100 times that.
        rate: operations per second of all threads together.
        endpoint: of the gateway.
        transactions: whether to make some too, and sessions, with the tables of
            `ensure_transactions`.
        before: the history of the client whose place this one takes.
        once: send no transaction again.
    """
    recorder = Recorder(history)
    known: dict[Key, Known] = {}
    cluster: Cluster | None = None
    opening: Callable[[], Access]
    if mode == "gateway":
        opening = lambda: GatewayAccess(endpoint)  # noqa: E731
    else:
        cluster = _open(config, stop)
        if cluster is None:
            return
        shared = LibraryAccess(cluster)
        opening = lambda: shared  # noqa: E731
    mix = {"library": BY_LIBRARY, "gateway": BY_GATEWAY, "queue": BY_QUEUE}[mode]
    transactions = transactions and mode != "queue"
    if transactions:
        mix = mix | MIX | sessions.MIX
    workers = [
        Worker(client * 100 + n, recorder, opening, mix, known, threads / rate, seed, once)
        for n in range(threads)
    ]
    again = load([before]) if transactions and before is not None and before.exists() else []
    running = [
        threading.Thread(target=worker.run, args=(stop, again if at == 0 else ()), daemon=True)
        for at, worker in enumerate(workers)
    ]
    for thread in running:
        thread.start()
    stop.wait()
    deadline = time.monotonic() + _ENDING
    for thread in running:
        thread.join(max(0.0, deadline - time.monotonic()))
    if not any(thread.is_alive() for thread in running):
        with recorder:
            if cluster is not None:
                shared.finish()
                cluster.close()


def _open(config: ClusterConfig, stop: threading.Event) -> Cluster | None:
    while not stop.is_set():
        try:
            return Cluster(config)
        except mynamo.errors.Unavailable:
            stop.wait(0.3)
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--history", required=True, type=Path)
    parser.add_argument("--client", required=True, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--mode", default="library", choices=MODES)
    parser.add_argument("--threads", default=4, type=int)
    parser.add_argument("--rate", default=40.0, type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--transactions", action="store_true")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--once", action="store_true")
    given = parser.parse_args(arguments)
    stop = threading.Event()
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: stop.set())
    if given.seconds is not None:
        timer = threading.Timer(given.seconds, stop.set)
        timer.daemon = True
        timer.start()
    run_clients(
        ClusterConfig.load(given.config), given.history, client=given.client, mode=given.mode,
        seed=given.seed, threads=given.threads, rate=given.rate, stop=stop,
        endpoint=given.endpoint, transactions=given.transactions, before=given.before,
        once=given.once,
    )  # fmt: skip


if __name__ == "__main__":
    main()
