"""Tables: their list, and one with its indexes and settings."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from mynamo.console.browse_forms import sources_of
from mynamo.console.refused import Refused
from mynamo.console.rendering import page
from mynamo.console.visits import Visit
from mynamo.gateway.policies.iam_actions import VERIFY

_SHOWN = 50


def tables(visit: Visit) -> Response:
    """The tables, as far as they may be listed and described."""
    asked: dict[str, Any] = {"Limit": _SHOWN}
    if visit.query.get("after"):
        asked["ExclusiveStartTableName"] = visit.query["after"]
    listed = visit.call("ListTables", **asked).body
    shown = []
    for name in listed["TableNames"]:
        try:
            described = visit.call("DescribeTable", TableName=name).body["Table"]
            shown.append({"name": name, "trouble": "", "described": described,
                          "sources": sources_of(described)})  # fmt: skip
        except Refused as refusal:
            shown.append({"name": name, "trouble": str(refusal)})
    after = listed.get("LastEvaluatedTableName", "")
    return page(visit, "tables.html", tables=shown, after=after)


def table(visit: Visit) -> Response:
    """One table."""
    name = visit.given["table"]
    described = visit.call("DescribeTable", TableName=name).body["Table"]
    try:
        expiry = visit.call("DescribeTimeToLive", TableName=name).body["TimeToLiveDescription"]
        expiry_trouble = ""
    except Refused as refusal:
        expiry, expiry_trouble = {}, str(refusal)
    return page(
        visit, "table.html", table=described, sources=sources_of(described), expiry=expiry,
        expiry_trouble=expiry_trouble, may_verify=visit.has_right(VERIFY, name),
    )  # fmt: skip
