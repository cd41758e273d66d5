"""HTTP servers with one and the same handler, for `http_servers.py` and `slow_clients.py`.

    python benchmarks/http_candidates.py uvicorn 8123    # runs one

Run it in an environment of its own that has mynamo and the others: granian uvicorn aiohttp
waitress cheroot gunicorn hypercorn psutil.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import orjson
import psutil  # type: ignore[import-untyped,unused-ignore]

THREADS = 32
WAIT_SECONDS = 0.001
BODY = orjson.dumps({"TableName": "orders", "Item": {"id": {"S": "x" * 340}}})
ANSWER = b'{"answer": "' + b"y" * 86 + b'"}'
JSON = "application/x-amz-json-1.0"
POOL = ThreadPoolExecutor(THREADS)


def handle(body: bytes) -> bytes:
    """What a request costs: parsing 400 bytes, and 1 ms in a thread, which stands for MySQL."""
    assert orjson.loads(body)["TableName"]
    time.sleep(WAIT_SECONDS)
    return ANSWER


def wsgi(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    """The handler for WSGI servers."""
    answer = handle(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    start("200 OK", [("Content-Type", JSON), ("Content-Length", str(len(answer)))])
    return [answer]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The handler for ASGI servers."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = await asyncio.get_running_loop().run_in_executor(POOL, handle, body)
    headers = [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def rsgi(_: Any, protocol: Any) -> None:
    """The handler for granian's own interface."""
    body = await protocol()
    answer = await asyncio.get_running_loop().run_in_executor(POOL, handle, body)
    protocol.response_bytes(200, [("content-type", JSON)], answer)


def _granian(interface: str, port: int) -> None:
    import_module("granian.server").Server(
        f"{__file__}:{interface}", port=port, log_level="error",
        interface=import_module("granian.constants").Interfaces(interface),
        blocking_threads=THREADS if interface == "wsgi" else None,
        backpressure=4096,  # open connections: its default would have few clients stop all
    ).serve()  # fmt: skip


def _uvicorn(port: int) -> None:
    import_module("uvicorn").run(
        asgi, port=port, http="httptools", loop="uvloop", lifespan="off", log_level="error",
        access_log=False,
    )  # fmt: skip


def _mynamo(port: int) -> None:
    """The gateway's own server, with its limits and deadlines."""
    from mynamo.gateway.http.messages import Request, Response
    from mynamo.gateway.http.server import HttpServer, listen
    from mynamo.schemas.gateway_config import GatewayConfig

    class Application:
        def answer(self, request: Request) -> Response:
            return Response(200, handle(request.body), {"content-type": JSON})

        def overloaded(self, _: Request) -> Response:
            return Response(503)

    config = GatewayConfig(port=port)
    HttpServer(Application(), listen(config), config.limits).run()


def _hypercorn(port: int) -> None:
    config = import_module("hypercorn.config").Config()
    config.bind = [f"127.0.0.1:{port}"]
    asyncio.run(import_module("hypercorn.asyncio").serve(asgi, config))


def _aiohttp(port: int) -> None:
    web = import_module("aiohttp.web")

    async def answer(request: Any) -> Any:
        body = await request.read()
        done = await asyncio.get_running_loop().run_in_executor(POOL, handle, body)
        return web.Response(body=done, content_type=JSON)

    async def main() -> None:
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    import_module("uvloop").run(main())


def _waitress(port: int) -> None:
    import_module("waitress").serve(
        wsgi, port=port, threads=THREADS, connection_limit=4096, _quiet=True
    )


def _cheroot(port: int) -> None:
    import_module("cheroot.wsgi").Server(("127.0.0.1", port), wsgi, numthreads=THREADS).start()


def _gunicorn(port: int) -> None:
    words = f"-w 1 -k gthread --threads {THREADS} --keep-alive 60 --worker-connections 4096"
    sys.argv = ["gunicorn", *words.split(), "-b", f"127.0.0.1:{port}", "http_candidates:wsgi"]
    import_module("gunicorn.app.wsgiapp").run()


SERVERS: dict[str, tuple[str, Callable[[int], None]]] = {
    "mynamo": ("uvloop", _mynamo),
    "uvicorn": ("uvicorn", _uvicorn),
    "granian, WSGI": ("granian", lambda port: _granian("wsgi", port)),
    "granian, RSGI": ("granian", lambda port: _granian("rsgi", port)),
    "aiohttp": ("aiohttp", _aiohttp),
    "hypercorn": ("hypercorn", _hypercorn),
    "waitress": ("waitress", _waitress),
    "cheroot": ("cheroot", _cheroot),
    "gunicorn": ("gunicorn", _gunicorn),
}
"""By name: the package that it is of, and what runs it on a port."""


@contextlib.contextmanager
def serving(name: str) -> Iterator[tuple[int, psutil.Process]]:
    """Run one of them until the block ends; gives its port and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, __file__, name, str(port)]) as server:
        process = psutil.Process(server.pid)
        try:
            _await(port)
            yield port, process
        finally:
            for one in family(process):
                one.kill()


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and those that it started."""
    return [process, *process.children(recursive=True)]


def _await(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


if __name__ == "__main__":
    SERVERS[sys.argv[1]][1](int(sys.argv[2]))
