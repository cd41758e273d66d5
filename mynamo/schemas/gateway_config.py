"""The `[gateway]` section of the configuration: where and how DynamoDB's API is served."""

from __future__ import annotations

import base64
import binascii
from typing import Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    field_validator,
    model_validator,
)

from mynamo.errors import ConfigError
from mynamo.schemas.validation import NAME_PATTERN

IndexReads = Literal["eventual", "own-writes"]
MEGABYTE = 1024 * 1024
USER_PATTERN = r"^[A-Za-z0-9_+=,.@-]{1,64}$"
"""Names of users, as IAM has them."""
MAX_POLICIES = 10
"""Of one user: IAM's limit."""
CREDENTIALS_KEY_BYTES = 32
LOCALHOST = "localhost"
"""As the host: both of this machine's own addresses. Among the origins: all pages it serves."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AccessKey(_Strict):
    """A key pair that clients may sign requests with.

    Attributes:
        access_key_id: the public half.
        secret_access_key: what signs; never sent, logged or shown.
        session_token: if set, requests must bring this token along.
        expires: when the pair stops to count; with its offset from UTC.
        name: of the user, in answers and as a variable of policies; by default the access_key_id.
        policies: paths of files with IAM policies; none: requests may do everything.
    """

    access_key_id: str = Field(pattern=r"^\w{3,128}$")
    secret_access_key: SecretStr = Field(min_length=8)
    session_token: SecretStr | None = None
    expires: AwareDatetime | None = None
    name: str | None = Field(None, pattern=USER_PATTERN)
    policies: tuple[FilePath, ...] = Field((), max_length=MAX_POLICIES)

    @property
    def user(self) -> str:
        """The user's name."""
        return self.name or self.access_key_id


class GatewayLimits(_Strict):
    """What one process of the gateway spends on its clients. Times in seconds.

    Attributes:
        body_bytes: of a request, and of what a compressed one inflates to; DynamoDB's is 16 MB.
        header_bytes: of a request's first line and headers together.
        header_seconds: from a request's first byte to the end of its headers.
        body_seconds: from there to the end of its body.
        answer_seconds: for a client to take its answer.
        idle_seconds: without a request until a connection is closed.
        connections: open at a time; one more takes the place of a client that has been sending its
            request for a second or longer, or is refused (HTTP 503).
        buffered_bytes: of bodies over 64 KB that are being received or worked on.
        threads: for requests that are not small ones for items.
        queue: requests taken beyond as many as threads; one more is told to come again (HTTP 503).
    """

    body_bytes: int = Field(16 * MEGABYTE, ge=1024, le=256 * MEGABYTE)
    header_bytes: int = Field(32 * 1024, ge=4096, le=MEGABYTE)
    header_seconds: float = Field(10.0, gt=0)
    body_seconds: float = Field(60.0, gt=0)
    answer_seconds: float = Field(60.0, gt=0)
    idle_seconds: float = Field(120.0, gt=0)
    connections: int = Field(4096, ge=1)
    buffered_bytes: int = Field(256 * MEGABYTE, ge=MEGABYTE)
    threads: int = Field(32, ge=1, le=1000)
    queue: int = Field(512, ge=0)


class RequestRate(_Strict):
    """How many requests of a user, or for a table, all processes of one `mynamo serve` answer.

    Attributes:
        user: the name of a credential; of one without a name, its access_key_id.
        table: its name. Either it or `user` is given.
        requests_per_second: in the long run; others get a ThrottlingException.
        burst: requests that may come at once, after a pause; by default as many as in a second, and
            at least 1.
    """

    user: str | None = Field(None, min_length=1, max_length=128)
    table: str | None = Field(None, pattern=NAME_PATTERN)
    requests_per_second: float = Field(ge=0.001, le=1_000_000)
    burst: int | None = Field(None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _is_of_one_thing(self) -> RequestRate:
        if (self.user is None) == (self.table is None):
            raise ValueError("write one of user and table")
        return self


def _bytes_of(key: SecretStr) -> bytes:
    try:
        data = base64.b64decode(key.get_secret_value(), validate=True)
    except binascii.Error:
        data = b""
    if len(data) != CREDENTIALS_KEY_BYTES:
        raise ValueError("write 32 bytes in base64, such as `openssl rand -base64 32` prints")
    return data


class GatewayConfig(_Strict):
    """How `mynamo serve` answers.

    Attributes:
        host: address to listen on; "localhost" is 127.0.0.1 and, where there is IPv6, ::1.
        port: likewise; 0 is any free one.
        region: in ARNs, and in the scope of signatures.
        account_id: in ARNs.
        credentials: key pairs that requests may be signed with.
        credentials_key: by which secrets of credentials in the catalog are encrypted: 32 random
            bytes in base64, as `openssl rand -base64 32` prints them; without it there are none.
        cors_origins: web pages that may call the API, such as "https://admin.example.com";
            "null" for pages that browsers open from files, "localhost" for all of this
            machine's, "*" for all; by default every page where requests must be signed, and
            where they need not be, those of this machine.
        index_reads: "own-writes": a read of a GSI waits, for 5 seconds at most, until the index
            has what the gateway (all processes of one `mynamo serve`) answered before it;
            "eventual": it does not wait.
        cert: path of a PEM file with a certificate (and its chain), for HTTPS.
        key: path of its private key.
        limits: see `GatewayLimits`.
        rates: see `RequestRate`.
        enforce_provisioned_throughput: tables and GSIs whose billing mode is PROVISIONED are
            throttled by their ProvisionedThroughput, which otherwise is stored and described alone.
    """

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{1,32}$")
    account_id: str = Field("000000000000", pattern=r"^\d{12}$")
    credentials: tuple[AccessKey, ...] = ()
    credentials_key: SecretStr | None = None
    cors_origins: tuple[str, ...] | None = None
    index_reads: IndexReads = "eventual"
    cert: FilePath | None = None
    key: FilePath | None = None
    limits: GatewayLimits = GatewayLimits()
    rates: tuple[RequestRate, ...] = ()
    enforce_provisioned_throughput: bool = False

    @field_validator("credentials_key")
    @classmethod
    def _has_its_size(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            _bytes_of(key)
        return key

    def stored_secrets_key(self) -> bytes:
        """`credentials_key`, decoded.

        Raises:
            ConfigError: it is not set.
        """
        if self.credentials_key is None:
            raise ConfigError(
                "credentials in the catalog need gateway.credentials_key: set it to what `openssl "
                "rand -base64 32` prints, for every process"
            )
        return _bytes_of(self.credentials_key)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> GatewayConfig:
        # Two session tokens for one key: the later would silently replace the earlier.
        ids = [pair.access_key_id for pair in self.credentials]
        if len(set(ids)) != len(ids):
            raise ValueError("two credentials have the same access_key_id")
        if self.key is not None and self.cert is None:
            raise ValueError("key: a private key needs its certificate (cert)")
        limited = [(rate.user, rate.table) for rate in self.rates]
        if len(set(limited)) != len(limited):
            raise ValueError("two rates are of the same user or table")
        return self
