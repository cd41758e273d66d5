"""Migrations of control tables: numbered, idempotent, and additive.

A process that is newer than a database adds what it needs when it first connects; older processes
go on beside it, as they do not look at what was added. A change that older processes cannot live
with takes two releases: the first adds the new form and writes both, the second raises `oldest`,
which makes processes that know only the old form refuse to work.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from mynamo.errors import ConfigError
from mynamo.mysql.failures import MissingRight, MissingTable
from mynamo.mysql.pool import Session, Statement

log = logging.getLogger(__name__)

TABLE = """
CREATE TABLE IF NOT EXISTS mynamo_format (
    kind VARBINARY(16) PRIMARY KEY,
    number INT UNSIGNED NOT NULL,
    oldest INT UNSIGNED NOT NULL
) ENGINE=InnoDB
"""
"""`kind`: "shard" or "catalog", which may be one database; `number`: of the last migration that was
done; `oldest`: a process that does not know this number must not work here."""


READ_FORMAT = "SELECT number, oldest FROM mynamo_format WHERE kind = %s"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a format to the next one.

    Attributes:
        number: one more than that of the step before.
        statements: that may run any number of times, also beside processes of both formats.
    """

    number: int
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Migrations:
    """All steps that this process knows.

    Attributes:
        kind: of the database.
        steps: in order.
    """

    kind: str
    steps: tuple[Migration, ...]


GENERATION_ROW = 2**63
"""In a shard's `mynamo_fence`, where ids of tables are smaller: the generation of its request
tokens and decisions, by which they go in time."""

_SHARD = (
    Migration(
        1,
        (
            """
CREATE TABLE IF NOT EXISTS mynamo_incarnation (
    incarnation INT UNSIGNED PRIMARY KEY,
    server VARBINARY(255) NOT NULL,
    adopted_at BIGINT UNSIGNED NOT NULL,
    kept LONGBLOB NOT NULL,
    lost TINYINT NOT NULL DEFAULT 0,
    state VARCHAR(16) NOT NULL,
    mender VARBINARY(64) NULL,
    mender_until BIGINT UNSIGNED NOT NULL DEFAULT 0
) ENGINE=InnoDB
""",
        ),
    ),
    Migration(
        2,
        (
            """
CREATE TABLE IF NOT EXISTS mynamo_intent (
    table_id BIGINT UNSIGNED NOT NULL,
    hash BINARY(16) NOT NULL,
    sort VARBINARY(1024) NOT NULL,
    transaction_id BINARY(16) NOT NULL,
    decider SMALLINT UNSIGNED NOT NULL,
    generation BIGINT UNSIGNED NOT NULL,
    action TINYINT NOT NULL,
    item LONGBLOB NULL,
    token BINARY(16) NULL,
    placed_at BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (table_id, hash, sort, transaction_id),
    KEY by_transaction (transaction_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
""",
            """
CREATE TABLE IF NOT EXISTS mynamo_transaction (
    id BINARY(16) PRIMARY KEY,
    decision TINYINT NOT NULL,
    generation BIGINT UNSIGNED NOT NULL,
    decided_at BIGINT UNSIGNED NOT NULL,
    KEY by_generation (generation)
) ENGINE=InnoDB
""",
            """
CREATE TABLE IF NOT EXISTS mynamo_token (
    token BINARY(16) PRIMARY KEY,
    generation BIGINT UNSIGNED NOT NULL,
    slot SMALLINT UNSIGNED NOT NULL,
    request BINARY(16) NOT NULL,
    transaction_id BINARY(16) NULL,
    shards VARBINARY(8192) NULL,
    first_id BIGINT UNSIGNED NULL,
    changed VARBINARY(100) NULL,
    answer BLOB NULL,
    KEY by_generation (generation)
) ENGINE=InnoDB
""",
            f"INSERT IGNORE INTO mynamo_fence VALUES ({GENERATION_ROW}, 1)",
        ),
    ),
    Migration(
        3,
        (
            """
CREATE TABLE IF NOT EXISTS mynamo_move (
    slot SMALLINT UNSIGNED PRIMARY KEY,
    move_id BIGINT UNSIGNED NOT NULL,
    term INT UNSIGNED NOT NULL,
    progress LONGBLOB NULL
) ENGINE=InnoDB
""",
            """
CREATE TABLE IF NOT EXISTS mynamo_move_log (
    id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    move_id BIGINT UNSIGNED NOT NULL,
    kind TINYINT NOT NULL,
    table_id BIGINT UNSIGNED NOT NULL,
    index_id BIGINT UNSIGNED NOT NULL,
    hash BINARY(16) NOT NULL,
    sort VARBINARY(2048) NOT NULL,
    item_hash BINARY(16) NULL,
    item_sort VARBINARY(1024) NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
""",
            """
CREATE TABLE IF NOT EXISTS mynamo_applied (
    slot SMALLINT UNSIGNED NOT NULL,
    command_id BINARY(16) NOT NULL,
    done_at BIGINT UNSIGNED NOT NULL,
    version BIGINT UNSIGNED NULL,
    refused VARBINARY(2000) NULL,
    PRIMARY KEY (slot, command_id),
    KEY by_time (done_at)
) ENGINE=InnoDB
""",
        ),
    ),
    Migration(4, ()),
    Migration(
        5,
        (
            """
CREATE TABLE IF NOT EXISTS mynamo_stream_shard (
    name VARBINARY(65) PRIMARY KEY,
    stream_id BIGINT UNSIGNED NOT NULL,
    parent VARBINARY(65) NULL,
    generation INT UNSIGNED NOT NULL,
    first_slot SMALLINT UNSIGNED NOT NULL,
    last_slot SMALLINT UNSIGNED NOT NULL,
    above_seq BIGINT UNSIGNED NOT NULL,
    end_seq BIGINT UNSIGNED NULL,
    ended_at BIGINT UNSIGNED NULL,
    trimmed_seq BIGINT UNSIGNED NOT NULL,
    KEY by_stream (stream_id)
) ENGINE=InnoDB
""",
            """
CREATE TABLE IF NOT EXISTS mynamo_record (
    stream_id BIGINT UNSIGNED NOT NULL,
    seq BIGINT UNSIGNED NOT NULL,
    slot SMALLINT UNSIGNED NOT NULL,
    created BIGINT UNSIGNED NOT NULL,
    bytes INT UNSIGNED NOT NULL,
    body LONGBLOB NOT NULL,
    PRIMARY KEY (stream_id, seq)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
""",
            """
CREATE TABLE IF NOT EXISTS mynamo_stream_trimmed (
    stream_id BIGINT UNSIGNED PRIMARY KEY,
    trimmed_seq BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB
""",
        ),
    ),
)
SHARD = Migrations("shard", _SHARD)
"""1: incarnations. 2: transactions: intents, decisions, request tokens, generations. 3: moves of
slots: who changes rows that the shard does not own, keys that have changed, queued writes by slot.
4: nothing; it tells processes that know of time to live from others. 5: streams of tables: their
stream shards, their records, and up to which number records were deleted.
"""
INTENTS = 2
"""The format of shards that has intents. Where there may be some, `oldest` is at least this."""
MOVES = 3
"""That has moves of slots; likewise."""
EXPIRY = 4
"""Whose tables may have time to live; likewise."""
STREAMS = 5
"""Whose tables may have streams; likewise."""


def require(number: int) -> Statement:
    """Let no process work on this shard that does not know a format of shards."""
    return (
        "UPDATE mynamo_format SET oldest = GREATEST(oldest, %s) WHERE kind = %s",
        (number, SHARD.kind),
    )


_CATALOG = (
    Migration(
        1,
        (
            """
CREATE TABLE IF NOT EXISTS mynamo_incarnations (
    shard_id SMALLINT UNSIGNED PRIMARY KEY,
    incarnation INT UNSIGNED NOT NULL
) ENGINE=InnoDB
""",
        ),
    ),
    Migration(
        2,
        (
            """
CREATE TABLE IF NOT EXISTS mynamo_shards (
    shard_id SMALLINT UNSIGNED PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    epoch BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB
""",
            """
CREATE TABLE IF NOT EXISTS mynamo_moves (
    move_id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    first_slot SMALLINT UNSIGNED NOT NULL UNIQUE,
    last_slot SMALLINT UNSIGNED NOT NULL,
    source SMALLINT UNSIGNED NOT NULL,
    target SMALLINT UNSIGNED NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempt INT UNSIGNED NOT NULL,
    mover BINARY(16) NOT NULL,
    term INT UNSIGNED NOT NULL,
    incarnations VARBINARY(64) NOT NULL,
    generations VARBINARY(64) NULL
) ENGINE=InnoDB
""",
        ),
    ),
    Migration(
        3,
        (
            """
CREATE TABLE IF NOT EXISTS mynamo_streams (
    stream_id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    table_id BIGINT UNSIGNED NOT NULL,
    status VARCHAR(16) NOT NULL,
    definition_json LONGBLOB NOT NULL
) ENGINE=InnoDB
""",
        ),
    ),
    Migration(
        4,
        (
            """
CREATE TABLE IF NOT EXISTS mynamo_credential (
    name VARBINARY(64) PRIMARY KEY,
    access_key_id VARBINARY(128) NOT NULL UNIQUE,
    secret VARBINARY(255) NOT NULL,
    policies LONGBLOB NOT NULL,
    created_at BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB
""",
        ),
    ),
)
CATALOG = Migrations("catalog", _CATALOG)
"""1: the numbers of incarnations that were given. 2: shards and moves of slots. 3: streams.
4: credentials of the gateway's clients."""


def migrate(session: Session, migrations: Migrations, where: str) -> None:
    """Bring a database's control tables to the newest format, if they are older.

    Args:
        migrations: those of its kind.
        where: the database is, for messages.

    Raises:
        ConfigError: it is too new for this process, or too old and this user may not change it.
        ShardUnavailable: the server does not answer.
    """
    newest = migrations.steps[-1].number
    number, oldest = _format(session, migrations.kind)
    if oldest > newest:
        raise ConfigError(
            f"{where}: it is of format {number}, which this version of mynamo (format {newest}) "
            "does not know; upgrade"
        )
    if number >= newest:
        return
    try:
        session.run((TABLE, ()))
        for migration in migrations.steps:
            if migration.number > number and migration.statements:
                session.run(*((statement, ()) for statement in migration.statements))
        session.run(
            ("INSERT INTO mynamo_format VALUES (%s, %s, 0)"
             " ON DUPLICATE KEY UPDATE number = GREATEST(number, VALUES(number))",
             (migrations.kind, newest))
        )  # fmt: skip
    except MissingRight as failure:
        raise ConfigError(
            f"{where}: it is of the older format {number} and could not be brought up to date; run "
            f"`mynamo table list` once as a user who may create tables there ({failure})"
        ) from None
    log.info("%s: brought from format %d to %d", where, number, newest)


def _format(session: Session, kind: str) -> tuple[int, int]:
    try:
        rows = session.run((READ_FORMAT, (kind,)))[0].rows
    except MissingTable:
        return 0, 0
    return rows[0] if rows else (0, 0)
