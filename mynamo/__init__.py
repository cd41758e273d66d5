"""DynamoDB's data model, API and habits on MySQL and Kafka.

    import mynamo

    with mynamo.connect() as manager:
        manager.create_table({"table": "orders", "hash_key": "id"})
        manager.insert("orders", {"id": "1", "price": 20})
        manager.get("orders", {"id": "1"})

Conditions on sort keys are in `mynamo.reader`, queued writes in `mynamo.producer`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mynamo.errors import (
    AlreadyExists,
    ConditionFailed,
    ConfigError,
    ConsistencyTimeout,
    CorruptData,
    IdempotentParameterMismatch,
    IndexBehind,
    IndexNotFound,
    IndexNotReady,
    InternalError,
    InvalidExpression,
    InvalidItem,
    InvalidPolicy,
    InvalidRequest,
    InvalidSchema,
    InvalidToken,
    IteratorExpired,
    LocalServerError,
    LogUnavailable,
    MynamoError,
    NewerFormat,
    NotFound,
    RecordsTrimmed,
    ShardNotConfigured,
    ShardUnavailable,
    StreamNotFound,
    StreamShardNotFound,
    TableNotFound,
    TableNotReady,
    TableProtected,
    ThroughputExceeded,
    TransactionCanceled,
    TransactionConflict,
    TransactionInProgress,
    Unavailable,
    WriteOutcomeUnknown,
)

if TYPE_CHECKING:
    from mynamo.catalog.cluster import Cluster
    from mynamo.catalog.shard import DynamoDBShard
    from mynamo.catalog.tables import Index, Table
    from mynamo.manager import HashBasedShardManager, connect
    from mynamo.producer import (
        MUST_EXIST,
        MUST_NOT_EXIST,
        Check,
        Condition,
        Delete,
        Producer,
        Put,
        Receipt,
        TransactionReceipt,
        Update,
        version_is,
    )
    from mynamo.reader import Reader
    from mynamo.reader.streams.stream_reader import StreamReader
    from mynamo.schemas.config import ClusterConfig
    from mynamo.schemas.item_changes import Change
    from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema, TableSchema

__all__ = [
    "MUST_EXIST",
    "MUST_NOT_EXIST",
    "AlreadyExists",
    "Change",
    "Check",
    "Cluster",
    "ClusterConfig",
    "Condition",
    "ConditionFailed",
    "ConfigError",
    "ConsistencyTimeout",
    "CorruptData",
    "Delete",
    "DynamoDBShard",
    "GlobalIndexSchema",
    "HashBasedShardManager",
    "IdempotentParameterMismatch",
    "Index",
    "IndexBehind",
    "IndexNotFound",
    "IndexNotReady",
    "InternalError",
    "InvalidExpression",
    "InvalidItem",
    "InvalidPolicy",
    "InvalidRequest",
    "InvalidSchema",
    "InvalidToken",
    "IteratorExpired",
    "LocalIndexSchema",
    "LocalServerError",
    "LogUnavailable",
    "MynamoError",
    "NewerFormat",
    "NotFound",
    "Producer",
    "Put",
    "Reader",
    "Receipt",
    "RecordsTrimmed",
    "ShardNotConfigured",
    "ShardUnavailable",
    "StreamNotFound",
    "StreamReader",
    "StreamShardNotFound",
    "Table",
    "TableNotFound",
    "TableNotReady",
    "TableProtected",
    "TableSchema",
    "ThroughputExceeded",
    "TransactionCanceled",
    "TransactionConflict",
    "TransactionInProgress",
    "TransactionReceipt",
    "Unavailable",
    "Update",
    "WriteOutcomeUnknown",
    "connect",
    "version_is",
]

_HOMES = {
    "mynamo.manager": ("HashBasedShardManager", "connect"),
    "mynamo.producer": (
        "MUST_EXIST", "MUST_NOT_EXIST", "Check", "Condition", "Delete", "Producer", "Put",
        "Receipt", "TransactionReceipt", "Update", "version_is",
    ),
    "mynamo.reader": ("Reader",),
    "mynamo.reader.streams.stream_reader": ("StreamReader",),
    "mynamo.schemas.item_changes": ("Change",),
    "mynamo.schemas.config": ("ClusterConfig",),
    "mynamo.schemas.table": ("GlobalIndexSchema", "LocalIndexSchema", "TableSchema"),
    "mynamo.catalog.cluster": ("Cluster",),
    "mynamo.catalog.shard": ("DynamoDBShard",),
    "mynamo.catalog.tables": ("Index", "Table"),
}  # fmt: skip
"""Where the names are that take long to import: not everybody who imports a module of ours
needs drivers, and `mynamo --help` needs none."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'mynamo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
