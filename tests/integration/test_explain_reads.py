"""Every hot read goes to its rows by the primary key, in order, on MySQL and MariaDB.

The checker asks EXPLAIN, and counts the rows that the server really touched: a plan can
name the right key and still read it from the beginning of the hash key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from mynamo.catalog import definitions, sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import (
    Action,
    Intent,
    insert_committed,
    insert_intents,
    lock_intents,
    read_decision,
    read_decisions,
    read_intents,
)
from mynamo.catalog.shard import DynamoDBShard
from mynamo.expressions import KeyCondition
from mynamo.mysql.pool import Statement
from mynamo.reader import Query, Reader, StoredReader, begins_with, between, greater, less
from mynamo.reader import access_paths as access_module
from mynamo.reader.batch_gets import guarded_statement, item_statement
from mynamo.reader.transact_gets import event_above
from mynamo.reader.waiting import pending_statement
from mynamo.runtime.batching import Batcher
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item, to_stored
from mynamo.schemas.keys import encode_key, hash_of
from mynamo.schemas.table import TableSchema
from tests.servers import log_in

pytestmark = pytest.mark.slow

ROWS = 3000
BIG = "big"
"""A hash key, of the table and of the GSI, that half of all items have."""
GOOD_TYPES = ("const", "eq_ref", "ref", "range")
SPARE = 5
"""Rows that a statement may touch besides those it answers with: the ends of its ranges."""

SCHEMA = {
    "name": "orders",
    "hash_key": "h",
    "sort_key": "s",
    "local_indexes": [{"name": "local", "sort_key": "a"}],
    "global_indexes": [
        {"name": "global", "hash_key": "g", "sort_key": "a"},
        {"name": "many", "hash_key": ["g", "k:N"], "sort_key": ["a", "b:N"]},
    ],
}


@pytest.fixture
def cluster(engine_config: ClusterConfig) -> Iterator[Cluster]:
    with Cluster(engine_config) as opened:
        definitions.create_table(opened, TableSchema.parse(SCHEMA))
        fill(opened)
        yield opened


def items() -> list[dict[str, Any]]:
    """Half of them under one hash key, and under one of the GSI; many index keys are shared."""
    return [
        {
            "h": BIG if number % 2 else f"h{number % 60}",
            "s": f"{number:05}",
            "g": BIG if number % 3 else f"g{number % 50}",
            "a": f"{number % 40:05}",
            "k": 5,
            "b": number % 7,
            "pad": "p" * 100,
        }
        for number in range(ROWS)
    ]


def fill(cluster: Cluster) -> None:
    """Write rows by the thousand, all tables of a shard, and let the server count them."""
    table = cluster.table("orders")
    local = table.index("local")
    main = sql.main_table(table.id)
    names = [main, *(sql.index_table(index) for index in table.indexes)]
    rows: dict[tuple[DynamoDBShard, str], list[tuple[Any, ...]]] = {}
    for number, item in enumerate(items(), 1):
        stored = to_stored(item)
        key, data = table.key_of(stored), dump_item(stored)
        own = cluster.shard_of(key.hash)
        local_key = local.key_of(stored)
        assert local_key is not None
        rows.setdefault((own, main), []).append((*key, number, data))
        rows.setdefault((own, sql.index_table(local)), []).append(
            (key.hash, local_key.sort, key.sort)
        )
        for index in table.global_indexes:
            index_key = index.key_of(stored)
            assert index_key is not None
            place = (cluster.shard_of(index_key.hash), sql.index_table(index))
            rows.setdefault(place, []).append((*index_key, *key, number, data))
    for (shard, name), values in rows.items():
        placeholders = f"({', '.join(['%s'] * len(values[0]))})"
        shard.run(
            (f"INSERT INTO {name} VALUES {', '.join([placeholders] * len(values))}",
             [value for row in values for value in row])
        )  # fmt: skip
    for shard in cluster.shards.values():
        events = [(number % 4, b"") for number in range(ROWS)]
        shard.run(
            ("INSERT INTO mynamo_outbox (part, feeds, table_id, write_id, created, payload) VALUES "
             + ", ".join(["(%s, 1, 1, '', 0, %s)"] * ROWS),
             [value for event in events for value in event]),
            (f"ANALYZE TABLE {', '.join(names)}, mynamo_outbox, mynamo_stream", ()),
        )  # fmt: skip


# --- the checker -------------------------------------------------------------------------


class Server:
    """One shard's server, asked about statements on a connection of its own."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def complaints(self, statement: Statement) -> list[str]:
        """What is wrong with how the server runs a statement; nothing if it is as it should."""
        text, values = statement
        self._cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL {text}", values)
        names = [column[0] for column in self._cursor.description]
        found = []
        for row in self._cursor.fetchall():
            table = dict(zip(names, row, strict=True))
            extra = table["Extra"] or ""
            if table["key"] != "PRIMARY" or table["type"] not in (
                "const",
                "eq_ref",
                "ref",
                "range",
            ):
                found.append(f"{table['table']}: {table['type']} on {table['key']} {extra}")
            if "filesort" in extra or "temporary" in extra:
                found.append(f"{table['table']}: {extra}")
        before = self._touched()
        self._cursor.execute(text, values)
        answered = len(self._cursor.fetchall())
        touched = self._touched() - before
        if touched > answered + SPARE:
            found.append(f"{touched} rows touched for {answered} answered")
        return found

    def _touched(self) -> int:
        """Rows read in this session, beside those found by a whole key."""
        self._cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(
            int(count)
            for name, count in self._cursor.fetchall()
            if name in ("Handler_read_next", "Handler_read_prev", "Handler_read_rnd_next")
        )


@contextmanager
def server_of(shard: DynamoDBShard) -> Iterator[Server]:
    connection = log_in(shard.config)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"USE {shard.config.database}")
            yield Server(cursor)
    finally:
        connection.close()


@contextmanager
def overhearing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[DynamoDBShard, Statement]]]:
    """Collect the statements that reading runs on shards."""
    heard: list[tuple[DynamoDBShard, Statement]] = []
    ask = DynamoDBShard.ask

    def noting(shard: DynamoDBShard, *statements: Statement) -> Any:
        heard.extend((shard, statement) for statement in statements)
        return ask(shard, *statements)

    with monkeypatch.context() as patch:
        patch.setattr(DynamoDBShard, "ask", noting)
        # Together with others or alone, the statements are the same.
        patch.setattr(Batcher, "submit", lambda batcher, me: None)
        yield heard


def check(heard: list[tuple[DynamoDBShard, Statement]]) -> dict[str, list[str]]:
    """The complaints about each statement that has any."""
    found = {}
    with ExitStack() as connections:
        servers = {
            shard: connections.enter_context(server_of(shard)) for shard in {s for s, _ in heard}
        }
        for shard, statement in heard:
            complaints = servers[shard].complaints(statement)
            if complaints:
                found[statement[0]] = complaints
    return found


# --- the reads ---------------------------------------------------------------------------


def query_reads(read: Reader) -> None:
    """First, second and a late page of every kind of query, both ways."""
    for index in (None, "local", "global"):
        for sort in (None, between("00002", "02500"), greater("00001"), less("02900"),
                     begins_with("0")):  # fmt: skip
            for descending in (False, True):
                token = None
                for limit in (10, 3, 600, 10):
                    page = read.query(
                        "orders", BIG, index=index, sort=sort, descending=descending,
                        limit=limit, page_token=token,
                    )  # fmt: skip
                    assert page.count == limit
                    token = page.page_token
                    assert token is not None


def several_attributes_reads(read: Reader) -> None:
    """The same of an index whose keys have several attributes: about 25 items share each `a`."""
    for sort in (None, {"a": "00004"}, between("00002", "02500"), greater("00001"),
                 {"a": "00004", "b": less(6)}, {"a": "00007", "b": between(0, 5)},
                 {"a": "00007", "b": greater(0)}):  # fmt: skip
        for descending in (False, True):
            token = None
            for limit in (5, 3, 5):
                page = read.query(
                    "orders", {"g": BIG, "k": 5}, index="many", sort=sort, descending=descending,
                    limit=limit, page_token=token,
                )  # fmt: skip
                assert page.count == limit
                token = page.page_token
                assert token is not None


def filtered_reads(read: Reader) -> None:
    """A filter is not the statement's business, nor does it read more."""
    for index in (None, "local", "global"):
        page = read.query(
            "orders", BIG, index=index, limit=50, filter="k = :none", values={":none": 0}
        )
        assert (page.count, page.scanned_count) == (0, 50)


def stored_reads(cluster: Cluster) -> None:
    """A page in DynamoDB's terms: no row is read for the sake of what lies behind it."""
    read = StoredReader(cluster)
    hashed = KeyCondition("g", "=", ({"S": BIG},))
    start = None
    for limit in (10, 400, 10):
        query = Query("orders", "global", limit=limit, start=start, key_conditions=(hashed,))
        page = read.query(query)
        assert page.scanned_count == limit
        start = page.last_key


def scan_reads(read: Reader) -> None:
    for index in (None, "local", "global", "many"):
        for segment, total in ((None, None), (1, 3)):
            token = None
            for limit in (10, 300, 10):
                page = read.scan(
                    "orders", index=index, segment=segment, total_segments=total, limit=limit,
                    page_token=token,
                )  # fmt: skip
                assert page.count == limit
                token = page.page_token


def get_reads(read: Reader) -> None:
    assert read.get("orders", {"h": BIG, "s": "00001"}) is not None
    keys = [{"h": BIG, "s": f"{number:05}"} for number in range(1, 200, 2)]
    keys += [{"h": f"h{number}", "s": "none"} for number in range(20)]
    assert [found is not None for found in read.batch_get("orders", keys)] == (
        [True] * 100 + [False] * 20
    )


def test_every_read_goes_by_the_primary_key(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Reader(cluster)
    with overhearing(monkeypatch) as heard:
        query_reads(read)
        several_attributes_reads(read)
        filtered_reads(read)
        stored_reads(cluster)
        scan_reads(read)
        get_reads(read)
    assert len(heard) > 100
    assert check(heard) == {}


def test_waiting_goes_by_the_primary_key(cluster: Cluster) -> None:
    for shard in cluster.shards.values():
        for ids in ([ROWS], [1, 17, ROWS + 100], list(range(1, 200))):
            assert check([(shard, pending_statement(ids))]) == {}


def test_looks_of_transactions_go_by_the_primary_key(cluster: Cluster) -> None:
    table = cluster.table("orders")
    keys = [table.key_of(to_stored(item)) for item in items()]
    intents = [
        Intent(table.id, key, b"%016d" % n, 1, 1, Action.CHECK) for n, key in enumerate(keys)
    ]
    for shard in cluster.shards.values():
        for start in range(0, ROWS, 1000):
            shard.run(insert_intents(intents[start : start + 1000]))
        shard.run(insert_committed([b"%016d" % n for n in range(100)], 1))
        shard.run(("ANALYZE TABLE mynamo_intent, mynamo_transaction", ()))
        looks = [
            read_decision(b"%016d" % 7),
            event_above(ROWS - SPARE, table.id, 1, b"keys"),
            *(read_intents([(table.id, key) for key in keys[:n]]) for n in (1, 2, 100)),
            *(item_statement(table.id, keys[:n], ("version",)) for n in (2, 100)),
            read_decisions([b"%016d" % n for n in range(50)]),
            *(
                lock_intents([(table.id, key, b"%016d" % n) for n, key in enumerate(keys[:most])])
                for most in (1, 100)
            ),
        ]
        assert check([(shard, look) for look in looks]) == {}
        spoiled = (looks[1][0].replace("id > %s", "id + 0 > %s"), looks[1][1])
        assert check([(shard, spoiled)]) != {}


def test_a_table_that_has_just_grown_is_read_no_worse(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statistics of when the tables were empty, as after a quick load."""
    for shard in cluster.shards.values():
        for (name,) in shard.run(("SHOW TABLES LIKE 't%'", ()))[0].rows:
            shard.run(
                (f"CREATE TABLE copy_{name} LIKE {name}", ()),
                (f"ALTER TABLE copy_{name} STATS_PERSISTENT=1, STATS_AUTO_RECALC=0", ()),
                (f"RENAME TABLE {name} TO old_{name}, copy_{name} TO {name}", ()),
                (f"ANALYZE TABLE {name}", ()),
                (f"INSERT INTO {name} SELECT * FROM old_{name}", ()),
            )
    read = Reader(cluster)
    with overhearing(monkeypatch) as heard:
        query_reads(read)
        several_attributes_reads(read)
        scan_reads(read)
    assert check(heard) == {}


# --- negative controls: the same checker, statements written carelessly ------------------


def row_constructor(position: Any, descending: bool) -> tuple[str, list[bytes]]:
    """A position compared as a row: the same meaning, and no range."""
    columns = ", ".join(column for column, _ in position)
    placeholders = ", ".join(["%s"] * len(position))
    return f"({columns}) {'<' if descending else '>'} ({placeholders})", [
        value for _, value in position
    ]


def test_a_row_constructor_is_found_out(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Reader(cluster)
    for index in ("local", "global"):
        token = read.query("orders", BIG, index=index, limit=900).page_token
        with overhearing(monkeypatch) as heard, monkeypatch.context() as patch:
            patch.setattr(access_module, "beyond", row_constructor)
            assert read.query("orders", BIG, index=index, limit=10, page_token=token).count == 10
        (complaints,) = check(heard).values()
        assert "rows touched" in complaints[-1]


Spoil = Callable[[str], str]


def careless_functions(statement: Statement) -> Statement:
    text, values = statement
    return text.replace("hash = %s", "CONCAT(hash) = %s"), values


def test_gets_that_scan_the_table_are_found_out(cluster: Cluster) -> None:
    table = cluster.table("orders")
    keys = [table.key_of(to_stored(item)) for item in items()[1:9:2]]
    shard = cluster.shard_of(keys[0].hash)
    for statement in (item_statement(table.id, keys), guarded_statement(table.id, keys)):
        assert check([(shard, statement)]) == {}
        assert check([(shard, careless_functions(statement))]) != {}


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda text: text.replace("ORDER BY index_hash", "ORDER BY hash"), "filesort"),
        (lambda text: text.replace("FORCE INDEX", "IGNORE INDEX"), "ALL"),
        (lambda text: text.replace("index_hash = %s", "CONCAT(index_hash) = %s"), "touched"),
        (lambda text: text.replace("index_sort >= %s AND", "CONCAT(index_sort) >= %s AND"),
         "touched"),
    ],
    ids=["order", "index", "hash", "lower bound"],
)  # fmt: skip
def test_other_mistakes_are_found_out(cluster: Cluster, spoil: Spoil, word: str) -> None:
    table = cluster.table("orders")
    access = access_module.access_to(table, table.index("global"))
    hash16 = hash_of(encode_key("S", {"S": BIG}))
    bounds: Any = [
        ("index_hash", ("=", hash16)), ("index_sort", (">=", b"00030")),
        ("index_sort", ("<", b"9")),
    ]  # fmt: skip
    text, values = access_module.select(access, bounds, None, False, 10)
    shard = cluster.shard_of(hash16)
    assert spoil(text) != text
    assert check([(shard, (text, values))]) == {}
    (complaints,) = check([(shard, (spoil(text), values))]).values()
    assert any(word in complaint for complaint in complaints)
