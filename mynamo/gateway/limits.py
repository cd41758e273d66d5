"""Operations that tell of the service itself: quotas, endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mynamo.gateway.service import Call, Service

ACCOUNT_UNITS = 80_000
TABLE_UNITS = 40_000
"""DynamoDB's default quotas, which mynamo does not enforce."""
_CACHE_MINUTES = 1440


def describe_limits(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DescribeLimits."""
    return {
        "AccountMaxReadCapacityUnits": ACCOUNT_UNITS,
        "AccountMaxWriteCapacityUnits": ACCOUNT_UNITS,
        "TableMaxReadCapacityUnits": TABLE_UNITS,
        "TableMaxWriteCapacityUnits": TABLE_UNITS,
    }


def describe_endpoints(service: Service, request: dict[str, Any], call: Call) -> dict[str, Any]:
    """DescribeEndpoints: where the client is already, so that it does not go to AWS."""
    return {"Endpoints": [{"Address": call.host, "CachePeriodInMinutes": _CACHE_MINUTES}]}
