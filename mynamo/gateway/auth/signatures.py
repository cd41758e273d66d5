"""Who sent a request: AWS Signature Version 4, and AWS's own words where it is wrong.

The algorithm: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from mynamo.gateway.auth.claims import ALGORITHM, DATE_FORMAT, Signed, claims_of, signed
from mynamo.gateway.auth.credentials import Find
from mynamo.gateway.context import Signer
from mynamo.gateway.http.messages import Request
from mynamo.gateway.service_errors import ServiceError
from mynamo.schemas.gateway_config import AccessKey

SERVICE = "dynamodb"
WINDOW = timedelta(minutes=15)

MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)
EXPIRED = "The security token included in the request is expired"
UNKNOWN = "The security token included in the request is invalid."


class Signatures:
    """Checks signatures against key pairs.

    Args:
        find: the credentials that count.
        region: that signatures must be made for.
        clock: the time in seconds since 1970.
    """

    def __init__(self, find: Find, region: str, clock: Callable[[], float] = time.time) -> None:
        self._find = find
        self._region = region
        self._clock = clock
        # A key is the same all day; a few, as clocks around midnight and pairs differ.
        self._signing_key = lru_cache(maxsize=256)(self._derive)

    def check(self, request: Request) -> Signer:
        """Check who signed.

        Raises:
            ServiceError: not one of our keys, or not this request, or not now.
        """
        claim = signed(claims_of(request))
        _check_coverage(claim, request)
        self._check_scope(claim)
        credential = self._find(claim.access_key_id)
        if credential is None:
            raise ServiceError("UnrecognizedClientException", UNKNOWN)
        key = credential.pair
        self._check_time(claim)
        check_usable(key, claim.token, self._clock())
        _check_stated_hash(request)
        secret = key.secret_access_key.get_secret_value()
        wanted = signature(self._signing_key(secret, claim.date), request, claim)
        if not hmac.compare_digest(wanted.encode(), claim.signature.encode()):
            raise ServiceError("InvalidSignatureException", MISMATCH)
        return Signer(credential.user, credential.principal)

    def _check_scope(self, claim: Signed) -> None:
        faults = []
        if claim.region != self._region:
            faults.append(f"Credential should be scoped to a valid region, not '{claim.region}'. ")
        if claim.service != SERVICE:
            faults.append(f"Credential should be scoped to correct service: '{SERVICE}'. ")
        if claim.terminator != "aws4_request":
            faults.append(
                "Credential should be scoped with a valid terminator: 'aws4_request', "
                f"not '{claim.terminator}'. "
            )
        if claim.date != claim.time[:8]:
            faults.append(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
                f"from HTTP: '{claim.date}' != '{claim.time[:8]}', from '{claim.time}'. "
            )
        if faults:
            raise ServiceError("InvalidSignatureException", "".join(faults))

    def _check_time(self, claim: Signed) -> None:
        now = datetime.fromtimestamp(int(self._clock()), UTC)
        made = claim.made_at
        life = WINDOW if claim.life is None else claim.life
        if made < now - life:
            minutes = int(life.total_seconds()) // 60
            raise ServiceError(
                "InvalidSignatureException",
                f"Signature expired: {claim.time} is now earlier than {_stamp(now - life)} "
                f"({_stamp(now)} - {minutes} min.)",
            )
        if made > now + WINDOW:
            raise ServiceError(
                "InvalidSignatureException",
                f"Signature not yet current: {claim.time} is still later than "
                f"{_stamp(now + WINDOW)} ({_stamp(now)} + 15 min.)",
            )

    def _derive(self, secret: str, date: str) -> bytes:
        key = b"AWS4" + secret.encode()
        for part in (date, self._region, SERVICE, "aws4_request"):
            key = _hmac(key, part)
        return key


def check_usable(key: AccessKey, token: str | None, now: float) -> None:
    """Check that a key pair counts, with what came along as its session token.

    Args:
        now: seconds since 1970.

    Raises:
        ServiceError: it is another token, or none, or the pair has expired.
    """
    wanted = key.session_token.get_secret_value() if key.session_token else None
    if (wanted is None) != (token is None) or not hmac.compare_digest(
        (wanted or "").encode(), (token or "").encode()
    ):
        raise ServiceError("UnrecognizedClientException", UNKNOWN)
    if key.expires is not None and key.expires.timestamp() < now:
        raise ServiceError("ExpiredTokenException", EXPIRED)


def _check_coverage(claim: Signed, request: Request) -> None:
    """What decides on a request's meaning must be signed with it."""
    if "host" not in claim.signed_headers:
        raise ServiceError(
            "InvalidSignatureException",
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        )
    if "x-amz-target" in request.headers and "x-amz-target" not in claim.signed_headers:
        raise ServiceError(
            "InvalidSignatureException",
            "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.",
        )


def _check_stated_hash(request: Request) -> None:
    """A hash that the client states must be the body's; the signature covers the true one."""
    stated = request.headers.get("x-amz-content-sha256")
    if stated is not None and stated != request.body_hash:
        raise ServiceError("InvalidSignatureException", MISMATCH)


def signature(signing_key: bytes, request: Request, claim: Signed) -> str:
    """The signature that a request should have, in hexadecimal digits."""
    canonical = hashlib.sha256(claim.canonical(request)).hexdigest()
    scope = f"{claim.date}/{claim.region}/{claim.service}/{claim.terminator}"
    return _hmac(signing_key, f"{ALGORITHM}\n{claim.time}\n{scope}\n{canonical}").hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _stamp(moment: datetime) -> str:
    return moment.strftime(DATE_FORMAT)
