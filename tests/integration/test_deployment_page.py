"""What docs/deployment.md tells to type works: ending in good order, and a rolling upgrade."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

from mynamo.extras import EXTRAS
from mynamo.local.state import config_toml
from mynamo.schemas.config import ClusterConfig
from tests.deployment_page import PAGE, Machine, blocks, lines, mistakes
from tests.gateway.conftest import client_of
from tests.waiting import eventually

TEXT = PAGE.read_text(encoding="utf-8")
PAIR = ("AKIDEXAMPLE", "not-for-anyone-to-see")
CREDENTIALS = (
    f'credentials = [{{ access_key_id = "{PAIR[0]}", secret_access_key = "{PAIR[1]}" }}]\n'
)


def test_every_command_file_and_unit_of_the_page_is_there() -> None:
    assert mistakes(TEXT) == []


@pytest.mark.parametrize(
    ("there", "changed"),
    [
        ("doctor --role writer\n```", "doctor --rule writer\n```"),
        ("run --rm admin doctor", "run --rm admin docter"),
        ("run --rm admin table list", "run --rm administrator table list"),
        ("writer --metrics-port 9464\n", "writer --metric-port 9464\n"),
        ("-- mynamo doctor --role writer", "-- mynamo doctor --role-of writer"),
        ("\nmynamo lag ", "\nmynamo lags "),
        ("`mynamo upgrade`", "`mynamo upgrades`"),
        ("/etc/mynamo/admin.toml table list", "/etc/mynamo/administrator.toml table list"),
        ("deploy/systemd/env.example", "deploy/systemd/environment.example"),
        ("systemctl restart mynamo-serve", "systemctl restart mynamo-gateway"),
        ("`systemctl edit mynamo-serve`", "`systemctl edit mynamo-gateway`"),
        ("up -d --no-deps indexer", "up -d --no-deps indexers"),
        ("--set-file config.gateway=", "--set-file config.serve="),
        ("--set image.repository=", "--set images.repository="),
        ("helm install mynamo deploy/helm/mynamo ", "helm install mynamo deploy/helm/chart "),
    ],
)
def test_control_what_is_not_there_is_found(there: str, changed: str) -> None:
    assert there in TEXT
    assert len(mistakes(TEXT.replace(there, changed, 1))) == 1


@pytest.fixture
def machines(config: ClusterConfig, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two, on which nothing runs yet."""
    toml = config_toml(config)
    made = [Machine(tmp_path / name, toml, CREDENTIALS) for name in ("one", "two")]
    first, second = made
    yield first, second
    for machine in made:
        machine.end()


class Load:
    """Puts each item through both gateways, one of which may take no connections at the moment.

    Attributes:
        written: ids of the items that were acknowledged.
        failures: but for those of a gateway that takes no connections.
    """

    def __init__(self, *machines: Machine) -> None:
        self._machines = machines
        self._stop = threading.Event()
        self.written: list[str] = []
        self.failures: list[Exception] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._put_all)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(60)

    def goes_on(self) -> None:
        """Wait for another item."""
        count = len(self.written)
        eventually(lambda: len(self.written) > count)

    def _put_all(self) -> None:
        clients = [client_of(m.url, key=PAIR[0], secret=PAIR[1]) for m in self._machines]
        for n in range(1_000_000):
            if self._stop.is_set():
                break
            item = {"id": {"S": str(n)}, "kind": {"S": "k"}}
            tries = [self._put(client, item) for client in clients[:: 1 if n % 2 else -1]]
            if not any(tries):
                self.failures.append(AssertionError("no gateway takes a request"))
        for client in clients:
            client.close()

    def _put(self, client: Any, item: dict[str, Any]) -> bool:
        try:
            client.put_item(TableName="orders", Item=item)
        except (EndpointConnectionError, ConnectionClosedError):
            return False
        except Exception as failure:
            self.failures.append(failure)
            return False
        self.written.append(item["id"]["S"])
        return True


def are_well(*machines: Machine) -> bool:
    """Whether their gateways serve, and their writers and indexers live."""
    (ending,) = blocks(TEXT, "Ending and health")
    looks = "\n".join(line for line in lines(ending) if line.startswith("curl"))
    try:
        for machine in machines:
            machine.run(looks)
    except AssertionError:
        return False
    return True


@pytest.mark.slow
def test_ending_in_good_order_and_a_rolling_upgrade(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    (once,) = blocks(TEXT, "")
    (ending,) = blocks(TEXT, "Ending and health")
    (upgrade,) = blocks(TEXT, "Rolling upgrade")
    (install,) = [block for block in blocks(TEXT, "systemd") if "systemctl enable" in block]
    (enable,) = [line for line in lines(install) if line.startswith("systemctl enable")]
    secret, as_admin = upgrade.splitlines(keepends=True)[:2]
    prelude = secret + as_admin
    one.run(prelude + "mynamo table create orders --hash-key id --gsi by_kind=kind")
    for machine in machines:
        machine.run(enable)
    eventually(lambda: are_well(one, two), 60)
    one.run(once)
    load = Load(one, two)
    with load.running():
        load.goes_on()
        said = one.run(ending)
        assert said.startswith("healthy: dynamodb.us-east-1.amazonaws.com")
        assert 'role="writer"' in said
        assert 'role="indexer"' in said
        assert said.endswith("ExecMainStatus=0\n")
        for machine in machines:
            load.goes_on()
            assert "by_kind" in machine.run(upgrade)
            (told,) = machine.installed
            assert told == "install --upgrade mynamo[gateway]"
        load.goes_on()
    assert load.failures == []
    assert "gateway" in EXTRAS
    for machine in machines:
        assert "Traceback" not in machine.logs
    assert "CLEAN" in two.run(prelude + "mynamo verify orders")
    client = client_of(two.url, key=PAIR[0], secret=PAIR[1])
    pages = client.get_paginator("scan").paginate(TableName="orders")
    stored = {item["id"]["S"] for page in pages for item in page["Items"]}
    client.close()
    assert set(load.written) <= stored


def test_control_a_command_that_fails_is_noticed(machines: tuple[Machine, Machine]) -> None:
    machine, _ = machines
    for block in ("false\ntrue\n", "mynamo lags\n", "systemctl restart mynamo-gateway\n"):
        with pytest.raises(AssertionError):
            machine.run(block)
