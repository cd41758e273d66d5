"""The console while servers are away, and what operators do with it when something is wrong."""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import ssl
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from mynamo import extras
from mynamo.catalog import table_streams
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.stored_credentials import add_credential, remove_credential
from mynamo.cli.app import root
from mynamo.cli.console_command import SHOWN
from mynamo.console import bounded_connections, comparison_jobs, comparison_pages
from mynamo.console.dead_letter_pages import DEAD_LETTERS, entries_of
from mynamo.console.visits import Console
from mynamo.gateway.auth.secrets_at_rest import new_key_pair, sealed
from mynamo.local.state import config_toml
from mynamo.log import Publisher
from mynamo.log.dead_letter_topic import resolve_dead_letter, send_dead_letters
from mynamo.operations import verify
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import AUDIT_LOGGER, ClusterConfig, LogConfig
from mynamo.schemas.dead_letters import DeadLetter, load_dead_letter
from mynamo.schemas.gateway_config import GatewayConfig
from tests.certificates import Authority
from tests.commands import start
from tests.console.conftest import SECRET, Page, Visitor, gateway_config, key_of, running
from tests.damages import do_all_damage, to_damage
from tests.intents import place
from tests.proxy import Proxy
from tests.rows import make_table
from tests.waiting import eventually
from tests.workers import pipeline

pytestmark = pytest.mark.slow

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def proxied(console_config: ClusterConfig) -> Iterator[tuple[ClusterConfig, Proxy]]:
    """The cluster, with a proxy before its second shard."""
    second = console_config.shards[1]
    with Proxy(second.host, second.port) as proxy:
        through = second.model_copy(update={"host": "127.0.0.1", "port": proxy.port})
        shards = (console_config.shards[0], through)
        yield console_config.model_copy(update={"shards": shards}), proxy


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def visiting(tmp_path: Path) -> Iterator[Callable[..., Visitor]]:
    """Starts a console, and gives an administrator who visits it."""
    with ExitStack() as stack:

        def visit(config: ClusterConfig, **options: Any) -> Visitor:
            site, _ = stack.enter_context(running(config, gateway_config(tmp_path), **options))
            visitor = Visitor(site)
            assert visitor.sign_in("admin").status == 303
            return visitor

        yield visit


def test_a_shard_that_is_away_is_said_where_it_matters(
    proxied: tuple[ClusterConfig, Proxy], visiting: Callable[..., Visitor]
) -> None:
    config, proxy = proxied
    admin = visiting(config)
    assert "Shard 2:" not in admin.get("/").shown
    proxy.refuse()
    page = admin.until("/", "Shard 2: ")
    assert page.status == 200
    assert page.shown.count("ACTIVE") == 2  # the catalog says so
    assert "Open transactions" in page.shown
    lag = admin.until("/lag", "shard 2 is not known: ")
    assert "orders.by_name" in lag.shown  # as the other shard says
    assert "shard 2 is not known: " in admin.get("/transactions").shown
    assert admin.get("/tables/orders").status == 200
    answers = {admin.get(f"/tables/orders/items?limit=25&hash0=key{n}").status for n in range(20)}
    assert answers == {200, 503}
    proxy.accept()
    eventually(lambda: "Shard 2:" not in admin.get("/").shown, 60)


@pytest.mark.parametrize("kind", ["refuses", "is silent"])
def test_kafka_that_is_away_is_said_where_it_matters(
    console_config: ClusterConfig, silent: int, visiting: Callable[..., Visitor], kind: str
) -> None:
    port = 1 if kind == "refuses" else silent
    kafka = console_config.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{port}"})
    admin = visiting(console_config.model_copy(update={"kafka": kafka}))
    for path in ("/", "/lag", "/dead-letters"):
        page = admin.get(path)
        assert page.status == 200
        assert re.search(r"Kafka: \w+", page.shown), page.shown
        assert "defect" not in page.shown
    assert "Outbox rows" in admin.get("/").shown
    assert "orders.by_name" in admin.get("/lag").shown
    assert admin.get("/tables/orders/items?limit=25&hash0=ann").status == 200
    page = admin.get("/")
    assert admin.send("/dead-letter", {"id": "x"}, page).status == 503


def test_a_dead_letter_is_shown_and_replayed(
    console_config: ClusterConfig, console: tuple[str, Console]
) -> None:
    admin = Visitor(console[0])
    admin.sign_in("admin")
    key = {"id": "late", "at": "1"}
    with Producer(console[1].cluster) as producer:
        queued = producer.queued_update(
            "orders", key, expression="ADD n :one", values={":one": 1}, condition="n >= :one"
        )
        producer.publish(queued)
        shown = admin.until("/dead-letters", str(queued.command_id))
        assert "The conditional request failed" in shown.shown
        path = f"/dead-letter?id={queued.command_id}"
        page = admin.get(path)
        assert '"late"' in page.text.replace("&#34;", '"')
        assert admin.get("/dead-letter?id=x").status == 404
        watcher = Visitor(console[0])
        watcher.sign_in("watcher")
        assert watcher.get(path).status == 403
        fields = {"id": str(queued.command_id)}
        assert watcher.send("/dead-letter", fields, watcher.get("/")).status == 403
        producer.put("orders", {**key, "n": 1})  # its cause is mended
        answer = admin.send("/dead-letter", fields, page)
    assert answer.status == 303, answer.shown
    assert "Handed to the workers again" in admin.get(answer.headers["location"]).shown
    assert "replayed" in admin.get(path).shown
    assert "<button>Replay" not in admin.get(path).text
    reader = Reader(console[1].cluster)
    eventually(lambda: reader.get("orders", key) == {**key, "n": 2}, 60)


@pytest.fixture
def letter(console_config: ClusterConfig) -> DeadLetter:
    """One that is open, with a message that is nested deeply."""
    value = base64.b64encode(b"[" * 300 + b"]" * 300).decode()
    letter = DeadLetter(
        letter_id=str(uuid.uuid4()), kind="event", reason="why", topic="t", partition=0, offset=1,
        value=value,
    )  # fmt: skip
    publisher = Publisher(console_config.kafka)
    send_dead_letters(publisher, [letter])
    publisher.close()
    return letter


def test_dead_letters_are_read_once_and_kept_without_messages(
    console: tuple[str, Console], letter: DeadLetter, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = Visitor(console[0])
    admin.sign_in("admin")
    admin.until("/dead-letters", letter.letter_id)
    read: list[bytes] = []

    def load(data: bytes) -> DeadLetter:
        read.append(data)
        return load_dead_letter(data)

    monkeypatch.setattr("mynamo.log.dead_letter_topic.load_dead_letter", load)
    for path in ("/", "/dead-letters"):
        console[1].parts.forget(DEAD_LETTERS)
        assert "defect" not in admin.get(path).shown
    assert read == []
    entries = entries_of(console[1])
    assert [one.dead_letter.value for one in entries] == [""] * len(entries) != []
    assert "[[[[" in admin.get(f"/dead-letter?id={letter.letter_id}").shown
    assert read != []  # its own page has the message


def test_a_discarded_dead_letter_is_not_replayed(
    console_config: ClusterConfig, console: tuple[str, Console], letter: DeadLetter
) -> None:
    admin = Visitor(console[0])
    admin.sign_in("admin")
    page = admin.get(f"/dead-letter?id={letter.letter_id}")
    assert "<button>Replay" in page.text
    publisher = Publisher(console_config.kafka)
    resolve_dead_letter(publisher, letter, "discarded")
    publisher.close()
    answer = admin.send("/dead-letter", {"id": letter.letter_id}, page)
    assert answer.status == 409
    assert "it is discarded already" in answer.shown


def test_open_transactions_and_streams_are_shown(
    engine_config: ClusterConfig, visiting: Callable[..., Visitor]
) -> None:
    with Cluster(engine_config) as cluster:
        table = make_table(cluster)
        place(cluster, table, {"id": "held", "at": "1"}, transaction_id=bytes(range(16)))
        label = table_streams.enable(cluster, "orders", "KEYS_ONLY").label
        admin = visiting(engine_config)
        page = admin.get("/transactions")
        assert "00010203-0405-0607-0809-0a0b0c0d0e0f" in page.shown
        assert "none" in page.shown  # its decision
        assert re.search(r"Open transactions\s+1 ", admin.get("/").shown)
        streams = admin.get("/streams").shown
        assert f"orders {label} KEYS_ONLY ENABLED 2 2" in streams
        assert "KEYS_ONLY" in admin.get("/tables/orders").shown


def test_damage_is_found_planned_and_mended(
    config: ClusterConfig, visiting: Callable[..., Visitor]
) -> None:
    with Cluster(config) as cluster:
        do_all_damage(to_damage(config, cluster))
        with pipeline(config):
            admin = visiting(config)
            path = "/tables/orders/comparison"

            def run(action: str) -> Page:
                page = admin.get(path)
                assert admin.send(path, {"action": action}, page).status == 303
                return admin.until(f"{path}/state", "data-ended")

            found = run("verify")
            assert "DAMAGED: orders" in found.shown
            assert re.search(r"by_name: missing: item .*order-", found.shown)
            planned = run("plan")
            assert "would be mended" in planned.shown
            assert "DAMAGED" in run("verify").shown  # a plan changes nothing
            mended = run("repair")
            assert re.search(r"mended \d\d? of", mended.shown)
            assert verify(cluster, "orders").findings == 0


def test_a_comparison_is_stopped(
    config: ClusterConfig, visiting: Callable[..., Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison_pages, "LEAST_RATE", 1)
    path = "/tables/orders/comparison"
    with Cluster(config) as cluster, Producer(cluster) as producer:
        make_table(cluster)
        for n in range(300):
            producer.put("orders", {"id": f"i{n}", "at": "1", "price": n})
    admin = visiting(config)
    page = admin.get(path)
    assert admin.send(path, {"action": "verify", "rate": "50"}, page).status == 303
    running_now = admin.get(path)
    assert "running" in running_now.shown
    assert '<noscript><meta http-equiv="refresh"' in running_now.text
    again = admin.send(path, {"action": "verify"}, page)
    assert again.status == 409
    assert "is running already" in again.shown
    admin.until(f"{path}/state", "%,")
    assert admin.send(path, {"action": "stop"}, page).status == 303
    state = admin.until(f"{path}/state", "data-ended")
    assert "stopped before its end" in state.shown


@pytest.mark.parametrize("gone", ["credential", "right"])
def test_a_comparison_ends_with_the_right_of_who_began_it(
    config: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    monkeypatch.setattr(comparison_pages, "LEAST_RATE", 1)
    monkeypatch.setattr(comparison_jobs, "CHECK_SECONDS", 0.0)
    with Cluster(config) as cluster, Producer(cluster) as producer:
        make_table(cluster)
        for n in range(300):
            producer.put("orders", {"id": f"i{n}", "at": "1", "price": n})
    with running(config, gateway_config(tmp_path)) as (site, console):
        admin = Visitor(site)
        admin.sign_in("watcher")
        path = "/tables/orders/comparison"
        page = admin.get(path)
        assert admin.send(path, {"action": "verify", "rate": "50"}, page).status == 303
        assert admin.send("/sign-out", {}, page).status == 303
        job = console.jobs.of("orders")
        assert job is not None
        eventually(lambda: job.progress is not None)
        assert job.state == "running"  # though the session has ended
        find = console.find
        assert find is not None
        other = find(key_of("reader"))
        own = find(key_of("watcher"))
        assert own is not None
        assert other is not None
        now = None if gone == "credential" else replace(own, principal=other.principal)
        console.find = lambda _: now
        assert eventually(lambda: job.state == "stopped")
        assert job.outcome == "stopped before its end: watcher has no right to it any more"


def test_the_end_of_a_console_stops_its_comparisons(config: ClusterConfig, tmp_path: Path) -> None:
    with Cluster(config) as cluster, Producer(cluster) as producer:
        make_table(cluster)
        for n in range(300):
            producer.put("orders", {"id": f"i{n}", "at": "1", "price": n})
    with running(config, gateway_config(tmp_path)) as (_, console):
        job = console.jobs.begin("verify", "orders", None, 50)
        eventually(lambda: job.progress is not None)
        assert not job.stop.is_set()
    assert job.state == "stopped"


def test_a_credential_of_the_catalog_signs_in_until_it_is_revoked(
    console_config: ClusterConfig,
) -> None:
    gateway = GatewayConfig(port=0, credentials_key=SecretStr(KEY))
    access_key_id, secret = new_key_pair()
    with running(console_config, gateway) as (site, console):
        key = gateway.stored_secrets_key()
        data = sealed(secret, key, access_key_id)
        add_credential(console.cluster.catalog, "stored", access_key_id, data, ())
        visitor = Visitor(site)
        fields = {"access_key_id": access_key_id, "secret_access_key": secret}

        def signed_in() -> bool:
            console.attempts.forgive("address 127.0.0.1", f"access key id {access_key_id}")
            page = visitor.get("/sign-in")
            return visitor.send("/sign-in", fields, page).status == 303

        eventually(signed_in, 30)
        assert "stored" in visitor.get("/").shown
        remove_credential(console.cluster.catalog, "stored")
        eventually(lambda: visitor.get("/").status == 303, 30)


def test_what_operators_change_is_in_the_audit_log(
    console_config: ClusterConfig,
    visiting: Callable[..., Visitor],
    letter: DeadLetter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    caplog.set_level(logging.INFO, logger=AUDIT_LOGGER)
    config = console_config.model_copy(update={"log": LogConfig(audit=True)})
    admin = visiting(config)
    path = "/tables/orders/comparison"
    page = admin.get(path)
    jobs_full = comparison_jobs.MOST_RUNNING
    monkeypatch.setattr(comparison_jobs, "MOST_RUNNING", 0)
    assert admin.send(path, {"action": "repair"}, page).status == 409
    monkeypatch.setattr(comparison_jobs, "MOST_RUNNING", jobs_full)
    assert admin.send(path, {"action": "repair"}, page).status == 303
    assert admin.send(path, {"action": "stop"}, page).status == 303
    assert admin.send("/dead-letter", {"id": "no-such"}, page).status == 404
    assert admin.send("/dead-letter", {"id": letter.letter_id}, page).status == 409
    watcher = Visitor(admin.site)
    watcher.sign_in("watcher")
    watcher.get("/dead-letters")
    lines = [vars(one)["fields"] for one in caplog.records if one.name == AUDIT_LOGGER]
    told = [(one["operation"], one.get("table"), one["user"], one["outcome"]) for one in lines]
    assert told == [
        ("mynamo:Repair", "orders", "admin", "success"),
        ("mynamo:ReplayDeadLetters", None, "admin", "CorruptData"),
        ("mynamo:ListDeadLetters", None, "watcher", "AccessDeniedException"),
    ]
    assert [one.get("dead_letter") for one in lines] == [None, letter.letter_id, None]
    assert SECRET not in caplog.text
    admin.until(f"{path}/state", "data-ended")


def test_over_tls_cookies_are_secure_and_silent_clients_let_go(
    console_config: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_connections, "REQUEST_SECONDS", 2.0)
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("127.0.0.1")
    gateway = gateway_config(tmp_path).model_copy(update={"cert": cert, "key": key})
    with running(console_config, gateway) as (site, _):
        trusting = ssl.create_default_context(cafile=str(authority.file))
        connection = HTTPSConnection(urlsplit(site).netloc, timeout=30, context=trusting)
        place = urlsplit(site)
        silent = socket.create_connection((place.hostname, place.port), timeout=20)
        connection.request("GET", "/sign-in")
        cookies = connection.getresponse().headers.get_all("set-cookie")
        connection.close()
        assert silent.recv(1) == b""  # though the handshake has not begun
        silent.close()
    assert cookies
    assert all("; Secure" in one for one in cookies)


# The command


@pytest.fixture
def file(console_config: ClusterConfig, tmp_path: Path) -> Path:
    path = tmp_path / "mynamo.toml"
    pair = f'{{ access_key_id = "{key_of("admin")}", secret_access_key = "{SECRET}" }}'
    path.write_text(config_toml(console_config) + f"\n[gateway]\ncredentials = [{pair}]\n")
    return path


def test_the_command_says_where_it_is_and_ends_when_told(file: Path) -> None:
    with start(
        "console", "--config", str(file), "--port", "0", stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(
            f"{SHOWN}(http://127.0.0.1:\\d+) \\(sign in with a key pair; read-only\\)\n", line
        )
        assert found is not None, line
        visitor = Visitor(found[1])
        assert visitor.sign_in("admin").status == 303
        assert visitor.get("/").status == 200
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--host", "0.0.0.0"), "secrets would pass the network to 0.0.0.0 in the clear"),  # noqa: S104
        (("--host", "0.0.0.0", "--no-auth"), "listen on 127.0.0.1"),  # noqa: S104
    ],
)
def test_it_does_not_serve_a_network_in_the_clear(
    file: Path, words: tuple[str, ...], message: str
) -> None:
    result = CliRunner().invoke(root, ["console", "--config", str(file), *words])
    assert result.exit_code == 1
    assert message in result.output


def test_without_credentials_it_says_what_to_do(
    console_config: ClusterConfig, tmp_path: Path
) -> None:
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(console_config))
    result = CliRunner().invoke(root, ["console", "--config", str(path)])
    assert result.exit_code == 1
    assert "no credentials are configured" in result.output
    assert "--no-auth" in result.output


def test_without_its_packages_it_says_what_to_install(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extras.EXTRAS, "console", ("no_such_module",))
    result = CliRunner().invoke(root, ["console", "--config", str(file)])
    assert result.exit_code == 1
    assert "install 'mynamo[console]'" in result.output


def test_policies_of_operators_are_simulated(tmp_path: Path) -> None:
    policy = tmp_path / "operator.json"
    statement = {"Effect": "Allow", "Action": "mynamo:*", "Resource": "*"}
    policy.write_text(json.dumps({"Statement": statement}))
    for action, status in (("mynamo:Repair", 0), ("dynamodb:GetItem", 3)):
        words = ["policy", "simulate", "--policy", str(policy), "--action", action]
        resource = "arn:aws:dynamodb:us-east-1:000000000000:table/orders"
        result = CliRunner().invoke(root, [*words, "--resource", resource])
        assert result.exit_code == status, result.output
