"""mynamo's exceptions as DynamoDB's errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mynamo.errors import (
    AlreadyExists,
    ConditionFailed,
    ConfigError,
    ConsistencyTimeout,
    IndexBehind,
    IndexNotFound,
    IndexNotReady,
    InvalidRequest,
    MynamoError,
    NotFound,
    TableProtected,
    Unavailable,
    WriteOutcomeUnknown,
)
from mynamo.gateway.errors import ServiceError, invalid
from mynamo.shards.failures import DuplicateKey, StatementRefused

log = logging.getLogger(__name__)

NOT_FOUND = "Requested resource not found"
_INDEX_BEHIND = (
    "The level of configured provisioned throughput for one or more global secondary indexes of "
    "the table was exceeded. Consider increasing your provisioning level for the "
    "under-provisioned global secondary indexes with the UpdateTable API"
)


def service_error(failure: MynamoError, request: Mapping[str, Any]) -> ServiceError:
    """What DynamoDB would answer.

    What a client had better try again has a status from 500 on, or is throttled: SDKs try
    both again by themselves.

    Args:
        request: that failed, checked; it decides what some errors say.
    """
    match failure:
        case ConditionFailed():
            return _condition_failed(failure, request)
        case IndexNotFound():
            name = request.get("IndexName")
            return invalid(f"The table does not have the specified index: {name}")
        case NotFound():
            return ServiceError("ResourceNotFoundException", NOT_FOUND)
        case IndexNotReady():
            name = request.get("IndexName")
            return invalid(f"Cannot read from backfilling global secondary index: {name}")
        case AlreadyExists():
            return ServiceError("ResourceInUseException", str(failure))
        case ConfigError():  # ours, although it is an InvalidRequest
            return internal_error()
        case InvalidRequest() | TableProtected():
            return invalid(str(failure))
        case WriteOutcomeUnknown():
            return ServiceError("InternalServerError", str(failure), 500)
        case IndexBehind():
            return ServiceError(
                "ProvisionedThroughputExceededException", f"{_INDEX_BEHIND} ({failure})"
            )
        case Unavailable() | ConsistencyTimeout():
            return ServiceError("ServiceUnavailableException", str(failure), 503)
        case _:
            return internal_error()


def internal_error() -> ServiceError:
    """For what nobody foresaw; the log has the rest."""
    return ServiceError("InternalServerError", "Internal server error", 500)


def log_failure(operation: str, failure: Exception) -> None:
    """Log what a client hears of as InternalServerError only.

    MySQL's own words may quote items' values, so of those the kind is logged, and the place.
    """
    shown = type(failure)() if isinstance(failure, DuplicateKey | StatementRefused) else failure
    log.error(
        "%s failed, not by its client's fault",
        operation,
        exc_info=(type(failure), shown, failure.__traceback__),
    )


def _condition_failed(failure: ConditionFailed, request: Mapping[str, Any]) -> ServiceError:
    asked = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    error = ServiceError("ConditionalCheckFailedException", "The conditional request failed")
    if asked and failure.item is not None:
        error.members["Item"] = failure.item
    return error
