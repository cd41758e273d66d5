"""The folder for servers that were downloaded rather than installed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

ServerKind = Literal["mysql", "mariadb", "kafka", "prometheus"]
KINDS: tuple[ServerKind, ...] = get_args(ServerKind)
STAMP = "fetched.json"


@dataclass(frozen=True)
class Fetched:
    """One complete download.

    Attributes:
        kind: which server.
        version: its version, as its publisher writes it.
        folder: where it lies.
    """

    kind: ServerKind
    version: str
    folder: Path


def cache_folder() -> Path:
    """`$MYNAMO_CACHE`, else `.cache` of the checkout that mynamo runs from, as `make` has it, else
    `mynamo` in the user's cache folder."""
    own = os.environ.get("MYNAMO_CACHE")
    if own:
        return Path(own).expanduser().resolve()
    source = Path(__file__).resolve().parents[2]
    if all((source / name).is_file() for name in ("Makefile", "pyproject.toml")):
        return source / ".cache"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mynamo"


def fetch_command(what: str) -> str:
    """The command that fetches something, as it can be copied into a shell."""
    return f"{shlex.quote(sys.executable)} -m mynamo.local.fetch {what}"


def find_fetched(kind: ServerKind, cache: Path | None = None) -> Fetched | None:
    """Return the newest complete download of a server, or None."""
    found = []
    for stamp in (cache or cache_folder()).glob(f"{kind}-*/{STAMP}"):
        values = json.loads(stamp.read_text())
        found.append(Fetched(kind, values["version"], stamp.parent))
    return max(found, key=lambda one: version_key(one.version), default=None)


def store(
    kind: ServerKind, version: str, fill: Callable[[Path], None], cache: Path | None = None
) -> Fetched:
    """Put a download into the cache, as a whole or not at all.

    Args:
        kind: which server.
        version: becomes part of the folder's name.
        fill: writes the content into the folder it is given.
        cache: another cache than the default.
    """
    root = cache or cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    target = root / f"{kind}-{version.replace('/', '_').replace(':', '_')}"
    if (target / STAMP).is_file():
        return Fetched(kind, version, target)
    work = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=root))
    try:
        fill(work)
        (work / STAMP).write_text(json.dumps({"kind": kind, "version": version}) + "\n")
        work.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)  # a folder without a stamp is not whole
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Fetched(kind, version, target)


def discard_parts(cache: Path) -> None:
    """Remove what an interrupted download left; nobody else may be downloading."""
    for part in (*cache.glob(".apt-*"), *(p for kind in KINDS for p in cache.glob(f".{kind}-*"))):
        shutil.rmtree(part, ignore_errors=True)


def version_key(version: str) -> tuple[int, ...]:
    """Order versions by their numbers: 9.10 is newer than 9.7."""
    digits = "".join(char if char.isdigit() else " " for char in version)
    return tuple(int(part) for part in digits.split())
