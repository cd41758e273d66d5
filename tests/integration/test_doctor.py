"""`mynamo doctor` finds each kind of trouble, beside all that is well, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from pydantic import SecretStr

from mynamo.catalog.catalog import FORMAT
from mynamo.catalog.cluster import Cluster
from mynamo.local import LocalMySQL
from mynamo.log import ensure_topics
from mynamo.operations.doctor import Check, Role, examine, kafka_checks, worst
from mynamo.schemas.config import ClusterConfig
from tests.commands import run
from tests.rows import in_catalog
from tests.servers import log_in, with_third_shard
from tests.waiting import eventually
from tests.workers import pipeline


@pytest.fixture(autouse=True)
def impatient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is not waited for where a cluster has none."""
    if "engine_config" in request.fixturenames:
        monkeypatch.setattr(kafka_checks, "SECONDS", 0.1)


def wrong(config: ClusterConfig, role: Role | None = None) -> list[Check]:
    """All that is not well; without Kafka, which some of these clusters lack."""
    found = examine(config, role)
    return [one for one in found if one.status != "ok" and not one.about.startswith("Kafka")]


def relayed(config: ClusterConfig) -> list[Check]:
    """The same without that nobody relays changes, as no writer runs."""
    return [one for one in wrong(config) if "nobody relays" not in one.text]


def test_a_healthy_cluster_is_all_ok(config: ClusterConfig, config_file: Path) -> None:
    with Cluster(config):
        pass
    with pipeline(config):
        eventually(lambda: worst(examine(config, "admin")) == "ok", 30)
        said = run(config_file, "doctor", "--role", "admin").stdout
        report = json.loads(run(config_file, "doctor", "--json").stdout)
    assert said.splitlines()[-1].endswith("ok, 0 warnings, 0 problems")
    assert "->" not in said
    assert report["status"] == "ok"
    about = {check["about"].partition(" ")[0] for check in report["checks"]}
    assert about == {"this", "catalog", "server", "shard", "Kafka"}


def test_topics_that_are_missing_and_workers_that_do_not_run(
    config: ClusterConfig, kafka_admin: KafkaAdminClient, config_file: Path
) -> None:
    with Cluster(config):
        pass
    found = [check for check in examine(config) if check.status != "ok"]
    names = (config.kafka.changes_topic, config.kafka.writes_topic, config.kafka.dead_letter_topic)
    assert [c.text for c in found if c.status == "problem"] == [
        f"there is no topic {name}" for name in names
    ]
    assert not set(names) & set(kafka_admin.list_topics())  # it has made none
    warnings = [check for check in found if check.status == "warning"]
    assert [c.todo for c in warnings] == ["`mynamo writer`", "`mynamo writer`", "`mynamo indexer`"]
    assert "there is no topic" in run(config_file, "doctor", status=3).stdout
    ensure_topics(config.kafka)
    other = config.kafka.model_copy(update={"partitions": 5, "replication_factor": 3})
    texts = [
        check.text for check in examine(config.model_copy(update={"kafka": other}))
        if check.about.startswith("Kafka")
    ]  # fmt: skip
    assert any("has 4 partitions, but kafka.partitions says 5" in text for text in texts)
    assert any("kafka.replication_factor says 3" in text for text in texts)


def test_nothing_is_set_up_by_looking(engine_config: ClusterConfig) -> None:
    first, *others = wrong(engine_config)
    assert first.text == "the cluster is not set up in this database"
    assert "`mynamo table list`" in first.todo
    assert others == []
    for place in (engine_config.catalog, *engine_config.shards):
        with log_in(place) as connection, connection.cursor() as cursor:
            cursor.execute(f"SHOW TABLES FROM `{place.database}`")
            assert cursor.fetchall() == ()


@pytest.mark.parametrize("away", ["catalog", "shard", "Kafka"])
def test_a_server_that_is_away_hides_no_other(engine_config: ClusterConfig, away: str) -> None:
    with Cluster(engine_config):
        pass
    gone = {"port": 1}
    first, second = engine_config.shards
    changed: dict[str, object] = {
        "catalog": {"catalog": engine_config.catalog.model_copy(update=gone)},
        "shard": {"shards": (first, second.model_copy(update=gone))},
        "Kafka": {},  # a cluster of these tests has none
    }[away]  # type: ignore[assignment]
    checks = examine(engine_config.model_copy(update=changed))
    problems = [check for check in checks if check.status == "problem"]
    missing = [check for check in problems if check.about.lower().startswith(away.lower())]
    assert len(missing) == 1
    assert "does not answer" in missing[0].text
    assert missing[0].todo
    rest = [check for check in problems if check not in missing]
    assert all(check.about.startswith("Kafka") for check in rest)
    for name in {"catalog", "shard 1", "shard 2"} - {"shard 2" if away == "shard" else away}:
        assert any(c.about.startswith(name) and c.text.startswith("answers") for c in checks), name


def test_a_wrong_password_and_a_database_that_is_not_there(engine_config: ClusterConfig) -> None:
    with Cluster(engine_config):
        pass
    first, second = engine_config.shards
    shards = (
        first.model_copy(update={"password": SecretStr("not-this")}),
        second.model_copy(update={"database": "mynamo_nowhere"}),
    )
    refused, nowhere = wrong(engine_config.model_copy(update={"shards": shards}))
    assert refused.text == "it refused the user or password"
    assert refused.todo.startswith("check them in the configuration")
    assert "not-this" not in refused.todo
    assert nowhere.status == "problem"


def test_databases_that_are_not_those_of_the_configuration(engine_config: ClusterConfig) -> None:
    with Cluster(engine_config):
        pass
    first, second = engine_config.shards
    swapped = (
        first.model_copy(update={"database": second.database}),
        second.model_copy(update={"database": first.database}),
    )
    other = engine_config.kafka.model_copy(update={"partitions": 5})

    def texts(**changed: object) -> list[tuple[str, str]]:
        found = relayed(engine_config.model_copy(update=changed))
        return [(one.status, one.text) for one in found]

    assert texts() == []
    assert texts(shards=swapped) == [
        ("problem", "this database is shard 2"), ("problem", "this database is shard 1"),
    ]  # fmt: skip
    empty = second.model_copy(update={"database": engine_config.catalog.database})
    assert texts(shards=(first, empty)) == [
        ("problem", "it lacks its control tables, so this is not the shard's database")
    ]
    assert texts(shards=(first,), kafka=other) == [
        ("problem", "the cluster has 4 partitions, but kafka.partitions says 5"),
        ("problem", "the cluster has shard 2, which the configuration does not name"),
    ]
    with with_third_shard(engine_config) as config:
        assert [(one.status, one.text) for one in relayed(config)] == [
            ("warning", "the cluster does not have this shard yet")
        ]


@contextmanager
def a_user(server: LocalMySQL, config: ClusterConfig, *grants: str) -> Iterator[ClusterConfig]:
    """The configuration with a user who has some rights.

    Args:
        grants: "rights ON database".
    """
    connection = server.connect_root()
    with connection.cursor() as cursor:
        cursor.execute("CREATE USER doctor@'%' IDENTIFIED BY 'secret'")
        for grant in grants:
            cursor.execute(f"GRANT {grant}.* TO doctor@'%'")
    user = {"user": "doctor", "password": SecretStr("secret")}
    try:
        yield config.model_copy(
            update={
                "catalog": config.catalog.model_copy(update=user),
                "shards": tuple(one.model_copy(update=user) for one in config.shards),
            }
        )
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP USER doctor@'%'")
        connection.close()


def test_a_right_that_is_missing(engine_config: ClusterConfig, engine_servers: LocalMySQL) -> None:
    with Cluster(engine_config):
        pass
    first, second = (shard.database for shard in engine_config.shards)
    write = "SELECT, INSERT, UPDATE, DELETE"
    granted = (f"{write} ON {engine_config.catalog.database}", f"{write}, CREATE, DROP ON {first}",
               f"{write}, CREATE ON {second}")  # fmt: skip
    with a_user(engine_servers, engine_config, *granted) as config:
        (without_role,) = relayed(config)
        lacking, _ = [one for one in wrong(config, "writer") if "lacks" in one.text]
        assert not [one for one in wrong(config, "producer") if one.status == "problem"]
    with a_user(
        engine_servers, engine_config, granted[0], granted[1], f"INSERT ON {second}"
    ) as one:
        blind = [check.text for check in relayed(one) if check.status == "problem"]
    assert blind == ["the user doctor lacks SELECT", "the user lacks a right"]
    assert without_role.text == "the user lacks DROP, which another shard grants"
    assert lacking.status == "problem"
    assert lacking.about.startswith("shard 2")
    assert lacking.text == "the user doctor lacks DROP"
    assert lacking.todo == f"as an administrator: GRANT DROP ON {second}.* TO 'doctor'@'%'"


def test_rights_that_come_from_a_role(
    engine_config: ClusterConfig, engine_servers: LocalMySQL
) -> None:
    with Cluster(engine_config):
        pass
    root = engine_servers.connect_root()
    try:
        with root.cursor() as cursor, a_user(engine_servers, engine_config) as config:
            cursor.execute("CREATE ROLE readers")
            for place in (config.catalog, *config.shards):
                cursor.execute(f"GRANT SELECT ON {place.database}.* TO readers")
            cursor.execute("GRANT readers TO doctor@'%'")
            to = "FOR" if "MariaDB" in engine_servers.engine.title else "TO"
            role = "DEFAULT ROLE readers"
            cursor.execute(f"SET {role} {to} doctor@'%'")
            assert relayed(config) == []
            lacking = [one for one in wrong(config, "producer") if "lacks" in one.text]
            assert len(lacking) == 3
    finally:
        with root.cursor() as cursor:
            cursor.execute("DROP ROLE readers")
        root.close()


@pytest.fixture
def root(engine_servers: LocalMySQL) -> Iterator[Callable[[str], None]]:
    """Runs a statement as the server's administrator."""
    connection = engine_servers.connect_root()

    def execute(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    yield execute
    connection.close()


def test_settings_that_lose_writes_are_said_once_per_server(
    engine_config: ClusterConfig, root: Callable[[str], None]
) -> None:
    with Cluster(engine_config):
        pass
    assert relayed(engine_config) == []
    root("SET GLOBAL sync_binlog = 0, max_allowed_packet = 16777216, binlog_row_image = 'FULL'")
    try:
        binlog, packet = relayed(engine_config)
        (advice,) = [one for one in examine(engine_config) if "binlog_row_image" in one.text]
    finally:
        root(
            "SET GLOBAL sync_binlog = 1, max_allowed_packet = 67108864,"
            " binlog_row_image = 'MINIMAL'"
        )
    assert binlog.about == f"server 127.0.0.1:{engine_config.catalog.port}"
    assert binlog.text.startswith("sync_binlog is 0: acknowledged writes")
    assert "sync_binlog = 1" in binlog.todo
    assert packet.text.startswith("max_allowed_packet is 16777216")
    assert {binlog.status, packet.status} == {"warning"}
    assert advice.status == "ok"


def test_a_server_that_is_read_only(
    engine_config: ClusterConfig, root: Callable[[str], None]
) -> None:
    root("SET GLOBAL read_only = ON")
    try:
        assert {(one.status, one.text) for one in wrong(engine_config)} == {
            ("problem", "it is read-only")
        }
    finally:
        root("SET GLOBAL read_only = OFF")


def test_a_clock_that_is_wrong(
    engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cluster(engine_config):
        pass
    for seconds, status in ((-30, "warning"), (90, "problem")):
        now = f"CAST((UNIX_TIMESTAMP(NOW(6)) + {seconds}) * 1000000 AS SIGNED)"
        monkeypatch.setattr("mynamo.catalog.sql.NOW", now)
        (skewed,) = relayed(engine_config)
        assert skewed.status == status
        assert ("behind" if seconds < 0 else "ahead of") in skewed.text


def test_formats_of_an_earlier_and_of_a_later_release(engine_config: ClusterConfig) -> None:
    with Cluster(engine_config) as cluster:
        for shard in cluster.shards.values():
            shard.run(("UPDATE mynamo_format SET number = 4, oldest = 3", ()))
    in_catalog(engine_config, "UPDATE mynamo_cluster SET format = 4")
    texts = {(one.about.partition(" (")[0], one.text): one for one in relayed(engine_config)}
    assert texts["catalog", f"it is of format 4, not {FORMAT}, so what an earlier release does not "
                 "know is refused"].todo.endswith("`mynamo upgrade`")  # fmt: skip
    for number in (1, 2):
        older = texts[f"shard {number}", "its control tables are of format 4, not 5"]
        assert (older.status, "`mynamo table list`" in older.todo) == ("warning", True)
    assert len(texts) == 3
    in_catalog(engine_config, f"UPDATE mynamo_cluster SET format = {FORMAT + 1}")
    later = [one for one in relayed(engine_config) if one.status == "problem"]
    assert later[0].todo == "upgrade mynamo on this machine"
    assert all("an upgrade of the cluster is not done here" in one.text for one in later[1:])
