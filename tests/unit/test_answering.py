"""Requests go from the event loop to threads, and their answers back."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mynamo.gateway.http.answering import LARGE_THREADS, Answering
from mynamo.gateway.http.messages import LARGE_BODY, Request, Response
from mynamo.schemas.gateway_config import GatewayLimits

TIMEOUT = 10.0


class Gated:
    """Answers with a request's body once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)
        self.seen: list[bytes] = []
        self.threads: set[str] = set()

    def answer(self, request: Request) -> Response:
        """See `Application`."""
        self.seen.append(request.body)
        self.threads.add(threading.current_thread().name)
        self.begun.release()
        assert self.gate.wait(TIMEOUT)
        if request.body == b"bad":
            raise RuntimeError("a mistake")
        return Response(200, request.body)

    def at_once(self, request: Request) -> Response | None:
        """See `Application`."""
        return Response(200, b"hello") if request.target == "/hello" else None

    def overloaded(self, request: Request) -> Response:
        """See `Application`."""
        return Response(503, request.body)

    def await_begun(self, count: int) -> None:
        """Wait until so many more requests are worked on."""
        for _ in range(count):
            assert self.begun.acquire(timeout=TIMEOUT)


def asked(
    answering: Answering, body: bytes, method: str = "POST", target: str = "/"
) -> asyncio.Future[Response]:
    """Have a request answered; the answer must come in this thread."""
    here = threading.get_ident()
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def done(response: Response) -> None:
        assert threading.get_ident() == here
        if not future.done():
            future.set_result(response)

    answering.answer(Request(method, target, {}, body), done)
    return future


def started(app: Gated, threads: int, queue: int) -> Answering:
    """In the event loop that runs."""
    answering = Answering(app, GatewayLimits(threads=threads, queue=queue))
    answering.start(asyncio.get_running_loop())
    return answering


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


@in_a_loop
async def test_every_request_has_its_answer() -> None:
    app = Gated()
    app.gate.set()
    answering = started(app, 3, 500)
    bodies = [b"%d" % n for n in range(300)]
    for _ in range(3):
        answers = await asyncio.gather(*(asked(answering, body) for body in bodies))
        assert [answer.body for answer in answers] == bodies
    assert len(app.threads) <= 3
    answering.close()


@in_a_loop
async def test_a_mistake_of_the_application_is_one_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Gated()
    app.gate.set()
    answering = started(app, 1, 10)
    bad, good = await asyncio.gather(asked(answering, b"bad"), asked(answering, b"good"))
    assert (bad.status, bad.last) == (500, True)
    assert (good.status, good.last) == (200, False)
    assert "the application failed" in caplog.text
    answering.close()


@in_a_loop
async def test_permits_are_bounded_and_given_back() -> None:
    app = Gated()
    answering = started(app, 2, 1)
    taken = [asked(answering, b"%d" % n) for n in range(3)]
    assert (await asked(answering, b"more")).status == 503
    large = asked(answering, b"x" * (LARGE_BODY + 1))  # has places of its own
    app.gate.set()
    answers = await asyncio.gather(*taken, large)
    assert [answer.status for answer in answers] == [200] * 4
    assert (await asked(answering, b"again")).status == 200
    answering.close()


@in_a_loop
async def test_what_needs_no_waiting_needs_no_permit() -> None:
    app = Gated()
    answering = started(app, 2, 1)
    taken = [asked(answering, b"%d" % n) for n in range(3)]
    assert (await asked(answering, b"more")).status == 503
    assert (await asked(answering, b"", "GET", "/hello")).body == b"hello"
    app.gate.set()
    await asyncio.gather(*taken)
    answering.close()


@in_a_loop
async def test_a_health_check_has_a_thread_of_its_own() -> None:
    app = Gated()
    answering = started(app, 2, 1)
    taken = [asked(answering, b"%d" % n) for n in range(3)]
    await asyncio.to_thread(app.await_begun, 2)
    health = asked(answering, b"", "GET", "/health")
    await asyncio.to_thread(app.await_begun, 1)
    app.gate.set()
    assert (await health).status == 200
    await asyncio.gather(*taken)
    answering.close()


@in_a_loop
async def test_large_requests_have_few_threads() -> None:
    app = Gated()
    answering = started(app, 20, 20)
    large = [asked(answering, b"x" * (LARGE_BODY + 1)) for _ in range(2 * LARGE_THREADS)]
    await asyncio.to_thread(app.await_begun, LARGE_THREADS)
    assert len(app.seen) == LARGE_THREADS
    app.gate.set()
    await asyncio.gather(*large)
    answering.close()


@in_a_loop
async def test_what_waits_at_the_end_is_not_begun() -> None:
    app = Gated()
    answering = started(app, 1, 5)
    for n in range(4):
        asked(answering, b"%d" % n)
    await asyncio.to_thread(app.await_begun, 1)
    closing = asyncio.create_task(asyncio.to_thread(answering.close))
    await asyncio.sleep(0.1)
    assert not closing.done()
    app.gate.set()
    await closing
    assert app.seen == [b"0"]
