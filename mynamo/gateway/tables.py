"""CreateTable, DeleteTable, DescribeTable and ListTables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mynamo.errors import AlreadyExists
from mynamo.gateway.descriptions import describe, describe_dropped, status_of
from mynamo.gateway.errors import ServiceError
from mynamo.gateway.existing import changeable_table, existing_table, in_use
from mynamo.gateway.new_tables import new_schema, new_settings, refuse_unsupported
from mynamo.shards import definitions

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service

MAX_NAMES = 100
"""In one answer of ListTables."""


def create_table(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """CreateTable.

    The answer says CREATING, as DynamoDB's does, although the table is nearly always ACTIVE
    by then: it stays CREATING only while a shard does not answer.
    """
    refuse_unsupported(request)
    settings, schema = new_settings(request), new_schema(request)
    try:
        table = definitions.begin_table(service.cluster, schema, settings)
    except AlreadyExists:
        message = f"Table already exists: {schema.name}"
        raise ServiceError("ResourceInUseException", message) from None
    definitions.finish(service.cluster, table.id)
    return {"TableDescription": describe(service, table, "CREATING")}


def delete_table(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DeleteTable. The answer says DELETING; the table goes at once, or when all shards answer.

    DynamoDB refuses it while an index comes or goes, too; a half-made index may be deleted.
    """
    known = changeable_table(service, request["TableName"])
    if status_of(known) == "UPDATING":
        raise in_use(f"Table is being updated: {known.name}")
    described = describe_dropped(service, known)
    table = definitions.begin_drop_table(service.cluster, known.name)
    definitions.finish(service.cluster, table.id)
    return {"TableDescription": described}


def describe_table(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DescribeTable."""
    return {"Table": describe(service, existing_table(service, request["TableName"]))}


def list_tables(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """ListTables: names in order; the page after a name, whether or not there is such a table."""
    limit = request.get("Limit", MAX_NAMES)
    after = request.get("ExclusiveStartTableName", "")
    names = sorted(name for name in service.cluster.refresh().names if name > after)
    answer: dict[str, Any] = {"TableNames": names[:limit]}
    if len(names) > limit:
        answer["LastEvaluatedTableName"] = names[limit - 1]
    return answer
