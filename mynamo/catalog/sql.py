"""Every table that mynamo makes in a shard's database, and what each is for.

Names of physical tables are made from numbers alone. What a statement does with them
stands beside the code that runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from functools import lru_cache

from mynamo.catalog.tables import Index, Table
from mynamo.schemas.keys import MAX_SORT_CODE, MAX_SORT_KEY

SHARD_IDENTITY = """
CREATE TABLE IF NOT EXISTS mynamo_shard (
    only_row TINYINT PRIMARY KEY,
    cluster_id BINARY(16) NOT NULL,
    shard_id SMALLINT UNSIGNED NOT NULL
) ENGINE=InnoDB
"""
"""Which shard of which cluster this database is: a mistaken configuration writes nothing."""

DEFINITION_GUARD = """
CREATE TABLE IF NOT EXISTS mynamo_fence (
    id BIGINT UNSIGNED PRIMARY KEY,
    version BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB
"""
"""What a write must know to be let in: row 0 the shard's slot epoch, row N the version of
table N's definition. A write locks its rows shared; who changes them waits for it."""

OUTBOX = """
CREATE TABLE IF NOT EXISTS mynamo_outbox (
    id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    seq BIGINT UNSIGNED NULL,
    previous BIGINT UNSIGNED NULL,
    part SMALLINT UNSIGNED NOT NULL,
    feeds TINYINT NOT NULL,
    table_id BIGINT UNSIGNED NOT NULL,
    item_version BIGINT UNSIGNED NULL,
    write_id BINARY(16) NOT NULL,
    created BIGINT UNSIGNED NOT NULL,
    payload LONGBLOB NOT NULL,
    KEY by_sequence (seq)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
"""
"""Committed changes on their way to Kafka. `seq` is NULL until the relay has sequenced the
row, or 0 where that writes a record of its table's stream, which relays of earlier releases do
not know; `feeds` says whether an index waits for it; `item_version` is NULL when it is the id."""

STREAM = """
CREATE TABLE IF NOT EXISTS mynamo_stream (
    part SMALLINT UNSIGNED PRIMARY KEY,
    last_seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
    applied_seq BIGINT UNSIGNED NOT NULL DEFAULT 0
) ENGINE=InnoDB
"""
"""Per partition: the last sequence given to an event that feeds an index, and the last one
that every index has applied. The outbox keeps what lies between them."""

RELAY = """
CREATE TABLE IF NOT EXISTS mynamo_relay (
    only_row TINYINT PRIMARY KEY,
    owner VARBINARY(64) NULL,
    epoch BIGINT UNSIGNED NOT NULL DEFAULT 0,
    expires BIGINT UNSIGNED NOT NULL DEFAULT 0,
    last_seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
    published_seq BIGINT UNSIGNED NOT NULL DEFAULT 0
) ENGINE=InnoDB
"""
"""The relay's lease (until `expires`, microseconds of the server's clock), the shard's
sequence, and how far it has been published."""

CHECKPOINT = """
CREATE TABLE IF NOT EXISTS mynamo_checkpoint (
    shard SMALLINT UNSIGNED NOT NULL,
    part SMALLINT UNSIGNED NOT NULL,
    seq BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (shard, part)
) ENGINE=InnoDB
"""
"""Per source stream: the last sequence that this shard's GSI tables contain."""

COMMAND = """
CREATE TABLE IF NOT EXISTS mynamo_command (
    command_id BINARY(16) PRIMARY KEY,
    done_at BIGINT UNSIGNED NOT NULL,
    version BIGINT UNSIGNED NULL,
    refused VARBINARY(2000) NULL,
    KEY by_time (done_at)
) ENGINE=InnoDB
"""
"""Queued writes that are done: applied, or refused for a reason. Written in the write's own
transaction, so a command that arrives again changes nothing."""

BACKFILL = """
CREATE TABLE IF NOT EXISTS mynamo_backfill (
    index_id BIGINT UNSIGNED PRIMARY KEY,
    table_id BIGINT UNSIGNED NOT NULL,
    after_hash BINARY(16) NULL,
    after_sort VARBINARY(1024) NULL,
    rows_done BIGINT UNSIGNED NOT NULL DEFAULT 0,
    rows_skipped BIGINT UNSIGNED NOT NULL DEFAULT 0,
    last_outbox_id BIGINT UNSIGNED NOT NULL DEFAULT 0,
    finished TINYINT NOT NULL DEFAULT 0
) ENGINE=InnoDB
"""
"""How far the backfill of a new index has come on this shard; it goes on after any crash."""

CONTROL_TABLES = (
    SHARD_IDENTITY, DEFINITION_GUARD, OUTBOX, STREAM, RELAY, CHECKPOINT, COMMAND, BACKFILL,
)  # fmt: skip

UNNUMBERED = "(seq IS NULL OR seq = 0)"
"""Of a row of the outbox: the relay has not sequenced it yet."""


NOT_APPLIED = "(COALESCE(o.seq, 0) = 0 OR o.seq > s.applied_seq)"
"""Of a row `o` of the outbox and the row `s` of its partition: not every index has it."""


def first_unnumbered(columns: str, most: int = 1, where: str = "TRUE") -> str:
    """The query of columns of the first rows that the relay has not sequenced yet.

    Args:
        most: rows of either kind, so twice as many rows at most.
        where: what else must be true of them.
    """
    return " UNION ALL ".join(
        f"(SELECT {columns} FROM mynamo_outbox FORCE INDEX (by_sequence)"
        f" WHERE seq {kind} AND {where} ORDER BY id LIMIT {most:d})"
        for kind in ("IS NULL", "= 0")
    )


NOW = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)"
"""The server's clock, Unix microseconds."""


def placeholders(values: Sized) -> str:
    """A placeholder for each value, for `IN (...)`."""
    return ", ".join(["%s"] * len(values))


def any_row(keys: Sized) -> str:
    """Any of these rows of a main table, by hash and sort key."""
    return any_pair("hash", "sort", keys)


def any_pair(first: str, second: str, values: Sized) -> str:
    """Any of these pairs of two columns: ORs of ANDs, which both servers make ranges of."""
    return " OR ".join([f"({first} = %s AND {second} = %s)"] * len(values))


def raise_streams(column: str, reached: Mapping[int, int]) -> tuple[str, list[int]]:
    """The statement that raises a column of some partitions' streams, in their order.

    Args:
        column: `last_seq` or `applied_seq`.
        reached: per partition, the number; one that is lower than the column's changes nothing.
    """
    parts = sorted(reached)
    cases = " WHEN %s THEN %s" * len(parts)
    return (
        f"UPDATE mynamo_stream FORCE INDEX (PRIMARY) SET {column} = GREATEST({column},"
        f" CASE part{cases} END) WHERE part IN ({placeholders(parts)})",
        [value for part in parts for value in (part, reached[part])] + parts,
    )


@lru_cache(4096)
def main_table(table_id: int) -> str:
    """Name of the table of items."""
    return f"t{table_id:d}"


def index_table(index: Index) -> str:
    """Name of an index's table."""
    return f"t{index.table_id:d}_{'l' if index.is_local else 'g'}{index.id:d}"


def create_main(table: Table) -> str:
    """Items, clustered by hash and sort key: a slot is one range of the primary key."""
    return f"""
CREATE TABLE IF NOT EXISTS {main_table(table.id)} (
    hash BINARY(16) NOT NULL,
    sort VARBINARY(1024) NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    item LONGBLOB NOT NULL,
    PRIMARY KEY (hash, sort)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
"""


def create_index(index: Index) -> str:
    """An LSI is an order of the main rows beside it; a GSI holds the projected items. Of expiries
    the earliest are looked for, whatever their items' hash is."""
    if index.is_local:
        by_expiry = "" if index.expiry is None else ",\n    KEY by_expiry (index_sort)"
        return f"""
CREATE TABLE IF NOT EXISTS {index_table(index)} (
    hash BINARY(16) NOT NULL,
    index_sort VARBINARY(1024) NOT NULL,
    sort VARBINARY(1024) NOT NULL,
    PRIMARY KEY (hash, index_sort, sort){by_expiry}
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
"""
    return f"""
CREATE TABLE IF NOT EXISTS {index_table(index)} (
    index_hash BINARY(16) NOT NULL,
    index_sort VARBINARY({MAX_SORT_CODE if len(index.sort_keys) > 1 else MAX_SORT_KEY}) NOT NULL,
    hash BINARY(16) NOT NULL,
    sort VARBINARY(1024) NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    item LONGBLOB NOT NULL,
    PRIMARY KEY (index_hash, index_sort, hash, sort)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
"""
