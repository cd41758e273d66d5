"""Running mynamo's workers inside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from mynamo.catalog.cluster import Cluster
from mynamo.gsi_indexer import run_indexer
from mynamo.schemas.config import ClusterConfig
from mynamo.writer.worker import run_writer
from tests.rows import everywhere

Work = Callable[[Cluster, threading.Event], None]


@contextmanager
def working(config: ClusterConfig, *works: Work) -> Iterator[None]:
    """Run workers, each in a thread and with a catalog of its own, until the block ends.

    Raises:
        AssertionError: a worker ended early, or does not end when told to.
    """
    with ExitStack() as stack:
        for work in works:
            stack.enter_context(_worker(config, work))
        yield


@contextmanager
def pipeline(config: ClusterConfig, indexers: int = 1) -> Iterator[None]:
    """Run a writer and indexers."""
    with working(config, run_writer, *[run_indexer] * indexers):
        yield


def all_held(cluster: Cluster, process: int) -> bool:
    """Whether a process holds the relays' leases on all shards."""
    owners = everywhere(cluster, "SELECT owner FROM mynamo_relay")
    return all(owner and owner.split(b"/")[1] == b"%d" % process for (owner,) in owners)


@contextmanager
def _worker(config: ClusterConfig, work: Work) -> Iterator[None]:
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with Cluster(config) as cluster:
                work(cluster, stop)
            assert stop.is_set(), "it ended before it was told to"
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, name=f"test-{work.__name__}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive(), f"{work.__name__} does not end"
    assert not failures, f"{work.__name__}: {failures}"
