"""What slow clients and wrong requests do to HTTP servers, and to a fast client beside them.

    python benchmarks/slow_clients.py            # a table of all servers
    python benchmarks/slow_clients.py mynamo     # of these

It needs what `http_candidates.py` needs.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
import sys
import time
from collections.abc import Iterator

from http_candidates import BODY, JSON, SERVERS, serving

SLOW = 200
IDLE = 900
TIMEOUT_SECONDS = 3.0
PATIENCE_SECONDS = 70.0
HEAD = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n".encode()
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
WRONG = {
    "1 MB header": HEAD + b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "10 TB announced": HEAD + b"Content-Length: 10000000000000\r\n\r\n{",
}


@contextlib.contextmanager
def clients(port: int, count: int, data: bytes) -> Iterator[list[socket.socket]]:
    """Connections that have sent something."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            address = ("127.0.0.1", port)
            made.append(stack.enter_context(socket.create_connection(address, TIMEOUT_SECONDS)))
            made[-1].sendall(data)
        yield made


def fast(port: int) -> str:
    """How long one waits for an answer: the median of 20 requests, or that there is none."""
    times = []
    for _ in range(20):
        began = time.monotonic()
        if not said(port, WHOLE).startswith("200"):
            return "none"
        times.append(time.monotonic() - began)
    return f"{statistics.median(times) * 1000:.1f} ms"


def said(port: int, data: bytes) -> str:
    """The status of the answer."""
    try:
        with clients(port, 1, b"") as (client,):
            with contextlib.suppress(ConnectionError):
                client.sendall(data)
            line, _, _ = client.recv(4096).partition(b"\r\n")
            return line.decode("latin-1").partition(" ")[2][:3] or "closed"
    except TimeoutError:
        return "none"
    except ConnectionError:
        return "closed"


def ended(client: socket.socket, began: float) -> str:
    """When a server gave up on a slow client."""
    client.settimeout(max(0.01, began + PATIENCE_SECONDS - time.monotonic()))
    try:
        client.recv(4096)
    except TimeoutError:
        return "no"
    except ConnectionError:
        pass
    return f"{time.monotonic() - began:.0f} s"


def probe(name: str) -> list[str]:
    """A row of the table."""
    row = [name]
    with serving(name) as (port, _):
        row.append(fast(port))
        began = time.monotonic()
        with clients(port, SLOW, HEAD) as heads:
            row.append(fast(port))
            with clients(port, SLOW, WHOLE[:-300]) as bodies:
                row.append(fast(port))
                row += [ended(heads[0], began), ended(bodies[0], began)]
    with serving(name) as (port, _):
        with clients(port, IDLE, b""):
            row.append(fast(port))
        row += [said(port, data) for data in WRONG.values()]
    return row


def main(names: list[str]) -> None:
    """Probe and print."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    columns = ["server", "alone", f"{SLOW} slow heads", f"and {SLOW} slow bodies",
               "slow head ended", "slow body ended", f"{IDLE} idle", *WRONG]  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name in names:
        print(f"| {' | '.join(probe(name))} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(SERVERS))
