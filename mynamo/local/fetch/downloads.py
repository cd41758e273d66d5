"""Downloading the servers that are not installed, into the cache folder.

Needs no root and changes nothing elsewhere. What was fetched once is not fetched again.
"""

from __future__ import annotations

import fcntl
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mynamo.errors import LocalServerError
from mynamo.local.cache import cache_folder, discard_parts, find_fetched, store, version_key
from mynamo.local.disk import shortage
from mynamo.local.engines import Engine, EngineKind, find_engine, unpacked_engine
from mynamo.local.fetch.apt import PrivateApt, unpack, unpack_one
from mynamo.local.fetch.apt_sources import Source, debian_suite, machine_sources, own_suite
from mynamo.local.fetch.maven import KAFKA_VERSION, download_kafka
from mynamo.local.kafka import archive_classes
from mynamo.local.prometheus import PROGRAMS, PrometheusPrograms, find_prometheus

MYSQL_SUITE = "sid"  # Debian's stable releases have no MySQL
MYSQL_WANTED = "9.7"
MYSQL_ACCEPTED = "9."

Say = Callable[[str], None]


def fetch_mysql(cache: Path, say: Say) -> None:
    """Download MySQL 9 from Debian, unless this machine has a MySQL 9 already.

    Raises:
        LocalServerError: it did not work.
    """
    if _have("mysql", "9", say):
        return
    release = platform.freedesktop_os_release()
    source = debian_suite(machine_sources(), release.get("VERSION_CODENAME", ""), MYSQL_SUITE)
    if source is None or release.get("ID") != "debian":
        raise LocalServerError(
            f"MySQL {MYSQL_WANTED} can be fetched on Debian only; install MySQL 8.4 or later from "
            "its own packages, or go on with MariaDB"
        )
    _fetch_packages("mysql", [source], cache, say)


def fetch_mariadb(cache: Path, say: Say) -> None:
    """Download this system's MariaDB, unless it is installed.

    Raises:
        LocalServerError: it did not work.
    """
    if _have("mariadb", "10.11", say):
        return
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    _fetch_packages("mariadb", own_suite(machine_sources(), codename), cache, say)


def fetch_kafka(cache: Path, say: Say) -> None:
    """Download Apache Kafka.

    Raises:
        LocalServerError: it did not work.
    """
    found = find_fetched("kafka", cache)
    if found and found.version == KAFKA_VERSION:
        say(f"Apache Kafka {found.version} is in {found.folder}")
        _archive_classes(say)
        return
    say(f"downloading Apache Kafka {KAFKA_VERSION} (45 MB) with Maven")
    repository = cache / "m2"
    done = store("kafka", KAFKA_VERSION, lambda jars: download_kafka(jars, repository), cache)
    say(f"fetched Apache Kafka {done.version} into {done.folder}")
    _archive_classes(say)


def fetch_prometheus(cache: Path, say: Say) -> None:
    """Download Prometheus and promtool of this system's own packages, unless they are there.

    Only these two programs of the package are kept: the rest of it starts a server.

    Raises:
        LocalServerError: it did not work.
    """
    try:
        found = find_prometheus()
    except LocalServerError:
        pass
    else:
        say(f"{found.title} is there ({found.server})")
        return
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")

    def fill(root: Path) -> None:
        unpack_one(package, root / "package")
        for program in PROGRAMS:
            (root / "package" / "usr" / "bin" / program).rename(root / program)
        shutil.rmtree(root / "package")

    sources = own_suite(machine_sources(), codename)
    with _listed("prometheus", sources, cache, say) as (apt, version):
        say(f"downloading the package prometheus {version} (20 MB)")
        package = apt.download_alone("prometheus")
        done = store("prometheus", version, fill, cache)
    say(f"fetched {find_prometheus().title} (package {version}) into {done.folder}")


def fetch_engine(cache: Path, say: Say) -> None:
    """Make sure that there is a server for shards: any installed one, else MySQL, else MariaDB.

    Raises:
        LocalServerError: neither could be fetched.
    """
    try:
        engine = find_engine()
    except LocalServerError:
        try:
            fetch_mysql(cache, say)
        except LocalServerError as error:
            say(f"{error}\nfetching MariaDB instead")
            fetch_mariadb(cache, say)
    else:
        say(f"{engine.title} is there ({engine.command[-1]})")


def provide_engine(kind: EngineKind | None, say: Say | None) -> Engine:
    """Find a server for shards, or download one.

    Args:
        kind: which one; None takes MySQL when it is there or can be had, else MariaDB.
        say: told in a few words what is going on.

    Raises:
        LocalServerError: there is none, and none could be fetched.
    """
    try:
        return find_engine(kind)
    except LocalServerError:
        tell = say or _silent
        tell("this machine has no server for the shards yet; fetching one, once (no root needed)")
        fetch(kind or "engine", tell)
        return find_engine(kind)


def provide_kafka(say: Say | None) -> None:
    """Make sure that Apache Kafka is there, or download it.

    Raises:
        LocalServerError: it could not be fetched.
    """
    if find_fetched("kafka", cache_folder()) is None:
        fetch("kafka", say or _silent)


def provide_prometheus(say: Say | None) -> PrometheusPrograms:
    """Find Prometheus, or download it.

    Raises:
        LocalServerError: there is none, and it could not be fetched.
    """
    try:
        return find_prometheus()
    except LocalServerError:
        fetch("prometheus", say or _silent)
        return find_prometheus()


def fetch(what: str, say: Say) -> None:
    """Download one of `FETCHERS`; of several processes one does, the others wait for it.

    Raises:
        LocalServerError: it did not work.
    """
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another process that fetches something into {cache}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            discard_parts(cache)
            FETCHERS[what](cache, say)
    except OSError as error:
        raise LocalServerError(
            shortage(cache)
            or f"nothing can be fetched into {cache}: {error}; name another folder in MYNAMO_CACHE"
        ) from error


FETCHERS: dict[str, Callable[[Path, Say], None]] = {
    "mysql": fetch_mysql,
    "mariadb": fetch_mariadb,
    "kafka": fetch_kafka,
    "engine": fetch_engine,
    "prometheus": fetch_prometheus,
}


def _silent(line: str) -> None:
    """Say nothing."""


def _archive_classes(say: Say) -> None:
    try:
        archive_classes()
    except LocalServerError as error:
        say(f"note: Kafka will start more slowly: {error}")


def _have(kind: EngineKind, at_least: str, say: Say) -> bool:
    try:
        engine = find_engine(kind)
    except LocalServerError:
        return False
    if version_key(engine.version) < version_key(at_least):
        return False
    say(f"{engine.title} is there ({engine.command[-1]})")
    return True


def _fetch_packages(
    kind: Literal["mysql", "mariadb"], sources: Sequence[Source], cache: Path, say: Say
) -> Engine:
    package = f"{kind}-server-core"
    with _listed(package, sources, cache, say) as (apt, found):
        version = found.rpartition(":")[2]
        if kind == "mysql" and not version.startswith(MYSQL_WANTED):
            _judge_other_mysql(version, say)
        size = apt.size(package) // 1_000_000
        say(f"downloading {package} {version} and its libraries ({size} MB)")
        packages = apt.download(package, lambda done: say(f"  {done // 1_000_000} MB are there"))
        say(f"unpacking {len(packages)} packages")
        done = store(kind, version, lambda root: unpack(packages, root), cache)
    engine = unpacked_engine(kind, done.folder)
    say(f"fetched {engine.title} (package {found}) into {done.folder}")
    return engine


@contextmanager
def _listed(
    package: str, sources: Sequence[Source], cache: Path, say: Say
) -> Iterator[tuple[PrivateApt, str]]:
    """Yields an apt that knows what the sources have, and the version of the package there.

    Raises:
        LocalServerError: there is no such package.
    """
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".apt-", dir=cache))
    try:
        apt = PrivateApt(work, sources)
        say(f"reading the package lists of {', '.join(s for one in sources for s in one.suites)}")
        said = apt.update()
        found = apt.candidate(package)
        if found is None:
            raise LocalServerError(f"there is no package {package} to fetch:\n{said[-1500:]}")
        yield apt, found
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _judge_other_mysql(version: str, say: Say) -> None:
    if not version.startswith(MYSQL_ACCEPTED):
        raise LocalServerError(
            f"Debian's {MYSQL_SUITE} has MySQL {version}, and mynamo is tried with "
            f"{MYSQL_ACCEPTED}x only; install a MySQL 9 from its own packages"
        )
    say(f"note: Debian's {MYSQL_SUITE} has MySQL {version}; {MYSQL_WANTED} was expected")
