"""Which of DynamoDB's errors stands for which of mynamo's."""

from __future__ import annotations

from typing import Any

import pytest

from mynamo import errors
from mynamo.gateway.service_errors import log_failure, service_error
from mynamo.mysql.failures import DuplicateKey, StatementRefused

CASES: list[tuple[errors.MynamoError, str, int, str | None]] = [
    (errors.InvalidItem("as it is"), "ValidationException", 400, "as it is"),
    (errors.InvalidExpression("as it is"), "ValidationException", 400, "as it is"),
    (errors.InvalidToken("as it is"), "ValidationException", 400, "as it is"),
    (errors.TableProtected("as it is"), "ValidationException", 400, "as it is"),
    (errors.TableNotFound("any"), "ResourceNotFoundException", 400, "Requested resource not found"),
    (errors.IndexNotFound("any"), "ValidationException", 400,
     "The table does not have the specified index: by-x"),
    (errors.IndexNotReady("any"), "ValidationException", 400,
     "Cannot read from backfilling global secondary index: by-x"),
    (errors.AlreadyExists("Table already exists: t"), "ResourceInUseException", 400,
     "Table already exists: t"),
    (errors.ConditionFailed(), "ConditionalCheckFailedException", 400,
     "The conditional request failed"),
    (errors.TransactionConflict("any"), "TransactionConflictException", 400,
     "Transaction is ongoing for the item"),
    (errors.TransactionInProgress("any"), "TransactionInProgressException", 400,
     "Transaction from previous request is still in progress"),
    (errors.IdempotentParameterMismatch("any"), "IdempotentParameterMismatchException", 400,
     "DynamoDB rejected the request because you retried a request with a different payload but "
     "with an idempotent token that was already used."),
    (errors.ShardUnavailable("s"), "ServiceUnavailableException", 503, "s"),
    (errors.LogUnavailable("s"), "ServiceUnavailableException", 503, "s"),
    (errors.ConsistencyTimeout("s"), "ServiceUnavailableException", 503, "s"),
    (errors.WriteOutcomeUnknown("s"), "InternalServerError", 500, "s"),
    (errors.CorruptData("secret"), "InternalServerError", 500, "Internal server error"),
    (errors.ConfigError("secret"), "InternalServerError", 500, "Internal server error"),
    (errors.MynamoError("secret"), "InternalServerError", 500, "Internal server error"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("failure", "kind", "status", "message"), CASES, ids=lambda case: type(case).__name__
)
def test_each_has_its_own(
    failure: errors.MynamoError, kind: str, status: int, message: str | None
) -> None:
    error = service_error(failure, {"IndexName": "by-x"})
    assert (error.kind, error.status, error.message) == (kind, status, message)


def test_every_failure_has_an_answer() -> None:
    """Whatever is added to the tree, this finds something to say."""

    def tree(kind: type[errors.MynamoError]) -> list[type[errors.MynamoError]]:
        return [kind, *(each for below in kind.__subclasses__() for each in tree(below))]

    for kind in (each for each in tree(errors.MynamoError) if each.__module__ == errors.__name__):
        assert service_error(kind(), {}).body()["__type"].count("#") == 1


@pytest.mark.parametrize(
    ("asked", "found", "members"),
    [
        ("ALL_OLD", {"a": {"S": "x"}}, {"Item": {"a": {"S": "x"}}}),
        ("ALL_OLD", None, {}),
        ("NONE", {"a": {"S": "x"}}, {}),
        (None, {"a": {"S": "x"}}, {}),
    ],
)
def test_a_failed_condition_shows_the_item_to_those_who_ask(
    asked: str | None, found: dict[str, dict[str, Any]] | None, members: dict[str, Any]
) -> None:
    request = {"ReturnValuesOnConditionCheckFailure": asked} if asked else {}
    assert service_error(errors.ConditionFailed(item=found), request).members == members


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (None, "None"),
        (errors.ConditionFailed(), "ConditionalCheckFailed"),
        (errors.TransactionConflict(), "TransactionConflict"),
        (errors.IndexBehind(), "ProvisionedThroughputExceeded"),
        (errors.InvalidItem(), "ValidationError"),
        (errors.InvalidExpression(), "ValidationError"),
        (errors.CorruptData(), None),
        (errors.ShardUnavailable(), None),
    ],
)
def test_a_reason_has_a_code_or_fails_the_request(
    reason: errors.MynamoError | None, code: str | None
) -> None:
    assert errors.cancellation_code(reason) == code
    failure = service_error(errors.TransactionCanceled(reasons=[reason]), {"TransactItems": [PUT]})
    assert (failure.kind == "TransactionCanceledException") == (code is not None)
    if code is not None:
        assert failure.members["CancellationReasons"][0]["Code"] == code


PUT: dict[str, Any] = {"Put": {}}
SHOWN = {"Update": {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}}
ITEM = {"a": {"S": "x"}}
FAILED = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
NONE = {"Code": "None"}
CONFLICT = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}


@pytest.mark.parametrize(
    ("reasons", "entries", "shown", "codes"),
    [
        ([errors.ConditionFailed(item=ITEM), None], [SHOWN, PUT], [FAILED | {"Item": ITEM}, NONE],
         "ConditionalCheckFailed, None"),
        ([None, errors.ConditionFailed(item=ITEM)], [SHOWN, PUT], [NONE, FAILED],
         "None, ConditionalCheckFailed"),
        ([errors.ConditionFailed()], [SHOWN], [FAILED], "ConditionalCheckFailed"),
        ([errors.TransactionConflict(), errors.ConditionFailed()], [PUT, PUT], [CONFLICT, FAILED],
         "TransactionConflict, ConditionalCheckFailed"),
        # Who looks for what is not valid looks at no conditions, and stops at the first one.
        ([errors.ConditionFailed(), errors.InvalidItem("a"), errors.InvalidItem("b")],
         [PUT, PUT, PUT], [NONE, {"Code": "ValidationError", "Message": "a"}, NONE],
         "None, ValidationError, None"),
    ],
)  # fmt: skip
def test_a_cancelled_transaction_has_a_reason_for_each_entry(
    reasons: list[errors.MynamoError | None], entries: list[Any], shown: list[Any], codes: str
) -> None:
    failure = errors.TransactionCanceled(reasons=reasons)
    assert service_error(failure, {"TransactItems": entries}).body() == {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons "
        f"[{codes}]",
        "CancellationReasons": shown,
    }


def test_an_index_that_is_behind_is_a_reason() -> None:
    failure = errors.TransactionCanceled(reasons=[errors.IndexBehind("10 s")])
    (reason,) = service_error(failure, {"TransactItems": [PUT]}).members["CancellationReasons"]
    assert reason["Code"] == "ProvisionedThroughputExceeded"
    assert reason["Message"].endswith("(10 s)")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (errors.CorruptData(), "InternalServerError"),
        (errors.InternalError(), "InternalServerError"),
        (errors.TableNotFound(), "ResourceNotFoundException"),
        (errors.ShardUnavailable(), "ServiceUnavailableException"),
    ],
)
def test_what_is_no_reason_of_dynamodbs_fails_the_request(
    reason: errors.MynamoError, kind: str
) -> None:
    failure = errors.TransactionCanceled(reasons=[errors.ConditionFailed(), reason])
    assert service_error(failure, {"TransactItems": [PUT, PUT]}).kind == kind


@pytest.mark.parametrize(
    ("failure", "quoted"),
    [
        (errors.CorruptData("table 7 is damaged"), True),
        (RuntimeError("table 7 is damaged"), True),
        (DuplicateKey("shard 1: Duplicate entry 'table 7 is damaged' for key"), False),
        (StatementRefused("shard 1: Incorrect value: 'table 7 is damaged'"), False),
    ],
)
def test_the_log_has_the_place_and_no_items(
    failure: Exception, quoted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """MySQL's words quote what was to be written, unlike ours."""
    try:
        raise failure
    except Exception as caught:
        log_failure("PutItem", caught, "ID")
    assert "PutItem failed" in caplog.text
    assert type(failure).__name__ in caplog.text
    assert "test_the_log_has_the_place_and_no_items" in caplog.text
    assert ("table 7 is damaged" in caplog.text) == quoted
