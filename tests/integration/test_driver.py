"""Real servers' answers, read by the driver and by PyMySQL: there must be no difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT
from pymysql.cursors import SSCursor

from mynamo.local import LocalMySQL
from mynamo.mysql.driver import Connection
from mynamo.mysql.failures import LostConnection
from mynamo.mysql.pool import ConnectionPool
from mynamo.schemas.config import ClusterConfig, PoolConfig

TABLE = (
    "CREATE TABLE things (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, k VARBINARY(64) UNIQUE,"
    " d LONGBLOB, t VARCHAR(50), n DECIMAL(20, 4), f DOUBLE, at DATETIME(6), tiny TINYINT NOT NULL"
    " DEFAULT 1) CHARACTER SET utf8mb4"
)
INSERT = "INSERT INTO things (k, d, t, n, f, at) VALUES (%s, %s, %s, %s, %s, %s)"
FULL = (
    b"\0'\\%s\xff",
    bytes(range(256)) * 200,
    "it's ü \U0001f600 \\",
    5,
    1,
    "2024-02-29 01:02:03",
)
EMPTY = (b"", b"", "", None, None, None)
NULLS = (None,) * 6
STATEMENTS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    (TABLE, ()),
    ("SELECT * FROM things", ()),
    (INSERT, FULL),
    (INSERT, EMPTY),
    (INSERT + ", (NULL, NULL, '100%%', 1.5, -2, NOW(6))", NULLS),
    (INSERT, EMPTY),  # a duplicate
    ("SELECT id, k, d, t, n, f, tiny FROM things ORDER BY id", ()),
    ("SELECT at FROM things WHERE k = %s", (FULL[0],)),
    ("SELECT t AS `größe` FROM things WHERE t = %s", (FULL[2],)),
    ("SELECT %s, %s, %s, %s, %s", (None, 2**63, -1, b"\0\xff", "x")),
    ("SELECT HEX(%s), LENGTH(%s), %s + 1", (b"\0'\\", b"x" * 300, 41)),
    ("SELECT '%', '100%%'", ()),
    ("SELECT REPEAT('x', 250), REPEAT('x', 251), REPEAT('x', 65536), NULL, ''", ()),
    ("UPDATE things SET tiny = tiny + 1 WHERE id <= %s", (2,)),
    ("DELETE FROM things WHERE k = %s; SELECT COUNT(*) FROM things; SELECT 1, NULL", (b"",)),
    ("SELECT 1; SELECT * FROM nowhere; SELECT 2", ()),
    ("SELECT 1; SELEC 2", ()),
    ("BEGIN; SELECT id FROM things ORDER BY id FOR UPDATE; ROLLBACK", ()),
    ("SELECT CAST('x' AS SIGNED), 1 / 0", ()),  # with warnings
    # Fails after it has sent rows, where the server does not collect them first.
    ("SELECT id, IF(id < 3, 1, (SELECT 1 UNION SELECT 2)) FROM things ORDER BY id", ()),
    ("SHOW COLUMNS FROM things", ()),
    ("SELECT * FROM things WHERE FALSE", ()),
    ("DROP TABLE things", ()),
)


class Client:
    """A connection whose statements are run as PyMySQL's cursors do."""

    def __init__(self, kind: type[Any], config: ClusterConfig) -> None:
        shard = config.shards[0]
        self.connection: Any = kind(
            host=shard.host,
            port=shard.port,
            user=shard.user,
            password=shard.password.get_secret_value(),
            database=shard.database,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
            ssl_disabled=True,
            read_timeout=60,
        )

    def ask(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """What each result holds, and the error that ended them."""
        found: list[Any] = []
        with self.connection.cursor() as cursor:
            try:
                cursor.execute(sql, values or None)
                while True:
                    status = self.connection.server_status
                    known = (cursor.rowcount, cursor.lastrowid, cursor.warning_count, status)
                    found.append((cursor.description, cursor.fetchall(), known))
                    if not cursor.nextset():
                        return found
            except pymysql.err.Error as error:
                return [*found, (type(error), error.args)]


@pytest.fixture
def clients(engine_config: ClusterConfig) -> Iterator[tuple[Client, Client]]:
    """One with the driver, one with PyMySQL."""
    ours, theirs = Client(Connection, engine_config), Client(pymysql.Connection, engine_config)
    yield ours, theirs
    for each in (ours, theirs):
        if each.connection.open:
            each.connection.close()


def run_all(client: Client) -> list[list[Any]]:
    """With a clock that stands, so that others may do the same."""
    client.ask("SET timestamp = 1700000000")
    return [client.ask(sql, values) for sql, values in STATEMENTS]


def test_every_statement_gives_what_pymysql_makes_of_it(clients: tuple[Client, Client]) -> None:
    ours, theirs = map(run_all, clients)
    for (sql, _), mine, other in zip(STATEMENTS, ours, theirs, strict=True):
        assert mine == other, sql
    assert run_all(clients[0]) == ours  # now that all columns are known
    failures = [found[-1][1][0] for found in ours if isinstance(found[-1][0], type)]
    assert failures == [1062, 1146, 1064, 1242]


def test_what_is_bound_is_what_is_read(clients: tuple[Client, Client]) -> None:
    ours, _ = clients
    values = (b"\0'\\%s\xff", "it's \\ %s ü\U0001f600", 2**64 - 1, None)
    sql = ours.connection.bind("SELECT %s, %s, %s, %s", values)
    assert [result.rows for result in ours.connection.ask(sql, 1)] == [(values,)]


def test_results_are_asked_for_one_after_the_other(clients: tuple[Client, Client]) -> None:
    ours, _ = clients
    results = list(ours.connection.ask("SELECT 1 AS a; SET @x = 1; SELECT 2 AS b, 3 AS c", 3))
    assert [result.rows for result in results] == [((1,),), None, ((2, 3),)]
    assert [name for name, *_ in results[2].description] == ["b", "c"]


@pytest.mark.parametrize("length", [2**24 - 5, 2**24 - 4, 2**24 - 1, 2**24, 20_000_000])
def test_a_value_that_takes_several_packets(clients: tuple[Client, Client], length: int) -> None:
    ours, theirs = clients
    (limit,) = ours.ask("SELECT @@max_allowed_packet")[0][1][0]
    assert limit > length + 100, "this server takes no such values"
    sql = f"SELECT 7, REPEAT('x', {length}), NULL; SELECT 1"
    found = ours.ask(sql)
    assert len(found[0][1][0][1]) == length
    assert found == theirs.ask(sql)


def test_a_large_value_there_and_back(clients: tuple[Client, Client]) -> None:
    ours, _ = clients
    data = bytes(range(256)) * 80_000
    sql = ours.connection.bind("SELECT %s, LENGTH(%s)", (data, b""))
    (result,) = ours.connection.ask(sql, 1)
    assert result.rows == ((data, 0),)


def test_rows_that_are_read_one_by_one(clients: tuple[Client, Client]) -> None:
    for client in clients:
        with client.connection.cursor(SSCursor) as cursor:
            cursor.execute("SELECT 1, 'a' UNION SELECT 2, 'b'")
            assert list(cursor) == [(1, "a"), (2, "b")]
        assert client.ask("SELECT 3")[0][1] == ((3,),)


def test_a_connection_that_was_killed(
    clients: tuple[Client, Client], engine_servers: LocalMySQL
) -> None:
    codes = []
    for client in clients:
        ((number,),) = client.ask("SELECT CONNECTION_ID()")[0][1]
        with engine_servers.connect() as other, other.cursor() as cursor:
            cursor.execute(f"KILL {number}")
        kind, (code, *_) = client.ask("SELECT 1")[-1]
        codes.append((kind, code in (2006, 2013, 1927)))
        assert not client.connection.open or code == 1927
    assert codes == [(pymysql.err.OperationalError, True)] * 2


def test_no_answer_in_time(clients: tuple[Client, Client]) -> None:
    answers = []
    for client in clients:
        client.connection._read_timeout = 0.3
        answers.append(client.ask("SELECT SLEEP(2)"))
        assert not client.connection.open
    assert answers[0] == answers[1]
    assert answers[0][0][1][0] == 2013


def test_a_silent_server_is_a_lost_connection(config: ClusterConfig) -> None:
    """And a statement that takes its time is none."""
    (shard, *_) = config.shards
    pool = ConnectionPool(shard, PoolConfig(read_timeout=1), "here")
    with pool.session() as session:
        session.run(("SELECT SLEEP(0.2)", ()))
    with pytest.raises(LostConnection, match="timed out"), pool.session() as session:
        session.run(("SELECT SLEEP(20)", ()))
    with pool.session() as session:
        assert session.run(("SELECT 1", ()))[0].rows == ((1,),)
    pool.close()
