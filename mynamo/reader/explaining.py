"""MySQL's own account of how it would run a statement."""

from __future__ import annotations

from typing import Any

from mynamo.shards.pool import Statement
from mynamo.shards.shard import DynamoDBShard

_MYSQL_COLUMNS = (
    "id", "select_type", "table", "partitions", "type", "possible_keys", "key", "key_len",
    "ref", "rows", "filtered", "Extra",
)  # fmt: skip
_MARIADB_COLUMNS = tuple(c for c in _MYSQL_COLUMNS if c not in ("partitions", "filtered"))


def explain_statement(shard: DynamoDBShard, statement: Statement) -> list[dict[str, Any]]:
    """EXPLAIN a statement without running it.

    Returns:
        A dictionary per table that it reads, by the names the server uses.

    Raises:
        MissingTable, ShardUnavailable: as the statement itself would.
    """
    text, values = statement
    rows = shard.run((f"EXPLAIN FORMAT=TRADITIONAL {text}", values))[0].rows
    return [_named(row) for row in rows]


def _named(row: tuple[Any, ...]) -> dict[str, Any]:
    columns = _MYSQL_COLUMNS if len(row) == len(_MYSQL_COLUMNS) else _MARIADB_COLUMNS
    return dict(zip(columns, row, strict=True))
