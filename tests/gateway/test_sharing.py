"""Connections of several processes: few of them stay together, many are spread, and none waits for
a process that is frozen or dead."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from operator import add
from pathlib import Path
from typing import Any

import pytest

from mynamo.gateway.http.connection_counts import ENOUGH, SILENT_SECONDS, TICK_SECONDS
from tests.certificates import Authority
from tests.commands import start
from tests.gateway.raw import Wire
from tests.waiting import eventually

PATIENCE = SILENT_SECONDS + 2 * TICK_SECONDS + 1.0
"""Seconds that a new connection may wait for another process; one of them is for a busy machine."""
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Sharing:
    """Processes that share a port; see `sharing_process`.

    Attributes:
        processes: their ids, by their numbers.
    """

    def __init__(self, parent: subprocess.Popen[str], count: int) -> None:
        assert parent.stdout is not None
        self._said = parent.stdout
        self._port = int(self._said.readline())
        self._stack = ExitStack()
        self.processes: dict[int, int] = {}
        for _ in range(count):
            self.await_another()

    def await_another(self) -> None:
        """Wait until one more process takes connections."""
        number, pid = self._said.readline().split()
        self.processes[int(number)] = int(pid)

    def connect(self, count: int = 1, tls: ssl.SSLContext | None = None) -> list[Wire]:
        """Open so many connections at once; they stay open."""
        address = ("127.0.0.1", self._port)
        made = [self._stack.enter_context(socket.create_connection(address)) for _ in range(count)]
        if tls is not None:
            made = [self._stack.enter_context(tls.wrap_socket(one)) for one in made]
        for one in made:
            one.settimeout(20.0)
        return [Wire(one) for one in made]

    def owners(self, count: int, tls: ssl.SSLContext | None = None) -> list[int]:
        """Open so many at once and let each ask; how many each process has of them."""
        connections = self.connect(count, tls)
        for one in connections:
            one.send(ASK)
        found = Counter(int(one.hear().body) for one in connections)
        assert found.keys() <= set(self.processes.values())
        return [found[self.processes[number]] for number in sorted(self.processes)]

    def seconds(self) -> float:
        """How long it takes to get an answer on a new connection."""
        before = time.monotonic()
        self.owners(1)
        return time.monotonic() - before

    def close(self) -> None:
        """Close all connections."""
        self._stack.close()


@contextmanager
def sharing(processes: int, **options: Any) -> Iterator[Sharing]:
    words = json.dumps({"processes": processes, **options})
    with start(
        words, program="tests.gateway.sharing_process", stdout=subprocess.PIPE, text=True
    ) as parent:
        made = None
        try:
            made = Sharing(parent, processes)
            yield made
        finally:
            for process in made.processes.values() if made else ():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
            if made:
                made.close()
            parent.terminate()
            assert parent.wait(30) == 0


def owners_anew(made: Sharing, count: int, tls: ssl.SSLContext | None = None) -> list[int]:
    """How many each process has of so many, without those that were open before."""
    made.close()
    return made.owners(count, tls)


def test_few_connections_stay_in_one_process() -> None:
    with sharing(3) as made:
        assert made.owners(ENOUGH) == [ENOUGH, 0, 0]
        made.close()
        for _ in range(2):  # one that has ended does not count
            eventually(lambda: owners_anew(made, 10) == [10, 0, 0])


def test_control_without_enough_they_do_not() -> None:
    with sharing(3, constants={"ENOUGH": 0}) as made:
        assert made.owners(ENOUGH) == [8, 8, 8]


@pytest.mark.parametrize(("count", "shares"), [(64, [32, 32]), (40, [24, 16])])
def test_a_burst_is_spread(count: int, shares: list[int]) -> None:
    with sharing(2) as made:
        assert made.owners(count) == shares


def test_many_are_spread_over_many() -> None:
    with sharing(5) as made:
        first = made.owners(3 * ENOUGH)
        assert first == [ENOUGH, ENOUGH, ENOUGH, 0, 0]
        more = made.owners(400 - 3 * ENOUGH)
        assert list(map(add, first, more)) == [80] * 5


def test_control_one_process_gets_a_burst_that_is_not_spread() -> None:
    with sharing(2, constants={"ENOUGH": 1_000}) as made:
        assert made.owners(64) == [64, 0]


def test_the_turn_passes_at_once() -> None:
    """Connections one after the other, each for another process than the one before."""
    with sharing(2) as made:
        made.owners(2 * ENOUGH)
        taken = sorted(made.seconds() for _ in range(50))
        assert taken[25] < TICK_SECONDS / 5


def test_a_frozen_process_holds_up_no_connection() -> None:
    with sharing(2) as made:
        made.owners(3)
        os.kill(made.processes[0], signal.SIGSTOP)
        assert made.seconds() < PATIENCE
        assert made.owners(10) == [0, 10]
        os.kill(made.processes[0], signal.SIGCONT)
        eventually(lambda: made.owners(1) == [1, 0])


def test_control_one_that_is_not_passed_over_does() -> None:
    with sharing(2, constants={"SILENT_SECONDS": 1_000}) as made:
        os.kill(made.processes[0], signal.SIGSTOP)
        (waiting,) = made.connect()
        waiting.send(ASK)
        waiting.socket.settimeout(PATIENCE)
        with pytest.raises(TimeoutError):
            waiting.hear()


def test_one_that_freezes_in_its_turn_among_many_connections() -> None:
    with sharing(3) as made:
        assert made.owners(2 * ENOUGH) == [ENOUGH, ENOUGH, 0]
        os.kill(made.processes[2], signal.SIGSTOP)
        assert made.seconds() < PATIENCE
        assert made.owners(10)[2] == 0


def test_a_killed_process_neither_and_another_takes_its_place() -> None:
    with sharing(2) as made:
        assert made.owners(64) == [32, 32]
        os.kill(made.processes[0], signal.SIGKILL)
        assert made.seconds() < PATIENCE
        made.await_another()
        made.close()
        assert made.owners(ENOUGH) == [ENOUGH, 0]  # those of the killed one do not count


def test_one_that_can_open_no_more_files_leaves_connections_to_others() -> None:
    with sharing(2, files=40) as made:
        assert sum(made.owners(ENOUGH)) == ENOUGH
        assert sum(made.owners(60)) == 60


def test_https(tmp_path: Path) -> None:
    """Clients that did not get through the handshake do not count."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(authority.file))
    trusting.check_hostname = False
    with sharing(2, cert=str(cert), key=str(key)) as made:
        assert made.owners(64, trusting) == [32, 32]
        made.close()
        for one in made.connect(100):
            one.send(b"this is not TLS")
        eventually(lambda: owners_anew(made, ENOUGH, trusting) == [ENOUGH, 0])
