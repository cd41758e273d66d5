"""DescribeTimeToLive and UpdateTimeToLive: which attribute says when an item expires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mynamo.gateway.errors import invalid
from mynamo.gateway.existing import changeable_table, existing_table
from mynamo.schemas.settings import TableSettings, TimeToLive

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service


def describe_time_to_live(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DescribeTimeToLive."""
    ttl = existing_table(service, request["TableName"]).settings.ttl
    described = {"TimeToLiveStatus": "ENABLED" if ttl.enabled else "DISABLED"}
    if ttl.enabled and ttl.attribute is not None:
        described["AttributeName"] = ttl.attribute
    return {"TimeToLiveDescription": described}


def update_time_to_live(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """UpdateTimeToLive."""
    specification = request["TimeToLiveSpecification"]
    enabled, attribute = specification["Enabled"], specification["AttributeName"]

    def change(settings: TableSettings) -> TableSettings:
        _check(settings.ttl, enabled, attribute)
        return settings.with_(ttl=TimeToLive(attribute=attribute, enabled=enabled))

    table = changeable_table(service, request["TableName"])
    service.cluster.catalog.change_settings(table.id, change)
    return {"TimeToLiveSpecification": specification}


def _check(current: TimeToLive, enabled: bool, attribute: str) -> None:
    """DynamoDB's rules for going from one state to another."""
    if enabled and current.enabled:
        if current.attribute == attribute:
            raise invalid("TimeToLive is already enabled")
        raise _other_attribute(current)
    if not enabled and not current.enabled:
        raise invalid("TimeToLive is already disabled")
    if not enabled and current.attribute != attribute:
        raise _other_attribute(current)


def _other_attribute(current: TimeToLive) -> Exception:
    return invalid(
        "TimeToLive is active on a different AttributeName: "
        f"current AttributeName is {current.attribute}"
    )
