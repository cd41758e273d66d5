"""Credentials of the gateway's clients, in the catalog; their secrets are sealed by the caller.

Every change counts the catalog's version up, so who knows the version knows whether it has all of
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from pydantic import TypeAdapter

from mynamo.catalog.catalog import Catalog
from mynamo.catalog.shard import retry
from mynamo.errors import AlreadyExists, NotFound
from mynamo.mysql.pool import Session, Statement

_CREDENTIALS: Statement = (
    "SELECT name, access_key_id, secret, policies, created_at FROM mynamo_credential ORDER BY 1",
    (),
)
_POLICIES = TypeAdapter(tuple[tuple[str, str], ...])
_KNOWN = "SELECT 1 FROM mynamo_credential WHERE name = %s"


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A key pair of a client, and what it may do.

    Attributes:
        name: of the client.
        access_key_id: the public half.
        sealed: the secret half, encrypted.
        stored_policies: as they are stored.
        created_at: when the pair was made.
    """

    name: str
    access_key_id: str
    sealed: bytes
    stored_policies: bytes
    created_at: datetime

    def policies(self) -> tuple[tuple[str, str], ...]:
        """Their names and texts; none: it may do everything.

        Raises:
            ValueError: the row is damaged, or of a later release.
        """
        return _POLICIES.validate_json(self.stored_policies)


def read_credentials(catalog: Catalog) -> list[StoredCredential]:
    """All credentials, by name. Raises ShardUnavailable: the server does not answer."""

    def once() -> list[StoredCredential]:
        with catalog.session() as session:
            return [
                StoredCredential(
                    name.decode(),
                    access_key_id.decode(),
                    sealed,
                    policies,
                    datetime.fromtimestamp(created_at, UTC),
                )
                for name, access_key_id, sealed, policies, created_at in session.run(_CREDENTIALS)[
                    0
                ].rows
            ]

    return retry(once, catalog.timeout)


def add_credential(
    catalog: Catalog,
    name: str,
    access_key_id: str,
    sealed: bytes,
    policies: Sequence[tuple[str, str]],
) -> None:
    """Store a credential.

    Raises:
        AlreadyExists: there is one of that name.
        ShardUnavailable: the server does not answer.
    """

    def step(session: Session, _: int) -> Sequence[Statement]:
        found = session.run(
            ("SELECT access_key_id FROM mynamo_credential WHERE name = %s", (name.encode(),))
        )[0].rows
        if found == ((access_key_id.encode(),),):
            return ()  # an earlier attempt
        if found:
            raise AlreadyExists(
                f"there is a credential {name}; `mynamo credentials rotate {name}` gives it "
                "another key pair"
            )
        return [
            (
                "INSERT INTO mynamo_credential VALUES (%s, %s, %s, %s, %s)",
                (
                    name.encode(),
                    access_key_id.encode(),
                    sealed,
                    orjson.dumps(policies),
                    int(time.time()),
                ),
            )
        ]

    catalog.decide(step)


def replace_key(catalog: Catalog, name: str, access_key_id: str, sealed: bytes) -> None:
    """Give a credential another key pair; the one that it had counts no more.

    Raises:
        NotFound: there is no credential of that name.
        ShardUnavailable: the server does not answer.
    """
    statement = (
        "UPDATE mynamo_credential SET access_key_id = %s, secret = %s, created_at = %s"
        " WHERE name = %s",
        (access_key_id.encode(), sealed, int(time.time()), name.encode()),
    )
    catalog.decide(_of_known(name, statement))


def replace_policies(catalog: Catalog, name: str, policies: Sequence[tuple[str, str]]) -> None:
    """Give a credential other policies in the place of all that it has; its key pair stays.

    Args:
        policies: names and texts; none: it may do everything.

    Raises:
        NotFound: there is no credential of that name.
        ShardUnavailable: the server does not answer.
    """
    statement = (
        "UPDATE mynamo_credential SET policies = %s WHERE name = %s",
        (orjson.dumps(policies), name.encode()),
    )
    catalog.decide(_of_known(name, statement))


def remove_credential(catalog: Catalog, name: str) -> None:
    """Remove a credential.

    Raises:
        NotFound: there is no credential of that name.
        ShardUnavailable: the server does not answer.
    """
    statement = ("DELETE FROM mynamo_credential WHERE name = %s", (name.encode(),))
    catalog.decide(_of_known(name, statement))


def _of_known(name: str, statement: Statement) -> Callable[[Session, int], Sequence[Statement]]:
    def step(session: Session, _: int) -> Sequence[Statement]:
        if not session.run((_KNOWN, (name.encode(),)))[0].rows:
            raise NotFound(
                f"there is no credential {name}; `mynamo credentials list` shows those that there "
                "are"
            )
        return [statement]

    return step
