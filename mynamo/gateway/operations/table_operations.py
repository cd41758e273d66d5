"""CreateTable, by DynamoDB's rules; DeleteTable, DescribeTable and ListTables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mynamo.catalog import definitions
from mynamo.errors import AlreadyExists
from mynamo.gateway.context import Call, Context
from mynamo.gateway.operations.key_schemas import (
    Definitions,
    Keys,
    check_order,
    definitions_of,
    global_keys,
    projection_of,
    shown,
    table_keys,
    wrong,
)
from mynamo.gateway.operations.setting_operations import tags_of
from mynamo.gateway.operations.table_descriptions import (
    changeable_table,
    describe,
    describe_dropped,
    existing_table,
    in_use,
    status_of,
)
from mynamo.gateway.operations.throughput import (
    index_capacity,
    on_demand,
    table_capacity,
    warm_of,
    warmed,
)
from mynamo.gateway.service_errors import ServiceError, invalid
from mynamo.schemas.table import (
    MAX_GLOBAL_INDEXES,
    MAX_INCLUDED,
    MAX_LOCAL_INDEXES,
    GlobalIndexSchema,
    LocalIndexSchema,
    TableSchema,
)
from mynamo.schemas.table_settings import (
    Encryption,
    IndexSettings,
    StreamView,
    TableSettings,
    Warm,
)

Request = Mapping[str, Any]

REFUSED = (
    "ResourcePolicy",
    "GlobalTableSourceArn",
    "GlobalTableSettingsReplicationMode",
    "VectorIndexes",
    "ReplicaUpdates",
    "MultiRegionConsistency",
    "GlobalTableWitnessUpdates",
    "DisassociationProtectionEnabled",
    "VectorIndexUpdates",
)
"""Members that ask for what mynamo does not have, and that must not be passed over."""


def refuse_unsupported(request: Request) -> None:
    """Refuse what would otherwise be ignored silently.

    Raises:
        ServiceError: the request has one of these members.
    """
    for name in REFUSED:
        if name in request:
            raise invalid(f"{name}: mynamo does not support it yet; leave it out")


def new_settings(request: Request) -> TableSettings:
    """What a new table is set to.

    Raises:
        ServiceError: something in it is not allowed, or not with the rest.
    """
    mode = request.get("BillingMode", "PROVISIONED")
    capacity = table_capacity(mode, request.get("ProvisionedThroughput"))
    indexes = {
        index["IndexName"]: index_settings(mode, index)
        for index in request.get("GlobalSecondaryIndexes", ())
    }
    settings = TableSettings(
        billing_mode=mode,
        capacity=capacity,
        on_demand=on_demand(mode, request.get("OnDemandThroughput")),
        indexes=indexes,
        deletion_protection=request.get("DeletionProtectionEnabled", False),
        table_class=request.get("TableClass", "STANDARD"),
        tags=tags_of(request.get("Tags", [])),
        sse=encryption(request.get("SSESpecification", {})),
    )
    for index in request.get("GlobalSecondaryIndexes", ()):
        own = warm_index(settings, settings.of_index(index["IndexName"]), index)
        settings = settings.with_index(index["IndexName"], own)
    now = warm_of(settings, settings)
    return settings.with_(warm=warmed(request.get("WarmThroughput"), Warm(), now, "table"))


def index_settings(mode: str, index: Request) -> IndexSettings:
    """What a new GSI is set to.

    Raises:
        ServiceError: it does not go with the table's billing mode.
    """
    return IndexSettings(
        capacity=index_capacity(mode, index.get("ProvisionedThroughput"), index["IndexName"]),
        on_demand=on_demand(mode, index.get("OnDemandThroughput")),
    )


def warm_index(settings: TableSettings, own: IndexSettings, given: Request) -> IndexSettings:
    """The settings of a GSI with the WarmThroughput that a request gives it.

    Args:
        settings: of its table.

    Raises:
        ServiceError: see `warmed`.
    """
    now, what = warm_of(settings, own), f"index {given['IndexName']}"
    warm = warmed(given.get("WarmThroughput"), own.warm, now, what)
    return own.model_copy(update={"warm": warm})


def stream_view(specification: Request) -> StreamView | None:
    """The view type of a stream that is switched on; None: it is switched off.

    Raises:
        ServiceError: the view type is missing, or is there without need.
    """
    view: StreamView | None = specification.get("StreamViewType")
    if not specification["StreamEnabled"]:
        if view is not None:
            raise invalid(
                "Invalid StreamViewType: Stream StreamEnabled was false but a StreamViewType was "
                "present."
            )
        return None
    if view is None:
        raise invalid(
            "Invalid StreamViewType: Stream ViewType must not be null or empty when enabling "
            "streams."
        )
    return view


def encryption(specification: Request) -> Encryption:
    """Server-side encryption as asked for.

    Raises:
        ServiceError: a key or type without encryption by such a key.
    """
    enabled = specification.get("Enabled", False)
    kind, key = specification.get("SSEType"), specification.get("KMSMasterKeyId")
    if not enabled and (kind is not None or key is not None):
        raise wrong("SSEType or KMSMasterKeyId cannot be specified when Enabled is false")
    if kind == "AES256":
        raise wrong("SSEType AES256 is not supported")
    return Encryption(enabled=enabled, kind=kind or ("KMS" if enabled else None), key=key)


def new_schema(request: Request) -> TableSchema:
    """The definition of a new table.

    Raises:
        ServiceError: it breaks one of DynamoDB's rules.
        InvalidSchema: it breaks one for which DynamoDB's words are not known.
    """
    types = definitions_of(request["AttributeDefinitions"])
    local, global_ = _indexes_of(request)
    keys = _keys_of(request, types, alone=not (local or global_))
    local_indexes = tuple(_local_index(each, keys, types) for each in local)
    global_indexes = tuple(new_global_index(each, types) for each in global_)
    _check_names([i.name for i in local_indexes] + [i.name for i in global_indexes])
    _check_all_used(types, keys, local_indexes, global_indexes)
    _check_included([*local_indexes, *global_indexes])
    return TableSchema.parse(
        {
            "name": request["TableName"],
            "hash_key": keys.hash[0],
            "sort_key": keys.sort[0] if keys.sort else None,
            "local_indexes": local_indexes,
            "global_indexes": global_indexes,
        }
    )


def _indexes_of(request: Request) -> tuple[list[Any], list[Any]]:
    for name in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes"):
        if request.get(name) == []:
            raise wrong(f"List of {name} is empty")
    local = request.get("LocalSecondaryIndexes", [])
    global_ = request.get("GlobalSecondaryIndexes", [])
    if len(local) > MAX_LOCAL_INDEXES:
        raise wrong(
            f"Number of LocalSecondaryIndexes exceeds per-table limit of {MAX_LOCAL_INDEXES}"
        )
    if len(global_) > MAX_GLOBAL_INDEXES:
        raise wrong(
            f"GlobalSecondaryIndex count exceeds the per-table limit of {MAX_GLOBAL_INDEXES}"
        )
    return local, global_


def _keys_of(request: Request, types: Definitions, alone: bool) -> Keys:
    schema = request["KeySchema"]
    keys = table_keys(schema, types)
    if alone and len(types) > len(schema):
        raise wrong(
            "Number of attributes in KeySchema does not exactly match number of attributes "
            "defined in AttributeDefinitions"
        )
    return keys


def _local_index(index: Request, table: Keys, types: Definitions) -> LocalIndexSchema:
    name, schema = index["IndexName"], index["KeySchema"]
    if not table.sort:
        raise wrong(
            "Table KeySchema does not have a range key, which is required when specifying a "
            "LocalSecondaryIndex"
        )
    check_order(schema)
    hash_name = schema[0]["AttributeName"]
    if hash_name != table.hash[0].name:
        raise wrong(
            "Index KeySchema does not have the same leading hash key as table KeySchema for "
            f"index: {name}. index hash key: {hash_name}, table hash key: {table.hash[0].name}"
        )
    keys = table_keys(schema, types)
    if not keys.sort:
        raise wrong(f"Index KeySchema does not have a range key for index: {name}")
    projection = projection_of(index["Projection"])
    return LocalIndexSchema(name=name, sort_key=keys.sort[0], projection=projection)


def new_global_index(index: Request, types: Definitions) -> GlobalIndexSchema:
    """The definition of a new GSI.

    Raises:
        ServiceError: it breaks one of DynamoDB's rules.
    """
    keys = global_keys(index["KeySchema"], types)
    projection = projection_of(index["Projection"])
    return GlobalIndexSchema(
        name=index["IndexName"], hash_key=keys.hash, sort_key=keys.sort, projection=projection
    )


def _check_names(names: list[str]) -> None:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise wrong(f"Duplicate index name: {name}")


def _check_all_used(
    types: Definitions,
    keys: Keys,
    local: Iterable[LocalIndexSchema],
    global_: Iterable[GlobalIndexSchema],
) -> None:
    used = [*keys.hash, *keys.sort, *(index.sort_key for index in local)]
    for index in global_:
        used += [*index.hash_key, *index.sort_key]
    names = dict.fromkeys(key.name for key in used)
    if len(names) < len(types):
        raise wrong(
            f"Some AttributeDefinitions are not used. AttributeDefinitions: {shown(types)}, "
            f"keys used: {shown(names)}"
        )


def _check_included(indexes: Iterable[LocalIndexSchema | GlobalIndexSchema]) -> None:
    if sum(len(index.projection.attributes) for index in indexes) > MAX_INCLUDED:
        raise wrong(
            "Number of NonKeyAttributes of all indexes of the table exceeds the limit of "
            f"{MAX_INCLUDED}"
        )


MAX_NAMES = 100
"""In one answer of ListTables."""


def create_table(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """CreateTable.

    The answer says CREATING, as DynamoDB's does, although the table is nearly always ACTIVE
    by then: it stays CREATING only while a shard does not answer.
    """
    refuse_unsupported(request)
    given = request.get("StreamSpecification")
    view = None
    if given is not None:
        if not given["StreamEnabled"] and "StreamViewType" in given:
            raise wrong(
                "Table is being created with a stream disabled, UpdateViewType should not be "
                "specified"
            )
        view = stream_view(given)
    settings, schema = new_settings(request), new_schema(request)
    try:
        table = definitions.begin_table(context.cluster, schema, settings, view)
    except AlreadyExists:
        message = f"Table already exists: {schema.name}"
        raise ServiceError("ResourceInUseException", message) from None
    definitions.finish(context.cluster, table.id)
    return {"TableDescription": describe(context, table, "CREATING")}


def delete_table(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DeleteTable. The answer says DELETING; the table goes at once, or when all shards answer.

    DynamoDB refuses it while an index comes or goes, too; a half-made index may be deleted.
    """
    known = changeable_table(context, request["TableName"])
    if status_of(known) == "UPDATING":
        raise in_use(f"Table is being updated: {known.name}")
    described = describe_dropped(context, known)
    table = definitions.begin_drop_table(context.cluster, known.name)
    definitions.finish(context.cluster, table.id)
    return {"TableDescription": described}


def describe_table(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DescribeTable."""
    return {"Table": describe(context, existing_table(context, request["TableName"]))}


def list_tables(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """ListTables: names in order; the page after a name, whether or not there is such a table."""
    limit = request.get("Limit", MAX_NAMES)
    after = request.get("ExclusiveStartTableName", "")
    names = sorted(name for name in context.cluster.refresh().names if name > after)
    answer: dict[str, Any] = {"TableNames": names[:limit]}
    if len(names) > limit:
        answer["LastEvaluatedTableName"] = names[limit - 1]
    return answer
