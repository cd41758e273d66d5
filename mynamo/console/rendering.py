"""Pages from templates, in which every value is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from mynamo.console.item_forms import cell, dump_address, dump_hidden, plain
from mynamo.console.visits import Visit
from mynamo.release import release

_MICROSECONDS = 1e6


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _size(number: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1024
    raise AssertionError  # GB ends the loop


def _moment(at: float | datetime | None) -> str:
    """A time, of the clock or in microseconds since 1970."""
    if at is None:
        return ""
    when = at if isinstance(at, datetime) else datetime.fromtimestamp(at / _MICROSECONDS, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


_templates = Environment(
    loader=PackageLoader("mynamo.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "address": dump_address,
    "cell": cell,
    "count": _count,
    "moment": _moment,
    "plain": plain,
    "size": _size,
    "tojson_form": dump_hidden,
}


def page(
    visit: Visit, template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any
) -> HTMLResponse:
    """A page, or a part of one.

    Args:
        template: its file.
        values: that the template names.
    """
    console = visit.console
    text = _templates.get_template(template).render(
        visit=visit,
        user=visit.sender.signer.user,
        no_auth=console.find is None,
        writes=console.writes,
        form_token=visit.form_token,
        release=release() or "from source",
        **values,
    )
    return HTMLResponse(text, status)
