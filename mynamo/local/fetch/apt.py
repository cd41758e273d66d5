"""Debian packages unpacked into a folder, without root and without touching the system.

apt gets a state folder of its own and an empty list of installed packages: it then
downloads a package with everything it depends on, down to the C library and the program
loader, and verifies each against the archive's signature. Unpacked together they run on
any Linux of the same processor, beside whatever is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from mynamo.errors import LocalServerError
from mynamo.local.fetch.apt_sources import Source

NEEDED = ("apt-get", "apt-cache", "dpkg-deb")
NOT_UNPACKED = ("perl", "libperl")  # for scripts around the server that we do not run
KEPT_SHARES = ("mysql", "mariadb")
PROGRESS_SECONDS = 3.0


class PrivateApt:
    """apt with sources and a state of its own."""

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        """Set the state up.

        Args:
            folder: an empty folder for it.
            sources: where packages come from.

        Raises:
            LocalServerError: this machine has no apt.
        """
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if missing:
            raise LocalServerError(
                f"{', '.join(missing)} not found: servers can be fetched only on Debian, Ubuntu "
                "and their like; install the server with this system's own packages"
            )
        self._folder = folder
        self._archives = folder / "archives"
        for path in (folder / "lists" / "partial", self._archives / "partial"):
            path.mkdir(parents=True)
        (folder / "status").touch()
        listing = "\n".join(source.deb822() for source in sources)
        (folder / "mynamo.sources").write_text(listing)

    def update(self) -> str:
        """Fetch the lists of packages; returns what apt said."""
        done = self._run("apt-get", "update")
        # Hooks of the machine's own configuration may fail here; `candidate` is the judge.
        return (done.stdout + done.stderr).strip()

    def candidate(self, package: str) -> str | None:
        """Return the version that would be downloaded, or None when there is no such package."""
        said = self._run("apt-cache", "policy", package).stdout
        found = re.search(r"Candidate:\s*(\S+)", said)
        return found[1] if found and found[1] != "(none)" else None

    def size(self, package: str) -> int:
        """The bytes that `download` will download."""
        said = self._run("apt-get", "install", "--yes", "--print-uris", package).stdout
        return sum(int(size) for size in re.findall(r"^'\S+' \S+ (\d+)", said, re.MULTILINE))

    def download(self, package: str, progress: Callable[[int], None]) -> list[Path]:
        """Download a package and all that it depends on; apt verifies each.

        Args:
            package: its name.
            progress: told now and then how many bytes are there.

        Raises:
            LocalServerError: it did not work.
        """
        with self._start("apt-get", "install", "--yes", "--download-only", package) as apt:
            try:
                while True:
                    try:
                        _, said = apt.communicate(timeout=PROGRESS_SECONDS)
                        break
                    except subprocess.TimeoutExpired:
                        if done := sum(map(size_of, self._archives.rglob("*.deb*"))):
                            progress(done)
            except BaseException:
                apt.terminate()
                raise
        if apt.returncode != 0:
            raise LocalServerError(f"apt could not download {package}:\n{_last(said)}")
        return sorted(self._archives.glob("*.deb"))

    def download_alone(self, package: str) -> Path:
        """Download a package without what it depends on; apt verifies it.

        Raises:
            LocalServerError: it did not work.
        """
        done = self._run("apt-get", "download", package)
        found = list(self._archives.glob("*.deb"))
        if done.returncode != 0 or not found:
            raise LocalServerError(f"apt could not download {package}:\n{_last(done.stderr)}")
        return found[0]

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        with self._start(*words) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def _start(self, *words: str) -> subprocess.Popen[str]:
        where = self._folder
        settings = {
            "Dir::State": where,
            "Dir::State::lists": where / "lists",
            "Dir::State::status": where / "status",
            "Dir::State::extended_states": where / "extended_states",
            "Dir::Cache": where,
            "Dir::Cache::archives": self._archives,
            "Dir::Log": where,
            "Dir::Etc::sourcelist": where / "mynamo.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "APT::Keep-Downloaded-Packages": "true",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Debug::NoLocking": "true",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        return subprocess.Popen(
            [words[0], *options, *words[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._archives,
            env=environment,
        )


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpack packages into one folder, as a system with one `/usr` has them.

    Raises:
        LocalServerError: a package is damaged.
    """
    for package in packages:
        if not package.name.startswith(NOT_UNPACKED):
            unpack_one(package, root)
    for name in ("lib", "lib64", "bin", "sbin"):
        outside = root / name
        if outside.is_dir() and not outside.is_symlink():
            shutil.copytree(outside, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(outside)
    for share in (root / "usr" / "share").iterdir():
        if share.is_dir() and not share.is_symlink() and share.name not in KEPT_SHARES:
            shutil.rmtree(share)


def unpack_one(package: Path, root: Path) -> None:
    """Unpack a package into a folder, as it is.

    Raises:
        LocalServerError: it is damaged.
    """
    done = subprocess.run(
        ["dpkg-deb", "-x", str(package), str(root)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise LocalServerError(f"{package.name} cannot be unpacked: {_last(done.stderr)}")


def size_of(path: Path) -> int:
    """Bytes of a file, 0 when it is gone by now."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last(text: str, lines: int = 5) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
