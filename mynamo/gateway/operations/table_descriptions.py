"""TableDescription: what DynamoDB's API says of a table; finding the table of an operation."""

from __future__ import annotations

import uuid
from typing import Any

from mynamo.catalog.statistics import Size, TableStatistics
from mynamo.catalog.tables import Index, Table
from mynamo.gateway.arns import table_arn
from mynamo.gateway.context import Context
from mynamo.gateway.operations.key_schemas import types_in
from mynamo.gateway.operations.throughput import warm_of
from mynamo.gateway.service_errors import NOT_FOUND, ServiceError
from mynamo.schemas.table import KeyAttribute, Projection
from mynamo.schemas.table_settings import Capacity, Encryption, OnDemand, TableSettings, Warm

_DOING = {"CREATING": "created", "DELETING": "deleted"}


def existing_table(context: Context, name: str) -> Table:
    """The table as the catalog has it now, whatever its status.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    table = context.cluster.refresh().names.get(name)
    if table is None:
        message = f"{NOT_FOUND}: Table: {name} not found"
        raise ServiceError("ResourceNotFoundException", message)
    return table


def changeable_table(context: Context, name: str) -> Table:
    """The table, if it can be changed now.

    Raises:
        ServiceError: ResourceNotFoundException; or ResourceInUseException while it is being
            created or deleted.
    """
    table = existing_table(context, name)
    check_changeable(table)
    return table


def check_changeable(table: Table) -> None:
    """Refuse to change a table that comes or goes.

    Raises:
        ServiceError: ResourceInUseException.
    """
    doing = _DOING.get(table.status)
    if doing is not None:
        raise in_use(f"Table is being {doing}: {table.name}")


def in_use(why: str) -> ServiceError:
    """ResourceInUseException, for a change that has to wait."""
    message = f"Attempt to change a resource which is still in use: {why}"
    return ServiceError("ResourceInUseException", message)


Described = dict[str, Any]


def describe(context: Context, table: Table, status: str | None = None) -> Described:
    """Everything about a table, its members in AWS's order.

    Args:
        status: said of the table, if it is not what the table itself says.
    """
    arn, settings = table_arn(context, table.name), table.settings
    # Nothing is asked of a table that is just being made: the answer would be kept for a while.
    new = table.status == "CREATING"
    numbers = TableStatistics(Size(), {}) if new else context.statistics.of(table)
    described: Described = {
        "AttributeDefinitions": _definitions(table),
        "TableName": table.name,
        "KeySchema": _key_schema(table.hash_keys, table.sort_keys),
        "TableStatus": status or status_of(table),
        "CreationDateTime": round(table.created_at.timestamp(), 3),
        "ProvisionedThroughput": _throughput(settings.capacity),
        "TableSizeBytes": numbers.table.bytes,
        "ItemCount": numbers.table.items,
        "TableArn": arn,
        "TableId": _id_of(context, table),
    }
    # Of the table that is being made, CreateTable does not say since when it is on demand.
    since = None if (status or table.status) == "CREATING" else table.created_at.timestamp()
    described |= _billing(settings, since)
    local = [_local(index, arn, numbers) for index in table.indexes if index.kind == "LSI"]
    if local:
        described["LocalSecondaryIndexes"] = local
    coming = (status or table.status) == "CREATING"
    indexes = [_global(i, arn, table, numbers, coming) for i in table.indexes if i.kind == "GSI"]
    if indexes:
        described["GlobalSecondaryIndexes"] = indexes
    described |= _stream(table, arn) | _others(context, settings)
    warm = warm_of(settings, settings)
    return described | _warm(warm, "CREATING" if coming else "ACTIVE")


def describe_dropped(context: Context, table: Table) -> Described:
    """What DeleteTable says: less than the others."""
    described = describe(context, table, "DELETING")
    kept = ("TableName", "TableStatus", "ProvisionedThroughput", "TableSizeBytes", "ItemCount")
    more = ("TableArn", "TableId", "BillingModeSummary", "DeletionProtectionEnabled")
    return {name: described[name] for name in (*kept, *more) if name in described}


def status_of(table: Table) -> str:
    """CREATING, ACTIVE, UPDATING (while an index comes or goes), or DELETING."""
    changing = any(index.status != "ACTIVE" for index in table.indexes if index.kind != "TTL")
    return "UPDATING" if table.status == "ACTIVE" and changing else table.status


def _definitions(table: Table) -> list[dict[str, str]]:
    types = types_in(table)
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()]


def _key_schema(
    hash_keys: tuple[KeyAttribute, ...], sort_keys: tuple[KeyAttribute, ...]
) -> list[dict[str, str]]:
    return [
        *({"AttributeName": key.name, "KeyType": "HASH"} for key in hash_keys),
        *({"AttributeName": key.name, "KeyType": "RANGE"} for key in sort_keys),
    ]


def _id_of(context: Context, table: Table) -> str:
    """A UUID that belongs to this table for good, and to no later one of its name."""
    cluster = uuid.UUID(bytes=context.cluster.id)
    return str(uuid.uuid5(cluster, str(table.id)))


def _throughput(capacity: Capacity) -> Described:
    times = {
        "LastIncreaseDateTime": capacity.increased_at,
        "LastDecreaseDateTime": capacity.decreased_at,
    }
    return {name: round(at, 3) for name, at in times.items() if at is not None} | {
        "NumberOfDecreasesToday": 0,
        "ReadCapacityUnits": capacity.read,
        "WriteCapacityUnits": capacity.write,
    }


def _billing(settings: TableSettings, since: float | None) -> Described:
    """Args: since: when the table was made; None: it is not yet."""
    described: Described = {}
    if settings.billing_mode == "PAY_PER_REQUEST" or settings.billing_mode_at is not None:
        summary: Described = {"BillingMode": settings.billing_mode}
        at = since if settings.billing_mode_at is None else settings.billing_mode_at
        if at is not None:
            summary["LastUpdateToPayPerRequestDateTime"] = round(at, 3)
        described["BillingModeSummary"] = summary
    return described | _on_demand(settings.on_demand)


def _on_demand(limits: OnDemand) -> Described:
    given = {"MaxReadRequestUnits": limits.read, "MaxWriteRequestUnits": limits.write}
    given = {name: units for name, units in given.items() if units is not None}
    return {"OnDemandThroughput": given} if given else {}


def _warm(warm: Warm, status: str) -> Described:
    return {
        "WarmThroughput": {
            "ReadUnitsPerSecond": warm.read,
            "WriteUnitsPerSecond": warm.write,
            "Status": status,
        }
    }


def _local(index: Index, arn: str, numbers: TableStatistics) -> Described:
    size = numbers.indexes.get(index.name, Size())
    return {
        "IndexName": index.name,
        "KeySchema": _key_schema(index.hash_keys, index.sort_keys),
        "Projection": _projection(index.projection),
        "IndexSizeBytes": size.bytes,
        "ItemCount": size.items,
        "IndexArn": f"{arn}/index/{index.name}",
    }


def _global(
    index: Index, arn: str, table: Table, numbers: TableStatistics, coming: bool
) -> Described:
    set_for = table.settings.of_index(index.name)
    size = numbers.indexes.get(index.name, Size())
    described: Described = {
        "IndexName": index.name,
        "KeySchema": _key_schema(index.hash_keys, index.sort_keys),
        "Projection": _projection(index.projection),
        "IndexStatus": index.status,
    }
    if index.status == "CREATING":
        described["Backfilling"] = True
    return {
        **described,
        "ProvisionedThroughput": _throughput(set_for.capacity),
        "IndexSizeBytes": size.bytes,
        "ItemCount": size.items,
        "IndexArn": f"{arn}/index/{index.name}",
        **_on_demand(set_for.on_demand),
        **_warm(warm_of(table.settings, set_for), "UPDATING" if coming else "ACTIVE"),
    }


def _projection(projection: Projection) -> Described:
    described: Described = {"ProjectionType": projection.type}
    if projection.attributes:
        described["NonKeyAttributes"] = list(projection.attributes)
    return described


def _stream(table: Table, arn: str) -> Described:
    stream, before = table.latest_stream, table.settings.stream
    described: Described = {}
    if table.stream is not None:
        described["StreamSpecification"] = {
            "StreamEnabled": True,
            "StreamViewType": table.stream.view,
        }
    label = None if before.enabled else before.label  # of the last one, also when it is over
    if stream is not None:
        label = stream.label
    if label is not None:
        described["LatestStreamLabel"] = label
        described["LatestStreamArn"] = f"{arn}/stream/{label}"
    return described


def _others(context: Context, settings: TableSettings) -> Described:
    described: Described = {}
    if settings.sse.enabled:
        described["SSEDescription"] = _encryption(context, settings.sse)
    if settings.table_class != "STANDARD" or settings.table_class_at is not None:
        summary: Described = {"TableClass": settings.table_class}
        if settings.table_class_at is not None:
            summary["LastUpdateDateTime"] = round(settings.table_class_at, 3)
        described["TableClassSummary"] = summary
    described["DeletionProtectionEnabled"] = settings.deletion_protection
    return described


def _encryption(context: Context, encryption: Encryption) -> Described:
    return {
        "Status": "ENABLED",
        "SSEType": encryption.kind or "KMS",
        "KMSMasterKeyArn": _key_arn(context, encryption.key or "alias/aws/dynamodb"),
    }


def _key_arn(context: Context, key: str) -> str:
    """The ARN of a key that is named by its ARN, its id, or an alias; there being no keys, an
    alias is given one, always the same."""
    if key.startswith("arn:") and ":key/" in key:
        return key
    if "alias/" in key:
        cluster = uuid.UUID(bytes=context.cluster.id)
        key = str(uuid.uuid5(cluster, key[key.index("alias/") :]))
    return f"arn:aws:kms:{context.region}:{context.account_id}:key/{key}"
