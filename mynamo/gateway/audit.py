"""`AuditLog`: who changed tables, their settings or a cluster, and who was refused for lack of
rights."""

from __future__ import annotations

import logging

from mynamo.errors import MynamoError
from mynamo.gateway.call_lines import line_of
from mynamo.gateway.context import Call, Context
from mynamo.gateway.log_throttle import LogThrottle
from mynamo.gateway.policies.iam_actions import REPAIR, REPLAY_DEAD_LETTERS
from mynamo.gateway.rights.touched import tables_touched
from mynamo.gateway.service_errors import ServiceError
from mynamo.schemas.config import AUDIT_LOGGER

log = logging.getLogger(AUDIT_LOGGER)

CONTROL_PLANE = frozenset({
    "CreateTable", "DeleteTable", "TagResource", "UntagResource", "UpdateContinuousBackups",
    "UpdateTable", "UpdateTimeToLive", REPAIR, REPLAY_DEAD_LETTERS,
})  # fmt: skip
SUCCESS = "success"


class AuditLog:
    """Logs calls of the control plane, and refusals with AccessDeniedException of all operations.

    Each call that succeeded has its line. Of those that failed, the first of each second and user
    has one, with how many there were besides: a client without rights cannot fill a disk. A line
    has nothing of items, keys included, and no secret.

    Args:
        context: of the gateway.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._failures = LogThrottle()

    def note(self, call: Call, error: str, dead_letter: str = "") -> None:
        """Log a call that was answered, if it is of these.

        Args:
            error: the exception's name; empty: success.
            dead_letter: the id of the one that was replayed.
        """
        if call.operation not in CONTROL_PLANE and error != "AccessDeniedException":
            return
        sender = call.sender
        user = None if sender is None else sender.signer.user
        left_out = self._failures.due(user or "") if error else 0
        if left_out is None:
            return
        fields = line_of(
            call,
            table=self._tables(call),
            dead_letter=dead_letter,
            user=user,
            address=None if sender is None else sender.peer.address,
            outcome=error or SUCCESS,
            more=left_out,
        )
        message = "control plane" if call.operation in CONTROL_PLANE else "access denied"
        log.info(message, extra=fields)

    def _tables(self, call: Call) -> str:
        """The names of its tables, with commas; empty: it has none, or the request is not valid."""
        if call.table is not None or not call.request:
            return call.table or ""
        try:
            return ",".join(sorted(tables_touched(self._context, call.operation, call.request)))
        except (MynamoError, ServiceError):  # as the answer has said
            return ""
