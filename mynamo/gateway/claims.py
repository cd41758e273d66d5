"""What a request says of its signature (Signature Version 4).

It may say so in the Authorization header or, presigned, in its query.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from mynamo.gateway.errors import ServiceError
from mynamo.gateway.http_messages import Request

ALGORITHM = "AWS4-HMAC-SHA256"
_HEADER_PARTS = ("Credential", "Signature", "SignedHeaders")
_QUERY_PARTS = (
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date",
    "X-Amz-Expires",
)  # fmt: skip


class Claims(NamedTuple):
    """The parts of a signature, as text, none of them missing.

    Attributes:
        credential: access key id and scope, joined by slashes.
        signature: hexadecimal digits.
        signed_headers: names joined by semicolons.
        time: when it was made, as the client wrote it.
        token: the session token, or None.
        expires: seconds that a presigned request is good for; None in a header.
    """

    credential: str
    signature: str
    signed_headers: str
    time: str
    token: str | None
    expires: str | None = None


def claims_of(request: Request) -> Claims:
    """Read what a request says of its signature.

    Raises:
        ServiceError: it says nothing, or leaves a part out.
    """
    header = request.headers.get("authorization")
    query = {} if request.target == "/" else _pairs(target_of(request)[1])
    if header is not None and "X-Amz-Algorithm" in query:
        raise ServiceError(
            "InvalidSignatureException",
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP "
            "header.",
        )
    if header is not None and header.startswith("AWS4-"):
        return _in_header(header, request)
    if "X-Amz-Algorithm" in query:
        return _in_query(query)
    raise ServiceError(
        "MissingAuthenticationTokenException", "Request is missing Authentication Token"
    )


def incomplete(message: str) -> ServiceError:
    """The error for a signature of the wrong form."""
    return ServiceError("IncompleteSignatureException", message)


def target_of(request: Request) -> tuple[str, str]:
    """Path and query, still encoded."""
    if request.target in ("/", ""):
        return "/", ""
    try:
        parts = urlsplit(request.target if "://" in request.target else "//host" + request.target)
    except ValueError:
        return request.target, ""
    return parts.path or "/", parts.query


def _in_header(header: str, request: Request) -> Claims:
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise incomplete(f"Unsupported AWS 'algorithm': '{algorithm}'.")
    parts: dict[str, str] = {}
    for part in rest.replace(",", " ").split():
        name, equals, value = part.partition("=")
        if not equals:
            raise incomplete(
                f"'{part}' not a valid key=value pair (missing equal-sign) in Authorization "
                f"header: '{header}'."
            )
        parts[name] = value
    time = request.headers.get("x-amz-date") or request.headers.get("date")
    credential, signature, signed_headers = map(parts.get, _HEADER_PARTS)
    if not (credential and signature and signed_headers and time):
        raise _lacking(parts, time, header)
    token = request.headers.get("x-amz-security-token")
    return Claims(credential, signature, signed_headers, time, token)


def _lacking(parts: dict[str, str], time: str | None, header: str) -> ServiceError:
    faults = [
        f"Authorization header requires '{name}' parameter. "
        for name in _HEADER_PARTS
        if not parts.get(name)
    ]
    if not time:
        faults.append(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
        )
    return incomplete("".join(faults) + f"Authorization={header}")


def _in_query(query: dict[str, str]) -> Claims:
    faults = [
        f"AWS query-string parameters must include '{name}'. "
        for name in _QUERY_PARTS
        if not query.get(name)
    ]
    if faults:
        raise incomplete("".join(faults) + "Re-examine the query-string parameters.")
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise incomplete(f"Unsupported AWS 'algorithm': '{query['X-Amz-Algorithm']}'.")
    return Claims(
        query["X-Amz-Credential"],
        query["X-Amz-Signature"],
        query["X-Amz-SignedHeaders"],
        query["X-Amz-Date"],
        query.get("X-Amz-Security-Token"),
        query["X-Amz-Expires"],
    )


def _pairs(query: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in query.split("&")) if query else ()
    return {_decoded(name): _decoded(value) for name, _, value in pairs}


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "replace")
