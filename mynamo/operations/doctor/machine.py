"""Checks of this machine: Python, the installed packages, and the disk of local data."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from mynamo.extras import EXTRAS
from mynamo.local.disk import MEBIBYTE, free_bytes, shortage
from mynamo.operations.doctor.diagnosis import Check
from mynamo.release import release

ABOUT = "this machine"


def look_at_machine(data: Path | None) -> Iterator[Check]:
    """Look at this machine.

    Args:
        data: the folder of `mynamo dev` that the servers' data lies in; None: it is elsewhere.
    """
    what = f"mynamo {release() or '(run from its source)'}"
    yield Check("ok", ABOUT, f"{what}, Python {platform.python_version()}")
    wrong = list(_packages())
    yield from wrong or [Check("ok", ABOUT, "the packages that mynamo needs fit")]
    if data is not None:
        short = shortage(data)
        free = free_bytes(data) // MEBIBYTE
        if short:
            text, _, todo = short.partition("; ")
            yield Check("problem", ABOUT, text, todo)
        else:
            yield Check("ok", ABOUT, f"{free:,} MB are free on the disk of {data}")


def _packages() -> Iterator[Check]:
    """Packages that are missing, or not of a release that mynamo works with."""
    lines = (requires("mynamo") or ()) if release() else ()
    for needed in map(Requirement, lines):
        is_extra = not _applies(needed, "")
        if needed.name == "mynamo" or (is_extra and not any(_applies(needed, e) for e in EXTRAS)):
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            if not is_extra:
                text = f"the package {needed.name} is not installed"
                yield Check("problem", ABOUT, text, "pip install mynamo")
            continue
        if not needed.specifier.contains(installed, prereleases=True):
            text = f"{needed.name} is {installed}, but mynamo works with {needed.specifier}"
            todo = f"pip install '{needed.name}{needed.specifier}'"
            yield Check("problem", ABOUT, text, todo)


def _applies(needed: Requirement, extra: str) -> bool:
    """Whether a package is needed on this machine with an extra; empty: without any."""
    return needed.marker is None or needed.marker.evaluate({"extra": extra})
