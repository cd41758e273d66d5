"""The simple interface, call by call, on MySQL and MariaDB."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import mynamo
from mynamo import manager as manager_module
from mynamo.catalog import definitions
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import (
    AlreadyExists,
    ConditionFailed,
    ConfigError,
    InvalidItem,
    InvalidRequest,
    InvalidSchema,
    ShardUnavailable,
    TableNotFound,
    TransactionCanceled,
)
from mynamo.manager import HashBasedShardManager
from mynamo.producer import MUST_EXIST, Delete, Put
from mynamo.reader.waiting import OwnWrites
from mynamo.schemas.config import ClusterConfig, ShardConfig
from mynamo.writer.backfill import indexes
from tests.standing_in import catch_up

ORDERS = {
    "table": "order_table",
    "hash_key": "order_id",
    "sort_key": "create_date",
    "columns": ["name", "price"],
}
PRICE = {"table": "order_table", "index_column": "price"}


@pytest.fixture
def manager(engine_config: ClusterConfig) -> Iterator[HashBasedShardManager]:
    with HashBasedShardManager(engine_config) as opened:
        yield opened


@pytest.fixture
def choices(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="mynamo.manager")
    return caplog


def order(number: int, **more: Any) -> dict[str, Any]:
    return {
        "order_id": str(number),
        "create_date": "2023-01-01",
        "name": f"name {number % 2}",
        "price": str(number * 10),
        **more,
    }


def opened_shards(config: ClusterConfig) -> list[DynamoDBShard]:
    return [
        DynamoDBShard(
            shard_index=each.id,
            host=each.host,
            user=each.user,
            password=each.password.get_secret_value(),
            port=each.port,
            database=each.database,
        )
        for each in config.shards
    ]


def test_every_call(engine_config: ClusterConfig, choices: pytest.LogCaptureFixture) -> None:
    manager = HashBasedShardManager(shards=opened_shards(engine_config))
    manager.create_table(ORDERS)
    assert manager.create_local_secondary_index(PRICE).status == "ACTIVE"
    index = manager.create_global_secondary_index(PRICE)
    assert (index.name, index.status) == ("price_gsi", "ACTIVE")
    orders = [order(number) for number in range(1, 7)]
    for each in orders:
        receipt = manager.insert("order_table", each)
        assert receipt.version > 0
    catch_up(manager.cluster, "order_table")

    def by_id(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(found, key=lambda each: str(each["order_id"]))

    assert by_id(manager.get("order_table", filter=None)) == orders
    assert manager.get("order_table", filter={"order_id": "1", "create_date": "2023-01-01"}) == [
        orders[0]
    ]
    assert manager.get("order_table", filter={"price": "20"}) == [orders[1]]
    assert manager.get("order_table", {"order_id": "3"}) == [orders[2]]
    assert manager.get("order_table", {"order_id": "3", "price": "30"}) == [orders[2]]
    assert manager.get("order_table", {"order_id": "3", "price": "40"}) == []
    assert by_id(manager.get("order_table", {"name": "name 1"})) == orders[::2]
    chosen = [record.getMessage() for record in choices.records]
    assert chosen == [
        "get from order_table: scan, then filter by nothing more",
        "get from order_table: item, then filter by nothing more",
        "get from order_table: global index price_gsi, then filter by nothing more",
        "get from order_table: primary key, then filter by nothing more",
        "get from order_table: local index price_lsi, then filter by nothing more",
        "get from order_table: local index price_lsi, then filter by nothing more",
        "get from order_table: scan, then filter by name",
    ]
    shards = list(manager.cluster.shards.values())
    manager.close()
    with pytest.raises(ShardUnavailable, match="disconnected"):
        shards[0].health()
    shards[0].disconnect()  # a second time is no error


def test_the_catalog_is_in_the_first_shard(engine_config: ClusterConfig) -> None:
    with HashBasedShardManager(shards=opened_shards(engine_config)) as manager:
        manager.create_table(ORDERS)
        manager.insert("order_table", order(1))
    with HashBasedShardManager(shards=opened_shards(engine_config)) as manager:
        assert manager.get("order_table") == [order(1)]
        (found,) = manager.cluster.shards[1].run(("SELECT name FROM mynamo_tables", ()))[0].rows
        assert found == (b"order_table",)


def test_connect_reads_a_configuration(engine_config: ClusterConfig, tmp_path: Path) -> None:
    lines = ["[catalog]", *_toml(engine_config.shards[0], engine_config.catalog.database)]
    for shard in engine_config.shards:
        lines += ["[[shards]]", f"id = {shard.id}", *_toml(shard, shard.database)]
    path = tmp_path / "mynamo.toml"
    path.write_text("\n".join(lines))
    with mynamo.connect(path) as manager:
        manager.create_table(ORDERS)
        assert manager.get("order_table") == []
        assert manager.reader.scan("order_table").count == 0
        manager.producer.put("order_table", order(1))
        assert manager.reader.scan("order_table").count == 1


def _toml(shard: ShardConfig, database: str) -> list[str]:
    return [
        f'host = "{shard.host}"', f"port = {shard.port}", f'user = "{shard.user}"',
        f'password = "{shard.password.get_secret_value()}"', f'database = "{database}"',
    ]  # fmt: skip


def test_insert_does_not_replace(manager: HashBasedShardManager) -> None:
    manager.create_table(ORDERS)
    manager.insert("order_table", order(1))
    with pytest.raises(ConditionFailed, match=r"does not replace.*Producer\.put"):
        manager.insert("order_table", order(1, name="other"))
    assert manager.get("order_table") == [order(1)]
    manager.producer.put("order_table", order(1, name="other"))
    assert manager.get("order_table") == [order(1, name="other")]


def test_definitions_that_cannot_be(
    manager: HashBasedShardManager, engine_config: ClusterConfig
) -> None:
    with pytest.raises(InvalidSchema, match="hash_key"):
        manager.create_table({"table": "order_table"})
    with pytest.raises(InvalidSchema, match="hashkey"):
        manager.create_table({**ORDERS, "hashkey": "x"})
    manager.create_table(ORDERS)
    with pytest.raises(AlreadyExists):
        manager.create_table(ORDERS)
    with pytest.raises(TableNotFound):
        manager.create_global_secondary_index({**PRICE, "table": "none"})
    manager.create_local_secondary_index(PRICE)
    with pytest.raises(AlreadyExists):
        manager.create_local_secondary_index(PRICE)
    with pytest.raises(InvalidSchema, match="price"):  # a string in one index already
        manager.create_global_secondary_index({**PRICE, "index_column": "price:N"})
    with pytest.raises(TableNotFound):
        manager.insert("none", order(1))
    with pytest.raises(InvalidItem):
        manager.insert("order_table", order(1, price=20))
    with pytest.raises(InvalidItem, match=r"order_id \(type S\)"):
        manager.get("order_table", {"order_id": 1, "create_date": "2023-01-01"})
    with pytest.raises(ConfigError, match="not both"):
        HashBasedShardManager()
    with pytest.raises(ConfigError, match="not both"):
        HashBasedShardManager(engine_config, shards=opened_shards(engine_config))
    with pytest.raises(ConfigError, match="unique"):
        HashBasedShardManager(shards=opened_shards(engine_config)[:1] * 2)


def test_keys_of_other_types_and_names(manager: HashBasedShardManager) -> None:
    manager.create_table({"table": "events", "hash_key": "id:N"})
    index = manager.create_global_secondary_index(
        {"table": "events", "index_column": "level:N", "index_name": "by_level"}
    )
    assert index.name == "by_level"
    manager.insert("events", {"id": 1, "level": 3, "flag": True})
    manager.insert("events", {"id": Decimal("2.5"), "level": 4, "flag": 1})
    catch_up(manager.cluster, "events")
    assert [each["id"] for each in manager.get("events", {"level": 3})] == [1]
    assert [each["id"] for each in manager.get("events", {"id": Decimal("2.50")})] == [
        Decimal("2.5")
    ]
    # 1 is not True, and a string is no number.
    assert [each["id"] for each in manager.get("events", {"flag": True})] == [1]
    assert manager.get("events", {"level": "3"}) == []


def test_an_index_of_several_columns_serves_those_who_give_all_of_them(
    manager: HashBasedShardManager, choices: pytest.LogCaptureFixture
) -> None:
    manager.create_table({"table": "shops", "hash_key": "id"})
    columns = {"table": "shops", "index_column": ["country", "city", "floor:N"]}
    assert manager.create_global_secondary_index(columns).name == "country_city_floor_gsi"
    with pytest.raises(InvalidSchema, match="a local index has one column"):
        manager.create_local_secondary_index(columns)
    for number in range(6):
        shop = {"id": str(number), "country": "fr", "city": f"c{number % 2}", "floor": number % 3}
        manager.insert("shops", shop)
    catch_up(manager.cluster, "shops")
    found = manager.get("shops", {"country": "fr", "city": "c1", "floor": 2})
    assert [shop["id"] for shop in found] == ["5"]
    assert "global index country_city_floor_gsi" in choices.records[-1].getMessage()
    assert len(manager.get("shops", {"country": "fr", "city": "c1"})) == 3
    assert "scan" in choices.records[-1].getMessage()


def test_a_local_index_of_a_full_table(manager: HashBasedShardManager) -> None:
    manager.create_table(ORDERS)
    for number in range(450):
        manager.insert("order_table", order(number % 3, create_date=f"{number:03}"))
    assert manager.create_local_secondary_index(PRICE).status == "ACTIVE"
    assert len(manager.get("order_table", {"order_id": "1", "price": "10"})) == 150
    page = manager.reader.query("order_table", "1", index="price_lsi", limit=1000)
    assert page.count == 150


def test_a_global_index_of_a_full_table_waits_for_the_workers(
    manager: HashBasedShardManager,
    choices: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager.create_table(ORDERS)
    for number in range(4):
        manager.insert("order_table", order(number))
    monkeypatch.setattr(
        indexes, "activate_if_backfilled", lambda *_: False
    )  # as where more is left
    assert manager.create_global_secondary_index(PRICE).status == "CREATING"
    assert manager.get("order_table", {"price": "20"}) == [order(2)]
    assert "scan" in choices.records[-1].getMessage()


def test_a_program_sees_its_own_rows(
    manager: HashBasedShardManager,
    choices: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager.create_table(ORDERS)
    manager.create_global_secondary_index(PRICE)
    manager.insert("order_table", order(2))
    monkeypatch.setattr(manager_module, "OWN_WRITES_TIMEOUT", 0.1)
    assert manager.get("order_table", {"price": "20"}) == [order(2)]
    first, second = [record.getMessage() for record in choices.records]
    assert "global index price_gsi" in first
    assert "scan after all: index price_gsi has not applied 1 of the writes" in second
    monkeypatch.setattr(manager_module, "OWN_WRITES_TIMEOUT", 30.0)
    found: list[dict[str, Any]] = []
    asking = threading.Thread(
        target=lambda: found.extend(manager.get("order_table", {"price": "20"}))
    )
    asking.start()
    catch_up(manager.cluster, "order_table")
    asking.join(30)
    assert found == [order(2)]
    assert len(choices.records) == 3  # no scan this time


@pytest.fixture
def in_transactions(manager: HashBasedShardManager) -> list[Put]:
    """Puts of a table that has a global index, with items on several shards."""
    manager.create_table(ORDERS)
    manager.create_global_secondary_index(PRICE)
    return [Put("order_table", order(number, price="20")) for number in range(1, 7)]


def test_a_transaction_happens_as_a_whole_or_not_at_all(
    manager: HashBasedShardManager, in_transactions: list[Put]
) -> None:
    items = [dict(put.item) for put in in_transactions]
    keys = [("order_table", {n: item[n] for n in ("order_id", "create_date")}) for item in items]
    with pytest.raises(TransactionCanceled) as raised:
        manager.transact([*in_transactions[:-1], Delete(*keys[-1], condition=MUST_EXIST)])
    *others, last = raised.value.reasons
    assert others == [None] * 5
    assert isinstance(last, ConditionFailed)
    assert manager.transact_get(keys) == [None] * 6
    done = manager.transact(in_transactions, request_token="t")
    assert all(each.version > 0 for each in done.receipts)
    assert {each.shard for each in done.receipts} == {1, 2}
    assert manager.transact(in_transactions, request_token="t").repeated
    assert manager.transact_get(keys) == items
    for mistake in (in_transactions[0], "ab", [1], iter(in_transactions)):
        with pytest.raises(InvalidRequest, match="a transaction is a list of Put"):
            manager.transact(mistake)  # type: ignore[arg-type]


def test_a_program_sees_its_own_transactions(
    manager: HashBasedShardManager,
    in_transactions: list[Put],
    choices: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager.transact(in_transactions)
    monkeypatch.setattr(manager_module, "OWN_WRITES_TIMEOUT", 0.1)
    items = [put.item for put in in_transactions]

    def found() -> list[Any]:
        return sorted(manager.get("order_table", {"price": "20"}), key=lambda i: i["order_id"])

    assert found() == items
    assert "scan after all: index price_gsi has not applied" in choices.records[-1].getMessage()
    catch_up(manager.cluster, "order_table")
    assert found() == items
    assert "global index price_gsi" in choices.records[-1].getMessage()


@pytest.mark.parametrize("how", ["insert", "transact"])
def test_without_waiting_it_would_not(
    manager: HashBasedShardManager, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Negative control."""
    manager.create_table(ORDERS)
    manager.create_global_secondary_index(PRICE)
    monkeypatch.setattr(OwnWrites, "waiting", lambda self, table: frozenset())
    if how == "insert":
        manager.insert("order_table", order(2))
    else:
        manager.transact([Put("order_table", order(2))])
    assert manager.get("order_table", {"price": "20"}) == []


def test_an_index_that_another_process_drops_or_makes(
    manager: HashBasedShardManager, engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_module, "OWN_WRITES_TIMEOUT", 0.1)
    manager.create_table(ORDERS)
    manager.create_global_secondary_index(PRICE)
    with HashBasedShardManager(engine_config) as other:
        other.insert("order_table", order(2))
        definitions.drop_index(manager.cluster, "order_table", "price_gsi")
        assert other.get("order_table", {"price": "20"}) == [order(2)]
        manager.create_local_secondary_index(PRICE)
        assert other.get("order_table", {"order_id": "2", "price": "20"}) == [order(2)]


def test_threads_share_a_manager(manager: HashBasedShardManager) -> None:
    manager.create_table(ORDERS)
    failures: list[BaseException] = []

    def work(mine: int) -> None:
        try:
            for number in range(mine * 10, mine * 10 + 10):
                manager.insert("order_table", order(number))
                assert manager.get("order_table", {"order_id": str(number)}) == [order(number)]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(manager.get("order_table")) == 60
