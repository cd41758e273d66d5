"""The headers of CloudEvents on change events.

Source: CloudEvents specification 1.0.2, and its Kafka protocol binding, binary content mode: the
attributes are headers with `ce_` before their names, and the value is the event as it is.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from mynamo.schemas.events import PayloadHead


def cloud_event_headers(
    cluster_id: bytes, shard: int, outbox_id: int, head: PayloadHead, committed_at: int
) -> list[tuple[str, bytes]]:
    """The headers of one event.

    Args:
        committed_at: Unix microseconds.
    """
    moment = datetime.fromtimestamp(committed_at / 1e6, UTC).isoformat(timespec="microseconds")
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": f"{shard}-{outbox_id}",
        "ce_source": f"/mynamo/{uuid.UUID(bytes=cluster_id)}/shards/{shard}",
        "ce_type": f"mynamo.item.{head.operation.lower()}",
        "ce_subject": head.table,
        "ce_time": moment.replace("+00:00", "Z"),
        "content-type": "application/json",
    }
    return [(name, value.encode()) for name, value in attributes.items()]
