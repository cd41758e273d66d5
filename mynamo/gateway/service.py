"""`Service`: one call of DynamoDB's API, from the bytes of a request to those of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from mynamo.errors import IndexBehind, MynamoError
from mynamo.gateway import (
    batch_reads,
    batch_writes,
    continuous_backups,
    items,
    limits,
    queries,
    table_updates,
    tables,
    tags,
    time_to_live,
)
from mynamo.gateway.answered import AnsweredWrites
from mynamo.gateway.arns import replace_arns, throttled_index
from mynamo.gateway.consistency import TOKEN_HEADER
from mynamo.gateway.errors import ServiceError
from mynamo.gateway.failures import internal_error, log_failure, service_error
from mynamo.gateway.index_reads import OwnWrites
from mynamo.gateway.json_input import parse
from mynamo.gateway.unsupported import STREAM_OPERATIONS, UNSUPPORTED
from mynamo.gateway.validation import check
from mynamo.reader import StoredReader
from mynamo.schemas.gateway import GatewayConfig
from mynamo.shards.cluster import Cluster
from mynamo.shards.statistics import Statistics


class Answer(NamedTuple):
    """What goes back to the client.

    Attributes:
        status: of HTTP.
        body: JSON.
        headers: those that the operation sets; the HTTP layer adds its own.
    """

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Call:
    """What an operation knows of its call besides the request.

    Attributes:
        operation: DynamoDB's name, such as "PutItem".
        token: the consistency token that came along, or None.
        host: by which the client found this server, with the port.
        size: of its JSON, in bytes.
        answer_headers: for the operation to fill.
    """

    operation: str
    token: str | None = None
    host: str = "localhost"
    size: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)


class Service:
    """DynamoDB's API on a cluster. Safe to share between threads.

    Args:
        cluster: whose tables are served.
        config: the gateway's; its region and account number appear in ARNs.
        answered: counts that its processes share; None: it is the only one.

    Attributes:
        own_writes: what reads of GSIs wait by; None: they do not wait.
    """

    def __init__(
        self, cluster: Cluster, config: GatewayConfig, answered: AnsweredWrites | None = None
    ) -> None:
        self.cluster = cluster
        self.reader = StoredReader(cluster)
        self.statistics = Statistics(cluster)
        self.region = config.region
        self.account_id = config.account_id
        self.own_writes: OwnWrites | None = None
        if config.index_reads == "own-writes":
            answered = answered or AnsweredWrites(1, cluster.shards, cluster.partitions)
            self.own_writes = OwnWrites(cluster, answered)

    def call(self, operation: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Answer one request; whatever happens, there is an answer and no exception.

        Args:
            operation: the part of X-Amz-Target after the dot.
            body: JSON, as it came (after decompression).
            headers: of the request; names in lower case.
        """
        host = headers.get("host", "localhost")
        call = Call(operation, headers.get(TOKEN_HEADER), host, len(body))
        try:
            return Answer(200, orjson.dumps(self._run(call, body)), call.answer_headers)
        except ServiceError as failure:
            error = failure
        except Exception as failure:
            log_failure(operation, failure)
            error = internal_error()
        return Answer(error.status, orjson.dumps(error.body()), call.answer_headers)

    def _run(self, call: Call, body: bytes) -> dict[str, Any]:
        handler = OPERATIONS.get(call.operation)
        if handler is None:
            raise _unknown(call.operation)
        request = check(call.operation, parse(body))
        replace_arns(self, call.operation, request)
        try:
            return handler(self, request, call)
        except MynamoError as failure:
            error = service_error(failure, request)
            if error.kind == "InternalServerError":
                log_failure(call.operation, failure)
            if isinstance(failure, IndexBehind):
                error.members["ThrottlingReasons"] = [throttled_index(self, failure)]
            raise error from failure


def _unknown(operation: str) -> ServiceError:
    """The error for an operation that is not there. DynamoDB gives it no text."""
    if operation in UNSUPPORTED | STREAM_OPERATIONS:
        message = f"mynamo does not support {operation} yet"
        return ServiceError("UnknownOperationException", message)
    return ServiceError("UnknownOperationException")


Handler = Callable[[Service, dict[str, Any], Call], dict[str, Any]]

OPERATIONS: dict[str, Handler] = {
    "BatchGetItem": batch_reads.batch_get_item,
    "BatchWriteItem": batch_writes.batch_write_item,
    "CreateTable": tables.create_table,
    "DeleteItem": items.delete_item,
    "DeleteTable": tables.delete_table,
    "DescribeContinuousBackups": continuous_backups.describe_continuous_backups,
    "DescribeEndpoints": limits.describe_endpoints,
    "DescribeLimits": limits.describe_limits,
    "DescribeTable": tables.describe_table,
    "DescribeTimeToLive": time_to_live.describe_time_to_live,
    "GetItem": items.get_item,
    "ListTables": tables.list_tables,
    "ListTagsOfResource": tags.list_tags_of_resource,
    "PutItem": items.put_item,
    "Query": queries.query,
    "Scan": queries.scan,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "UpdateContinuousBackups": continuous_backups.update_continuous_backups,
    "UpdateItem": items.update_item,
    "UpdateTable": table_updates.update_table,
    "UpdateTimeToLive": time_to_live.update_time_to_live,
}
"""Every operation of the API that mynamo has, by DynamoDB's name."""
