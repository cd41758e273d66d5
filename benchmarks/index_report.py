"""Tables and the plot of what `index.py` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rounds import Panel, draw, number, table

KEEPS_UP = 0.98
"""The part of the puts that counts as all of them."""


def sustained(results: Mapping[str, Any]) -> float:
    """The highest rate that was measured and that the indexer kept up with; 0: none."""
    every = [results["maximum"], *results["lag"].values()]
    middles = [each["median"] for each in every]
    return max((m["puts/s"] for m in middles if m["applied"] >= KEEPS_UP), default=0.0)


def report(results: Mapping[str, Any]) -> str:
    """The tables."""
    about, options = results["machine"], results["options"]
    servers = results["servers"]
    loads = {"maximum": results["maximum"], **results["lag"]}
    loads |= {
        f"{name} without wake-ups": found for name, found in results["lag without wake-ups"].items()
    }
    names = (
        "puts/s", "put p50 ms", "put p99 ms", "applied", "lag p50 ms", "lag p99 ms", "lag max ms",
        "settle s", "cpu us", "probes", "errors",
    )  # fmt: skip
    backlog = ("written/s", "until first s", "drained s", "events/s")
    lines = [
        f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, "
        f"{about['system']}, {about['date']}",
        ", ".join(f"{name} {value}" for name, value in servers.items()),
        ", ".join(f"{name} {value}" for name, value in options.items()),
        "",
        table(["load", *names], _rows(loads, names)),
        "",
        f"The indexer keeps up with {number(sustained(results))} puts/s; the gateway's maximum is "
        f"{number(results['maximum']['median']['puts/s'])} puts/s.",
    ]
    if "backlog" in results:
        lines += [
            "",
            table(
                [f"backlog of {options['events']:,} events", *backlog],
                _rows(results["backlog"], backlog),
            ),
            "",
            table(
                [f"backfill of {options['events']:,} items", "active s", "rows/s"],
                _rows({"one GSI": results["backfill"]}, ("active s", "rows/s")),
            ),
        ]
    if results["troubles"]:
        lines += ["", "Troubles:", *(f"- {each}" for each in results["troubles"])]
    return "\n".join(lines)


def _rows(cases: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    return [
        [case, *(number(found["median"].get(name)) for name in names)]
        for case, found in cases.items()
    ]


def plot(path: Path, results: Mapping[str, Any]) -> None:
    """Draw the results."""
    lags = results["lag"]
    series = ("lag p50 ms", "lag p99 ms", "lag max ms")
    maximum = results["maximum"]["median"]["puts/s"]
    rates = {
        "maximal put rate": maximum,
        "sustained put rate": sustained(results),
        **{
            f"drain, {name}": each["median"]["events/s"]
            for name, each in results.get("backlog", {}).items()
        },
    }
    if "backfill" in results:
        rates["backfill"] = results["backfill"]["median"]["rows/s"]
    panels = [
        Panel(
            "lag of the GSI by the share of the maximal put rate", "ms", list(lags),
            {name: [each["median"].get(name) for each in lags.values()] for name in series},
        ),
        Panel("rates", "per second", list(rates), {"rate": list(rates.values())}),
    ]  # fmt: skip
    draw(path, f"The index: {results['servers']['engine']}, {results['servers']['broker']}", panels)
