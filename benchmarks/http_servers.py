"""Compare HTTP servers for work like the gateway's: a small JSON body, a blocking call, an answer.

    python benchmarks/http_servers.py                         # a table of all servers (needs wrk)
    python benchmarks/http_servers.py granian-rsgi uvicorn    # of these
    python benchmarks/http_servers.py serve mynamo 8123       # run one of them

Each request is parsed (400 bytes), waits 1 ms in one of 32 threads, which stands for MySQL,
and is answered with 100 bytes. Run it in an environment of its own that has mynamo and the others:
granian uvicorn aiohttp waitress cheroot gunicorn hypercorn robyn psutil.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

THREADS = 32
WAIT_SECONDS = 0.001
ROUNDS = 3
ROUND_SECONDS = 4
CONNECTIONS = (1, 16, 64)
BODY = orjson.dumps({"TableName": "orders", "Item": {"id": {"S": "x" * 340}}})
ANSWER = b'{"answer": "' + b"y" * 86 + b'"}'
JSON = "application/x-amz-json-1.0"
POOL = ThreadPoolExecutor(THREADS)


def handle(body: bytes) -> bytes:
    """What a request costs: parsing, and waiting in a thread."""
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


async def rsgi(scope: Any, protocol: Any) -> None:
    """The handler for granian's own interface."""
    body = await protocol()
    answer = await asyncio.get_running_loop().run_in_executor(POOL, handle, body)
    protocol.response_bytes(200, [("content-type", JSON)], answer)


def _granian(interface: str, port: int) -> None:
    from granian.constants import Interfaces
    from granian.server import Server

    threads = THREADS if interface == "wsgi" else None
    Server(
        f"{__file__}:{interface}", port=port, interface=Interfaces(interface),
        blocking_threads=threads, backpressure=128, log_level="warning",
    ).serve()  # fmt: skip


def _uvicorn(port: int) -> None:
    import uvicorn

    uvicorn.run(
        asgi, port=port, http="httptools", loop="uvloop", lifespan="off", log_level="warning",
        access_log=False,
    )  # fmt: skip


def _hypercorn(port: int) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    asyncio.run(serve(asgi, config))  # type: ignore[arg-type]


def _aiohttp(port: int) -> None:
    import uvloop
    from aiohttp import web

    async def answer(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        done = await asyncio.get_running_loop().run_in_executor(POOL, handle, body)
        return web.Response(body=done, content_type=JSON)

    async def main() -> None:
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    uvloop.run(main())


def _waitress(port: int) -> None:
    import waitress

    waitress.serve(wsgi, port=port, threads=THREADS, connection_limit=2000, _quiet=True)


def _cheroot(port: int) -> None:
    from cheroot.wsgi import Server

    Server(("127.0.0.1", port), wsgi, numthreads=THREADS).start()


def _gunicorn(port: int) -> None:
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            for name, value in {
                "bind": f"127.0.0.1:{port}", "workers": 1, "worker_class": "gthread",
                "threads": THREADS, "keepalive": 60, "worker_connections": 2000,
            }.items():  # fmt: skip
                self.cfg.set(name, value)

        def load(self) -> Any:
            return wsgi

    Application().run()


def _robyn(port: int) -> None:
    from robyn import Request, Response, Robyn

    app = Robyn(__file__)

    @app.post("/")
    def answer(request: Request) -> Response:
        body = request.body
        done = handle(body if isinstance(body, bytes) else body.encode())
        return Response(200, {"content-type": JSON}, done)

    sys.argv = sys.argv[:1]
    app.start(host="127.0.0.1", port=port)


def _mynamo(port: int) -> None:
    """The gateway's own server, with all its limits and deadlines."""
    from mynamo.gateway.http_messages import Request, Response
    from mynamo.gateway.server import HttpServer, listen
    from mynamo.schemas.gateway import GatewayConfig

    class Application:
        def answer(self, request: Request) -> Response:
            return Response(200, handle(request.body), {"content-type": JSON})

        def overloaded(self, request: Request) -> Response:
            return Response(503)

    config = GatewayConfig(port=port)
    HttpServer(Application(), listen(config), config.limits).run()


SERVERS: dict[str, Callable[[int], None]] = {
    "granian-wsgi": lambda port: _granian("wsgi", port),
    "granian-rsgi": lambda port: _granian("rsgi", port),
    "uvicorn": _uvicorn,
    "hypercorn": _hypercorn,
    "aiohttp": _aiohttp,
    "waitress": _waitress,
    "cheroot": _cheroot,
    "gunicorn": _gunicorn,
    "robyn": _robyn,
    "mynamo": _mynamo,
}
PACKAGES = {"mynamo": "httptools", "granian-wsgi": "granian", "granian-rsgi": "granian"}


class Measured:
    """What one server did in one round at one number of connections."""

    def __init__(self, output: str, cpu_seconds: float) -> None:
        requests = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
        self.rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]
        self.p50 = _milliseconds(output, "50%")
        self.p99 = _milliseconds(output, "99%")
        self.cpu = cpu_seconds / max(1, requests) * 1e6
        self.failed = bool(re.search(r"Non-2xx|Socket errors", output))


def _milliseconds(output: str, name: str) -> float:
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s)\n", output)
    assert found, output
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def measure(name: str, connections: int, script: str) -> tuple[Measured, float]:
    """One round: (figures, resident memory in MB)."""
    import psutil

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, __file__, "serve", name, str(port)]) as server:
        try:
            _await(port)
            wrk = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", script]
            address = f"http://127.0.0.1:{port}/"
            subprocess.run([*wrk, "-d1s", address], capture_output=True, check=True)
            before = _cpu(psutil.Process(server.pid))
            done = subprocess.run(
                [*wrk, f"-d{ROUND_SECONDS}s", address], capture_output=True, text=True, check=True
            )
            processes = [psutil.Process(server.pid)]
            used = _cpu(processes[0]) - before
            processes += processes[0].children(recursive=True)
            memory = sum(process.memory_info().rss for process in processes) / 1e6
            return Measured(done.stdout, used), memory
        finally:
            for process in psutil.Process(server.pid).children(recursive=True):
                process.terminate()
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()


def _cpu(process: Any) -> float:
    family = [process, *process.children(recursive=True)]
    return float(sum(sum(one.cpu_times()[:2]) for one in family))


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


def main(names: list[str]) -> None:
    """Measure in interleaved rounds, print medians."""
    found: dict[tuple[str, int], list[tuple[Measured, float]]] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f"wrk.method = 'POST'\nwrk.body = {json.dumps(BODY.decode())}\n"
            f"wrk.headers['Content-Type'] = '{JSON}'\n"
            "wrk.headers['X-Amz-Target'] = 'DynamoDB_20120810.PutItem'\n"
        )
        script.flush()
        for _ in range(ROUNDS):
            for name in names:
                for connections in CONNECTIONS:
                    result = measure(name, connections, script.name)
                    found.setdefault((name, connections), []).append(result)
                    print(".", end="", flush=True, file=sys.stderr)
    print("\n| server | connections | requests/s | p50 ms | p99 ms | CPU us/request | MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (name, connections), results in found.items():
        rounds = [one for one, _ in results]
        rate, p50, p99, cpu = (
            statistics.median(getattr(one, what) for one in rounds)
            for what in ("rate", "p50", "p99", "cpu")
        )
        memory = statistics.median(size for _, size in results)
        package = PACKAGES.get(name, name)
        version = ("" if package == name else f"{package} ") + importlib.metadata.version(package)
        failed = " (errors)" if any(one.failed for one in rounds) else ""
        print(
            f"| {name} {version}{failed} | {connections} | {rate:,.0f} | {p50:.2f} | {p99:.2f} "
            f"| {cpu:.0f} | {memory:.0f} |"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        SERVERS[sys.argv[2]](int(sys.argv[3]))
    else:
        main(sys.argv[1:] or list(SERVERS))
