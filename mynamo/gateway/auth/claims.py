"""What a request says of its signature (Signature Version 4), and the text that is signed.

It says so in the Authorization header or, presigned, in its query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

from mynamo.gateway.context import Signer
from mynamo.gateway.http.messages import Request
from mynamo.gateway.service_errors import ServiceError

DATE_FORMAT = "%Y%m%dT%H%M%SZ"
MOST_SECONDS = 7 * 24 * 3600
"""The longest that a presigned request may be good for."""

_BASIC = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature's claims, taken apart.

    Attributes:
        access_key_id, date, region, service, terminator: the credential and its scope.
        life: how long a presigned request is good for; None in a header.
    """

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signature: str
    signed_headers: tuple[str, ...]
    time: str
    made_at: datetime
    token: str | None
    life: timedelta | None

    def canonical(self, request: Request) -> bytes:
        """The canonical request, which the signature is made of."""
        path, query = target_of(request)
        headers = [
            f"{name}:{_collapsed(request.headers.get(name, ''))}" for name in self.signed_headers
        ]
        lines = [
            request.method,
            "/" if path == "/" else quote(_without_dots(path), safe="/~", encoding="latin-1"),
            _canonical_query(query),
            *headers,
            "",
            ";".join(self.signed_headers),
            request.body_hash,
        ]
        # What came in headers is Latin-1; names from a query that are not, no signature fits.
        return "\n".join(lines).encode("latin-1", "replace")


def signed(claims: Claims) -> Signed:
    """Take the claims apart.

    Raises:
        ServiceError: a part has the wrong form.
    """
    credential = claims.credential.split("/")
    if len(credential) != 5:
        raise incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. "
            f"keyid/date/region/service/term, got '{claims.credential}'"
        )
    made_at = _moment(claims.time)
    key, date, region, service, terminator = credential
    return Signed(
        access_key_id=key,
        date=date,
        region=region,
        service=service,
        terminator=terminator,
        signature=claims.signature,
        signed_headers=tuple(claims.signed_headers.lower().split(";")),
        time=claims.time if _BASIC.fullmatch(claims.time) else made_at.strftime(DATE_FORMAT),
        made_at=made_at,
        token=claims.token,
        life=None if claims.expires is None else _life(claims.expires),
    )


@lru_cache(maxsize=1024)  # a client's requests of one second have the same
def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise incomplete(
            f"Date must be in ISO-8601 'basic format'. Got '{text}'. "
            "See http://en.wikipedia.org/wiki/ISO_8601"
        ) from None


def _life(text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise incomplete("X-Amz-Expires must be a number of seconds")
    return timedelta(seconds=min(int(text), MOST_SECONDS))


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name != "X-Amz-Signature":
            pairs.append((_recoded(name), _recoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _recoded(text: str) -> str:
    """As the specification encodes it, however the client did."""
    return quote(unquote_to_bytes(text.encode("latin-1")), safe="-_.~")


def _without_dots(path: str) -> str:
    """Remove `.`, `..` and doubled slashes."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    last = "/" if kept and path.endswith("/") else ""
    return "/" + "/".join(kept) + last


def _collapsed(value: str) -> str:
    """Trimmed, and runs of spaces as one. Bytes above 127 stay what they are."""
    if "  " not in value and "\t" not in value:
        return value.strip(" ")
    return re.sub(r"[ \t]+", " ", value).strip(" ")


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


_USUAL = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([!-+\--<>-~]+), ?SignedHeaders=([!-+\--<>-~]+), ?"
    r"Signature=([!-+\--<>-~]+)"
)
"""What nearly all clients write: three parts in this order, without further commas, spaces or
equal-signs."""


def _in_header(header: str, request: Request) -> Claims:
    time = request.headers.get("x-amz-date") or request.headers.get("date")
    usual = _USUAL.fullmatch(header)
    if usual is not None and time:
        credential, signed_headers, signature = usual.groups()
        token = request.headers.get("x-amz-security-token")
        return Claims(credential, signature, signed_headers, time, token)
    return _in_parts(header, time, request)


def _in_parts(header: str, time: str | None, request: Request) -> Claims:
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


ANYBODY = Signer()


class AnyCredentials:
    """Wants a request to be signed in form, by whatever key: for development."""

    def check(self, request: Request) -> Signer:
        """Check the form only; the request may do everything, and nobody knows whose it is.

        Raises:
            ServiceError: a signature is missing or incomplete.
        """
        claims_of(request)
        return ANYBODY
