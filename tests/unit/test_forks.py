"""What has a socket, a lock or a thread is renewed in children of a fork."""

from __future__ import annotations

import ast
import copy
import ctypes
import os
import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from pydantic import SecretStr

import mynamo
from mynamo.catalog.shard import DynamoDBShard, PerShard
from mynamo.log.publisher import Publisher
from mynamo.mysql.pool import ConnectionPool, Session
from mynamo.mysql.sockets import Wire
from mynamo.reader.waiting import OwnWrites
from mynamo.runtime import forks
from mynamo.runtime.batching import Batcher
from mynamo.runtime.counters import Counters
from mynamo.runtime.mutexes import KeyMutexes
from mynamo.schemas.config import DatabaseConfig, KafkaConfig, LimitsConfig, PoolConfig
from mynamo.writer.outbox.back_pressure import LagMonitor
from tests.certificates import Authority

PACKAGE = Path(mynamo.__file__).parent
LOCKING = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Thread"}
LIBRARY = (
    "manager.py", "errors.py", "producer", "reader", "writer", "log", "catalog", "mysql", "runtime",
)  # fmt: skip
ALLOWED = {
    "runtime/batching.py: Entry._prepare_to_block",  # of one call
    "runtime/tasks.py: Scheduler",  # of an event loop, which a child does not have
    "runtime/mutexes.py: _Queue",  # of calls under way, all of them forgotten
    "runtime/mutexes.py: KeyMutexes._acquire",
    "catalog/statistics.py: _Known",  # likewise
    "log/publisher.py: Publisher.discard",  # a thread that nobody waits for
    "writer/outbox/back_pressure.py: LagMonitor.waiting",  # it is forgotten
    "reader/index_progress.py: Waiter",  # of one call
    "reader/index_progress.py: Follower.join",  # it is forgotten
    "writer/transaction/meeting.py: _Meeting",  # of calls under way, all of them forgotten
    "writer/worker.py: run_writer",  # a process of its own
    "writer/worker.py: _number_without_kafka",  # likewise
    "catalog/away_shards.py: AwayShards.back",  # of a worker, likewise
    "mysql/pool.py: ConnectionPool.look",  # a thread that nobody waits for
    "runtime/throttle.py: Throttle.__init__",  # of a worker or of a command
}


def makers() -> Iterator[str]:
    """Where the library makes locks and threads, but for `renew_after_fork`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.split("/")[0] not in LIBRARY:
            continue
        yield from (f"{name}: {place}" for place in _makers(ast.parse(path.read_text()), ()))


def _makers(node: ast.AST, inside: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        inside = (*inside, node.name)
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "threading"
        and node.attr in LOCKING
        and "renew_after_fork" not in inside
    ):
        yield ".".join(inside)
    for each in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.arg | ast.AnnAssign) and each is node.annotation):
            yield from _makers(each, inside)


def test_locks_and_threads_are_made_where_children_renew_them() -> None:
    assert set(makers()) <= ALLOWED


def in_child(check: Callable[[], bool], fork: Callable[[], int] = os.fork) -> bool:
    """Whether something holds in a child, which must not hang."""
    process = fork()
    if process == 0:
        os._exit(0 if _bounded(check) else 1)
    _, status = os.waitpid(process, 0)
    return status == 0


def _bounded(check: Callable[[], bool]) -> bool:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(check()), daemon=True)
    thread.start()
    thread.join(20)
    return found == [True]


DATABASE = DatabaseConfig(database="none", port=1, password=SecretStr(""))


def everything() -> dict[str, object]:
    """One of each that has locks."""
    shard = DynamoDBShard(1, "127.0.0.1", "none", "", port=1)
    per_shard: PerShard[[], object] = PerShard(lambda _: object())
    batcher: Batcher[int, int] = Batcher(lambda _: None, max_running=1, max_count=1, max_size=0)
    return {
        "pool": ConnectionPool(DATABASE, PoolConfig(), "pool"),
        "breaker": shard.breaker,
        "admission": shard.admission,
        "batcher": batcher,
        "counters": Counters(),
        "mutexes": KeyMutexes("shard", lambda: 1.0),
        "lag monitor": LagMonitor(shard, LimitsConfig(index_events=1)),
        "publisher": Publisher(KafkaConfig()),
        "own writes": OwnWrites(),
        "per shard": per_shard,
    }


def locks(of: object) -> list[threading.Lock]:
    """The locks of an object."""
    return [each for each in vars(of).values() if isinstance(each, type(threading.Lock()))]


def free(kept: object) -> bool:
    """Whether no lock of an object is held."""
    return all(not lock.locked() for lock in locks(kept))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("fork", [os.fork, ctypes.PyDLL(None).fork], ids=["told", "untold"])
def test_a_child_holds_none_of_its_parents_locks(fork: Callable[[], int]) -> None:
    kept = everything()
    held = [lock for each in kept.values() for lock in locks(each)]
    assert len(held) == len(kept)
    for lock in held:
        lock.acquire()

    def renewed() -> bool:
        forks.check()  # where a hook has run there is nothing left to do
        return all(map(free, kept.values()))

    assert in_child(renewed, fork)
    assert not any(map(free, kept.values()))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_control_memory_that_stays_tells_of_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = OwnWrites()
    for lock in locks(kept):
        lock.acquire()

    def renewed() -> bool:
        forks.check()
        return free(kept)

    assert in_child(renewed, ctypes.PyDLL(None).fork)
    monkeypatch.setattr(forks, "_same", b"\1")
    assert not in_child(renewed, ctypes.PyDLL(None).fork)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_control_what_is_not_noted_is_inherited_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = OwnWrites()
    monkeypatch.setattr(forks, "noted", set())
    assert in_child(lambda: free(kept))
    for lock in locks(kept):
        lock.acquire()
    assert not in_child(lambda: free(kept))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_permit_that_the_parent_took_is_not_given_back_in_the_child() -> None:
    pool = ConnectionPool(DATABASE, PoolConfig(size=2), "pool")
    made = Session(mock.Mock(), "pool", pool.breaker)
    pool.open = lambda ends_at: made  # type: ignore[method-assign]
    lent = pool.session()
    lent.__enter__()

    def all_free() -> bool:
        lent.__exit__(None, None, None)
        taken = [pool.permits.acquire(blocking=False) for _ in range(3)]
        return taken == [True, True, False]

    assert in_child(all_free)
    lent.__exit__(None, None, None)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("tls", [False, True])
def test_letting_go_says_nothing_to_the_other_side(tls: bool, tmp_path: Path) -> None:
    near, far = socket.socketpair()
    for each in (near, far):
        each.settimeout(20)
    if tls:
        near, far = encrypted(near, far, tmp_path)
    wire = Wire(near, 20.0)

    def let_go() -> bool:
        wire.let_go()
        wire.close()
        return True

    assert in_child(let_go)
    wire.sendall(b"the parent goes on")
    assert far.recv(100) == b"the parent goes on"
    far.sendall(b"as before")
    answer = bytearray(100)
    assert answer[: wire.readinto(answer)] == b"as before"
    wire.close()
    far.close()


def encrypted(
    near: socket.socket, far: socket.socket, folder: Path
) -> tuple[socket.socket, socket.socket]:
    """Both ends, with TLS."""
    authority = Authority(folder)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*authority.issue("127.0.0.1"))
    client = ssl.create_default_context(cafile=str(authority.file))
    client.check_hostname = False
    ends: list[socket.socket] = []
    accept = threading.Thread(target=lambda: ends.append(server.wrap_socket(far, server_side=True)))
    accept.start()
    wrapped = client.wrap_socket(near)
    accept.join()
    return wrapped, ends[0]


@pytest.mark.parametrize("send", [pickle.dumps, copy.deepcopy])
def test_what_has_connections_is_not_sent_to_other_processes(
    send: Callable[[object], object],
) -> None:
    shard = DynamoDBShard(1, "127.0.0.1", "none", "", port=1)
    with pytest.raises(TypeError, match=r"call mynamo\.connect\(\) in the process that needs it"):
        send(shard)
    with pytest.raises(TypeError, match="a Publisher has connections"):
        send(Publisher(KafkaConfig()))
    for kind in (mynamo.HashBasedShardManager, mynamo.Cluster, mynamo.Producer, mynamo.Reader):
        with pytest.raises(TypeError, match=f"a {kind.__name__} has connections"):
            send(object.__new__(kind))
