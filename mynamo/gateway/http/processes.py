"""Several processes that serve one port: they inherit its listening socket."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from mynamo.errors import MynamoError, Unavailable

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
INTERRUPTED = 128 + signal.SIGINT
_TRY_AGAIN = os.EX_TEMPFAIL
_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def run_processes(count: int, work: Callable[[int], int]) -> int:
    """Run some work in processes of its own until SIGTERM or Ctrl-C, which they are told.

    One that a signal killed (out of memory, say) is started again, and again if that fails since a
    server does not answer, which the others may not need now. When one ends by itself otherwise,
    all end: what is wrong with it is wrong with them. They also end with this process.

    Args:
        count: of processes.
        work: takes the number of its process, from 0 on (a process that replaces another one has
            its number), ends at SIGTERM and Ctrl-C, and returns the status to end with.

    Returns:
        The status to end with.
    """
    return _Family(count, work).run()


class _Family:
    def __init__(self, count: int, work: Callable[[int], int]) -> None:
        self._count = count
        self._work = work
        # Their numbers, when they began, and whether they replace others.
        self._children: dict[int, tuple[int, float, bool]] = {}
        self._stopping = False
        self._alive, self._life = os.pipe()  # children see its end when this process ends

    def run(self) -> int:
        for kind in _SIGNALS:
            signal.signal(kind, self._stop)
        for number in range(self._count):
            self._start(number)
        status = 0
        while self._children:
            pid, code = os.wait()
            number, started, replaces = self._children.pop(pid)
            code = os.waitstatus_to_exitcode(code)
            lacks_a_server = code == _TRY_AGAIN
            if lacks_a_server:
                code = 1
            if self._stopping:
                if code == -signal.SIGINT:  # so early that nothing handled it
                    code = INTERRUPTED
                status = status or max(0, code)
                continue
            if code < 0:
                log.error(
                    "a process of the gateway was killed by signal %s; starting another", -code
                )
            elif lacks_a_server and replaces and self._children:
                log.error("a process of the gateway could not start; trying again")
            else:
                log.error("a process of the gateway ended with status %s", code)
                status = code or 1
                self._stop()
                continue
            time.sleep(max(0.0, started + PAUSE_SECONDS - time.monotonic()))
            self._start(number, replaces=True)
        return status

    def _start(self, number: int, replaces: bool = False) -> None:
        """Start one; a signal meanwhile waits until it is clear who has it."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        if not self._stopping:
            pid = os.fork()
            if pid == 0:
                self._be_a_child(number, before)
            self._children[pid] = number, time.monotonic(), replaces
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _be_a_child(self, number: int, mask: set[int | signal.Signals]) -> NoReturn:
        os.close(self._life)
        for kind in _SIGNALS:
            signal.signal(kind, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        status = 1
        try:
            status = self._work(number)
        except KeyboardInterrupt as again:  # it was about to end
            status = INTERRUPTED if signal.SIGINT in again.args else 0
        except MynamoError as failure:  # says all there is to say
            log.error("a process of the gateway failed: %s", failure)
            if isinstance(failure, Unavailable):
                status = _TRY_AGAIN
        except BaseException:
            log.exception("a process of the gateway failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _end_with_parent(self) -> None:
        os.read(self._alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _stop(self, kind: int = signal.SIGTERM, _: object = None) -> None:
        self._stopping = True
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kind)
