"""DynamoDB's protocol on HTTP: what stands between a request's bytes and `Service.call`.

In DynamoDB's order: the method, the path, the content type, the signature, the JSON, the
operation's name, and then the operation itself.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import orjson

from mynamo.gateway.context import Sender, Signer
from mynamo.gateway.http.bodies import COMPRESS_FROM_BYTES, checksum, compressed, decompressed
from mynamo.gateway.http.cors import Cors
from mynamo.gateway.http.messages import LARGE_BODY, Request, Response
from mynamo.gateway.http.request_spans import answer_traced
from mynamo.gateway.model.request_shapes import STREAM_REQUESTS
from mynamo.gateway.model.types import parse
from mynamo.gateway.service_errors import ServiceError, internal_error
from mynamo.runtime.tasks import in_thread
from mynamo.runtime.tracing import Tracer, current_span
from mynamo.schemas.gateway_config import GatewayConfig

log = logging.getLogger(__name__)

JSON = "application/x-amz-json-1.0"
CONTENT_TYPES = frozenset({JSON, "application/json"})
TARGET_PREFIX = "DynamoDB_20120810."
STREAMS_PREFIX = "DynamoDBStreams_20120810."
HEALTH_PATHS = frozenset({"/health", "/healthz"})

_random = random.Random()  # noqa: S311 - ids need to differ, not to be secret
os.register_at_fork(after_in_child=_random.seed)  # processes that share a port differ too


class Answered(Protocol):
    """What an operation answers: `mynamo.gateway.service.Answer`."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def body(self) -> bytes:
        """JSON."""

    @property
    def headers(self) -> dict[str, str]:
        """Those that the operation sets."""


class Caller(Protocol):
    """What answers operations: `mynamo.gateway.service.Service`."""

    def call(
        self,
        operation: str,
        body: bytes,
        headers: Mapping[str, str],
        request_id: str,
        sender: Sender,
    ) -> Answered:
        """Answer one request; never raises."""


class Authenticator(Protocol):
    """What checks who sent a request: see `mynamo.gateway.auth.signatures`."""

    def check(self, request: Request) -> Signer:
        """Who signed the request. Raises ServiceError unless it may be answered."""


class HealthCheck(Protocol):
    """What knows how the servers are: `mynamo.gateway.health.Health`."""

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether all is well, and the details."""


class App:
    """Answers HTTP requests. Safe to share between threads.

    Args:
        caller: what answers operations.
        authenticator: what checks signatures.
        health: what the health endpoint reports.
        cors: which web pages may call.
        config: region and limits.
        operations: names that exist.
        refused: told of each request for the API that was refused before its operation began: the
            operation, empty if there is none of that name, the status and the error's name.
        tracer: of requests for the API; None: they are not traced.
    """

    def __init__(
        self,
        caller: Caller,
        authenticator: Authenticator,
        health: HealthCheck,
        cors: Cors,
        config: GatewayConfig,
        operations: Iterable[str],
        refused: Callable[[str, int, str], None] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self._caller = caller
        self._authenticator = authenticator
        self._health = health
        self._cors = cors
        self._operations = {
            (STREAMS_PREFIX if name in STREAM_REQUESTS else TARGET_PREFIX) + name: name
            for name in operations
        }
        self._refused = refused
        self._body_limit = config.limits.body_bytes
        self._greeting = f"healthy: dynamodb.{config.region}.amazonaws.com ".encode()

    def answer(self, request: Request) -> Response:
        """Answer a request, whatever it is."""
        if self._tracer is not None:
            return self._traced(self._tracer, request, self._answer)
        return self._answer(request, new_request_id())

    def _traced(
        self, tracer: Tracer, request: Request, answer: Callable[[Request, str], Response]
    ) -> Response:
        request_id = new_request_id()
        if request.method != "POST":
            return answer(request, request_id)
        operation = self._operations.get(request.headers.get("x-amz-target", ""))
        return answer_traced(tracer, request, operation, request_id, answer)

    def _answer(self, request: Request, request_id: str) -> Response:
        try:
            response = self._route(request, request_id)
        except ServiceError as error:
            self._note(request, error)
            response = _refusal(error)
        except Exception:
            log.exception(
                "a request failed in a way nobody foresaw",
                extra={"fields": {"request": request_id}},
            )
            failure = internal_error()
            self._note(request, failure)
            response = _refusal(failure)
        return self._finished(request, response, request_id)

    def at_once(self, request: Request) -> Response | None:
        """The answer to a request that asks no server for it; None: see `answer`."""
        if request.method == "POST" or is_health_check(request):
            return None
        return self.answer(request)

    def overloaded(self, request: Request) -> Response:
        """Ask the client to come again; SDKs do so by themselves after a moment."""
        if self._tracer is not None:
            return self._traced(self._tracer, request, self._overloaded)
        return self._overloaded(request, new_request_id())

    def _overloaded(self, request: Request, request_id: str) -> Response:
        error = ServiceError(
            "ServiceUnavailableException",
            "Service is temporarily unavailable: too many requests at a time",
            503,
        )
        self._note(request, error)
        return self._finished(request, _refusal(error), request_id)

    def _note(self, request: Request, error: ServiceError) -> None:
        span = current_span.get()
        if span is not None:
            span.set({"error.type": error.kind})
        if self._refused is not None:
            target = request.headers.get("x-amz-target", "")
            self._refused(self._operations.get(target, ""), error.status, error.kind)

    def _route(self, request: Request, request_id: str) -> Response:
        target = request.target
        path = target if target == "/" else target.partition("?")[0]
        if request.method == "POST" and path == "/":
            content_type = request.headers.get("content-type", "")
            if content_type in CONTENT_TYPES or _media_type(content_type) in CONTENT_TYPES:
                return self._operation(request, request_id)
        elif is_health_check(request):
            return self._health_report()
        elif request.method in ("GET", "HEAD") and path == "/":
            return Response(200, self._greeting, {"content-type": "text/plain"})
        elif request.method == "OPTIONS" and (path == "/" or path in HEALTH_PATHS):
            self._cors.check(request)
            return Response(200)
        return Response(404, b"<UnknownOperationException/>\n")

    def _operation(self, request: Request, request_id: str) -> Response:
        self._cors.check(request)
        signer = self._authenticator.check(request)
        body = decompressed(request, self._body_limit)
        operation = self._operations.get(request.headers.get("x-amz-target", ""))
        if operation is None:
            parse(body)
            raise ServiceError("UnknownOperationException")
        sender = Sender(signer, request.peer)
        answer = self._caller.call(operation, body, request.headers, request_id, sender)
        answer.headers["content-type"] = JSON
        return Response(answer.status, answer.body, answer.headers)

    def _health_report(self) -> Response:
        well, details = self._health.report()
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        return Response(200 if well else 503, orjson.dumps(details), headers)

    def _finished(self, request: Request, response: Response, request_id: str) -> Response:
        if len(response.body) >= COMPRESS_FROM_BYTES:
            compress = compressed if len(response.body) < LARGE_BODY else in_thread(compressed)
            compress(request, response)
        response.headers["x-amzn-requestid"] = request_id
        response.headers["x-amz-crc32"] = checksum(response.body)
        if "origin" in request.headers:
            response.headers.update(self._cors.headers(request))
        return response


def is_health_check(request: Request) -> bool:
    """Whether a request asks how the servers are."""
    return request.method in ("GET", "HEAD") and request.target.partition("?")[0] in HEALTH_PATHS


def new_request_id() -> str:
    """An id for an answer, in the form of AWS: 52 digits and upper-case letters."""
    return f"{_random.getrandbits(208):052X}"


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _refusal(error: ServiceError) -> Response:
    return Response(error.status, orjson.dumps(error.body()), {"content-type": JSON})
