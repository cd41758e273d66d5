"""MySQL's errors, sorted by what a caller can do."""

import pymysql
import pytest

from mynamo.errors import CorruptData, ShardUnavailable
from mynamo.mysql.failures import (
    Contention,
    Deadlock,
    DuplicateKey,
    LostConnection,
    MissingTable,
    StatementRefused,
    translate,
    unreachable,
)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1205, Contention),
        (1213, Deadlock),
        (1062, DuplicateKey),
        (1146, MissingTable),
        (2013, LostConnection),
        (1317, LostConnection),
        (1406, StatementRefused),
        (1153, StatementRefused),
        (1290, ShardUnavailable),
    ],
)
def test_known_codes(code: int, kind: type[Exception]) -> None:
    failure = translate(pymysql.err.OperationalError(code, "said MySQL"), "shard 1")
    assert type(failure) is kind
    assert "shard 1" in str(failure)


def test_an_answer_out_of_step_is_a_lost_connection() -> None:
    """As a server that is stopped may send it: whatever was asked for may have happened."""
    error = pymysql.err.InternalError("Packet sequence number wrong - got 1 expected 2")
    assert type(translate(error, "shard 1")) is LostConnection


@pytest.mark.parametrize("code", [1203, 1226, 1129, 1041, 1206, 1180, 1030, 1969, 9999])
def test_what_may_pass_is_never_taken_for_the_datas_fault(code: int) -> None:
    """An indexer puts aside what MySQL refuses: that must not happen to healthy events."""
    failure = translate(pymysql.err.OperationalError(code, "said MySQL"), "shard 1")
    assert type(failure) is ShardUnavailable
    assert not isinstance(failure, CorruptData)


def test_a_failure_to_connect_is_never_a_statements_fault() -> None:
    failure = unreachable(pymysql.err.OperationalError(1064, "said MySQL"), "shard 1")
    assert isinstance(failure, ShardUnavailable)
