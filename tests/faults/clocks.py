"""Wall clocks that a test may move: of the shards' servers and of mynamo's processes.

A small library (`clocks.c`), compiled with the machine's C compiler and preloaded into every
process that may be harmed, adds an offset to its wall clock. Monotonic clocks stay as they
are, as with a real step. Linux with glibc only.

libfaketime will not do: under it MySQL takes a minute to start and then keeps every core
busy, and a shared memory and a semaphore stay behind for each process that was killed. Kafka
keeps the true time: Java is not for us to test.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
_VARIABLE = "MYNAMO_CLOCK"
_OFFSET_BYTES = 8
_HOUR = 3_600.0


class Clocks:
    """The clocks of a cluster's processes, each by the name of its process.

    Args:
        library: as `SOURCE` was compiled.
        folder: for one file for each clock.
    """

    def __init__(self, library: Path, folder: Path) -> None:
        self._library = library
        self._folder = folder

    def environment(self, name: str) -> dict[str, str]:
        """Environment variables that put a process under its clock.

        A process that is started again finds the clock as it was left.
        """
        file = self._folder / name
        if not file.exists():
            file.write_bytes(bytes(_OFFSET_BYTES))
        preloaded = [str(self._library), os.environ.get("LD_PRELOAD", "")]
        return {"LD_PRELOAD": " ".join(preloaded).strip(), _VARIABLE: str(file)}

    def set(self, name: str, seconds: float) -> None:
        """Let a clock show the true time plus some seconds, from now on."""
        with (
            (self._folder / name).open("r+b") as file,
            mmap.mmap(file.fileno(), _OFFSET_BYTES) as shared,
            memoryview(shared) as view,
            view.cast("q") as offset,
        ):
            offset[0] = round(seconds * 1_000_000_000)  # one store: nobody sees half of it


def make_clocks(folder: Path) -> Clocks | None:
    """Compile the library into a new folder; None when this machine cannot have it."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None
    folder.mkdir(parents=True)
    library = folder / "clocks.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    if subprocess.run(command, capture_output=True).returncode != 0:
        return None
    clocks = Clocks(library, folder)
    return clocks if _works(clocks) else None


def _works(clocks: Clocks) -> bool:
    """Whether Python's clock moves; it does not in folders that nothing is run from."""
    env = {**os.environ, **clocks.environment("trial")}
    clocks.set("trial", _HOUR)
    command = [sys.executable, "-I", "-S", "-c", "import time; print(time.time())"]
    shown = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout
    return float(shown) - time.time() > _HOUR / 2
