"""Spans of requests to the gateway: P1 of `docs/design/tracing.md`.

Names and attributes: OpenTelemetry's semantic conventions for HTTP servers, and those for the AWS
SDK, which the client's own span has: https://opentelemetry.io/docs/specs/semconv/cloud-providers/.
"""

from __future__ import annotations

from collections.abc import Callable

from mynamo.gateway.http.messages import Request, Response
from mynamo.gateway.model.request_shapes import STREAM_REQUESTS
from mynamo.runtime.tracing import Span, Tracer, within

FAILED = 500
"""The first status whose span counts as failed: for a server, others are the client's errors."""


def answer_traced(
    tracer: Tracer,
    request: Request,
    operation: str | None,
    request_id: str,
    answer: Callable[[Request, str], Response],
) -> Response:
    """Answer a request within a span, beneath the one that its headers name.

    Args:
        operation: DynamoDB's name; None: there is none of that name.
        request_id: which the answer will have.
    """
    with within(_started(tracer, request, operation, request_id)) as span:
        response = answer(request, request_id)
        if span is not None:
            span.set({"http.response.status_code": response.status})
            if response.status >= FAILED:
                span.fail()
        return response


def _started(
    tracer: Tracer, request: Request, operation: str | None, request_id: str
) -> Span | None:
    told: dict[str, str | int] = {
        "http.request.method": request.method,
        "url.scheme": "https" if request.peer.secure else "http",
        "url.path": request.target.partition("?")[0],
        "aws.request_id": request_id,
    }
    if request.peer.address:
        told["client.address"] = request.peer.address
    name = request.method
    if operation is not None:
        service = "DynamoDB Streams" if operation in STREAM_REQUESTS else "DynamoDB"
        told |= {"rpc.system": "aws-api", "rpc.service": service, "rpc.method": operation}
        name = f"{service}.{operation}"
    return tracer.start(name, "server", told, request.headers)
