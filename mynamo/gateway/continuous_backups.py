"""DescribeContinuousBackups and UpdateContinuousBackups.

DynamoDB has continuous backups of every table, and point-in-time recovery of those for which it
is switched on. Here the databases are backed up, with MySQL's own tools, and a table cannot be
taken back to a point in time: nothing says that it could.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mynamo.gateway.errors import ServiceError, invalid

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service

_NOT_YET = (
    "PointInTimeRecoveryEnabled: mynamo does not support point-in-time recovery yet; back up the "
    "databases with MySQL's own tools, and leave it false"
)


def describe_continuous_backups(
    service: Service, request: dict[str, Any], call: Call
) -> dict[str, Any]:
    """DescribeContinuousBackups."""
    return _described(service, request["TableName"])


def update_continuous_backups(
    service: Service, request: dict[str, Any], call: Call
) -> dict[str, Any]:
    """UpdateContinuousBackups: to switch off what is off succeeds, as with DynamoDB.

    Raises:
        ServiceError: point-in-time recovery is to be switched on.
    """
    described = _described(service, request["TableName"])
    if request["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]:
        raise invalid(_NOT_YET)
    return described


def _described(service: Service, name: str) -> dict[str, Any]:
    if name not in service.cluster.refresh().names:
        raise ServiceError("TableNotFoundException", f"Table not found: {name}")
    return {
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
        }
    }
