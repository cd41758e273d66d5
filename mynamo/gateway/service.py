"""`Service`: one call of DynamoDB's API, from the bytes of a request to those of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from mynamo.catalog.cluster import Cluster
from mynamo.errors import IndexBehind, MynamoError, ThroughputExceeded
from mynamo.gateway.arns import replace_arns, throttling_reason
from mynamo.gateway.audit import AuditLog
from mynamo.gateway.context import Call, Context, Sender
from mynamo.gateway.model.constraints import check
from mynamo.gateway.model.types import parse
from mynamo.gateway.operations import (
    batch_operations,
    item_operations,
    query_operations,
    setting_operations,
    stream_operations,
    table_operations,
    table_updates,
    transact_operations,
)
from mynamo.gateway.operations.consistency import TOKEN_HEADER
from mynamo.gateway.own_writes import AnsweredWrites
from mynamo.gateway.provisioned_throughput import CapacityBuckets, ProvisionedThroughput
from mynamo.gateway.rates import RateLimits, rate_limits
from mynamo.gateway.rights.authorization import authorize, authorize_operator
from mynamo.gateway.service_errors import ServiceError, internal_error, log_failure, service_error
from mynamo.gateway.slow_requests import SlowRequests
from mynamo.gateway.unsupported import UNSUPPORTED
from mynamo.reader import Plan
from mynamo.runtime.tracing import Attributes, current_span
from mynamo.schemas.gateway_config import GatewayConfig

if TYPE_CHECKING:
    from mynamo.metrics.request_metrics import RequestMetrics


class Answer(NamedTuple):
    """What goes back to the client.

    Attributes:
        status: of HTTP.
        body: JSON.
        headers: those that the operation sets; the HTTP layer adds its own.
        plan: of a query or scan that was answered.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    plan: Plan | None = None


class Service:
    """DynamoDB's API on a cluster. Safe to share between threads.

    Args:
        cluster: whose tables are served.
        config: the gateway's; its region and account number appear in ARNs.
        answered: counts that its processes share; None: it is the only one.
        metrics: in which its answers are counted; None: they are not.
        rates: limits that its processes share; None: it is the only one, with those of `config`.
        buckets: of provisioned throughput, that its processes share; None: it is the only one.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: GatewayConfig,
        answered: AnsweredWrites | None = None,
        metrics: RequestMetrics | None = None,
        rates: RateLimits | None = None,
        buckets: CapacityBuckets | None = None,
    ) -> None:
        throughput: ProvisionedThroughput | None = None
        if config.enforce_provisioned_throughput:
            throttled = _nobody_told if metrics is None else metrics.throttled
            throughput = ProvisionedThroughput(buckets or CapacityBuckets(), throttled)
        self.context = Context(cluster, config, answered, throughput)
        self._metrics = metrics
        self._rates = rates or rate_limits(config)
        self._audit = AuditLog(self.context) if cluster.config.log.audit else None
        self._slow = SlowRequests(cluster, cluster.config.log.slow_request_seconds)

    def call(
        self,
        operation: str,
        body: bytes,
        headers: Mapping[str, str],
        request_id: str = "",
        sender: Sender | None = None,
    ) -> Answer:
        """Answer one request; whatever happens, there is an answer and no exception.

        Args:
            operation: the part of X-Amz-Target after the dot.
            body: JSON, as it came (after decompression).
            headers: of the request; names in lower case.
            request_id: by which the answer is known.
            sender: whose policies and rate the request is checked against; None: it came from this
                process, and may do everything.
        """
        host = headers.get("host", "localhost")
        token = headers.get(TOKEN_HEADER)
        call = Call(operation, token, host, len(body), request_id=request_id, sender=sender)
        began = time.perf_counter()
        answer, error = self._answer(call, body)
        seconds = time.perf_counter() - began
        span = current_span.get()
        if span is not None:
            span.set(_told(call, error))
        if self._metrics is not None:
            names = self.context.cluster.snapshot.names
            self._metrics.answered(operation, call.table, names, answer.status, error, seconds)
        if self._audit is not None:
            self._audit.note(call, error)
        if seconds >= self._slow.least:
            self._slow.note(call, error, seconds)
        return answer

    def check_operator(self, sender: Sender, action: str, table: str | None = None) -> None:
        """Check that an operator's action is allowed, which is no operation of DynamoDB's.

        The audit log has refusals.

        Args:
            action, table: see `authorize_operator`.

        Raises:
            ServiceError: AccessDeniedException.
        """
        try:
            authorize_operator(self.context, sender, action, table)
        except ServiceError as error:
            self.note_operator(sender, action, table, error=error.kind)
            raise

    def note_operator(
        self,
        sender: Sender,
        action: str,
        table: str | None = None,
        dead_letter: str = "",
        error: str = "",
    ) -> None:
        """Log an operator's action in the audit log, if it is one that changes something.

        Args:
            action, table: see `authorize_operator`.
            dead_letter: the id of the one that it is about.
            error: the exception's name; empty: it has begun, or is done.
        """
        if self._audit is not None:
            self._audit.note(Call(action, table=table, sender=sender), error, dead_letter)

    def allows_operator(self, sender: Sender, action: str, table: str | None = None) -> bool:
        """Whether an operator's action is allowed; nothing is logged."""
        try:
            authorize_operator(self.context, sender, action, table)
        except ServiceError:
            return False
        return True

    def _answer(self, call: Call, body: bytes) -> tuple[Answer, str]:
        """The answer, and the name of its error; empty: success."""
        try:
            answer = orjson.dumps(self._run(call, body))
            return Answer(200, answer, call.answer_headers, call.plan), ""
        except ServiceError as failure:
            error = failure
        except Exception as failure:
            log_failure(call.operation, failure, call.request_id)
            error = internal_error()
        return Answer(error.status, orjson.dumps(error.body()), call.answer_headers), error.kind

    def _run(self, call: Call, body: bytes) -> dict[str, Any]:
        if self._rates is not None and call.sender is not None:
            self._rates.check_user(call.sender.signer.user)
        handler = OPERATIONS.get(call.operation)
        if handler is None:
            raise _unknown(call.operation)
        request = check(call.operation, parse(body))
        name = request.get("TableName")
        if name is None or ":" in name:
            replace_arns(self.context, call.operation, request)
            name = request.get("TableName")
        call.table = name
        call.request = request
        try:
            if call.sender is not None:
                authorize(self.context, call.sender, call.operation, request)
            if self._rates is not None:
                self._rates.check_tables(self.context, call.operation, request)
            return handler(self.context, request, call)
        except MynamoError as failure:
            error = service_error(failure, request)
            if error.kind == "InternalServerError":
                log_failure(call.operation, failure, call.request_id)
            if isinstance(failure, IndexBehind | ThroughputExceeded):
                error.members["ThrottlingReasons"] = [throttling_reason(self.context, failure)]
            raise error from failure


def _nobody_told(_: str, __: str, ___: str) -> None:
    """There are no metrics."""


def _told(call: Call, error: str) -> Attributes:
    """What a request's span says of it once it is answered."""
    told: dict[str, str | list[str]] = {}
    if tables := _tables(call):
        told["aws.dynamodb.table_names"] = tables
    if index := (call.request or {}).get("IndexName"):
        told["aws.dynamodb.index_name"] = index
    if error:
        told["error.type"] = error
    return told


def _tables(call: Call) -> list[str]:
    """The tables that a request names."""
    if call.table is not None:
        return [call.table]
    request = call.request or {}
    if "RequestItems" in request:
        return sorted(request["RequestItems"])
    actions = [one for each in request.get("TransactItems", ()) for one in each.values()]
    return sorted({action["TableName"] for action in actions})


def _unknown(operation: str) -> ServiceError:
    """The error for an operation that is not there. DynamoDB gives it no text."""
    if operation in UNSUPPORTED:
        message = f"mynamo does not support {operation} yet"
        return ServiceError("UnknownOperationException", message)
    return ServiceError("UnknownOperationException")


Handler = Callable[[Context, dict[str, Any], Call], dict[str, Any]]

OPERATIONS: dict[str, Handler] = {
    "BatchGetItem": batch_operations.batch_get_item,
    "BatchWriteItem": batch_operations.batch_write_item,
    "CreateTable": table_operations.create_table,
    "DeleteItem": item_operations.delete_item,
    "DeleteTable": table_operations.delete_table,
    "DescribeContinuousBackups": setting_operations.describe_continuous_backups,
    "DescribeEndpoints": setting_operations.describe_endpoints,
    "DescribeLimits": setting_operations.describe_limits,
    "DescribeStream": stream_operations.describe_stream,
    "DescribeTable": table_operations.describe_table,
    "DescribeTimeToLive": setting_operations.describe_time_to_live,
    "GetItem": item_operations.get_item,
    "GetRecords": stream_operations.get_records,
    "GetShardIterator": stream_operations.get_shard_iterator,
    "ListStreams": stream_operations.list_streams,
    "ListTables": table_operations.list_tables,
    "ListTagsOfResource": setting_operations.list_tags_of_resource,
    "PutItem": item_operations.put_item,
    "Query": query_operations.query,
    "Scan": query_operations.scan,
    "TagResource": setting_operations.tag_resource,
    "TransactGetItems": transact_operations.transact_get_items,
    "TransactWriteItems": transact_operations.transact_write_items,
    "UntagResource": setting_operations.untag_resource,
    "UpdateContinuousBackups": setting_operations.update_continuous_backups,
    "UpdateItem": item_operations.update_item,
    "UpdateTable": table_updates.update_table,
    "UpdateTimeToLive": setting_operations.update_time_to_live,
}
"""Every operation of the API that mynamo has, by DynamoDB's name."""
