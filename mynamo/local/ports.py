"""Free ports on the loopback address."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection
from pathlib import Path

from mynamo.errors import LocalServerError

LOOPBACK = "127.0.0.1"
_LOOPBACK_V6 = "::1"
LOWEST = 15_000
ATTEMPTS = 200
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port now, on both loopback addresses."""
    return _can_bind(socket.AF_INET, LOOPBACK, port) and _can_bind(
        socket.AF_INET6, _LOOPBACK_V6, port
    )


def _can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    """Say whether a port is free on an address, which it also is if there is no such address."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the servers do: connections that linger in TIME_WAIT do not make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # what listens on 127.0.0.1 is another matter
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
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
