"""Errors as DynamoDB's API answers them, and mynamo's exceptions as such."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mynamo.errors import (
    AlreadyExists,
    ConditionFailed,
    ConfigError,
    ConsistencyTimeout,
    IdempotentParameterMismatch,
    IndexBehind,
    IndexNotFound,
    IndexNotReady,
    InvalidRequest,
    IteratorExpired,
    MynamoError,
    NotFound,
    RecordsTrimmed,
    StreamNotFound,
    StreamShardNotFound,
    TableProtected,
    ThroughputExceeded,
    TransactionCanceled,
    TransactionConflict,
    TransactionInProgress,
    Unavailable,
    WriteOutcomeUnknown,
    cancellation_code,
)
from mynamo.mysql.failures import DuplicateKey, StatementRefused

_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
_CORAL = "com.amazon.coral.service#"
_AVAILABILITY = "com.amazon.coral.availability#"
_VALIDATE = "com.amazon.coral.validate#"
_NAMESPACES = {
    "ValidationException": _VALIDATE,
    "AccessDeniedException": _CORAL,
    "ExpiredTokenException": _CORAL,
    "IncompleteSignatureException": _CORAL,
    "InvalidSignatureException": _CORAL,
    "MissingAuthenticationTokenException": _CORAL,
    "SerializationException": _CORAL,
    "ServiceUnavailableException": _CORAL,
    "ThrottlingException": _AVAILABILITY,
    "UnknownOperationException": _CORAL,
    "UnrecognizedClientException": _CORAL,
}
_CAPITAL = frozenset(
    {"AccessDeniedException", "SerializationException", "TransactionCanceledException"}
)
"""Where AWS spells the member `Message` differently from all other errors."""


class ServiceError(Exception):
    """An answer that is an error; it never leaves the gateway.

    Args:
        kind: the exception's name, such as "ResourceNotFoundException".
        message: its text; None for the few answers that have none.
        status: of the HTTP answer.
        members: further members of the answer, such as `Item`.
    """

    def __init__(
        self, kind: str, message: str | None = None, status: int = 400, **members: Any
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.members = members

    def body(self) -> dict[str, Any]:
        """The answer's JSON object."""
        named = {"__type": _NAMESPACES.get(self.kind, _DYNAMODB) + self.kind}
        if self.message is not None:
            named["Message" if self.kind in _CAPITAL else "message"] = self.message
        return {**named, **self.members}


def invalid(message: str) -> ServiceError:
    """A ValidationException."""
    return ServiceError("ValidationException", message)


log = logging.getLogger(__name__)

NOT_FOUND = "Requested resource not found"
_INDEX_BEHIND = (
    "The level of configured provisioned throughput for one or more global secondary indexes of "
    "the table was exceeded. Consider increasing your provisioning level for the "
    "under-provisioned global secondary indexes with the UpdateTable API"
)
_TABLE_EXCEEDED = (
    "The level of configured provisioned throughput for the table was exceeded. Consider "
    "increasing your provisioning level with the UpdateTable API."
)


_CONDITION_FAILED = "The conditional request failed"
_CONFLICT = "Transaction is ongoing for the item"
_IN_PROGRESS = "Transaction from previous request is still in progress"
_OTHER_REQUEST = (
    "DynamoDB rejected the request because you retried a request with a different payload but "
    "with an idempotent token that was already used."
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
        case TransactionCanceled():
            return _cancelled(failure, request)
        case TransactionConflict():
            return ServiceError("TransactionConflictException", _CONFLICT)
        case TransactionInProgress():
            return ServiceError("TransactionInProgressException", _IN_PROGRESS)
        case IdempotentParameterMismatch():
            return ServiceError("IdempotentParameterMismatchException", _OTHER_REQUEST)
        case IndexNotFound():
            name = request.get("IndexName")
            return invalid(f"The table does not have the specified index: {name}")
        case StreamNotFound() | StreamShardNotFound():
            return ServiceError("ResourceNotFoundException", str(failure))
        case NotFound():
            return ServiceError("ResourceNotFoundException", NOT_FOUND)
        case RecordsTrimmed():
            return ServiceError("TrimmedDataAccessException", str(failure))
        case IteratorExpired():
            return ServiceError("ExpiredIteratorException", str(failure))
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
        case ThroughputExceeded():
            return ServiceError("ProvisionedThroughputExceededException", _exceeded(failure))
        case Unavailable() | ConsistencyTimeout():
            return ServiceError("ServiceUnavailableException", str(failure), 503)
        case _:
            return internal_error()


def internal_error() -> ServiceError:
    """For what nobody foresaw; the log has the rest."""
    return ServiceError("InternalServerError", "Internal server error", 500)


def log_failure(operation: str, failure: Exception, request_id: str) -> None:
    """Log what a client hears of as InternalServerError only.

    MySQL's own words may quote items' values, so of those the kind is logged, and the place.
    """
    shown = type(failure)() if isinstance(failure, DuplicateKey | StatementRefused) else failure
    log.error(
        "%s failed, not by its client's fault",
        operation,
        exc_info=(type(failure), shown, failure.__traceback__),
        extra={"fields": {"request": request_id}},
    )


def _exceeded(failure: ThroughputExceeded) -> str:
    return _TABLE_EXCEEDED if failure.index is None else f"{_INDEX_BEHIND}."


def _condition_failed(failure: ConditionFailed, request: Mapping[str, Any]) -> ServiceError:
    members = _item_asked_for(failure, request)
    return ServiceError("ConditionalCheckFailedException", _CONDITION_FAILED, **members)


def _item_asked_for(failure: ConditionFailed, given: Mapping[str, Any]) -> dict[str, Any]:
    """The member that shows the item, if the write asks for it and there was one."""
    asked = given.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    return {"Item": failure.item} if asked and failure.item is not None else {}


def _cancelled(failure: TransactionCanceled, request: Mapping[str, Any]) -> ServiceError:
    """TransactionCanceledException with a reason per entry of the request.

    Of entries that are not valid DynamoDB names the first one, and then nothing else: it looks at
    no conditions. What is nobody's reason, such as a damaged item, fails the request as it would
    fail a write by itself.
    """
    found = list(failure.reasons)
    for reason in found:
        if reason is not None and cancellation_code(reason) is None:
            return service_error(reason, request)
    first = next((n for n, reason in enumerate(found) if isinstance(reason, InvalidRequest)), None)
    if first is not None:
        found = [reason if n == first else None for n, reason in enumerate(found)]
    entries = request.get("TransactItems", [{}] * len(found))
    reasons = [_reason(*each) for each in zip(found, entries, strict=True)]
    codes = ", ".join(reason["Code"] for reason in reasons)
    return ServiceError(
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        CancellationReasons=reasons,
    )


def _reason(failure: MynamoError | None, entry: Mapping[str, Any]) -> dict[str, Any]:
    code: dict[str, Any] = {"Code": cancellation_code(failure)}
    match failure:
        case None:
            return code
        case ConditionFailed():
            (given,) = entry.values()
            return {**code, "Message": _CONDITION_FAILED, **_item_asked_for(failure, given)}
        case TransactionConflict():
            return {**code, "Message": _CONFLICT}
        case IndexBehind():
            return {**code, "Message": f"{_INDEX_BEHIND} ({failure})"}
        case ThroughputExceeded():
            return {**code, "Message": _exceeded(failure)}
        case _:
            return {**code, "Message": str(failure)}
