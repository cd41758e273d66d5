"""What lines in the log say of a call."""

from __future__ import annotations

from typing import Any

from mynamo.gateway.context import Call


def line_of(call: Call, **fields: Any) -> dict[str, Any]:
    """The `extra` of a line: request, operation and further fields, but for those that are empty:
    None, "" or 0."""
    said = {"request": call.request_id, "operation": call.operation, **fields}
    return {"fields": {name: value for name, value in said.items() if value not in (None, "", 0)}}
