"""Settings of tables: kept by the catalog, changed under a lock, and what they decide."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from pydantic import ValidationError

from mynamo.catalog import catalog as catalog_module
from mynamo.catalog import changes, definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.roll_forward import roll_forward
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import (
    AlreadyExists,
    ConfigError,
    IndexNotFound,
    InvalidSchema,
    ShardUnavailable,
    TableNotFound,
    TableProtected,
)
from mynamo.mysql.failures import MissingTable
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema, TableSchema
from mynamo.schemas.table_settings import (
    Capacity,
    Encryption,
    IndexSettings,
    OnDemand,
    Stream,
    TableSettings,
    TimeToLive,
    Warm,
)
from tests.rows import in_catalog

SCHEMA = TableSchema.parse(
    {
        "name": "orders",
        "hash_key": "id",
        "sort_key": "at",
        "global_indexes": [{"name": "by_name", "hash_key": "name", "sort_key": "at"}],
    }
)
FULL = TableSettings(
    billing_mode="PROVISIONED",
    billing_mode_at=1.5,
    capacity=Capacity(read=5, write=7, increased_at=1732000000.123),
    on_demand=OnDemand(read=-1, write=40_000),
    indexes={
        "by_name": IndexSettings(capacity=Capacity(read=1, write=2), warm=Warm(read=13_000)),
        "other": IndexSettings(),
    },
    warm=Warm(read=12_000, write=4_567),
    deletion_protection=True,
    table_class="STANDARD_INFREQUENT_ACCESS",
    stream=Stream(enabled=True, view="NEW_AND_OLD_IMAGES", label="2024-01-01T00:00:00.000"),
    tags={"team": "é", "": ""},
    ttl=TimeToLive(attribute="expires", enabled=True),
    sse=Encryption(enabled=True, kind="KMS", key="alias/x"),
)
PROTECTED = TableSettings(deletion_protection=True)
BY_SIZE = GlobalIndexSchema.model_validate({"name": "by_size", "hash_key": "size:N"})


def protect(settings: TableSettings) -> TableSettings:
    return settings.with_(deletion_protection=True)


def test_settings_are_kept(cluster: Cluster, other: Cluster) -> None:
    made = definitions.create_table(cluster, SCHEMA, FULL)
    assert made.settings == FULL
    assert other.table("orders").settings == FULL
    changed = cluster.catalog.change_settings(
        made.id, lambda now: now.with_(tags={**now.tags, "more": "1"}, deletion_protection=False)
    )
    assert changed.tags == {**FULL.tags, "more": "1"}
    assert list(other.refresh().names["orders"].settings.tags) == ["team", "", "more"]


def test_without_settings_a_table_has_the_defaults(cluster: Cluster, other: Cluster) -> None:
    assert definitions.create_table(cluster, SCHEMA).settings == TableSettings()
    assert other.table("orders").settings == TableSettings()


def test_settings_change_no_version(cluster: Cluster) -> None:
    table = definitions.create_table(cluster, SCHEMA)
    cluster.catalog.change_settings(table.id, protect)
    assert cluster.refresh().tables[table.id].version == table.version
    guards = [
        shard.run(("SELECT version FROM mynamo_fence WHERE id = %s", (table.id,)))[0].rows
        for shard in cluster.shards.values()
    ]
    assert guards == [((table.version,),)] * len(guards)


def tagged(tag: str, settings: TableSettings) -> TableSettings:
    return settings.with_(tags={**settings.tags, tag: ""})


def add_tags(by: Cluster, table_id: int, first: int) -> None:
    for number in range(first, first + 5):
        by.catalog.change_settings(table_id, partial(tagged, f"tag{number}"))


def tags_after_a_crowd(cluster: Cluster, other: Cluster) -> int:
    table = definitions.create_table(cluster, SCHEMA)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(add_tags, by, table.id, first)
            for by, first in [(cluster, 0), (cluster, 10), (other, 20), (other, 30)]
        ]
    for job in jobs:
        job.result()
    return len(cluster.refresh().tables[table.id].settings.tags)


def test_of_changes_at_once_none_is_lost(cluster: Cluster, other: Cluster) -> None:
    assert tags_after_a_crowd(cluster, other) == 20


def test_control_without_the_lock_changes_are_lost(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlocked(session: Session, table_id: int) -> TableSettings:
        query = "SELECT settings_json FROM mynamo_table_settings WHERE table_id = %s"
        rows = session.run((query, (table_id,)), ("DO SLEEP(0.01)", ()))[0].rows
        return changes.settings_of(rows[0][0] if rows else None)

    monkeypatch.setattr(catalog_module, "locked_settings", unlocked)
    assert tags_after_a_crowd(cluster, other) < 20


def test_a_change_that_fails_changes_nothing(cluster: Cluster) -> None:
    table = definitions.create_table(cluster, SCHEMA, FULL)

    def fail(settings: TableSettings) -> TableSettings:
        raise InvalidSchema("too many tags")

    with pytest.raises(InvalidSchema, match="too many tags"):
        cluster.catalog.change_settings(table.id, fail)
    assert cluster.catalog.change_settings(table.id, lambda now: now) == FULL


def test_settings_of_a_table_that_is_gone(cluster: Cluster) -> None:
    table = definitions.create_table(cluster, SCHEMA)
    definitions.drop_table(cluster, "orders")
    with pytest.raises(TableNotFound):
        cluster.catalog.change_settings(table.id, protect)
    again = definitions.create_table(cluster, SCHEMA)
    assert again.settings == TableSettings()


# --- deletion protection ---------------------------------------------------------


def test_a_protected_table_is_not_dropped(cluster: Cluster, other: Cluster) -> None:
    table = definitions.create_table(cluster, SCHEMA)
    assert not other.table("orders").settings.deletion_protection  # as `other` knows it
    cluster.catalog.change_settings(table.id, protect)
    for by in (cluster, other):
        with pytest.raises(TableProtected, match="Disable deletion protection first"):
            definitions.drop_table(by, "orders")
    assert cluster.refresh().names["orders"].status == "ACTIVE"
    cluster.catalog.change_settings(table.id, lambda now: now.with_(deletion_protection=False))
    definitions.drop_table(other, "orders")
    assert "orders" not in cluster.refresh().names


def test_a_protection_that_comes_with_the_drop_holds(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decided when it is recorded, not by what was read before."""
    table = definitions.create_table(cluster, SCHEMA)
    retire = cluster.catalog.retire_table

    def protect_first(table_id: int) -> None:
        other.catalog.change_settings(table_id, protect)
        retire(table_id)

    monkeypatch.setattr(cluster.catalog, "retire_table", protect_first)
    with pytest.raises(TableProtected):
        definitions.drop_table(cluster, "orders")
    monkeypatch.setattr(catalog_module, "refuse_protected", lambda *_: None)  # the control
    definitions.drop_table(cluster, "orders")
    assert table.id not in cluster.refresh().tables


# --- statuses --------------------------------------------------------------------


def down(shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ShardUnavailable(f"{shard.where} does not answer")

    monkeypatch.setattr(shard, "run", refuse)
    monkeypatch.setattr(shard, "session", refuse)


def test_a_table_is_creating_until_every_shard_has_it(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        down(cluster.shards[2], patch)
        begun = definitions.begin_table(cluster, SCHEMA, PROTECTED)
        assert (begun.status, begun.settings) == ("CREATING", PROTECTED)
        assert not definitions.finish(cluster, begun.id)
        assert other.refresh().names["orders"].status == "CREATING"
        with pytest.raises(AlreadyExists):
            definitions.create_table(other, SCHEMA)
    assert definitions.finish(cluster, begun.id)
    assert other.refresh().names["orders"].status == "ACTIVE"


def test_a_table_is_deleting_until_every_shard_has_dropped_it(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions.create_table(cluster, SCHEMA)
    with monkeypatch.context() as patch:
        down(cluster.shards[2], patch)
        begun = definitions.begin_drop_table(cluster, "orders")
        assert (begun.status, begun.name) == ("DELETING", "orders")
        assert not definitions.finish(cluster, begun.id)
        assert other.refresh().names["orders"].status == "DELETING"
        with pytest.raises(AlreadyExists, match="Table already exists: orders"):
            definitions.create_table(other, SCHEMA)
        with pytest.raises(TableNotFound, match="DELETING"):
            other.table("orders")
        with pytest.raises(TableNotFound):
            cluster.catalog.change_settings(begun.id, protect)
    assert definitions.finish(other, begun.id)
    assert "orders" not in cluster.refresh().names
    assert definitions.create_table(other, SCHEMA).id != begun.id


def test_an_index_is_creating_and_deleting_in_between(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = definitions.create_table(cluster, SCHEMA)
    settings = IndexSettings(capacity=Capacity(read=3, write=4))
    index = definitions.begin_index(cluster, "orders", BY_SIZE, settings)
    assert index.status == "CREATING"
    seen = other.refresh().tables[table.id]
    assert seen.index("by_size").status == "CREATING"
    assert seen.settings.of_index("by_size") == settings
    with monkeypatch.context() as patch:
        down(cluster.shards[2], patch)
        assert not definitions.finish(cluster, table.id)
        definitions.begin_drop_index(cluster, "orders", "by_size")
        assert not definitions.finish(cluster, table.id)
    seen = other.refresh().tables[table.id]
    assert [(i.name, i.status) for i in seen.indexes] == [
        ("by_name", "ACTIVE"), ("by_size", "DELETING"),
    ]  # fmt: skip
    assert seen.settings.indexes == {}  # whoever takes the name next inherits nothing
    with pytest.raises(IndexNotFound):
        definitions.begin_drop_index(other, "orders", "by_size")
    assert definitions.finish(other, table.id)
    assert [i.name for i in cluster.refresh().tables[table.id].indexes] == ["by_name"]


def test_changes_of_indexes_are_checked_together(cluster: Cluster) -> None:
    table = definitions.create_table(cluster, SCHEMA)
    definitions.check_index_changes(table, [BY_SIZE], ["by_name"])
    with pytest.raises(IndexNotFound):
        definitions.check_index_changes(table, [BY_SIZE], ["by_colour"])
    with pytest.raises(AlreadyExists):  # its name is free only when it is gone
        definitions.check_index_changes(
            table, [GlobalIndexSchema(name="by_name", hash_key="x")], ["by_name"]
        )
    with pytest.raises(InvalidSchema, match="duplicate index name: by_size"):
        definitions.check_index_changes(
            table, [BY_SIZE, LocalIndexSchema(name="by_size", sort_key="x")]
        )
    with pytest.raises(InvalidSchema, match="type N in one place and S in another"):
        definitions.check_index_changes(
            table, [BY_SIZE, GlobalIndexSchema(name="by_other", hash_key=["at", "size"])]
        )
    many = [GlobalIndexSchema(name=f"extra{n}", hash_key=f"x{n}") for n in range(20)]
    definitions.check_index_changes(table, many[:19])
    with pytest.raises(InvalidSchema, match="20 global"):
        definitions.check_index_changes(table, many)


# --- catalogs of format 1 -----------------------------------------------------------


def as_format_1(cluster: Cluster) -> None:
    """Make the catalog one that the first release wrote."""
    assert cluster.catalog.load().tables
    rows = in_catalog(
        cluster.config,
        "DROP TABLE mynamo_table_settings",
        "UPDATE mynamo_cluster SET format = 1",
        "SELECT definition_json FROM mynamo_indexes",
    )
    for (definition,) in rows:  # what it wrote for keys of one attribute
        assert isinstance(json.loads(definition)["hash_key"], dict)
        assert isinstance(json.loads(definition)["sort_key"], dict)


def test_a_catalog_of_format_1_is_brought_up_to_date(
    config: ClusterConfig, cluster: Cluster
) -> None:
    before = definitions.create_table(cluster, SCHEMA)
    as_format_1(cluster)
    with ThreadPoolExecutor(3) as pool:  # whoever opens it, however many at once
        for opened in list(pool.map(Cluster, [config] * 3)):
            with opened:
                assert opened.table("orders") == before
                assert opened.catalog.change_settings(before.id, lambda now: now) is not None
    with Cluster(config) as again:
        roll_forward(again, before.id)
        again.catalog.change_settings(before.id, protect)
        assert in_catalog(config, "SELECT format FROM mynamo_cluster") == ((2,),)
    with Cluster(config) as last:  # an upgrade happens once
        assert last.table("orders").settings == PROTECTED


def test_control_without_the_upgrade_a_catalog_of_format_1_does_not_open(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions.create_table(cluster, SCHEMA)
    as_format_1(cluster)
    monkeypatch.setattr(catalog_module.Catalog, "upgrade", lambda self: None)
    with pytest.raises(MissingTable, match="mynamo_table_settings"):
        Cluster(config)


def test_who_may_not_upgrade_is_told_who_may(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions.create_table(cluster, SCHEMA)
    as_format_1(cluster)
    run = Session.run

    def without_rights(self: Session, *statements: Statement) -> list[Result]:
        if any("CREATE TABLE" in text for text, _ in statements):
            raise ShardUnavailable("the user lacks a right")
        return run(self, *statements)

    monkeypatch.setattr(Session, "run", without_rights)
    with pytest.raises(ConfigError, match="as a user who may create tables"):
        Cluster(config)


def test_a_catalog_of_a_newer_format_is_refused(config: ClusterConfig, cluster: Cluster) -> None:
    in_catalog(config, "UPDATE mynamo_cluster SET format = format + 1")
    with pytest.raises(ConfigError, match="upgrade"):
        Cluster(config)


def test_what_came_later_is_stored_where_older_processes_keep_it() -> None:
    """Those refuse members that they do not know, and cannot read a catalog that has one."""
    stored = json.loads(FULL.dump())
    known = {"capacity", "on_demand"}
    assert "warm" not in stored
    assert all(set(index) <= known for index in stored["indexes"].values())
    assert stored["tags"].items() > FULL.tags.items()
    assert TableSettings.load(FULL.dump()) == FULL
    # What such a process changes, it writes with the tag that it does not understand.
    stored["tags"] |= {"more": "1"}
    del stored["indexes"]["by_name"]
    changed = TableSettings.load(json.dumps(stored).encode())
    assert changed == FULL.without_index("by_name").with_(tags={**FULL.tags, "more": "1"})
    # Without any of it, nothing is stored differently.
    plain = FULL.with_(warm=Warm(), indexes={"by_name": IndexSettings()})
    assert json.loads(plain.dump())["tags"] == FULL.tags


def test_control_a_member_of_its_own_could_not_be_read_by_them() -> None:
    """What an older process does with a member that it does not know."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TableSettings.load(b'{"of_some_day": 1}')
