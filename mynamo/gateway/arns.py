"""ARNs: the names that tables have across regions and accounts."""

from __future__ import annotations

import re
from typing import Any

from mynamo.errors import IndexBehind, ThroughputExceeded
from mynamo.gateway.context import Context
from mynamo.gateway.service_errors import ServiceError, invalid

_TABLE = re.compile(
    r"arn:aws[a-z0-9-]*:dynamodb:([a-z0-9-]+):(\d{12}):table/([a-zA-Z0-9_.-]{3,255})"
)


_STREAM = re.compile(
    r"arn:aws[a-z0-9-]*:dynamodb:([a-z0-9-]+):(\d{12}):table/([a-zA-Z0-9_.-]{3,255})/stream/"
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})"
)


def stream_arn(context: Context, table: str, label: str) -> str:
    """The ARN of a stream of a table."""
    return f"{table_arn(context, table)}/stream/{label}"


def stream_of_arn(context: Context, operation: str, arn: str) -> tuple[str, str]:
    """The name of the table of a stream, and the stream's label.

    Raises:
        ServiceError: see `table_of_arn`.
    """
    match = _STREAM.fullmatch(arn)
    if match is None:
        raise invalid(f"Invalid StreamArn: Invalid ResourceArn provided as input {arn}")
    region, account, table, label = match.groups()
    _check_place(context, operation, arn, region, account)
    return table, label


def table_arn(context: Context, name: str) -> str:
    """The ARN of a table."""
    return f"arn:aws:dynamodb:{context.region}:{context.account_id}:table/{name}"


def throttling_reason(
    context: Context, failure: IndexBehind | ThroughputExceeded
) -> dict[str, str]:
    """The ThrottlingReason: an index that is too far behind, or whose capacity is used up."""
    reads = isinstance(failure, ThroughputExceeded) and failure.access == "read"
    access = "Read" if reads else "Write"
    what, arn = "Table", table_arn(context, failure.table)
    if failure.index is not None:
        what, arn = "Index", f"{arn}/index/{failure.index}"
    return {"reason": f"{what}{access}ProvisionedThroughputExceeded", "resource": arn}


def replace_arns(context: Context, operation: str, request: dict[str, Any]) -> None:
    """Put names of tables in the place of their ARNs, which DynamoDB takes as well.

    Raises:
        ServiceError: it is no table's ARN, or that of another region or account; or a batch
            names one table twice, by its name and by an ARN.
    """
    name = request.get("TableName")
    if name is not None and ":" in name:
        request["TableName"] = table_of_arn(context, operation, name)
    tables = request.get("RequestItems")
    if tables is not None:
        request["RequestItems"] = _by_name(context, operation, tables)
    for entry in request.get("TransactItems", ()):
        for action in entry.values():
            if ":" in action["TableName"]:
                action["TableName"] = table_of_arn(context, operation, action["TableName"])


def table_of_arn(context: Context, operation: str, arn: str) -> str:
    """The table's name.

    Raises:
        ServiceError: ValidationException, if this is not the ARN of a table;
            AccessDeniedException, for one of another region or account.
    """
    match = _TABLE.fullmatch(arn)
    if match is None:
        raise invalid("Invalid TableArn: Invalid ResourceArn provided as input " + arn)
    region, account, name = match.groups()
    _check_place(context, operation, arn, region, account)
    return name


def _check_place(context: Context, operation: str, arn: str, region: str, account: str) -> None:
    if (region, account) != (context.region, context.account_id):
        raise ServiceError(
            "AccessDeniedException",
            f"User is not authorized to perform: dynamodb:{operation} on resource: {arn} because "
            f"this is region {context.region} of account {context.account_id}",
        )


def _by_name(context: Context, operation: str, tables: dict[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for given, asked in tables.items():
        name = table_of_arn(context, operation, given) if ":" in given else given
        if name in named:  # to take one part for the other would lose what it asks
            raise invalid(f"Provided list of tables contains duplicates: {name}")
        named[name] = asked
    return named
