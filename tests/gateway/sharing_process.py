"""Processes that share a port and answer each request with their process id.

python -m tests.gateway.sharing_process '{"processes": 2}' prints the port, and then a line for each
process that takes connections, with its number and its id; see `main`.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import threading
from typing import Any

from mynamo.cli.workers import stop_on_signals
from mynamo.gateway.http import connection_counts
from mynamo.gateway.http.connection_counts import ConnectionCounts
from mynamo.gateway.http.messages import Request, Response
from mynamo.gateway.http.processes import run_processes
from mynamo.gateway.http.server import HttpServer, listen, tls_context
from mynamo.schemas.gateway_config import GatewayConfig


class SaysWho:
    """Answers with the number of its process."""

    def answer(self, request: Request) -> Response:
        """Its id."""
        return Response(200, str(os.getpid()).encode())

    at_once = answer
    overloaded = answer


class ToldCounts(ConnectionCounts):
    """Says when a process first takes part."""

    told = False

    def live(self) -> None:
        """Say so."""
        super().live()
        if not self.told:
            self.told = True
            os.write(1, f"{self._me} {os.getpid()}\n".encode())  # as a whole


def main(options: dict[str, Any]) -> int:
    """Serve until SIGTERM.

    Args:
        options: `processes`: how many; `files`: how many the first may have open; `constants`: of
            `mynamo.gateway.http.connection_counts`; all others: of `GatewayConfig`.
    """
    processes, files = options.pop("processes"), options.pop("files", None)
    for name, value in options.pop("constants", {}).items():
        setattr(connection_counts, name, value)
    config = GatewayConfig(port=0, **options)
    listeners = listen(config)
    shared = ToldCounts(processes)

    def work(process: int) -> int:
        shared.become(process)
        if files and process == 0:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        server = HttpServer(SaysWho(), listeners, config.limits, tls_context(config), shared)
        told = stop_on_signals()

        def watch() -> None:
            told.wait()
            server.stop()

        threading.Thread(target=watch, daemon=True).start()
        server.run()
        return 0

    print(listeners[0].getsockname()[1], flush=True)  # noqa: T201
    return run_processes(processes, work)


if __name__ == "__main__":
    logging.basicConfig()
    sys.exit(main(json.loads(sys.argv[1])))
