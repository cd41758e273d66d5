"""What a write answers with: DynamoDB's ReturnValues.

Source: Amazon DynamoDB API Reference, PutItem, DeleteItem and UpdateItem, `ReturnValues`.
"""

from __future__ import annotations

from typing import Literal, get_args

from mynamo.errors import InvalidRequest
from mynamo.schemas.values import StoredItem
from mynamo.writer.evaluation import Done
from mynamo.writer.requests import Operation, WriteRequest

ReturnValues = Literal["NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"]


def check_return_values(kind: str, operation: Operation) -> None:
    """Refuse what this operation cannot return.

    Raises:
        InvalidRequest: puts and deletes return NONE or ALL_OLD only.
    """
    allowed = get_args(ReturnValues) if operation == "UPDATE" else ("NONE", "ALL_OLD")
    if kind not in allowed:
        raise InvalidRequest("Return values set to invalid value")


def returned(kind: ReturnValues, request: WriteRequest, done: Done) -> StoredItem | None:
    """The attributes that a write answers with.

    Args:
        kind: which; one that `check_return_values` lets pass.
        request: as it was applied.
        done: what came of it.

    Returns:
        None if the answer has no attributes: none were asked for, or there are none, as in
        the old item of a new one. UPDATED_OLD and UPDATED_NEW have what stands at the update's
        paths before and after it, and leave out what is not there.
    """
    if kind == "ALL_OLD":
        return done.old
    if kind == "ALL_NEW":
        return done.new
    if request.update is None:
        return None
    if kind == "UPDATED_OLD" and done.old is not None:
        return request.update.touched(done.old) or None
    if kind == "UPDATED_NEW" and done.new is not None:
        return request.update.touched(done.new) or None
    return None
