"""Values with their units, as Grafana writes them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log2, log10

from mynamo.errors import ConfigError

MOST_TICKS = 5
Scale = Sequence[tuple[float, str]]

_SECONDS: Scale = (
    (1e-6, " \u00b5s"), (1e-3, " ms"), (1, " s"), (60, " min"), (3600, " h"), (86400, " d"),
)  # fmt: skip
_ROUND_SECONDS = (15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400)
_BYTES: Scale = ((1, " B"), (2**10, " KiB"), (2**20, " MiB"), (2**30, " GiB"), (2**40, " TiB"))
_COUNTS: Scale = ((1, ""), (1e3, " K"), (1e6, " Mil"), (1e9, " Bil"))
_PER_SECOND: dict[str, str] = {"ops": " ops/s", "reqps": " req/s"}


def shown(value: float, unit: str) -> str:
    """A value, short.

    Args:
        unit: Grafana's name of it.

    Raises:
        ConfigError: the unit is not known here.
    """
    if unit == "bool_yes_no":
        return "Yes" if value else "No"
    if unit == "percentunit":
        return f"{_short(value * 100)}%"
    if unit == "s":
        return _scaled(value, _SECONDS, " s")
    if unit == "bytes":
        return _scaled(value, _BYTES, " B")
    if unit in ("short", *_PER_SECOND):
        return _scaled(value, _COUNTS, "") + _PER_SECOND.get(unit, "")
    raise ConfigError(f"the unit {unit} of a dashboard is not known")


def tick_step(highest: float, unit: str) -> float:
    """The distance of the marks on an axis from 0 to a value: a round number of the unit.

    Args:
        highest: the value, above 0.
    """
    least = highest / MOST_TICKS
    if unit == "bytes":
        return float(2 ** ceil(log2(least)))
    if unit == "s" and least > _ROUND_SECONDS[0] / 2:
        return next((s for s in _ROUND_SECONDS if s >= least), 86400 * ceil(least / 86400))
    power: float = 10.0 ** floor(log10(least))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * 0.9999)


def _scaled(value: float, scale: Scale, of_nothing: str) -> str:
    if value == 0:
        return f"0{of_nothing}"
    size, name = scale[0]
    for size_, name_ in scale:
        if abs(value) >= size_ * 0.9999:
            size, name = size_, name_
    return f"{_short(value / size)}{name}"


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
