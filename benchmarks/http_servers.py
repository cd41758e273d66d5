"""Compare HTTP servers for work like the gateway's: a small JSON body, a blocking call, an answer.

    python benchmarks/http_servers.py                         # a table of all servers
    python benchmarks/http_servers.py mynamo "granian, WSGI"  # of these

One process each, in interleaved rounds; medians. It needs wrk, and what `http_candidates.py`
needs.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
import tempfile
from typing import NamedTuple

import psutil  # type: ignore[import-untyped,unused-ignore]
from http_candidates import BODY, JSON, SERVERS, family, serving

ROUNDS = 3
ROUND_SECONDS = 2
CONNECTIONS = (1, 16, 64)


class Figures(NamedTuple):
    """What one server did in one round; times in milliseconds, CPU in microseconds a request."""

    rate: float
    p50: float
    p99: float
    cpu: float
    megabytes: float


def measure(name: str, connections: int, script: str) -> Figures:
    """One round."""
    with serving(name) as (port, process):
        wrk = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", script]
        address = f"http://127.0.0.1:{port}/"
        subprocess.run([*wrk, "-d1s", address], capture_output=True, check=True)
        before = _cpu_seconds(process)
        done = subprocess.run(
            [*wrk, f"-d{ROUND_SECONDS}s", address], capture_output=True, text=True, check=True
        )
        used = _cpu_seconds(process) - before
        megabytes = sum(one.memory_info().rss for one in family(process)) / 1e6
    said = done.stdout
    if re.search(r"Non-2xx|Socket errors", said):
        raise RuntimeError(f"{name}: {said}")
    rate, requests = (
        float(_found(pattern, said)[1]) for pattern in (r"Requests/sec:\s+(\S+)", r"(\d+) requests")
    )
    return Figures(
        rate, _milliseconds(said, "50%"), _milliseconds(said, "99%"),
        used / requests * 1e6, megabytes,
    )  # fmt: skip


def _found(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text)
    assert found, text
    return found


def _milliseconds(said: str, name: str) -> float:
    found = _found(rf"{name}\s+([\d.]+)(us|ms|s)\n", said)
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def _cpu_seconds(process: psutil.Process) -> float:
    return float(sum(sum(one.cpu_times()[:2]) for one in family(process)))


def main(names: list[str]) -> None:
    """Measure and print."""
    found: dict[tuple[str, int], list[Figures]] = {}
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
                    figures = measure(name, connections, script.name)
                    found.setdefault((name, connections), []).append(figures)
    print("| server | connections | requests/s | p50 ms | p99 ms | CPU us/request | MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (name, connections), rounds in found.items():
        rate, p50, p99, cpu, megabytes = map(statistics.median, zip(*rounds, strict=True))
        package, _ = SERVERS[name]
        version = importlib.metadata.version(package)
        title = name.replace(package, f"{package} {version}")
        title += "" if package in name else f" ({package} {version})"
        print(
            f"| {title} | {connections} | {rate:,.0f} | {p50:.2f} | {p99:.2f} | {cpu:.0f} "
            f"| {megabytes:.0f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:] or list(SERVERS))
