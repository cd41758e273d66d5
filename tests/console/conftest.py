"""The console of a cluster with writer and indexer at work, and those who visit it over HTTP."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from kafka import KafkaAdminClient
from pydantic import SecretStr

from mynamo.catalog.cluster import Cluster
from mynamo.console.console_server import console_of, serve_console
from mynamo.console.sign_ins import FailedAttempts
from mynamo.console.visits import Console
from mynamo.gateway.auth.credentials import of_pairs
from mynamo.gateway.http.server import listen
from mynamo.operations import lag, wait_until_applied
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import AccessKey, GatewayConfig
from tests.rows import make_table
from tests.servers import Servers, drop_topics, own_databases
from tests.waiting import eventually
from tests.workers import pipeline

SECRET = "a-secret-of-tests"
EVIL = "<script>alert(1)</script>\"'&{{7*7}}"
TABLE = "arn:aws:dynamodb:*:*:table/orders"
POLICIES: dict[str, list[dict[str, Any]]] = {
    "reader": [
        {"Effect": "Allow", "Action": ["dynamodb:ListTables"], "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Query",
                       "dynamodb:Scan"],
            "Resource": [TABLE, f"{TABLE}/index/*"],
        },
    ],
    "ann": [
        {"Effect": "Allow", "Action": ["dynamodb:DescribeTable"], "Resource": TABLE},
        {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:*Item"],
            "Resource": TABLE,
            "Condition": {
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["${aws:username}"]},
                "Null": {"dynamodb:LeadingKeys": "false"},
            },
        },
    ],
    "watcher": [
        {"Effect": "Allow", "Action": "mynamo:DescribeCluster", "Resource": "*"},
        {"Effect": "Allow", "Action": "mynamo:Verify", "Resource": TABLE},
    ],
}  # fmt: skip
"""Of users besides `admin`, who has none and may do everything."""


def key_of(user: str) -> str:
    """The access key id of a user."""
    return f"KEY_{user.upper()}"


@dataclass
class Page:
    """An answer; several headers of one name are lines."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def shown(self) -> str:
        """What a person reads of it."""
        return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", self.text)))

    @property
    def form_token(self) -> str:
        """Of the last form on it: the one to sign in has a token of its own."""
        found: list[str] = re.findall(r'name="form_token" value="([^"]+)"', self.text)
        assert found, self.shown
        return found[-1]

    def field(self, name: str) -> str:
        """The value of a hidden field, or of a text area."""
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text) or re.search(
            rf'name="{name}"[^>]*>([^<]*)</textarea>', self.text
        )
        assert found is not None, self.shown
        return unescape(found[1])


@dataclass
class Visitor:
    """Somebody's browser: it keeps cookies, and follows no redirections."""

    site: str
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Page:
        """Load a page."""
        return self._request("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Page:
        """Send a form."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._request("POST", path, urlencode(fields), {**kind, **headers})

    def send(self, path: str, fields: Mapping[str, str], page: Page) -> Page:
        """Send a form of a page."""
        return self.post(path, {"form_token": page.form_token, **fields})

    def until(self, path: str, has: str, seconds: float = 60.0) -> Page:
        """Load a page again and again until it has a text, as it is shown or in its source."""

        def look() -> Page:
            page = self.get(path)
            assert has in page.shown or has in page.text, page.shown
            return page

        return eventually(look, seconds)

    def sign_in(self, user: str, secret: str = SECRET, at: str = "/") -> Page:
        """Fill in the form to sign in."""
        page = self.get("/sign-in")
        fields = {"access_key_id": key_of(user), "secret_access_key": secret, "next": at}
        return self.send("/sign-in", fields, page)

    def _request(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> Page:
        connection = HTTPConnection(urlsplit(self.site).netloc, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            for one in answer.headers.get_all("set-cookie", []):
                name, _, value = one.partition(";")[0].partition("=")
                self.cookies[name] = value
                if "max-age=0" in one.lower():
                    del self.cookies[name]
            text = answer.read().decode()
        finally:
            connection.close()
        names = {name.lower() for name in answer.headers}
        joined = {name: "\n".join(answer.headers.get_all(name, [])) for name in names}
        return Page(answer.status, joined, text)


def gateway_config(folder: Path) -> GatewayConfig:
    """Credentials of `admin` and of all that `POLICIES` names."""
    pairs = [AccessKey(access_key_id=key_of("admin"), secret_access_key=SecretStr(SECRET),
                       name="admin")]  # fmt: skip
    for user, statements in POLICIES.items():
        path = folder / f"{user}.json"
        path.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
        pairs.append(
            AccessKey(
                access_key_id=key_of(user), secret_access_key=SecretStr(SECRET), name=user,
                policies=(path,),
            )
        )  # fmt: skip
    return GatewayConfig(port=0, credentials=tuple(pairs))


@contextmanager
def running(
    config: ClusterConfig, gateway: GatewayConfig, *, auth: bool = True, writes: bool = True
) -> Iterator[tuple[str, Console]]:
    """A console in a thread, until the block ends; gives its address."""
    listeners = listen(gateway)
    stop, ready = threading.Event(), threading.Event()
    credentials = of_pairs(gateway.credentials) if auth else None
    with (
        Cluster(config) as cluster,
        console_of(cluster, gateway, credentials=credentials, writes=writes) as console,
    ):
        thread = threading.Thread(
            target=serve_console, args=(console, gateway, listeners, stop, ready.set),
            name="test-console", daemon=True,
        )  # fmt: skip
        thread.start()
        try:
            assert ready.wait(30)
            scheme = "https" if gateway.cert else "http"
            yield f"{scheme}://127.0.0.1:{listeners[0].getsockname()[1]}", console
        finally:
            stop.set()
            thread.join(30)
    assert not thread.is_alive(), "the console does not end"


@pytest.fixture(scope="module")
def console_config(
    cluster_servers: Servers, kafka_admin: KafkaAdminClient
) -> Iterator[ClusterConfig]:
    """A cluster with the table `orders`, and items of ann's and bob's in it."""
    with own_databases(cluster_servers.config) as own, pipeline(own), Cluster(own) as cluster:
        make_table(cluster)
        with Producer(cluster) as producer:
            for n in range(30):
                owner = "ann" if n % 2 else "bob"
                producer.put(
                    "orders",
                    {"id": owner, "at": f"{n:02}", "price": n, "name": f"name {n % 3}"},
                )
            producer.put("orders", {"id": EVIL, "at": EVIL, EVIL: EVIL, "name": EVIL})
        assert wait_until_applied(cluster, 60), str(lag(cluster))
        yield own
    drop_topics(kafka_admin, own.kafka)


@pytest.fixture(scope="module")
def console(
    console_config: ClusterConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Console]]:
    """A console that allows writes."""
    gateway = gateway_config(tmp_path_factory.mktemp("policies"))
    with running(console_config, gateway) as made:
        yield made


@pytest.fixture
def visitor(console: tuple[str, Console]) -> Visitor:
    """Somebody who has not signed in."""
    console[1].attempts = FailedAttempts()  # those of other tests count for nothing
    return Visitor(console[0])


@pytest.fixture
def admin(visitor: Visitor) -> Visitor:
    """Somebody who may do everything."""
    assert visitor.sign_in("admin").status == 303
    return visitor
