"""How reads of an index find writes: by tokens in headers, or by what was answered before.

Writes answer with a token, and reads of an index send tokens back.

An extension: DynamoDB has nothing of the kind, and clients that do not know of it are not
affected. See docs/gateway.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.gateway.context import Call, Context
from mynamo.schemas.events import token_text
from mynamo.writer import Done

TOKEN_HEADER = "x-mynamo-consistency-token"  # noqa: S105 -- the name of a header
"""What a write answers with, and what a reading of a GSI sends to see that write."""
_SEPARATOR = ","


def answer_tokens(cluster: Cluster, call: Call, done: Iterable[tuple[int, Done]]) -> None:
    """Put the tokens of writes into the answer's header.

    Args:
        done: per write the number of its shard, and the outcome. Those that changed nothing
            have a token too, for which nobody waits.
    """
    tokens: dict[str, None] = {}
    for shard_id, outcome in done:
        text = token_text(cluster.fingerprint, shard_id, outcome.partition, outcome.waits_for)
        tokens[text] = None
    if tokens:
        call.answer_headers[TOKEN_HEADER] = _SEPARATOR.join(tokens)


def count_writes(context: Context, done: Iterable[tuple[Table, int, Done]]) -> None:
    """Let reads of GSIs that begin after these writes' answers wait for them, where they do.

    Args:
        done: per write its table, the number of its shard, and the outcome.
    """
    changed = ((table, shard, each.partition) for table, shard, each in done if each.version)
    count_streams(context, changed)


def count_streams(context: Context, streams: Iterable[tuple[Table, int, int]]) -> None:
    """The same, where all that is known of a write is the stream of its event.

    Args:
        streams: per write its table, the number of its shard, and the partition.
    """
    if context.own_writes is not None:
        for table, shard_id, partition in streams:
            context.own_writes.count(table.id, shard_id, partition)


def asked_tokens(call: Call) -> tuple[str, ...]:
    """The tokens that came along with a request."""
    if call.token is None:
        return ()
    parts = (part.strip() for part in call.token.split(_SEPARATOR))
    return tuple(part for part in parts if part)
