"""Which release of mynamo this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str | None:
    """The version of the installed package; None: it runs from its source, not installed."""
    try:
        return version("mynamo")
    except PackageNotFoundError:
        return None
