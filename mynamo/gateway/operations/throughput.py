"""Billing mode and throughput of requests, by DynamoDB's rules.

`mynamo.gateway.provisioned_throughput` enforces what is provisioned, if it is told to.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mynamo.gateway.operations.key_schemas import wrong
from mynamo.gateway.service_errors import ServiceError, invalid
from mynamo.schemas.table_settings import Capacity, IndexSettings, OnDemand, TableSettings, Warm

MAX_UNITS = 10**12
ON_DEMAND_WARM = Warm(read=12_000, write=4_000)
"""Units per second that a table on demand is ready for, if nothing else is asked for."""
_BOTH_NEEDED = (
    "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is "
    "PROVISIONED"
)
_NEITHER_ALLOWED = (
    "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is "
    "PAY_PER_REQUEST"
)

Given = Mapping[str, Any] | None


def table_capacity(mode: str, given: Given) -> Capacity:
    """The ProvisionedThroughput of a new table, or of one whose billing mode changes.

    Raises:
        ServiceError: it does not go with the billing mode, or is out of bounds.
    """
    if mode == "PAY_PER_REQUEST":
        if given is not None:
            raise wrong(_NEITHER_ALLOWED)
        return Capacity()
    if given is None:
        raise wrong(_BOTH_NEEDED)
    return _capacity(given, "")


def index_capacity(mode: str, given: Given, index: str) -> Capacity:
    """The ProvisionedThroughput of a new GSI.

    Raises:
        ServiceError: see `table_capacity`.
    """
    if mode == "PAY_PER_REQUEST":
        if given is not None:
            raise wrong(
                f"ProvisionedThroughput should not be specified for index: {index} when "
                "BillingMode is PAY_PER_REQUEST"
            )
        return Capacity()
    if given is None:
        raise wrong(
            f"Both ReadCapacityUnits and WriteCapacityUnits must be specified for index: {index}"
        )
    return _capacity(given, f" for index {index}")


def changed_capacity(current: Capacity, given: Mapping[str, Any], what: str) -> Capacity:
    """A ProvisionedThroughput that takes the place of another one.

    Args:
        what: has it: "table", or "index x".

    Raises:
        ServiceError: it is the same, or out of bounds.
    """
    read, write = given["ReadCapacityUnits"], given["WriteCapacityUnits"]
    if (read, write) == (current.read, current.write):
        kind = what.split(" ", maxsplit=1)[0]
        raise invalid(
            f"The provisioned throughput for the {what} will not change. The requested value "
            f"equals the current value. Current ReadCapacityUnits provisioned for the {kind}: "
            f"{current.read}. Requested ReadCapacityUnits: {read}. Current WriteCapacityUnits "
            f"provisioned for the {kind}: {current.write}. Requested WriteCapacityUnits: {write}. "
            "Refer to the Amazon DynamoDB Developer Guide for current limits and how to request "
            "higher limits."
        )
    _capacity(given, "" if what == "table" else f" for {what}")
    now = time.time()
    raised = read > current.read or write > current.write
    lowered = read < current.read or write < current.write
    return Capacity(
        read=read,
        write=write,
        increased_at=now if raised else current.increased_at,
        decreased_at=now if lowered else current.decreased_at,
    )


def on_demand(mode: str, given: Given, current: OnDemand | None = None) -> OnDemand:
    """An OnDemandThroughput.

    Raises:
        ServiceError: it does not go with the billing mode, or is below 1 (-1: no limit).
    """
    if given is None:
        return current or OnDemand()
    if mode == "PROVISIONED":
        raise wrong("OnDemandThroughput cannot be specified when BillingMode is PROVISIONED")
    if not given:
        raise wrong(
            "One of MaxReadRequestUnits or MaxWriteRequestUnits must be specified in "
            "OnDemandThroughput"
        )
    for name, units in given.items():
        if units != -1 and not 1 <= units <= MAX_UNITS:
            raise _out_of_bounds(units, name, "")
    known = current or OnDemand()
    return OnDemand(
        read=given.get("MaxReadRequestUnits", known.read),
        write=given.get("MaxWriteRequestUnits", known.write),
    )


def warm_of(settings: TableSettings, own: TableSettings | IndexSettings) -> Warm:
    """The throughput that a table or an index is ready for, as DynamoDB reckons it: no less
    than what is provisioned, than what was asked for, and, if the table is or ever was on
    demand, than DynamoDB's least for such tables.

    Args:
        settings: of the table.
        own: the same, or those of its index.
    """
    ever = settings.billing_mode == "PAY_PER_REQUEST" or settings.billing_mode_at is not None
    least = ON_DEMAND_WARM if ever else Warm(read=0, write=0)
    capacity, asked = own.capacity, own.warm
    return Warm(
        read=max(capacity.read, asked.read or 0, least.read or 0),
        write=max(capacity.write, asked.write or 0, least.write or 0),
    )


def warmed(given: Given, current: Warm, now: Warm, what: str) -> Warm:
    """A WarmThroughput that was asked for.

    Args:
        current: what was asked for so far.
        now: what there is, see `warm_of`.
        what: is to have it: "table", or "index x".

    Raises:
        ServiceError: it is less than there is, or out of bounds.
    """
    if given is None:
        return current
    if not given:
        raise wrong(
            "One of ReadUnitsPerSecond or WriteUnitsPerSecond must be specified in WarmThroughput"
        )
    for name, least in (("ReadUnitsPerSecond", now.read), ("WriteUnitsPerSecond", now.write)):
        units = given.get(name)
        if units is not None and units < (least or 0):
            raise wrong(
                f"Requested {name} for WarmThroughput for {what} is lower than current "
                "WarmThroughput, decreasing WarmThroughput is not supported"
            )
        if units is not None and units > MAX_UNITS:
            raise _out_of_bounds(units, name, "" if what == "table" else f" for {what}")
    return Warm(
        read=given.get("ReadUnitsPerSecond", current.read),
        write=given.get("WriteUnitsPerSecond", current.write),
    )


def _capacity(given: Mapping[str, Any], where: str) -> Capacity:
    for name in ("ReadCapacityUnits", "WriteCapacityUnits"):
        if given[name] > MAX_UNITS:
            raise _out_of_bounds(given[name], name, where)
    return Capacity(read=given["ReadCapacityUnits"], write=given["WriteCapacityUnits"])


def _out_of_bounds(value: int, name: str, where: str) -> ServiceError:
    return invalid(f"Given value {value} for {name} is out of bounds{where}")
