"""Consistency tokens in headers: writes answer with one, reads of an index send them back.

An extension: DynamoDB has nothing of the kind, and clients that do not know of it are not
affected. See docs/gateway.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mynamo.shards.cluster import Cluster
from mynamo.writer import Done

if TYPE_CHECKING:
    from mynamo.gateway.service import Call

TOKEN_HEADER = "x-mynamo-consistency-token"  # noqa: S105 -- the name of a header
"""What a write answers with, and what a reading of a GSI sends to see that write."""
_SEPARATOR = ","


def answer_tokens(cluster: Cluster, call: Call, done: Iterable[tuple[int, Done]]) -> None:
    """Put the tokens of writes into the answer's header.

    Args:
        done: per write the number of its shard, and the outcome. Those that changed nothing
            have a token too, for which nobody waits.
    """
    tokens = (
        str(cluster.token(shard_id, outcome.partition, outcome.version))
        for shard_id, outcome in done
    )
    joined = _SEPARATOR.join(dict.fromkeys(tokens))
    if joined:
        call.answer_headers[TOKEN_HEADER] = joined


def asked_tokens(call: Call) -> tuple[str, ...]:
    """The tokens that came along with a request."""
    if call.token is None:
        return ()
    parts = (part.strip() for part in call.token.split(_SEPARATOR))
    return tuple(part for part in parts if part)
