"""A signature taken apart (Signature Version 4), and the text that it is made of."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from mynamo.gateway.claims import Claims, incomplete, target_of
from mynamo.gateway.http_messages import Request

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
            hashlib.sha256(request.body).hexdigest(),
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
