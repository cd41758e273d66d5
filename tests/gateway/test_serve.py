"""`mynamo serve` as its users run it: a process, with its port, signals and refusals."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from mynamo.catalog.cluster import Cluster
from mynamo.cli import serve as command
from mynamo.cli.app import root
from mynamo.gateway.http.connection_counts import ENOUGH
from mynamo.local import free_port
from mynamo.local.state import config_toml
from mynamo.schemas.config import ClusterConfig, PoolConfig
from tests.certificates import Authority
from tests.commands import run, start
from tests.gateway.conftest import client_of
from tests.gateway.raw import post, wire
from tests.proxy import Proxy
from tests.waiting import eventually

pytestmark = pytest.mark.slow

CREDENTIALS = """
[gateway]
region = "eu-central-1"
credentials = [{ access_key_id = "AKIDEXAMPLE", secret_access_key = "not-for-anyone-to-see" }]
"""


class Served:
    """A running `mynamo serve`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.first_line = process.stdout.readline()
        self.url = self.first_line.partition("DynamoDB's API on ")[2].partition(" ")[0]

    @property
    def children(self) -> list[int]:
        """Its processes."""
        pid = self.process.pid
        path = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(word) for word in path.read_text().split()]


@contextmanager
def serving(
    config: ClusterConfig,
    folder: Path,
    *words: str,
    first: str = "",
    toml: str = "",
    program: str = "mynamo",
) -> Iterator[Served]:
    path = folder / "mynamo.toml"
    path.write_text(first + config_toml(config) + toml)
    with (
        (folder / "log").open("w") as log,
        start(
            "--config", str(path), "serve", "--port", "0", *words, program=program,
            stdout=subprocess.PIPE, stderr=log, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            yield Served(process)
        finally:
            process.terminate()
            process.wait(60)


def test_it_says_where_it_is_and_serves(config: ClusterConfig, tmp_path: Path) -> None:
    with serving(config, tmp_path, "--no-auth") as served:
        assert served.first_line == (
            f"DynamoDB's API on {served.url} (region us-east-1; any credentials are accepted)\n"
        )
        assert client_of(served.url).list_tables()["TableNames"] == []
        with wire(served.url) as client:
            client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            heard = client.hear()
        assert (heard.status, json.loads(heard.body)) == (
            200,
            {
                "status": "ok",
                "servers": {"catalog": "ok", "shard 1": "ok", "shard 2": "ok"},
                "indexes": "ok",
            },
        )
        served.process.terminate()
        assert served.process.wait(30) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_names_no_address_where_it_cannot_serve(
    config: ClusterConfig, tmp_path: Path, workers: str
) -> None:
    nowhere = config.catalog.model_copy(update={"host": "127.0.0.1", "port": free_port()})
    wrong = config.model_copy(update={"catalog": nowhere})
    options = ("--no-auth", "--workers", workers)
    with serving(wrong, tmp_path, *options, first="timeout = 3\n") as served:
        assert served.first_line == ""
        assert served.process.wait(60) == 1
    said = (tmp_path / "log").read_text()
    assert "does not answer" in said
    assert "Traceback" not in said


STORED = f"""
[gateway]
credentials_key = "{base64.b64encode(bytes(32)).decode()}"
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_catalog_that_goes_away_while_it_starts(
    config: ClusterConfig, tmp_path: Path, workers: str
) -> None:
    """At the last thing that it reads before it serves."""
    with Cluster(config), Proxy(config.catalog.host, config.catalog.port) as proxy:
        catalog = config.catalog.model_copy(update={"host": "127.0.0.1", "port": proxy.port})
        away = config.model_copy(update={"catalog": catalog})
        proxy.on(b"FROM mynamo_credential", "lose_server")
        options = {"first": "timeout = 3\n", "toml": STORED}
        with serving(away, tmp_path, "--workers", workers, **options) as served:
            assert served.process.wait(60) == 1
            assert proxy.struck.is_set()
    said = (tmp_path / "log").read_text()
    assert f"catalog (127.0.0.1:{proxy.port}/{catalog.database})" in said
    assert "given up after the timeout of 3 s" in said
    assert "Traceback" not in said


def test_it_ends_soon_while_the_catalog_is_away(config: ClusterConfig, tmp_path: Path) -> None:
    """It is being asked for changes at that moment."""
    with Cluster(config), Proxy(config.catalog.host, config.catalog.port) as proxy:
        catalog = config.catalog.model_copy(update={"host": "127.0.0.1", "port": proxy.port})
        away = config.model_copy(update={"catalog": catalog})
        with serving(away, tmp_path, "--workers", "1", toml=STORED) as served:
            assert served.first_line.startswith("DynamoDB's API")
            proxy.refuse()
            eventually(lambda: "trying for another" in (tmp_path / "log").read_text())
            served.process.terminate()
            assert served.process.wait(10) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_process_that_is_killed_while_the_catalog_is_away_is_replaced_once_it_is_back(
    config: ClusterConfig, tmp_path: Path
) -> None:
    """Until then, the others go on."""
    with Cluster(config), Proxy(config.catalog.host, config.catalog.port) as proxy:
        catalog = config.catalog.model_copy(update={"host": "127.0.0.1", "port": proxy.port})
        away = config.model_copy(update={"catalog": catalog})
        admin, log = tmp_path / "admin.toml", tmp_path / "log"
        admin.write_text(config_toml(config))
        run(admin, "table", "create", "orders", "--hash-key", "id")
        options = ("--no-auth", "--workers", "2")
        with serving(away, tmp_path, *options, first="timeout = 2\n") as served:
            eventually(lambda: len(served.children) == 2)
            first = served.children
            os.kill(first[0], signal.SIGSTOP)  # so the other one answers, which thus is ready
            client_of(served.url).put_item(TableName="orders", Item={"id": {"S": "1"}})
            proxy.refuse()
            os.kill(first[0], signal.SIGKILL)
            eventually(lambda: log.read_text().count("a process of the gateway failed") == 2)
            assert first[1] in served.children
            client_of(served.url).put_item(TableName="orders", Item={"id": {"S": "1"}})
            proxy.accept()
            eventually(lambda: len(served.children) == 2)
            said = log.read_text()
            served.process.terminate()
            assert served.process.wait(30) == 0
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("toml", "words", "allowed"),
    [
        ("", ["--no-auth"], {"http://localhost:8001"}),
        (CREDENTIALS, [], {"http://localhost:8001", "https://admin.example.com", "null"}),
        ("[gateway]\ncors_origins = []\n", ["--no-auth"], set()),
        (CREDENTIALS + "cors_origins = []\n", [], set()),
        (
            "",
            ["--no-auth", "--cors-origin", "null", "--cors-origin", "localhost"],
            {"http://localhost:8001", "null"},
        ),
    ],
)
def test_pages_that_may_call(
    config: ClusterConfig, tmp_path: Path, toml: str, words: list[str], allowed: set[str]
) -> None:
    """An empty list is not the default: no page may call."""
    with serving(config, tmp_path, *words, toml=toml) as served, wire(served.url) as client:
        for origin in ("http://localhost:8001", "https://admin.example.com", "null"):
            client.send(f"OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n\r\n".encode())
            names = [name for name in client.hear().headers if name.startswith("access-control")]
            assert bool(names) == (origin in allowed)


def test_it_wants_signatures_with_the_configured_keys(
    config: ClusterConfig, tmp_path: Path
) -> None:
    options = ("--log-level", "error")
    with serving(config, tmp_path, *options, toml=CREDENTIALS) as served:
        assert "requests must be signed with the configured key pair" in served.first_line

        def client(secret: str) -> Any:
            return boto3.client(
                "dynamodb", endpoint_url=served.url, region_name="eu-central-1",
                aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key=secret,
            )  # fmt: skip

        assert client("not-for-anyone-to-see").list_tables()["TableNames"] == []
        settings = {"AttributeName": "at", "Enabled": True}
        with pytest.raises(Exception, match="ResourceNotFoundException"):
            client("not-for-anyone-to-see").update_time_to_live(
                TableName="nowhere", TimeToLiveSpecification=settings
            )
        with pytest.raises(Exception, match="InvalidSignatureException"):
            client("something-else").list_tables()
        served.process.terminate()
        said = served.first_line + served.process.communicate(timeout=30)[0]
        logged = (tmp_path / "log").read_text()
        assert "not-for-anyone-to-see" not in said + logged
        assert re.search(  # whatever the level is
            r"INFO +mynamo.audit: control plane request=\w{52} operation=UpdateTimeToLive "
            r"table=nowhere user=AKIDEXAMPLE address=127.0.0.1 "
            r"outcome=ResourceNotFoundException\n$",
            logged,
        )


def test_it_does_not_start_open_by_oversight(config: ClusterConfig, tmp_path: Path) -> None:
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(config))
    refused = run(path, "serve", "--port", "0", status=1)
    assert "no credentials are configured" in refused.output
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):  # noqa: S104
        refused = run(path, "serve", "--port", "0", "--no-auth", "--host", host, status=1)
        assert "--open-to-network" in refused.output


def test_streams_are_served_at_the_same_address(config: ClusterConfig, tmp_path: Path) -> None:
    with serving(config, tmp_path, "--no-auth") as served:
        streams = boto3.client(
            "dynamodbstreams", endpoint_url=served.url, region_name="us-east-1",
            aws_access_key_id="a", aws_secret_access_key="b",
        )  # fmt: skip
        assert streams.list_streams()["Streams"] == []


def test_a_port_that_is_taken(config: ClusterConfig, tmp_path: Path) -> None:
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(config))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run(path, "serve", "--no-auth", "--port", port, status=1)
        assert f":{port}" in refused.output
        data = str(tmp_path / "data")
        refused = CliRunner().invoke(root, ["dev", "--data", data, "--port", port])
        assert (refused.exit_code, f"port {port} is taken" in refused.output) == (1, True)
    assert not (tmp_path / "data").exists()  # nothing was started for nothing


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_under_way_is_finished(config: ClusterConfig, tmp_path: Path, workers: str) -> None:
    options = ("--no-auth", "--workers", workers)
    with serving(config, tmp_path, *options) as served, wire(served.url) as idle:
        client = client_of(served.url)
        client.create_table(
            TableName="orders", BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )  # fmt: skip
        client.get_waiter("table_exists").wait(TableName="orders", WaiterConfig={"Delay": 1})
        written: list[str] = []
        failures: list[Exception] = []
        begun = threading.Event()

        def write(number: int) -> None:
            mine = client_of(served.url)
            for n in range(100_000):
                name = f"{number}-{n}"
                try:
                    mine.put_item(TableName="orders", Item={"id": {"S": name}})
                except Exception as failure:
                    failures.append(failure)
                    return
                written.append(name)
                if n == 20:
                    begun.set()

        many = 4 if workers == "1" else ENOUGH + 8
        threads = [threading.Thread(target=write, args=(n,)) for n in range(many)]
        for thread in threads:
            thread.start()
        assert begun.wait(60)
        served.process.terminate()
        assert served.process.wait(30) == 0
        assert idle.ended()
        for thread in threads:
            thread.join(30)
        # A request is answered, or the connection was closed before it: never cut in between.
        kinds = {type(failure).__name__ for failure in failures}
        assert kinds <= {"EndpointConnectionError", "ConnectionClosedError"}, failures
    with serving(config, tmp_path, "--no-auth") as served:
        client = client_of(served.url)
        pages = client.get_paginator("scan").paginate(TableName="orders")
        stored = {item["id"]["S"] for page in pages for item in page["Items"]}
        assert set(written) <= stored
        assert len(stored) - len(written) <= len(failures)


def test_several_processes_share_a_port(config: ClusterConfig, tmp_path: Path) -> None:
    rate = '[[gateway.rates]]\ntable = "none"\nrequests_per_second = 0.001\n'
    with serving(config, tmp_path, "--no-auth", "--workers", "2", toml=rate) as served:
        eventually(lambda: len(served.children) == 2)
        first = served.children
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            client_of(served.url).describe_table(TableName="none")
        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(set(served.children) - set(first)) == 1)
        with pytest.raises(ClientError, match="ThrottlingException"):
            client_of(served.url).describe_table(TableName="none")
        assert client_of(served.url).list_tables()["TableNames"] == []
        served.process.terminate()
        said, _ = served.process.communicate(timeout=30)
        assert (said, served.process.returncode) == ("", 0)  # the first line was the only one
    with serving(config, tmp_path, "--no-auth", "--workers", "2") as served:
        eventually(lambda: len(served.children) == 2)
        children = served.children
        assert client_of(served.url).list_tables()["TableNames"] == []
        served.process.kill()
        eventually(lambda: not any(alive(pid) for pid in children))


def test_processes_share_the_units_of_a_table(config: ClusterConfig, tmp_path: Path) -> None:
    """A process that takes another one's place has none of its own."""
    enforced = "[gateway]\nenforce_provisioned_throughput = true\n"
    with serving(config, tmp_path, "--no-auth", "--workers", "2", toml=enforced) as served:
        eventually(lambda: len(served.children) == 2)
        client = client_of(served.url)
        client.create_table(
            TableName="items",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        )
        client.get_waiter("table_exists").wait(TableName="items", WaiterConfig={"Delay": 1})
        large = {"id": {"S": "1"}, "text": {"S": "x" * 390_000}}  # 381 units: 81 too many
        client.put_item(TableName="items", Item=large)
        for _ in range(2):
            before = served.children
            os.kill(before[0], signal.SIGKILL)
            eventually(lambda: len(set(served.children) - set(before)) == 1)  # noqa: B023
            with pytest.raises(ClientError, match="ProvisionedThroughputExceeded"):
                client_of(served.url).put_item(TableName="items", Item={"id": {"S": "2"}})


def test_there_is_a_process_for_each_core(config: ClusterConfig, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    for used in (cores, {min(cores)}):
        os.sched_setaffinity(0, used)
        try:
            with serving(config, tmp_path, "--no-auth") as served:
                assert client_of(served.url).list_tables()["TableNames"] == []
                count = min(len(used), command.MOST_WORKERS)
                assert len(served.children) == (count if count > 1 else 0)
        finally:
            os.sched_setaffinity(0, cores)


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (3, 3), (8, 8), (96, 8)])
def test_but_no_more_than_mysql_has_connections_for(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert command._workers() == workers
    assert PoolConfig().size * workers < 151


def test_a_frozen_process_holds_up_no_client(config: ClusterConfig, tmp_path: Path) -> None:
    with serving(config, tmp_path, "--no-auth", "--workers", "2") as served:
        eventually(lambda: len(served.children) == 2)
        for turn, pid in enumerate(served.children * 2):
            os.kill(pid, signal.SIGSTOP)
            try:
                with wire(served.url) as client:
                    client.socket.settimeout(3.0 if turn > 1 else 60.0)  # the other may start still
                    client.send(post())
                    assert client.hear().status == 200
            finally:
                os.kill(pid, signal.SIGCONT)


def test_processes_that_cannot_work_end_the_whole(config: ClusterConfig, tmp_path: Path) -> None:
    another = config.shards[0].model_copy(update={"id": 9})
    wrong = config.model_copy(update={"shards": (another,)})
    with serving(config, tmp_path, "--no-auth") as served:  # sets the cluster up
        client_of(served.url).list_tables()
    with serving(wrong, tmp_path, "--no-auth", "--workers", "2") as served:
        assert served.first_line == ""
        assert served.process.wait(60) == 1
    assert "the configuration names [9]" in (tmp_path / "log").read_text()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_https(config: ClusterConfig, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    cert, key = authority.issue("127.0.0.1")
    toml = f"[gateway]\ncert = {json.dumps(str(cert))}\nkey = {json.dumps(str(key))}\n"

    def client(verify: Path) -> Any:
        return boto3.client(
            "dynamodb", endpoint_url=served.url, region_name="us-east-1", verify=str(verify),
            aws_access_key_id="a", aws_secret_access_key="b",
            config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip

    with serving(config, tmp_path, "--no-auth", toml=toml) as served:
        assert served.url.startswith("https://")
        trusting = client(authority.file)
        for _ in range(3):
            assert trusting.list_tables()["TableNames"] == []
        with pytest.raises(SSLError):
            client(Authority(tmp_path / "other").file).list_tables()
        with wire(served.url.replace("https", "http")) as plain:
            plain.send(post())
            assert plain.ended()
        served.process.terminate()
        assert served.process.wait(30) == 0


def test_a_certificate_that_is_none(config: ClusterConfig, tmp_path: Path) -> None:
    bad = tmp_path / "cert.pem"
    bad.write_text("nothing")
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(config) + f"[gateway]\ncert = {json.dumps(str(bad))}\n")
    refused = run(path, "serve", "--port", str(free_port()), "--no-auth", status=1)
    assert "certificate" in refused.output


def test_a_certificate_without_its_key(config: ClusterConfig, tmp_path: Path) -> None:
    cert, key = Authority(tmp_path / "tls").issue("127.0.0.1")
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(config) + f"[gateway]\ncert = {json.dumps(str(cert))}\n")
    refused = run(path, "serve", "--port", str(free_port()), "--no-auth", status=1)
    assert "its private key" in refused.output
    cert.write_text(cert.read_text() + key.read_text())  # one file for both will do
    toml = f"[gateway]\ncert = {json.dumps(str(cert))}\n"
    with serving(config, tmp_path, "--no-auth", toml=toml) as served:
        assert served.url.startswith("https://")


def scraped(url: str) -> dict[str, list[Sample]]:
    """The samples that a process has now, by metric."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of this machine
        text = answer.read().decode()
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_metrics(config: ClusterConfig, tmp_path: Path, workers: str) -> None:
    """Each process has its own; together they have counted every request."""
    words = ("--no-auth", "--workers", workers, "--metrics-port", "0")
    with serving(config, tmp_path, *words) as served:
        client = client_of(served.url)
        client.create_table(
            TableName="songs",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for number in range(20):
            client.put_item(TableName="songs", Item={"id": {"S": str(number)}})
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.get_item(TableName="nothing", Key={"id": {"S": "1"}})
        unknown = post(operation="Nonsense")
        with wire(served.url) as raw:
            raw.send(unknown)
            assert raw.hear().status == 400
        log = tmp_path / "log"
        eventually(lambda: log.read_text().count("metrics: http") == int(workers))
        urls = re.findall(r"metrics: (\S+)", log.read_text())
        assert len(set(urls)) == int(workers)
        processes = [scraped(url) for url in urls]
    counted: Counter[tuple[str, ...]] = Counter()
    written = 0.0
    for samples in processes:
        written += sum(sample.value for sample in samples["mynamo_group_commit_writes"])
        for sample in samples["mynamo_requests"]:
            if sample.name == "mynamo_requests_total":
                labels = (sample.labels[name] for name in ("operation", "table", "status", "error"))
                counted[tuple(labels)] += int(sample.value)
        assert samples["mynamo_build_info"][0].labels["role"] == "serve"
        assert samples["mynamo_request_permits_free"][0].value > 0
        assert {one.labels["server"] for one in samples["mynamo_breaker_open"]} == {
            "catalog", "1", "2",
        }  # fmt: skip
    assert counted == {
        ("CreateTable", "songs", "200", ""): 1,
        ("PutItem", "songs", "200", ""): 20,
        ("GetItem", "", "400", "ResourceNotFoundException"): 1,
        ("", "", "400", "UnknownOperationException"): 1,
    }
    assert written == 20


def test_a_metrics_port_that_is_taken(config: ClusterConfig, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = ("--no-auth", "--workers", "1", "--metrics-port", port)
        with serving(config, tmp_path, *words) as served:
            assert served.process.wait(30) == 1
    said = (tmp_path / "log").read_text()
    assert f"cannot listen on 127.0.0.1:{port} for metrics" in said
    assert "Traceback" not in said
