"""`SlowRequests`: a line in the log for requests that took long."""

from __future__ import annotations

import logging
import math

from mynamo.catalog.cluster import Cluster
from mynamo.errors import MynamoError
from mynamo.gateway.call_lines import line_of
from mynamo.gateway.context import Call
from mynamo.gateway.log_throttle import LogThrottle

log = logging.getLogger(__name__)


class SlowRequests:
    """Logs the first slow request of each second, and how many there were besides: while a shard
    is away, all its requests take long.

    A line has the operation, the table, the shard or the plan, how long it took and how it ended.
    It has nothing of items, keys included.

    Args:
        cluster: whose tables are served.
        seconds: that a request takes to be slow; 0: none is.
    """

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        self._cluster = cluster
        self.least = seconds or math.inf
        self._throttle = LogThrottle()

    def note(self, call: Call, error: str, seconds: float) -> None:
        """Log a request, unless another one was logged just before.

        Args:
            error: the exception's name; empty: success.
            seconds: that it took.
        """
        left_out = self._throttle.due()
        if left_out is None:
            return
        fields = line_of(
            call,
            table=call.table,
            seconds=round(seconds, 3),
            error=error,
            shard=self._shard(call),
            plan=None if call.plan is None else str(call.plan),
            more=left_out,
        )
        log.warning("a request took long", extra=fields)

    def _shard(self, call: Call) -> int | None:
        """The number of the shard of the one item that a request is for."""
        request = call.request or {}
        key = request.get("Key") or request.get("Item")
        table = self._cluster.snapshot.names.get(call.table or "")
        if key is None or table is None:
            return None
        try:
            return self._cluster.shard_id_of(table.key_of(key).hash)
        except MynamoError:  # it is no key of the table, as the answer has said
            return None
