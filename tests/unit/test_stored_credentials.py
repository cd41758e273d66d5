"""Credentials of the catalog as a gateway has them, without a catalog."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import orjson
import pytest

from mynamo.catalog.catalog import Catalog
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.stored_credentials import StoredCredential
from mynamo.errors import ShardUnavailable
from mynamo.gateway.auth import credentials
from mynamo.gateway.auth.credentials import StoredCredentials
from mynamo.gateway.auth.secrets_at_rest import sealed

KEY = bytes(range(32))
POLICY = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'


def stored(
    name: str, text: str = "a-long-secret", key: bytes = KEY, *policies: str
) -> StoredCredential:
    identity = f"AKIA{name.upper()}"
    texts = orjson.dumps([(f"{n}.json", text) for n, text in enumerate(policies)])
    return StoredCredential(name, identity, sealed(text, key, identity), texts, datetime.now(UTC))


DAMAGED = [
    replace(stored("eve"), sealed=b"short"),
    stored("eve", "short"),
    replace(stored("eve"), stored_policies=b'{"later": "form"}'),
    replace(stored("eve"), stored_policies=b"[1"),
]


class Fake:
    """What is read in the place of a catalog.

    Attributes:
        reads: how often credentials were read.
    """

    def __init__(self, *known: StoredCredential) -> None:
        self.known = list(known)
        self.reads = 0
        self.answers = True

    def read_credentials(self, _: Catalog) -> list[StoredCredential]:
        if not self.answers:
            raise ShardUnavailable
        self.reads += 1
        return self.known


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(stored("ann"), stored("bob", "bobs-secret", KEY, POLICY))
    monkeypatch.setattr(credentials, "read_credentials", made.read_credentials)
    return made


def snapshot() -> Snapshot:
    """Another one each time; nothing looks into it."""
    return cast(Snapshot, object())


def read_now() -> StoredCredentials:
    known = StoredCredentials(cast(Catalog, None), KEY, {})
    known.look(snapshot())
    return known


def test_what_is_read(fake: Fake) -> None:
    known = read_now()
    ann, bob = known.find("AKIAANN"), known.find("AKIABOB")
    assert ann is not None
    assert bob is not None
    assert ann.principal is None
    assert bob.principal is not None
    assert bob.principal.name == "bob"
    assert bob.pair.secret_access_key.get_secret_value() == "bobs-secret"
    assert known.find("AKIACARL") is None


def test_credentials_are_read_again_only_if_the_catalog_has_changed(fake: Fake) -> None:
    known = StoredCredentials(cast(Catalog, None), KEY, {})
    first = snapshot()
    for _ in range(2):
        known.look(first)
    assert fake.reads == 1
    del fake.known[0]
    known.look(snapshot())
    assert (fake.reads, known.find("AKIAANN")) == (2, None)


@pytest.mark.parametrize(
    "wrong",
    [
        stored("eve", "a-long-secret", bytes(32)),
        stored("eve", "secret-of-eve", KEY, "{}"),
        *DAMAGED,
    ],
)
def test_one_that_cannot_be_used_does_not_count(
    fake: Fake, caplog: pytest.LogCaptureFixture, wrong: StoredCredential
) -> None:
    """Least of all does it count without its policies; the others do."""
    fake.known.append(wrong)
    with caplog.at_level(logging.ERROR):
        known = read_now()
    assert known.find("AKIAEVE") is None
    assert known.find("AKIAANN") is not None
    assert "the credential eve does not count" in caplog.text
    assert "secret-of-eve" not in caplog.text


def test_what_cannot_be_read_counts_on_and_is_read_later(fake: Fake) -> None:
    known = read_now()
    fake.answers = False
    fake.known.clear()
    changed = snapshot()
    with pytest.raises(ShardUnavailable):
        known.look(changed)
    assert known.find("AKIAANN") is not None
    fake.answers = True
    known.look(changed)
    assert known.find("AKIAANN") is None
