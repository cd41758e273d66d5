"""What a table's owner may set beside its definition: capacity, protection, tags and so on.

No write and no read depends on any of it but on `deletion_protection` and, if a gateway is told to
enforce it, on provisioned throughput. DynamoDB's API stores
and answers these; where it has rules for them, the gateway checks them.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

UnixTime = float
"""Seconds since 1970, UTC, as DynamoDB's API writes moments."""

BillingMode = Literal["PROVISIONED", "PAY_PER_REQUEST"]
TableClass = Literal["STANDARD", "STANDARD_INFREQUENT_ACCESS"]
StreamView = Literal["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]


_LATER = "aws:mynamo"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Capacity(_Settings):
    """Provisioned throughput of a table or an index.

    Attributes:
        read, write: capacity units per second; 0 where requests are paid for.
        increased_at, decreased_at: when one of them was last raised or lowered.
    """

    read: int = Field(0, ge=0)
    write: int = Field(0, ge=0)
    increased_at: UnixTime | None = None
    decreased_at: UnixTime | None = None


class OnDemand(_Settings):
    """The most request units per second of a table or an index without provisioned ones.

    Attributes:
        read, write: None or -1: no limit.
    """

    read: int | None = None
    write: int | None = None


class Warm(_Settings):
    """Throughput that a table or an index was asked to be ready for, in units per second.

    Attributes:
        read, write: None: nothing was asked for.
    """

    read: int | None = None
    write: int | None = None


class IndexSettings(_Settings):
    """What is set for one global index."""

    capacity: Capacity = Capacity()
    on_demand: OnDemand = OnDemand()
    warm: Warm = Warm()


class Stream(_Settings):
    """A table's stream.

    Attributes:
        label: distinguishes the streams that a table has had; part of the ARN.
    """

    enabled: bool = False
    view: StreamView | None = None
    label: str | None = None


class TimeToLive(_Settings):
    """What releases up to format 4 of the catalog recorded, and did not act upon. Time to live is a
    definition since; see `mynamo.catalog.time_to_live`."""

    attribute: str | None = None
    enabled: bool = False


class Encryption(_Settings):
    """Server-side encryption, as asked for; who runs the database decides about it."""

    enabled: bool = False
    kind: Literal["AES256", "KMS"] | None = None
    key: str | None = None


class TableSettings(_Settings):
    """The settings of one table. Values are never changed in place: see `with_`.

    Attributes:
        billing_mode_at: when it last became PAY_PER_REQUEST.
        indexes: by the global index's name; those that are not named have the defaults.
        deletion_protection: the table cannot be dropped.
        table_class_at: when it was last changed.
        tags: key to value, in the order in which they were added.

    Processes of mynamo 0.1 refuse members that they do not know, and run beside newer ones. So
    what came later is stored as the value of a tag, which they keep: its key begins with `aws:`,
    as no user's does.
    """

    billing_mode: BillingMode = "PAY_PER_REQUEST"
    billing_mode_at: UnixTime | None = None
    capacity: Capacity = Capacity()
    on_demand: OnDemand = OnDemand()
    warm: Warm = Warm()
    indexes: dict[str, IndexSettings] = {}
    deletion_protection: bool = False
    table_class: TableClass = "STANDARD"
    table_class_at: UnixTime | None = None
    stream: Stream = Stream()
    tags: dict[str, str] = {}
    ttl: TimeToLive = TimeToLive()
    sse: Encryption = Encryption()

    def with_(self, **changes: Any) -> TableSettings:
        """These settings with some of them changed.

        Raises:
            pydantic.ValidationError: a name or value that settings do not have.
        """
        return TableSettings.model_validate({**dict(self), **changes})

    def dump(self) -> bytes:
        """The stored form."""
        plain = self.model_dump(mode="json", exclude_defaults=True)
        later = {"warm": plain.pop("warm", {}), "indexes": {}}
        for name, index in plain.get("indexes", {}).items():
            if "warm" in index:
                later["indexes"][name] = {"warm": index.pop("warm")}
        if any(later.values()):
            plain["tags"] = {**plain.get("tags", {}), _LATER: orjson.dumps(later).decode()}
        return orjson.dumps(plain)

    @classmethod
    def load(cls, stored: bytes) -> TableSettings:
        """Read what `dump` wrote.

        Raises:
            pydantic.ValidationError: it is not that.
        """
        plain = orjson.loads(stored)
        later = orjson.loads(plain.get("tags", {}).pop(_LATER, "{}"))
        plain["warm"] = later.get("warm", {})
        indexes = plain.get("indexes", {})
        for name, index in later.get("indexes", {}).items():
            if name in indexes:  # or an older process has dropped it since
                indexes[name]["warm"] = index.get("warm", {})
        return cls.model_validate(plain)

    def of_index(self, name: str) -> IndexSettings:
        """What is set for an index."""
        return self.indexes.get(name, IndexSettings())

    def with_index(self, name: str, settings: IndexSettings) -> TableSettings:
        """These settings with those of an index replaced."""
        return self.with_(indexes={**self.indexes, name: settings})

    def without_index(self, name: str) -> TableSettings:
        """These settings without those of an index."""
        return self.with_(indexes={n: s for n, s in self.indexes.items() if n != name})
