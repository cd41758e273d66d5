"""One server process that ends with the Python process that started it."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from mynamo.errors import LocalServerError
from mynamo.local import parent_death

POLL_SECONDS = 0.05
LEFTOVER_GRACE_SECONDS = 20.0
LOG_TAIL_BYTES = 2_000
LOG_LIMIT_BYTES = 16 * 1024 * 1024

_Start = Callable[[], "subprocess.Popen[bytes]"]
_Started = Future["subprocess.Popen[bytes]"]


class ServerProcess:
    """A server as a child process, with a folder for its log and its pid file.

    It runs in a session of its own, so that Ctrl-C in a terminal reaches only us and we
    stop it in good order. On Linux the kernel kills it when we die without doing so.

    Attributes:
        name: what messages call it.
        folder: where the log (`<name>.log`) and the pid file (`<name>.pid`) lie; its
            working directory as well, by which a left-over process is recognised.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid if self._child is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(
        self,
        command: Sequence[str],
        *,
        ready: Callable[[], bool],
        timeout: float,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it and wait until it is ready.

        Args:
            command: the program and its arguments; the program is an absolute path.
            ready: asked again and again until it says True; must not block for long.
            timeout: seconds until it counts as failed.
            env: environment variables on top of our own.

        Raises:
            LocalServerError: it ended, or was not ready in time.
        """
        if self.running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.end_leftover()
        log_start = self._spawn(command, env)
        try:
            self._await_ready(ready, timeout, log_start)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout: float = 60.0) -> None:
        """Ask it to end, and make it end when it does not within `timeout` seconds."""
        if self._child is None:
            return
        if self.running:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a power failure would (SIGKILL)."""
        if self._child is None:
            return
        if self.running:
            self._child.kill()
        self._child.wait()
        self._child = None
        self._pid_file.unlink(missing_ok=True)

    def end_leftover(self) -> int | None:
        """End a server that an earlier run left behind in the same folder.

        Only the process that the pid file names, and only when its command line or its
        working directory says that it belongs to this folder.

        Returns:
            Its process id, or None when there was none.
        """
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None
        if pid == os.getpid() or not belongs_to(pid, self.folder):
            self._pid_file.unlink(missing_ok=True)
            return None
        for kind in (signal.SIGTERM, signal.SIGKILL):
            if _signal_and_wait(pid, kind, LEFTOVER_GRACE_SECONDS):
                self._pid_file.unlink(missing_ok=True)
                return pid
        raise LocalServerError(
            f"{self.name} of an earlier run (process {pid}) uses {self.folder} and does not "
            f"end; end it with `kill -9 {pid}` and try again"
        )

    def log_tail(self, since: int = 0) -> str:
        """Return the end of its log, from byte `since` on."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(since, size - LOG_TAIL_BYTES))
                return log.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def _spawn(self, command: Sequence[str], env: Mapping[str, str] | None) -> int:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.unlink()
        with self.log.open("ab") as log:
            start = log.tell()
            self._child = _spawner().run(
                lambda: subprocess.Popen(
                    tied_to_parent(command),
                    cwd=self.folder,
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        self._pid_file.write_text(str(self._child.pid))
        return start

    def _await_ready(self, ready: Callable[[], bool], timeout: float, log_start: int) -> None:
        assert self._child is not None  # noqa: S101
        deadline = time.monotonic() + timeout
        while not ready():
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._child.wait(POLL_SECONDS)
                raise LocalServerError(
                    f"{self.name} ended with status {status} while it started. The end of "
                    f"its log, {self.log}:\n{self.log_tail(log_start)}"
                )
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"{self.name} did not answer within {timeout:.0f} s. The end of its log, "
                    f"{self.log}:\n{self.log_tail(log_start)}"
                )


def tied_to_parent(command: Sequence[str]) -> list[str]:
    """A command that, on Linux, the kernel kills when the thread ends that starts it."""
    return [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *command]


def belongs_to(pid: int, folder: Path) -> bool:
    """Say whether a running process names this folder, or works in it (Linux only).

    A process in the middle of `exec` has no command line for a moment, and a zombie has no working
    directory.
    """
    proc = Path("/proc") / str(pid)
    own = str(folder.resolve())
    try:
        if str((proc / "cwd").readlink()) == own:
            return True
        words = (proc / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return False
    values = [word.rpartition("=")[2] for word in words]
    return any(value == own or value.startswith(own + "/") for value in values)


def _signal_and_wait(pid: int, kind: signal.Signals, timeout: float) -> bool:
    """Send a signal to a process that is not our child; True once it has ended."""
    if sys.platform != "linux":
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(handle, kind)
        return bool(select.select([handle], [], [], timeout)[0])
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)


class _Spawner:
    """Starts children from a thread that lives as long as this process.

    The kernel ties a child to the *thread* that started it: a server started from a
    short-lived worker thread would be killed when that thread ends.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._orders: queue.SimpleQueue[tuple[_Start, _Started]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="mynamo-spawner", daemon=True).start()

    def run(self, start: _Start) -> subprocess.Popen[bytes]:
        started: _Started = Future()
        self._orders.put((start, started))
        return started.result()

    def _serve(self) -> None:
        while True:
            start, started = self._orders.get()
            try:
                started.set_result(start())
            except BaseException as error:
                started.set_exception(error)


_spawner_lock = threading.Lock()
_the_spawner: _Spawner | None = None


def _spawner() -> _Spawner:
    global _the_spawner
    with _spawner_lock:
        if _the_spawner is None or _the_spawner.owner != os.getpid():  # threads do not fork
            _the_spawner = _Spawner()
        return _the_spawner
