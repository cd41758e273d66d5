"""The consistency token: names a write, so that an index query can wait for it."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass

from mynamo.errors import InvalidToken

_LAYOUT = struct.Struct(">BIHHQ")
_KIND = 1


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """One committed write.

    Attributes:
        cluster: checksum of the cluster's id; a token of another cluster is refused.
        shard: on which it was committed.
        partition: of its event.
        version: the id of its event in the shard's outbox; 0 if nothing was changed.
    """

    cluster: int
    shard: int
    partition: int
    version: int

    def __str__(self) -> str:
        body = _LAYOUT.pack(_KIND, self.cluster, self.shard, self.partition, self.version)
        check = zlib.crc32(body).to_bytes(4, "big")
        return base64.urlsafe_b64encode(body + check).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> ConsistencyToken:
        """Read a token's text.

        Raises:
            InvalidToken: it is not one.
        """
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (ValueError, binascii.Error):
            raise InvalidToken(f"{text!r} is not a consistency token") from None
        body, check = data[:-4], data[-4:]
        if len(body) != _LAYOUT.size or zlib.crc32(body).to_bytes(4, "big") != check:
            raise InvalidToken(f"{text!r} is not a consistency token")
        kind, cluster, shard, partition, version = _LAYOUT.unpack(body)
        if kind != _KIND:
            raise InvalidToken(f"{text!r} is a token of a kind this version does not know")
        return cls(cluster, shard, partition, version)
