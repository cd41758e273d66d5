"""Tables and indexes from the library: created, listed, described, waited for, dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mynamo import (
    AlreadyExists,
    GlobalIndexSchema,
    Index,
    IndexNotFound,
    IndexNotReady,
    InvalidRequest,
    InvalidSchema,
    LocalIndexSchema,
    Put,
    ShardUnavailable,
    Table,
    TableNotFound,
    TableSchema,
)
from mynamo.catalog import definitions
from mynamo.manager import HashBasedShardManager
from mynamo.schemas.config import ClusterConfig
from mynamo.writer.backfill import indexes
from tests.workers import pipeline

SHOP = TableSchema.parse(
    {
        "name": "shop",
        "hash_key": "kind",
        "sort_key": "id:N",
        "local_indexes": [{"name": "by_price", "sort_key": "price:N"}],
    }
)
BY_SIZE = LocalIndexSchema.model_validate({"name": "by_size", "sort_key": "size:N"})
BY_COLOUR = GlobalIndexSchema.model_validate({"name": "by_colour", "hash_key": "colour"})


@pytest.fixture
def manager(config: ClusterConfig) -> Iterator[HashBasedShardManager]:
    with HashBasedShardManager(config) as opened:
        yield opened


def items(count: int) -> list[Put]:
    """Some of the shop's items."""
    return [
        Put("shop", {"kind": "lamp", "id": n, "size": n, "price": n, "colour": "red"})
        for n in range(count)
    ]


def test_tables_and_indexes_are_managed_by_the_library(
    config: ClusterConfig, manager: HashBasedShardManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = manager.create_table(SHOP)
    assert isinstance(made, Table)
    assert [index.name for index in made.indexes] == ["by_price"]
    manager.create_table({"table": "orders", "hash_key": "id"})
    assert [table.name for table in manager.list_tables()] == ["orders", "shop"]
    assert manager.describe_table("shop") == made
    with pytest.raises(AlreadyExists):
        manager.create_table(SHOP)

    manager.producer.write_batch(items(30))
    local = manager.create_index("shop", BY_SIZE)
    assert isinstance(local, Index)
    assert local.status == "ACTIVE"
    assert manager.reader.query("shop", "lamp", index="by_size", count=True).count == 30

    with monkeypatch.context() as patch:
        patch.setattr(indexes, "activate_if_backfilled", lambda *_: False)  # as where more is left
        global_ = manager.create_index("shop", BY_COLOUR)
    assert global_.status == "CREATING"
    with pytest.raises(IndexNotReady, match=r"by_colour of table shop is still CREATING.*0\.1 s"):
        manager.wait_until_active("shop", timeout=0.1)
    assert manager.wait_until_active("shop", "by_size").name == "shop"
    with pipeline(config):
        ready = manager.wait_until_active("shop", "by_colour", timeout=120)
    assert ready.index("by_colour").status == "ACTIVE"
    assert manager.reader.query("shop", "red", index="by_colour", count=True).count == 30
    names = {index.name for index in manager.list_indexes("shop")}
    assert names == {"by_price", "by_size", "by_colour"}
    assert manager.describe_index("shop", "by_size").kind == "LSI"

    manager.drop_index("shop", "by_size")
    with pytest.raises(IndexNotFound):
        manager.describe_index("shop", "by_size")
    manager.drop_table("shop")
    for gone in (manager.describe_table, manager.drop_table, manager.wait_until_active):
        with pytest.raises(TableNotFound):
            gone("shop")
    assert [table.name for table in manager.list_tables()] == ["orders"]


def test_a_table_that_others_finish_is_waited_for(manager: HashBasedShardManager) -> None:
    begun = definitions.begin_table(manager.cluster, SHOP)
    assert manager.describe_table("shop").status == "CREATING"
    with pytest.raises(ShardUnavailable, match=r"shop is still CREATING after .* 0\.1 s"):
        manager.wait_until_active("shop", timeout=0.1)
    assert definitions.finish(manager.cluster, begun.id)
    assert manager.wait_until_active("shop").status == "ACTIVE"


def test_mistakes_in_managing(manager: HashBasedShardManager) -> None:
    manager.create_table(SHOP)
    wrong: Any = {"name": "by_size", "sort_key": "size:N"}
    with pytest.raises(InvalidSchema, match="LocalIndexSchema or a GlobalIndexSchema, not dict"):
        manager.create_index("shop", wrong)
    with pytest.raises(IndexNotFound):
        manager.wait_until_active("shop", "by_sise")
    with pytest.raises(TableNotFound):
        manager.list_indexes("shob")


def test_a_batch_of_keys_of_several_tables(manager: HashBasedShardManager) -> None:
    manager.create_table(SHOP)
    manager.create_table({"table": "orders", "hash_key": "id"})
    manager.producer.write_batch(items(3))
    manager.producer.put("orders", {"id": "1", "of": "lamp"})
    read = manager.reader
    found = read.batch_get(
        {
            "shop": iter([{"kind": "lamp", "id": 2}, {"kind": "sofa", "id": 0}]),
            "orders": [{"id": "1"}],
        },
        projection=["id"],
    )
    assert found == {"shop": [{"id": 2}, None], "orders": [{"id": "1"}]}
    assert read.batch_get({}) == {}
    assert read.batch_get("orders", iter([{"id": "2"}, {"id": "1"}]), projection="id") == [
        None,
        {"id": "1"},
    ]
    anything: Any = read.batch_get
    mistakes: list[tuple[Any, ...]] = [("orders",), ({"orders": []}, []), (["orders"], []), (5,)]
    for wrong in mistakes:
        with pytest.raises(InvalidRequest, match="a dictionary of lists of keys"):
            anything(*wrong)
    for keys in ({"id": "1"}, "1", 5):
        with pytest.raises(InvalidRequest, match="keys of table orders must be a list"):
            anything("orders", keys)
