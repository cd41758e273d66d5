"""Signing in and out."""

from __future__ import annotations

import hmac
import logging
import time
from http import HTTPStatus
from math import ceil
from secrets import token_urlsafe

from starlette.responses import RedirectResponse, Response

from mynamo.console.refused import Refused
from mynamo.console.rendering import page
from mynamo.console.sign_ins import LONGEST_SECONDS, signed_in
from mynamo.console.visits import FORM_TOKEN, Console, Visit
from mynamo.gateway.log_throttle import LogThrottle

log = logging.getLogger(__name__)

_FORM_COOKIE = "_sign_in"
"""Behind the cookie's name: the one with the token of the form to sign in, of which no session
knows yet."""
_WRONG = "this access key id and secret are of no credential that counts"
_throttle = LogThrottle()


def sign_in_page(visit: Visit) -> Response:
    """The form to sign in."""
    if visit.console.sessions is None:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    return _form(visit, "", HTTPStatus.OK)


def sign_in(visit: Visit) -> Response:
    """Begin a session."""
    sessions, attempts = visit.console.sessions, visit.console.attempts
    if sessions is None or visit.console.find is None:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    expected = visit.cookies.get(visit.console.cookie + _FORM_COOKIE, "")
    given = visit.form.get(FORM_TOKEN, "")
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        return _form(visit, "the form was out of date; please try again", HTTPStatus.FORBIDDEN)
    name = visit.form.get("access_key_id", "").strip()
    whose = f"address {visit.sender.peer.address}", f"access key id {name[:128]}"
    wait = attempts.begin(*whose)
    if wait > 0:
        message = f"too many attempts have failed; try again in {ceil(wait)} seconds"
        raise Refused(message, HTTPStatus.TOO_MANY_REQUESTS, wait=wait)
    token = visit.form.get("session_token", "").strip() or None
    secret = visit.form.get("secret_access_key", "").strip()
    credential = signed_in(visit.console.find, name, secret, token, time.time())
    if credential is None:
        if (more := _throttle.due()) is not None:
            log.warning(
                "console: signing in failed",
                extra={"fields": {"address": visit.sender.peer.address, "more": more}},
            )
        return _form(visit, _WRONG, HTTPStatus.UNAUTHORIZED)
    attempts.forgive(*whose)
    sessions.end(visit.session)
    log.info(
        "console: signed in",
        extra={"fields": {"user": credential.user, "address": visit.sender.peer.address}},
    )
    answer = RedirectResponse(local_path(visit.form.get("next", "")), HTTPStatus.SEE_OTHER)
    _set_cookie(visit.console, answer, "", sessions.begin(credential), LONGEST_SECONDS)
    answer.delete_cookie(visit.console.cookie + _FORM_COOKIE)
    return answer


def sign_out(visit: Visit) -> Response:
    """End the session."""
    if visit.console.sessions is not None:
        visit.console.sessions.end(visit.session)
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(visit.console.cookie)
    return answer


def local_path(path: str) -> str:
    """A path of the console, to go on at; the first page if it leads elsewhere."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local else "/"


def _form(visit: Visit, trouble: str, status: HTTPStatus) -> Response:
    token = token_urlsafe(32)
    target = visit.form.get("next") or visit.query.get("next", "")
    answer = page(
        visit, "sign_in.html", status, sign_in_token=token, trouble=trouble,
        target=local_path(target),
    )  # fmt: skip
    _set_cookie(visit.console, answer, _FORM_COOKIE, token, None)
    return answer


def _set_cookie(
    console: Console, answer: Response, which: str, value: str, seconds: float | None
) -> None:
    answer.set_cookie(
        console.cookie + which,
        value,
        max_age=None if seconds is None else int(seconds),
        httponly=True,
        samesite="strict",
        secure=console.secure,
    )
