"""The console's web application: addresses, who may come, and headers of every answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mynamo.console import (
    cluster_pages,
    comparison_pages,
    dead_letter_pages,
    item_pages,
    sign_in_pages,
    table_pages,
)
from mynamo.console.refused import Refused
from mynamo.console.rendering import page
from mynamo.console.visits import Console, Visit
from mynamo.errors import MynamoError, NotFound, Unavailable
from mynamo.gateway.context import Sender, Signer
from mynamo.gateway.http.messages import Peer

log = logging.getLogger(__name__)

MOST_BYTES = 8 * 1024 * 1024
"""Of a form with an item: it is there twice, encoded for a form."""
_LARGE_AT_ONCE = 4
"""Such forms, of more than `_SMALL_BYTES`."""
_SMALL_BYTES = 16 * 1024
"""Of other forms."""
_MOST_FIELDS = 50
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_STATIC = Path(__file__).parent / "static"
LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"]
_SIGNED_OUT = (
    "you are signed out, so nothing was done: sign in again; the browser's way back leads to what "
    "you wrote"
)
_PART = "x-mynamo-part"
"""The header of requests that a page makes by itself."""

Handler = Callable[[Visit], Response]

_ROUTES: tuple[tuple[str, Handler | None, Handler | None], ...] = (
    ("/", cluster_pages.overview, None),
    ("/overview/figures", cluster_pages.overview_figures, None),
    ("/lag", cluster_pages.lag, None),
    ("/lag/figures", cluster_pages.lag_figures, None),
    ("/transactions", cluster_pages.transactions, None),
    ("/streams", cluster_pages.streams, None),
    ("/tables", table_pages.tables, None),
    ("/tables/{table}", table_pages.table, None),
    ("/tables/{table}/items", item_pages.browse, None),
    ("/tables/{table}/item", item_pages.item, item_pages.save),
    ("/tables/{table}/new-item", item_pages.new_item, item_pages.create),
    ("/comparisons", comparison_pages.comparisons, None),
    ("/tables/{table}/comparison", comparison_pages.comparison, comparison_pages.begin),
    ("/tables/{table}/comparison/state", comparison_pages.state, None),
    ("/dead-letters", dead_letter_pages.dead_letters, None),
    ("/dead-letter", dead_letter_pages.dead_letter, dead_letter_pages.replay),
    ("/sign-out", None, sign_in_pages.sign_out),
)
"""Paths, and what answers GET and POST there, for those who are signed in."""


def site(console: Console) -> ASGIApp:
    """The application."""
    routes: list[Route | Mount] = []
    room = asyncio.Semaphore(_LARGE_AT_ONCE)
    for path, get, post in _ROUTES:
        for method, handler in (("GET", get), ("POST", post)):
            if handler is not None:
                routes.append(Route(path, _endpoint(console, handler, room), methods=[method]))
    for method, handler in (("GET", sign_in_pages.sign_in_page), ("POST", sign_in_pages.sign_in)):
        endpoint = _endpoint(console, handler, room, public=True)
        routes.append(Route("/sign-in", endpoint, methods=[method]))
    routes.append(Mount("/static", StaticFiles(directory=_STATIC)))
    middleware = []
    names = [*LOOPBACK_NAMES, console.host]
    if console.find is None:  # or a page of elsewhere, by a name of its own, could read all
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=names))
    return _with_headers(Starlette(routes=routes, middleware=middleware))


def _endpoint(
    console: Console, handler: Handler, room: asyncio.Semaphore, public: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    has_item = console.writes and handler in (item_pages.save, item_pages.create)

    async def answer(request: Request) -> Response:
        if not public and _visit(console, request) is None:  # strangers send little
            return _sign_in_first(console, request)
        if not (has_item and int(request.headers.get("content-length", 0)) > _SMALL_BYTES):
            return await answer_up_to(_SMALL_BYTES, request)
        if room.locked():
            message = "too many large forms are being sent: go back, and try again in a moment"
            return PlainTextResponse(message, HTTPStatus.SERVICE_UNAVAILABLE)
        async with room:
            return await answer_up_to(MOST_BYTES, request)

    async def answer_up_to(most: int, request: Request) -> Response:
        form: dict[str, str] = {}
        try:
            if request.method == "POST":
                form = await _form_of(request, most)
        except Refused as refusal:
            return PlainTextResponse(str(refusal), refusal.status)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # which nobody reads
        visit = _visit(console, request)  # only now: reading a form takes time
        if visit is None and not public:
            return _sign_in_first(console, request)
        visit = visit or _stranger(console, request)
        visit.form = form
        return await run_in_threadpool(_answer, visit, request, handler, public)

    return answer


def _sign_in_first(console: Console, request: Request) -> Response:
    if request.method == "GET" and _PART not in request.headers:
        back = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        return RedirectResponse(f"/sign-in?next={back}", HTTPStatus.SEE_OTHER)
    stranger = _stranger(console, request)
    return page(stranger, "refused.html", HTTPStatus.UNAUTHORIZED, message=_SIGNED_OUT)


def _answer(visit: Visit, request: Request, handler: Handler, public: bool) -> Response:
    try:
        if request.method == "POST":
            _check_origin(request)
            if not public:
                visit.check_form()
        return handler(visit)
    except Refused as refusal:
        answer: Response = page(visit, "refused.html", refusal.status, message=str(refusal))
        if refusal.wait:
            answer.headers["retry-after"] = str(int(refusal.wait) + 1)
        return answer
    except MynamoError as error:
        return page(visit, "refused.html", _status_of(error), message=str(error))
    except Exception:
        log.exception("%s %s failed", request.method, request.url.path)
        message = "this is a defect in mynamo; the console's log has more"
        return page(visit, "refused.html", HTTPStatus.INTERNAL_SERVER_ERROR, message=message)


def _status_of(error: MynamoError) -> HTTPStatus:
    if isinstance(error, Unavailable):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.NOT_FOUND if isinstance(error, NotFound) else HTTPStatus.BAD_REQUEST


def _visit(console: Console, request: Request) -> Visit | None:
    """The request of somebody who is signed in, or need not be; None: he must sign in first."""
    visit = _stranger(console, request)
    if console.sessions is None:
        return visit
    name = request.cookies.get(console.cookie, "")
    found = console.sessions.find(name, uses=_PART not in request.headers)
    if found is None:
        return None
    session, credential = found
    visit.session, visit.form_token = name, session.form_token
    visit.sender = Sender(Signer(credential.user, credential.principal), visit.sender.peer)
    visit.pair = session.pair
    return visit


def _stranger(console: Console, request: Request) -> Visit:
    return Visit(
        console=console,
        path=request.url.path,
        given=request.path_params,
        query=request.query_params,
        sender=Sender(
            Signer(), Peer(request.client.host if request.client else "", console.secure)
        ),
        form_token=console.form_token,
        cookies=request.cookies,
    )


async def _form_of(request: Request, most: int) -> dict[str, str]:
    """The fields of a form.

    Args:
        most: bytes that it may have.

    Raises:
        Refused: it is too large, or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused("this is no form", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Refused("the form is too large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict",
            max_num_fields=_MOST_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise Refused("the form is not as a browser sends one of the console") from None
    return dict(fields)


def _check_origin(request: Request) -> None:
    """Refuse a form that a browser says is from another site.

    Raises:
        Refused: it is.
    """
    origin = request.headers.get("origin")
    try:
        same = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # it is no address
        same = False
    if not same:
        raise Refused("the form came from another site", HTTPStatus.FORBIDDEN)


def _with_headers(app: ASGIApp) -> ASGIApp:
    """Every answer has `HEADERS`, those that are errors too."""
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [each for each in message["headers"] if each[0].decode() not in HEADERS]
                message["headers"] = [*kept, *added]
            await send(message)

        await app(scope, receive, send_with)

    return answer
