"""The key pairs that requests may be signed with: of the configuration, and of the catalog."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from mynamo.catalog.catalog import READ_ALL_EVERY, Catalog
from mynamo.catalog.stored_credentials import StoredCredential, read_credentials, read_version
from mynamo.errors import ConfigError, InvalidPolicy, MynamoError
from mynamo.gateway.auth.secrets_at_rest import unsealed
from mynamo.gateway.policies.policy_decisions import Principal
from mynamo.gateway.policies.policy_documents import parse_policy, policy_text
from mynamo.schemas.gateway_config import AccessKey, GatewayConfig

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0
"""Seconds after which a process looks whether stored credentials have changed."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A key pair and whose it is.

    Attributes:
        user: its name.
        principal: None: its requests may do everything.
    """

    pair: AccessKey
    user: str
    principal: Principal | None = None


Find = Callable[[str], Credential | None]
"""The credential of an access key id."""


def of_pairs(pairs: Iterable[AccessKey]) -> dict[str, Credential]:
    """Credentials of the configuration, by access key id.

    Raises:
        InvalidPolicy: a file has no valid policy, or cannot be read.
    """
    return {
        pair.access_key_id: Credential(
            pair,
            pair.user,
            _principal(pair.user, [(str(path), policy_text(path)) for path in pair.policies]),
        )
        for pair in pairs
    }


def _principal(name: str, policies: Iterable[tuple[str, str]]) -> Principal | None:
    parsed = tuple(parse_policy(text, policy, name) for policy, text in policies)
    return Principal(name, parsed) if parsed else None


class StoredCredentials:
    """The credentials in the catalog, as they were a moment ago. Safe to share between threads.

    While the catalog does not answer, those that were read last count on.

    Args:
        catalog: that they are read from.
        key: that their secrets are encrypted by.

    Raises:
        ShardUnavailable: the catalog does not answer.
    """

    def __init__(self, catalog: Catalog, key: bytes) -> None:
        self._catalog = catalog
        self._key = key
        self._known: Mapping[str, Credential] = {}
        self._version = -1
        self._read_at = 0.0
        self.look()

    def find(self, access_key_id: str) -> Credential | None:
        """The credential of an access key id."""
        return self._known.get(access_key_id)

    def look(self) -> None:
        """Read them again, if the catalog has changed. Raises ShardUnavailable."""
        version = read_version(self._catalog)
        now = time.monotonic()
        if version == self._version and now - self._read_at < READ_ALL_EVERY:
            return
        self._known = dict(self._opened(read_credentials(self._catalog)))
        self._version, self._read_at = version, now

    def _opened(self, stored: Iterable[StoredCredential]) -> Iterator[tuple[str, Credential]]:
        for one in stored:
            try:
                secret = unsealed(one.sealed, self._key, one.access_key_id)
                principal = _principal(one.name, one.policies())
                pair = AccessKey(
                    access_key_id=one.access_key_id, secret_access_key=SecretStr(secret)
                )
            except (ConfigError, InvalidPolicy) as error:
                log.error("the credential %s does not count: %s", one.name, error)
            except ValueError as error:  # its text may have the secret
                what = type(error).__name__
                log.error("the credential %s does not count: it is damaged: %s", one.name, what)
            else:
                yield one.access_key_id, Credential(pair, one.name, principal)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Look again and again, in a thread, for as long as the block runs."""
        stop = threading.Event()

        def follow() -> None:
            answers = True
            while not stop.wait(LOOK_EVERY):
                try:
                    self.look()
                    answers = True
                except MynamoError as error:
                    if answers:
                        log.warning("stored credentials cannot be read again: %s", error)
                    answers = False

        thread = threading.Thread(target=follow, name="gateway-credentials", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@contextmanager
def known_credentials(
    catalog: Catalog, config: GatewayConfig, configured: Mapping[str, Credential]
) -> Iterator[Find]:
    """Find credentials of the configuration, and stored ones if there is a key for them.

    Args:
        configured: from `of_pairs`.

    Raises:
        ShardUnavailable: the catalog does not answer.
    """
    if config.credentials_key is None:
        yield configured.get
        return
    stored = StoredCredentials(catalog, config.stored_secrets_key())

    def find(access_key_id: str) -> Credential | None:
        return configured.get(access_key_id) or stored.find(access_key_id)

    with stored.followed():
        yield find
