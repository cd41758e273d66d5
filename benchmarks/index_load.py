"""`http_load.py` as a process of its own, with so many new items prebuilt that none is put twice.

An item that is put again would be an event that leaves the index as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import http_load
import http_requests
import uvloop

HANGS_SECONDS = 120.0


def run(
    plan: http_load.Plan, puts: int, beside: AbstractContextManager[object] | None = None
) -> dict[str, Any]:
    """Load a server.

    Args:
        puts: how many items are prebuilt for PutItem, from `plan.first` on.
        beside: entered when they are, and the load begins, and left when it has ended.

    Returns:
        What `http_load.Measured` has.

    Raises:
        RuntimeError: the server does not take connections, say; with what the process said.
        TimeoutExpired: it does not end.
    """
    asked = json.dumps(asdict(plan) | {"puts": puts})
    with subprocess.Popen(
        [sys.executable, __file__, asked],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        try:
            assert child.stdout
            child.stdout.readline()
            with beside or nullcontext():
                said, complained = child.communicate(timeout=plan.seconds + HANGS_SECONDS)
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise RuntimeError(f"the load generator failed: {complained[-2000:]}")
    measured: dict[str, Any] = json.loads(said)
    return measured


def main() -> None:
    """Be that process."""
    plan = json.loads(sys.argv[1])
    http_requests.PUTS = plan.pop("puts")
    load = http_load.Load(http_load.Plan(**plan))
    print("prebuilt", flush=True)
    print(json.dumps(asdict(uvloop.run(load.run()))))


if __name__ == "__main__":
    main()
