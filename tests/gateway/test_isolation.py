"""One of two shards is frozen or dead: what the gateway answers for the other one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from http.client import HTTPConnection
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import Admission
from mynamo.gateway.http.api_protocol import App
from mynamo.gateway.http.server import listen
from mynamo.gateway.serving import gateway
from mynamo.local import LocalCluster
from mynamo.mysql.circuit_breaker import CircuitBreaker, State
from mynamo.schemas.config import PoolConfig
from mynamo.schemas.gateway_config import GatewayConfig, GatewayLimits
from tests.gateway.asking import on_demand
from tests.gateway.calling import Caller
from tests.gateway.raw import running
from tests.servers import away
from tests.waiting import eventually

pytestmark = pytest.mark.slow

AWAY, THERE = 2, 1
"""Shards; the catalog is on the server of the second one."""
CLIENTS = 200
LIMITS = GatewayLimits(threads=8, queue=92)
"""Half as many permits as there are clients of the shard that is away."""
POOL = PoolConfig(breaker_opens_after=2.0, breaker_probe_after=0.5)
ROUNDS = 100

Fault = Literal["frozen", "dead"]


class Served(NamedTuple):
    """A gateway and what is behind it."""

    url: str
    cluster: Cluster
    servers: LocalCluster
    keys: dict[int, list[str]]

    @property
    def breaker(self) -> CircuitBreaker:
        """Of the shard that will be away."""
        return self.cluster.shards[AWAY].breaker

    def away(self, fault: Fault) -> AbstractContextManager[None]:
        """Freeze the server of one shard, or kill it, until the block ends."""
        return away(self.servers.shards[AWAY], fault)


@pytest.fixture
def served(private_cluster: Callable[..., LocalCluster]) -> Iterator[Served]:
    servers = private_cluster()
    config = servers.config.model_copy(update={"pool": POOL})
    gateway_config = GatewayConfig(port=0, limits=LIMITS)
    with (
        Cluster(config) as cluster,
        gateway(cluster, gateway_config, listen(gateway_config), credentials=None) as server,
        running(server) as url,
    ):
        with Caller(url) as call:
            assert call("CreateTable", on_demand("items", "id"))[0] == 200
            table = cluster.table("items")
            keys: dict[int, list[str]] = {AWAY: [], THERE: []}
            for number in range(100):
                item = {"id": {"S": str(number)}}
                assert call("PutItem", {"TableName": "items", "Item": item})[0] == 200
                keys[cluster.shard_of(table.key_of(item).hash).id].append(str(number))
        yield Served(url, cluster, servers, keys)


def get(call: Caller, key: str) -> tuple[int, dict[str, Any]]:
    return call("GetItem", {"TableName": "items", "Key": {"id": {"S": key}}})


def put(call: Caller, key: str) -> tuple[int, dict[str, Any]]:
    return call("PutItem", {"TableName": "items", "Item": {"id": {"S": key}}})


class Clients:
    """Many clients that ask for items of one shard, again and again.

    Attributes:
        answers: how often they had which HTTP status.
        unlike: answers that nobody should get.
    """

    def __init__(self, served: Served) -> None:
        self.answers: Counter[int] = Counter()
        self.unlike: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._served = served
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _ask(self, number: int) -> None:
        keys = self._served.keys[AWAY]
        ask = (get, put)[number % 2]
        with Caller(self._served.url) as call:
            while not self._stop.is_set():
                status, answer = ask(call, keys[number % len(keys)])
                self.answers[status] += 1
                kind = str(answer.get("__type", "")).rpartition("#")[2]
                if (status, kind) not in EXPECTED:
                    self.unlike.append(answer)
                self._stop.wait(0.5)


EXPECTED = {
    (200, ""),
    (503, "ServiceUnavailableException"),
    (500, "InternalServerError"),  # a commit whose outcome could not be found out
}


def greeting(url: str) -> int:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", "/")
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def others(served: Served, rounds: int = ROUNDS) -> Counter[str]:
    """How requests for the other shard and for the greeting were answered."""
    found: Counter[str] = Counter()
    with Caller(served.url) as call:
        for number in range(rounds):
            key = served.keys[THERE][number % len(served.keys[THERE])]
            found[f"get {get(call, key)[0]}"] += 1
            found[f"put {put(call, key)[0]}"] += 1
            found[f"greeting {greeting(served.url)}"] += 1
    return found


ALL_ANSWERED = Counter({"get 200": ROUNDS, "put 200": ROUNDS, "greeting 200": ROUNDS})


def stuck(served: Served) -> bool:
    """Whether all permits that one shard may have are taken by it."""
    admission = served.cluster.shards[AWAY].admission
    return admission.waiting * 8 >= (LIMITS.threads + LIMITS.queue) * 7 - 8


@pytest.mark.parametrize("fault", ["frozen", "dead"])
def test_the_other_shard_and_the_greeting_are_answered(
    served: Served, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = count_probes(monkeypatch)
    with Clients(served) as clients:
        with served.away(fault):
            eventually(lambda: stuck(served) or served.breaker.state is not State.CLOSED)
            assert others(served) == ALL_ANSWERED
            eventually(lambda: served.breaker.state is not State.CLOSED, 60)
            before = clients.answers.total()
            eventually(lambda: clients.answers.total() > before + 2 * CLIENTS, 60)
            assert others(served) == ALL_ANSWERED
            with Caller(served.url) as call:
                some_are_left(call, served)
            eventually(lambda: probes["begun"] >= 3, 60)
        eventually(lambda: served.breaker.state is State.CLOSED, 60)
        before = clients.answers[200]
        eventually(lambda: clients.answers[200] > before + CLIENTS, 60)
    assert probes["at once"] == 1
    assert clients.answers[503] > 0
    assert clients.unlike == []
    assert served.cluster.shards[AWAY].admission.waiting == 0


def count_probes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many probes began, and how many there were at once."""
    probes: Counter[str] = Counter()
    admit, ended = CircuitBreaker.admit, CircuitBreaker.probe_ended

    def counting(self: CircuitBreaker) -> bool:
        is_probe = admit(self)
        if is_probe:
            probes["begun"] += 1
            probes["now"] += 1
            probes["at once"] = max(probes["at once"], probes["now"])
        return is_probe

    def ending(self: CircuitBreaker) -> None:
        probes["now"] -= 1
        ended(self)

    monkeypatch.setattr(CircuitBreaker, "admit", counting)
    monkeypatch.setattr(CircuitBreaker, "probe_ended", ending)
    return probes


def some_are_left(call: Caller, served: Served) -> None:
    """Batches have what the other shard has; what is on the dead one alone fails, at once."""
    keys = [{"id": {"S": served.keys[shard][0]}} for shard in (AWAY, THERE)]
    status, read = call("BatchGetItem", {"RequestItems": {"items": {"Keys": keys}}})
    assert (status, read["Responses"]) == (200, {"items": [keys[1]]})
    assert read["UnprocessedKeys"] == {"items": {"Keys": [keys[0]]}}
    puts = [{"PutRequest": {"Item": key}} for key in keys]
    status, written = call("BatchWriteItem", {"RequestItems": {"items": puts}})
    assert (status, written["UnprocessedItems"]) == (200, {"items": [puts[0]]})
    assert call("Scan", {"TableName": "items"})[0] == 503
    condition = {"id": {"ComparisonOperator": "EQ", "AttributeValueList": [keys[0]["id"]]}}
    assert call("Query", {"TableName": "items", "KeyConditions": condition})[0] == 503
    assert call("DescribeTable", {"TableName": "items"})[0] == 200


@pytest.mark.parametrize("fault", ["frozen", "dead"])
def test_control_without_breaker_and_shares_others_are_refused(
    served: Served, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CircuitBreaker, "failed", lambda *_: None)
    monkeypatch.setattr(Admission, "__enter__", lambda self: None)
    monkeypatch.setattr(Admission, "__exit__", lambda self, *_: None)
    with Clients(served) as clients, served.away(fault):
        eventually(lambda: clients.answers[503] > CLIENTS, 60)
        found = others(served, 10)
    assert found["get 503"] + found["put 503"] > 0


def test_control_a_greeting_that_needs_a_permit_is_refused(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CircuitBreaker, "failed", lambda *_: None)
    monkeypatch.setattr(Admission, "__enter__", lambda self: None)
    monkeypatch.setattr(Admission, "__exit__", lambda self, *_: None)
    with Clients(served) as clients, served.away("frozen"), ExitStack() as stack:
        eventually(lambda: clients.answers[503] > CLIENTS, 60)
        assert greeting(served.url) == 200
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(App, "at_once", lambda self, request: None)
        patch.setattr("mynamo.gateway.http.answering.Answering._threads_for", small_threads)
        assert 503 in {greeting(served.url) for _ in range(20)}


def small_threads(self: Any, request: object) -> Any:
    return self._small
