"""The key pairs that requests may be signed with: of the configuration, and of the catalog."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from mynamo.catalog.catalog import Catalog
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.stored_credentials import StoredCredential, read_credentials
from mynamo.errors import ConfigError, InvalidPolicy
from mynamo.gateway.auth.secrets_at_rest import unsealed
from mynamo.gateway.policies.policy_decisions import Principal
from mynamo.gateway.policies.policy_documents import parse_policy, policy_text
from mynamo.schemas.gateway_config import AccessKey

log = logging.getLogger(__name__)


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
    """The credentials in the catalog, beside those of the configuration, as they were when `look`
    was called last. Safe to share between threads.

    Args:
        catalog: that they are read from.
        key: that their secrets are encrypted by.
        configured: from `of_pairs`.
    """

    def __init__(self, catalog: Catalog, key: bytes, configured: Mapping[str, Credential]) -> None:
        self._catalog = catalog
        self._key = key
        self._configured = configured
        self._known: Mapping[str, Credential] = {}
        self._read_after: Snapshot | None = None

    def find(self, access_key_id: str) -> Credential | None:
        """The credential of an access key id."""
        return self._configured.get(access_key_id) or self._known.get(access_key_id)

    def look(self, snapshot: Snapshot) -> None:
        """Read them again, if this is another catalog than last time: each change of credentials
        makes another one, and so does a restore, within a minute.

        Args:
            snapshot: read just now.

        Raises:
            ShardUnavailable: the catalog does not answer; those that were read last count on.
        """
        if snapshot is not self._read_after:
            self._known = dict(self._opened(read_credentials(self._catalog)))
            self._read_after = snapshot

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
