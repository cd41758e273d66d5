"""Requests by Python's own HTTP client, for headers and connections of a test's choice."""

from __future__ import annotations

from http.client import HTTPConnection


def connect(url: str) -> HTTPConnection:
    """A connection to a gateway, which begins with the first request."""
    return HTTPConnection(url.removeprefix("http://"), timeout=20)


def post(connection: HTTPConnection, operation: str, headers: dict[str, str]) -> int:
    """Send a request for an operation, signed in form; returns the status.

    Args:
        headers: besides.
    """
    signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, "
    given = {
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": f"DynamoDB_20120810.{operation}",
        "x-amz-date": "20260101T000000Z",
        "authorization": f"{signed}SignedHeaders=host;x-amz-target, Signature=abc",
        **headers,
    }
    connection.request("POST", "/", b"{}", given)
    return _status(connection)


def get(connection: HTTPConnection, path: str, headers: dict[str, str]) -> int:
    """Get something; returns the status."""
    connection.request("GET", path, None, headers)
    return _status(connection)


def _status(connection: HTTPConnection) -> int:
    answer = connection.getresponse()
    answer.read()
    return answer.status
