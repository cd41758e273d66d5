"""Verify and repair: beginning them, and how far they are."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from mynamo.console.comparison_jobs import Kind
from mynamo.console.refused import Refused
from mynamo.console.rendering import page
from mynamo.console.visits import Visit
from mynamo.gateway.policies.iam_actions import REPAIR, VERIFY

LEAST_RATE = 1000
"""Rows per second: a slower one would take one of few places for days."""


def comparisons(visit: Visit) -> Response:
    """All that this process has begun, of tables whose verdicts may be seen."""
    jobs = [job for job in visit.console.jobs.all() if visit.has_right(VERIFY, job.table)]
    return page(visit, "comparisons.html", jobs=jobs)


def comparison(visit: Visit) -> Response:
    """The last one of a table, and forms to begin another."""
    table = visit.given["table"]
    visit.check_right(VERIFY, table)
    visit.console.cluster.table(table)
    return page(
        visit, "comparison.html", table=table, job=visit.console.jobs.of(table),
        may_repair=visit.may_write and visit.has_right(REPAIR, table),
    )  # fmt: skip


def state(visit: Visit) -> Response:
    """The part of it that changes."""
    table = visit.given["table"]
    visit.check_right(VERIFY, table)
    return page(visit, "comparison_state.html", table=table, job=visit.console.jobs.of(table))


def begin(visit: Visit) -> Response:
    """Begin or stop one."""
    table, action = visit.given["table"], visit.form.get("action", "")
    jobs = visit.console.jobs
    visit.check_right(VERIFY, table)
    visit.console.cluster.table(table)
    if action == "stop":
        job = jobs.of(table)
        if job is not None:
            if job.kind == "repair":
                visit.check_right(REPAIR, table)
            job.stop.set()
    elif action == "repair":
        visit.check_writes()
        visit.check_right(REPAIR, table)
        _begin(visit, "repair", REPAIR)
        visit.note_done(REPAIR, table)
    elif action == "verify":
        _begin(visit, "verify", VERIFY)
    elif action == "plan":
        _begin(visit, "plan", VERIFY)
    else:
        raise Refused("the form says nothing to be done; go back, and choose a button")
    return RedirectResponse(f"/tables/{quote(table)}/comparison", HTTPStatus.SEE_OTHER)


def _begin(visit: Visit, kind: Kind, right: str) -> None:
    table = visit.given["table"]
    allowed = visit.lasting_right(right, table)
    visit.console.jobs.begin(kind, table, visit.sender.signer.user, _rate(visit), allowed)


def _rate(visit: Visit) -> float | None:
    """Rows per second.

    Raises:
        Refused: it is no number that can be one.
    """
    text = visit.form.get("rate", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and LEAST_RATE <= int(text[:12]) <= 10**9):
        raise Refused(
            f"rows per second is a whole number from {LEAST_RATE} on, such as 20000, or empty: no "
            "limit"
        )
    return float(text)
