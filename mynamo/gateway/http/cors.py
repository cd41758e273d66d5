"""Cross-origin requests: which web pages a browser may let call the API."""

from __future__ import annotations

from urllib.parse import urlsplit

from mynamo.gateway.http.messages import Request
from mynamo.gateway.service_errors import ServiceError
from mynamo.schemas.gateway_config import LOCALHOST

MAX_AGE_SECONDS = 172_800
EXPOSED = (
    "x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,x-amz-crc32,"
    "x-mynamo-consistency-token,Date"
)
EVERYONE = ("*",)
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Cors:
    """Answers the browser's question whether a page may call.

    A page of any origin may where requests must be signed, as with DynamoDB itself: it can do
    no more than its user's keys. Where they need not be, a page of a stranger could otherwise
    read and write what a developer runs on the own machine.

    Args:
        origins: such as "https://admin.example.com"; "null" for pages out of files; "localhost"
            for all of this machine's; "*" for all; empty for none; None for this machine's.
    """

    def __init__(self, origins: tuple[str, ...] | None) -> None:
        self._origins = frozenset((LOCALHOST,) if origins is None else origins)
        self._everyone = "*" in self._origins
        self._local = LOCALHOST in self._origins

    def check(self, request: Request) -> None:
        """Refuse a page that may not call.

        Raises:
            ServiceError: AccessDeniedException.
        """
        origin = request.headers.get("origin")
        if origin is not None and not self._allows(origin):
            raise ServiceError(
                "AccessDeniedException",
                f"Web pages of {origin} may not call this endpoint, unless cors_origins in its "
                f"configuration, or the option --cors-origin, names {origin}",
                403,
            )

    def headers(self, request: Request) -> dict[str, str]:
        """What an answer tells the browser; nothing if no page asks, or it may not."""
        origin = request.headers.get("origin")
        if origin is None or not self._allows(origin):
            return {}
        headers = {
            "access-control-allow-origin": "*" if self._everyone else origin,
            "access-control-expose-headers": EXPOSED,
        }
        if not self._everyone:
            headers["vary"] = "origin"
        if request.method != "OPTIONS":
            return headers
        asked = request.headers
        return headers | {
            "access-control-allow-methods": asked.get("access-control-request-method", "POST"),
            "access-control-allow-headers": asked.get("access-control-request-headers", "*"),
            "access-control-max-age": str(MAX_AGE_SECONDS),
        }

    def _allows(self, origin: str) -> bool:
        if self._everyone or origin in self._origins:
            return True
        try:
            return self._local and urlsplit(origin).hostname in LOOPBACK_HOSTS
        except ValueError:
            return False
