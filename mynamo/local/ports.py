"""Free ports on the loopback address."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

from mynamo.errors import LocalServerError

LOOPBACK = "127.0.0.1"
LOWEST = 15_000
ATTEMPTS = 200
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections that linger in TIME_WAIT do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_listening(port: int, timeout: float = 1.0) -> bool:
    """Say whether a server answers on this port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout):
            return True
    except OSError:
        return False


def free_port(taken: Collection[int] = ()) -> int:
    """Choose a port that is free now and stays so for a server that restarts.

    It lies below the range from which the kernel picks ports for outgoing connections:
    one of those could otherwise sit on the port while its server is down.

    Args:
        taken: ports already given away to servers that do not run yet.

    Raises:
        LocalServerError: no free port was found.
    """
    highest = ephemeral_start(EPHEMERAL_RANGE) - 1
    for _ in range(ATTEMPTS):
        port = random.randint(LOWEST, highest)  # noqa: S311
        if port not in taken and is_free(port):
            return port
    raise LocalServerError(
        f"no free port between {LOWEST} and {highest} on {LOOPBACK}; stop servers that you "
        "no longer need"
    )


def ephemeral_start(range_file: Path) -> int:
    """Read where the kernel's range of ports for outgoing connections begins."""
    try:
        first = int(range_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return first if first > LOWEST + ATTEMPTS else 32_768
