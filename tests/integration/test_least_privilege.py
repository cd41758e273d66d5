"""The users of deploy/init/users.sh can do their own work, and no more."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr
from pymysql.constants import CLIENT

from mynamo.catalog import definitions, sql, stream_shards
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Decision
from mynamo.errors import ConfigError, ShardUnavailable, TransactionCanceled
from mynamo.local import LocalMySQL
from mynamo.producer import Producer, Put
from mynamo.reader import Get, StoredReader, transact_gets
from mynamo.schemas.config import ClusterConfig, DatabaseConfig, ShardConfig
from mynamo.schemas.table import GlobalIndexSchema, KeyAttribute, TableSchema
from mynamo.writer import finish_transaction
from mynamo.writer.maintenance import Maintenance
from tests.console.conftest import Visitor, gateway_config, running
from tests.following import number_all, read_all, with_stream
from tests.intents import decide, place

USERS_SCRIPT = Path(__file__).parents[2] / "deploy" / "init" / "users.sh"
ROLES = ("admin", "writer", "indexer", "reader")
PASSWORDS = {role: f"it's \\ {role} {uuid.uuid4()}" for role in ROLES}
SCHEMA = TableSchema.parse(
    {"name": "orders", "hash_key": "id", "global_indexes": [{"name": "by_a", "hash_key": "a"}]}
)


@pytest.fixture
def users(engine_servers: LocalMySQL) -> Iterator[LocalMySQL]:
    environment = {f"{role.upper()}_PASSWORD": password for role, password in PASSWORDS.items()}
    script = subprocess.run(
        ["bash", str(USERS_SCRIPT)],
        env={**os.environ, **environment, "MYSQL": "cat"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    drop = "DROP DATABASE IF EXISTS mynamo; DROP DATABASE IF EXISTS mynamo_catalog;"
    drop += "".join(f"DROP USER IF EXISTS mynamo_{role}@'%';" for role in ROLES)
    run_as_root(engine_servers, drop + script)
    yield engine_servers
    run_as_root(engine_servers, drop)


def run_as_root(server: LocalMySQL, script: str) -> None:
    connection = server.connect_root()
    try:
        connection.client_flag |= CLIENT.MULTI_STATEMENTS
        with connection.cursor() as cursor:
            for statement in without_comments(script).split(";"):
                if statement.strip():
                    cursor.execute(statement)
    finally:
        connection.close()


def without_comments(script: str) -> str:
    return "\n".join(line for line in script.splitlines() if not line.startswith("--"))


def config_of(server: LocalMySQL, role: str) -> ClusterConfig:
    login = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": f"mynamo_{role}",
        "password": SecretStr(PASSWORDS[role]),
    }
    return ClusterConfig(
        catalog=DatabaseConfig(database="mynamo_catalog", **login),
        shards=(ShardConfig(id=1, database="mynamo", **login),),
    )


def test_each_user_can_do_its_own_work(users: LocalMySQL) -> None:
    with Cluster(config_of(users, "admin")) as cluster:
        definitions.create_table(cluster, SCHEMA)
    with Cluster(config_of(users, "writer")) as cluster:
        Producer(cluster).put("orders", {"id": "1", "a": "x"})
        Producer(cluster).transact([Put("orders", {"id": "1"})], request_token="t")
        Maintenance(cluster).round()
        index = GlobalIndexSchema(name="by_b", hash_key=KeyAttribute(name="b"))
        definitions.add_index(cluster, "orders", index)
        stream = with_stream(cluster)
        Producer(cluster).put("orders", {"id": "2"})
        number_all(cluster)
        assert stream_shards.follow_all(cluster) == []
    with Cluster(config_of(users, "indexer")) as cluster:
        gsi = sql.index_table(cluster.table("orders").index("by_a"))
        cluster.shards[1].run(
            (f"INSERT INTO {gsi} VALUES (%s, '', %s, '', 1, '{{}}')", (b"h" * 16, b"i" * 16)),
            ("INSERT INTO mynamo_checkpoint VALUES (1, 0, 1)", ()),
            ("UPDATE mynamo_stream SET applied_seq = 1 WHERE part = 0", ()),
        )
    with Cluster(config_of(users, "reader")) as cluster:
        main = sql.main_table(cluster.table("orders").id)
        assert cluster.shards[1].run((f"SELECT COUNT(*) FROM {main}", ()))[0].rows == ((2,),)
        (record,) = read_all(cluster, stream)
        assert record.keys == {"id": {"S": "2"}}


def test_a_reader_that_may_not_write_waits_for_others_to_finish_a_transaction(
    users: LocalMySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transact_gets, "PATIENCE", 1.0)
    with Cluster(config_of(users, "admin")) as cluster:
        table = definitions.create_table(cluster, SCHEMA)
    get = Get("orders", {"id": {"S": "1"}})
    with Cluster(config_of(users, "writer")) as writing:
        intent = place(writing, table, {"id": "1"})
        decide(writing.shards[1], intent.transaction_id, Decision.COMMITTED)
        with Cluster(config_of(users, "reader")) as cluster:
            read = StoredReader(cluster, partial(finish_transaction, cluster))
            with pytest.raises(TransactionCanceled, match="is not applied"):
                read.transact_get([get])
            finish_transaction(writing, intent)
            assert read.transact_get([get])[0].item == get.key


@pytest.mark.parametrize("role", ["indexer", "reader"])
def test_who_may_not_create_tables_is_told_so(users: LocalMySQL, role: str) -> None:
    with Cluster(config_of(users, "admin")):
        pass  # sets the cluster up
    with (
        Cluster(config_of(users, role)) as cluster,
        pytest.raises(ShardUnavailable, match=r"lacks a right; .*docs/operations\.md"),
    ):
        definitions.create_table(cluster, SCHEMA)


def test_who_may_not_set_the_cluster_up_is_told_so(users: LocalMySQL) -> None:
    with pytest.raises(ConfigError, match=r"not set up, .* run `mynamo table list` once"):
        Cluster(config_of(users, "writer"))


def test_a_reader_cannot_write(users: LocalMySQL) -> None:
    with Cluster(config_of(users, "admin")) as cluster:
        definitions.create_table(cluster, SCHEMA)
    with (
        Cluster(config_of(users, "reader")) as cluster,
        pytest.raises(ShardUnavailable, match="lacks a right"),
    ):
        Producer(cluster).put("orders", {"id": "1"})


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_a_console_that_only_shows_needs_no_more_than_reading(
    users: LocalMySQL, tmp_path: Path, role: str
) -> None:
    with Cluster(config_of(users, "admin")) as cluster:
        definitions.create_table(cluster, SCHEMA)
    writes = role == "writer"
    with running(config_of(users, role), gateway_config(tmp_path), writes=writes) as (site, _):
        visitor = Visitor(site)
        assert visitor.sign_in("admin").status == 303
        for path in ("/", "/lag", "/tables", "/tables/orders", "/tables/orders/items?limit=25",
                     "/transactions", "/streams", "/tables/orders/comparison"):  # fmt: skip
            page = visitor.get(path)
            assert page.status == 200, page.shown
            assert "denied" not in page.shown
            assert "lacks a right" not in page.shown
        path = "/tables/orders/comparison"
        assert visitor.send(path, {"action": "verify"}, visitor.get(path)).status == 303
        assert "CLEAN" in visitor.until(f"{path}/state", "data-ended").shown
        if writes:
            item = {"after": '{"id": {"S": "1"}, "a": {"S": "x"}}'}
            page = visitor.get("/tables/orders/new-item")
            assert visitor.send("/tables/orders/new-item", item, page).status == 303
            assert visitor.send(path, {"action": "plan"}, page).status == 303
