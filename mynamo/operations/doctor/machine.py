"""Checks of this machine: Python, the installed packages, and the disk of local data."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from mynamo.extras import EXTRAS
from mynamo.local.cache import version_key
from mynamo.local.disk import MEBIBYTE, free_bytes, shortage
from mynamo.operations.doctor.diagnosis import Check
from mynamo.release import release

ABOUT = "this machine"
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,-]*\])?([^;]*)(?:;.*extra == .(\w+))?")
_BOUND = re.compile(r"(>=|<)([\d.]+)")


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
    for found in filter(None, map(_REQUIREMENT.match, lines)):
        name, bounds, extra = found.groups()
        if name == "mynamo" or (extra is not None and extra not in EXTRAS):
            continue
        try:
            installed = version(name)
        except PackageNotFoundError:
            if extra is None:
                text = f"the package {name} is not installed"
                yield Check("problem", ABOUT, text, "pip install mynamo")
            continue
        if not fits(installed, bounds):
            text = f"{name} is {installed}, but mynamo works with {bounds.strip()}"
            yield Check("problem", ABOUT, text, f"pip install '{name}{bounds.strip()}'")


def fits(installed: str, bounds: str) -> bool:
    """Whether a release is within bounds such as ">=1.2,<2"."""
    number = version_key(installed)
    return all(
        (number >= version_key(bound)) if sign == ">=" else (number < version_key(bound))
        for sign, bound in _BOUND.findall(bounds)
    )
