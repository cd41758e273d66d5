"""Operations on settings: tags, time to live, continuous backups; limits and endpoints.

DynamoDB has continuous backups of every table, and point-in-time recovery of those for which it
is switched on. Here the databases are backed up, with MySQL's own tools, and a table cannot be
taken back to a point in time: nothing says that it could.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from mynamo.catalog import definitions, time_to_live
from mynamo.catalog.tables import Table
from mynamo.gateway.arns import table_of_arn
from mynamo.gateway.context import Call, Context
from mynamo.gateway.operations.table_descriptions import (
    changeable_table,
    check_changeable,
    existing_table,
)
from mynamo.gateway.service_errors import NOT_FOUND, ServiceError, invalid
from mynamo.schemas.table_settings import TableSettings

_SIGNS = "+-=._:/@"
MAX_TAGS = 50
"""Of one table. All of them fit into one answer, so no answer has a NextToken."""


def tag_resource(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """TagResource: adds tags, and replaces the values of those that are there."""
    if not request["Tags"]:
        raise invalid("Atleast one Tag needs to be provided as Input.")
    tags = tags_of(request["Tags"])
    table = _tagged(context, request["ResourceArn"], call)
    check_changeable(table)

    def change(settings: TableSettings) -> TableSettings:
        return settings.with_(tags=_within_limit({**settings.tags, **tags}))

    context.cluster.catalog.change_settings(table.id, change)
    return {}


def untag_resource(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """UntagResource: keys that are not there do no harm."""
    if not request["TagKeys"]:
        raise invalid("Atleast one Tag Key needs to be provided as Input.")
    keys = frozenset(request["TagKeys"])
    table = _tagged(context, request["ResourceArn"], call)
    check_changeable(table)

    def change(settings: TableSettings) -> TableSettings:
        kept = {key: value for key, value in settings.tags.items() if key not in keys}
        return settings.with_(tags=kept)

    context.cluster.catalog.change_settings(table.id, change)
    return {}


def list_tags_of_resource(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """ListTagsOfResource."""
    if "NextToken" in request:
        raise invalid("The provided NextToken is not valid")
    tags = _tagged(context, request["ResourceArn"], call).settings.tags
    return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def tags_of(given: list[dict[str, str]]) -> dict[str, str]:
    """Tags of a request, checked.

    Raises:
        ServiceError: two have one key, a key is AWS's own, a key or value has characters that
            AWS's tags do not have, or there are too many.
    """
    tags: dict[str, str] = {}
    for tag in given:
        key = tag["Key"]
        if key in tags:
            raise invalid(f"One or more parameter values were invalid: Duplicate tag key: {key}")
        if key.lower().startswith("aws:"):
            raise invalid(
                "One or more parameter values were invalid: "
                f"Tag keys that begin with aws: are reserved: {key}"
            )
        _check_characters("key", key)
        _check_characters("value", tag["Value"])
        tags[key] = tag["Value"]
    return _within_limit(tags)


def _check_characters(part: str, text: str) -> None:
    """Letters, numbers and separators of any script (Unicode's L, N and Z), and some signs."""
    if all(each in _SIGNS or unicodedata.category(each)[0] in "LNZ" for each in text):
        return
    raise invalid(
        f"One or more parameter values were invalid: The tag {part} {text!r} has characters that "
        f"are not allowed; letters, white space, numbers and {' '.join(_SIGNS)} are"
    )


def _within_limit(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > MAX_TAGS:
        raise invalid(
            "One or more parameter values were invalid: "
            f"Number of tags exceeds the limit of {MAX_TAGS}"
        )
    return tags


def _tagged(context: Context, arn: str, call: Call) -> Table:
    """The table of an ARN.

    Raises:
        ServiceError: it is not an ARN of a table of this account, or there is no such table.
    """
    name = table_of_arn(context, call.operation, arn)
    table = context.cluster.refresh().names.get(name)
    if table is None:
        # The spelling is AWS's.
        message = f"{NOT_FOUND}: ResourcArn: {arn} not found"
        raise ServiceError("ResourceNotFoundException", message)
    return table


def describe_time_to_live(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DescribeTimeToLive."""
    table = existing_table(context, request["TableName"])
    found = [index for index in table.indexes if index.kind == "TTL"]
    if not found:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
    (index,) = found
    described = {
        "TimeToLiveStatus": time_to_live.STATUSES[index.status],
        "AttributeName": index.expiry,
    }
    return {"TimeToLiveDescription": described}


def update_time_to_live(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """UpdateTimeToLive."""
    specification = request["TimeToLiveSpecification"]
    table = changeable_table(context, request["TableName"])
    change = (
        time_to_live.begin_enabling if specification["Enabled"] else time_to_live.begin_disabling
    )
    change(context.cluster, table.name, specification["AttributeName"])
    definitions.finish(context.cluster, table.id)
    return {"TimeToLiveSpecification": specification}


_NOT_YET = (
    "PointInTimeRecoveryEnabled: mynamo does not support point-in-time recovery yet; back up the "
    "databases with MySQL's own tools, and leave it false"
)


def describe_continuous_backups(
    context: Context, request: dict[str, Any], call: Call
) -> dict[str, Any]:
    """DescribeContinuousBackups."""
    return _described(context, request["TableName"])


def update_continuous_backups(
    context: Context, request: dict[str, Any], call: Call
) -> dict[str, Any]:
    """UpdateContinuousBackups: to switch off what is off succeeds, as with DynamoDB.

    Raises:
        ServiceError: point-in-time recovery is to be switched on.
    """
    described = _described(context, request["TableName"])
    if request["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]:
        raise invalid(_NOT_YET)
    return described


def _described(context: Context, name: str) -> dict[str, Any]:
    if name not in context.cluster.refresh().names:
        raise ServiceError("TableNotFoundException", f"Table not found: {name}")
    return {
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
        }
    }


ACCOUNT_UNITS = 80_000
TABLE_UNITS = 40_000
"""DynamoDB's default quotas, which mynamo does not enforce."""
_CACHE_MINUTES = 1440


def describe_limits(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DescribeLimits."""
    return {
        "AccountMaxReadCapacityUnits": ACCOUNT_UNITS,
        "AccountMaxWriteCapacityUnits": ACCOUNT_UNITS,
        "TableMaxReadCapacityUnits": TABLE_UNITS,
        "TableMaxWriteCapacityUnits": TABLE_UNITS,
    }


def describe_endpoints(context: Context, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DescribeEndpoints: where the client is already, so that it does not go to AWS."""
    return {"Endpoints": [{"Address": call.host, "CachePeriodInMinutes": _CACHE_MINUTES}]}
