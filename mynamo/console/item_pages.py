"""Items: browsing and querying them, one of them, and changing it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import RedirectResponse, Response

from mynamo.console.browse_forms import (
    FILTER_OPERATORS,
    FILTER_TYPES,
    LIMITS,
    SORT_OPERATORS,
    Source,
    columns_of,
    reading_of,
    source_named,
    sources_of,
    start_of,
)
from mynamo.console.item_forms import (
    Item,
    delete_of,
    dump_address,
    dump_form,
    key_of,
    load_address,
    load_form,
    put_of,
    update_of,
)
from mynamo.console.refused import Refused
from mynamo.console.rendering import page
from mynamo.console.visits import DENIED, Visit

_COLUMNS = 8
_CONDITION_FAILED = "ConditionalCheckFailedException"
_CHANGED = (
    "the item has changed since it was read, so nothing was written; below is what it is now, and "
    "your own text"
)


def _sources(visit: Visit) -> list[Source]:
    return sources_of(visit.call("DescribeTable", TableName=visit.given["table"]).body["Table"])


def _key_names(sources: list[Source]) -> list[str]:
    return [part.name for part in sources[0].keys]


def browse(visit: Visit) -> Response:
    """Items of a table or an index, with the plan and what reading them cost."""
    sources = _sources(visit)
    source = source_named(sources, visit.query.get("index", ""))
    keys = _key_names(sources)
    shown: dict[str, Any] = {"items": [], "trouble": "", "operation": ""}
    status = HTTPStatus.OK
    if "limit" in visit.query:  # the form was sent
        try:
            shown |= _read(visit, source, keys)
        except Refused as refusal:
            shown["trouble"], status = str(refusal), refusal.status
    return page(
        visit, "browse.html", status, sources=sources, source=source, keys=keys,
        form=visit.query, limits=LIMITS, sort_operators=SORT_OPERATORS,
        filter_operators=FILTER_OPERATORS, filter_types=FILTER_TYPES, **shown,
    )  # fmt: skip


def _read(visit: Visit, source: Source, keys: list[str]) -> dict[str, Any]:
    operation, request = reading_of(source, keys, visit.query)
    answered = visit.call(operation, **request)
    items = answered.body["Items"]
    columns, left_out = columns_of(items, keys, source, _COLUMNS)
    start = start_of(answered.body.get("LastEvaluatedKey"))
    return {
        "operation": operation,
        "items": [(item, key_of(item, keys)) for item in items],
        "columns": columns,
        "left_out": left_out,
        "answer": answered.body,
        "plan": answered.plan,
        "next": urlencode({**visit.query, "start": start}) if start else "",
    }


def item(visit: Visit) -> Response:
    """One item."""
    sources = _sources(visit)
    key = load_address(visit.query.get("key", ""))
    found, consumed = _get(visit, key)
    status = HTTPStatus.OK if found is not None else HTTPStatus.NOT_FOUND
    return _item_page(visit, sources, key, found, status, consumed=consumed)


def _get(visit: Visit, key: Item) -> tuple[Item | None, float]:
    """An item as it is, and the capacity units of reading it."""
    answer = visit.call(
        "GetItem", TableName=visit.given["table"], Key=key, ConsistentRead=True,
        ReturnConsumedCapacity="TOTAL",
    ).body  # fmt: skip
    return answer.get("Item"), answer["ConsumedCapacity"]["CapacityUnits"]


def _item_page(
    visit: Visit,
    sources: list[Source],
    key: Item,
    found: Item | None,
    status: HTTPStatus,
    *,
    trouble: str = "",
    text: str | None = None,
    consumed: float | None = None,
) -> Response:
    return page(
        visit, "item.html", status, table=sources[0].table, key=key, keys=_key_names(sources),
        item=found, json="" if found is None else dump_form(found), trouble=trouble, text=text,
        consumed=consumed, saved=visit.query.get("saved", ""),
    )  # fmt: skip


def save(visit: Visit) -> Response:
    """Change or delete an item, if it is still what it was when it was read."""
    visit.check_writes()
    sources = _sources(visit)
    keys, table = _key_names(sources), visit.given["table"]
    before = load_form(visit.form.get("before", ""))
    key = key_of(before, keys)
    if key is None:
        raise Refused("the form has no key of an item; go back to the table")
    if visit.form.get("action") == "delete":
        return _delete(visit, sources, before, key)
    text = visit.form.get("after", "")
    try:
        update = update_of(table, before, load_form(text), keys)
        if update is not None:
            visit.call("UpdateItem", **update)
    except Refused as refusal:
        return _not_saved(visit, sources, key, before, text, refusal)
    outcome = "unchanged" if update is None else "saved"
    return _see(f"{_path(table)}/item?key={dump_address(key)}&saved={outcome}")


def _delete(visit: Visit, sources: list[Source], before: Item, key: Item) -> Response:
    table, keys = visit.given["table"], _key_names(sources)
    try:
        visit.call("DeleteItem", **delete_of(table, before, keys))
    except Refused as refusal:
        return _not_saved(visit, sources, key, before, None, refusal)
    return _see(f"{_path(table)}/item?key={dump_address(key)}&saved=deleted")


def _not_saved(
    visit: Visit,
    sources: list[Source],
    key: Item,
    before: Item,
    text: str | None,
    refusal: Refused,
) -> Response:
    """The form again, with what someone wrote; after a conflict, with the item as it is now."""
    if refusal.kind != _CONDITION_FAILED:
        return _item_page(
            visit, sources, key, before, refusal.status, trouble=str(refusal), text=text
        )
    try:
        now, _ = _get(visit, key)
    except Refused as unread:
        if unread.kind != DENIED:
            raise
        raise Refused(
            "the item has changed since it was read, so nothing was written", HTTPStatus.CONFLICT
        ) from None
    return _item_page(visit, sources, key, now, HTTPStatus.CONFLICT, trouble=_CHANGED, text=text)


def new_item(visit: Visit) -> Response:
    """The form for a new item."""
    visit.check_writes()
    sources = _sources(visit)
    values = {"S": "", "N": "0", "B": ""}
    example = {part.name: {part.type: values[part.type]} for part in sources[0].keys}
    return page(visit, "new_item.html", table=sources[0].table, text=dump_form(example), trouble="")


def create(visit: Visit) -> Response:
    """Put a new item, unless there is one of its key."""
    visit.check_writes()
    sources = _sources(visit)
    keys, table = _key_names(sources), visit.given["table"]
    text = visit.form.get("after", "")
    try:
        made = load_form(text)
        visit.call("PutItem", **put_of(table, made, keys))
    except Refused as refusal:
        trouble = str(refusal)
        if refusal.kind == _CONDITION_FAILED:
            trouble = "there is an item of this key already; nothing was written"
        return page(visit, "new_item.html", refusal.status, table=table, text=text, trouble=trouble)
    return _see(f"{_path(table)}/item?key={dump_address(key_of(made, keys) or {})}&saved=created")


def _path(table: str) -> str:
    return f"/tables/{quote(table)}"


def _see(path: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
