"""Which MySQL or MariaDB server this machine has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mynamo.errors import LocalServerError
from mynamo.local.cache import cache_folder, fetch_command, find_fetched, version_key

EngineKind = Literal["mysql", "mariadb"]

BINARIES: dict[EngineKind, tuple[str, ...]] = {
    "mysql": ("mysqld",),
    "mariadb": ("mariadbd", "mysqld"),
}
OLDEST: dict[EngineKind, str] = {"mysql": "8.4", "mariadb": "10.11"}
USUAL_PLACES = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/local/mysql/bin",
    "/opt/homebrew/bin",
)


@dataclass(frozen=True)
class Engine:
    """A server program for shards.

    Attributes:
        kind: `mysql` or `mariadb`.
        version: such as `9.7.0`.
        command: how to run it; more than one word when a downloaded server needs its own
            program loader and libraries.
        base: the folder above its `bin` or `sbin`.
        share: the folder with its messages and its SQL files.
        plugins: the folder with its plugins, when it is not where the server expects it.
    """

    kind: EngineKind
    version: str
    command: tuple[str, ...]
    base: Path
    share: Path
    plugins: Path | None = None

    @property
    def title(self) -> str:
        """Such as `MySQL 9.7.0`."""
        return f"{'MySQL' if self.kind == 'mysql' else 'MariaDB'} {self.version}"


def parse_version(text: str) -> tuple[EngineKind, str]:
    """Read what `mysqld --version` or `mariadbd --version` says.

    Raises:
        LocalServerError: it is not the answer of such a server.
    """
    found = re.search(r"\bVer\s+(\d+\.\d+\.\d+)", text)
    if not found:
        raise LocalServerError(f"not the version of a MySQL or MariaDB server: {text.strip()!r}")
    return ("mariadb" if "mariadb" in text.lower() else "mysql"), found[1]


def find_engine(kind: EngineKind | None = None) -> Engine:
    """Find a server: one that was fetched before one that is installed.

    Args:
        kind: which one; None takes MySQL when there is one, else MariaDB.

    Raises:
        LocalServerError: there is none that is recent enough.
    """
    too_old = []
    for wanted in (kind,) if kind else ("mysql", "mariadb"):
        for engine in _candidates(wanted):
            if version_key(engine.version) >= version_key(OLDEST[wanted]):
                return engine
            too_old.append(f"{engine.command[0]} is {engine.title}")
    name = {"mysql": "MySQL", "mariadb": "MariaDB"}[kind] if kind else "MySQL or MariaDB"
    reason = f" ({'; '.join(too_old)}, which is too old)" if too_old else ""
    raise LocalServerError(
        f"no {name} server was found on this machine{reason}; this command fetches one (no root "
        f"needed):\n  {fetch_command(kind or 'engine')}"
    )


def _candidates(kind: EngineKind) -> Iterator[Engine]:
    fetched = find_fetched(kind, cache_folder())
    if fetched:
        yield unpacked_engine(kind, fetched.folder)
    for program in _installed(kind):
        engine = _installed_engine(program)
        if engine and engine.kind == kind:
            yield engine


def _installed(kind: EngineKind) -> Iterator[Path]:
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *USUAL_PLACES]
    for name in BINARIES[kind]:
        for folder in dict.fromkeys(folders):
            found = shutil.which(name, path=folder) if folder else None
            if found:
                yield Path(found)


def _installed_engine(program: Path) -> Engine | None:
    try:
        kind, version = parse_version(_version_text([str(program)]))
    except LocalServerError:
        return None
    base = program.resolve().parent.parent
    share = next((base / name for name in _share_names(kind) if (base / name).is_dir()), None)
    if share is None:
        return None
    return Engine(kind, version, (str(program),), base, share)


def unpacked_engine(kind: EngineKind, root: Path) -> Engine:
    """Describe a server that was unpacked from packages, with all its libraries, in `root`.

    Raises:
        LocalServerError: it does not run.
    """
    base = root / "usr"
    program = next(
        (base / "sbin" / name for name in BINARIES[kind] if (base / "sbin" / name).exists()), None
    )
    loader = next(iter(sorted((base / "lib").glob("*/ld-linux*.so.*"))), None)
    share = next((base / name for name in _share_names(kind) if (base / name).is_dir()), None)
    if program is None or loader is None or share is None:
        raise LocalServerError(f"{root} is not whole; delete it and fetch {kind} again")
    command = (str(loader), "--library-path", str(loader.parent), str(program))
    plugins = next((path for path in (base / "lib").glob("**/plugin") if path.is_dir()), None)
    _, version = parse_version(_version_text(command))
    return Engine(kind, version, command, base, share, plugins)


def _share_names(kind: EngineKind) -> tuple[str, ...]:
    names = ("share/mysql", "share/mariadb")
    return names if kind == "mysql" else names[::-1]


def _version_text(command: tuple[str, ...] | list[str]) -> str:
    try:
        done = subprocess.run(
            [*command, "--no-defaults", "--version"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalServerError(f"{command[-1]} does not run: {error}") from None
    return done.stdout or done.stderr
