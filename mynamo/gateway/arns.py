"""ARNs: the names that tables have across regions and accounts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mynamo.errors import IndexBehind
from mynamo.gateway.errors import ServiceError, invalid

if TYPE_CHECKING:
    from mynamo.gateway.service import Service

_TABLE = re.compile(
    r"arn:aws[a-z0-9-]*:dynamodb:([a-z0-9-]+):(\d{12}):table/([a-zA-Z0-9_.-]{3,255})"
)


def table_arn(service: Service, name: str) -> str:
    """The ARN of a table."""
    return f"arn:aws:dynamodb:{service.region}:{service.account_id}:table/{name}"


def throttled_index(service: Service, failure: IndexBehind) -> dict[str, str]:
    """The ThrottlingReason that names an index which is too far behind."""
    arn = f"{table_arn(service, failure.table)}/index/{failure.index}"
    return {"reason": "IndexWriteProvisionedThroughputExceeded", "resource": arn}


def replace_arns(service: Service, operation: str, request: dict[str, Any]) -> None:
    """Put names of tables in the place of their ARNs, which DynamoDB takes as well.

    Raises:
        ServiceError: it is no table's ARN, or that of another region or account.
    """
    name = request.get("TableName")
    if name is not None and ":" in name:
        request["TableName"] = _name(service, operation, name)
    tables = request.get("RequestItems")
    if tables is not None and any(":" in name for name in tables):
        request["RequestItems"] = {
            _name(service, operation, name) if ":" in name else name: asked
            for name, asked in tables.items()
        }


def table_of_arn(service: Service, operation: str, arn: str) -> str | None:
    """The table's name; None if this is not the ARN of a table.

    Raises:
        ServiceError: AccessDeniedException, for one of another region or account.
    """
    match = _TABLE.fullmatch(arn)
    if match is None:
        return None
    region, account, name = match.groups()
    if (region, account) != (service.region, service.account_id):
        raise ServiceError(
            "AccessDeniedException",
            f"User is not authorized to perform: dynamodb:{operation} on resource: {arn} because "
            f"this is region {service.region} of account {service.account_id}",
        )
    return name


def _name(service: Service, operation: str, arn: str) -> str:
    name = table_of_arn(service, operation, arn)
    if name is None:
        raise invalid("Invalid TableArn: Invalid ResourceArn provided as input " + arn)
    return name
