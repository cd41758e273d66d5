"""Tables and plots of what `growth.py` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import growth_memory
from rounds import Panel, draw, number, table

KINDS = ("client", "mysql", "mariadb", "broker", "writer", "indexer")
"""Of processes."""
FIGURES = {"p50 ms": "latency, p50", "p99 ms": "latency, p99", "ops/s": "throughput",
           "cpu us": "CPU time of all processes per operation"}  # fmt: skip


def report(name: str, result: Mapping[str, Any]) -> str:
    """The tables of a part."""
    lines = [f"## {name}", "", ", ".join(f"{k} {v}" for k, v in result["servers"].items()), ""]
    if "memory" in result:
        return "\n".join([*lines, growth_memory.report(result["memory"]), ""])
    names, operations, middle = _by_cell(result)
    for figure, title in FIGURES.items():
        head = [f"{title} ({figure})", *names, f"{names[-1]} : {names[0]}"]
        rows = []
        for operation in operations:
            values = [middle[operation, each].get(figure) for each in names]
            first, last = values[0], values[-1]
            ratio = last / first if first and last else None
            rows.append([operation, *map(number, values), number(ratio)])
        lines += [table(head, rows), ""]
    kinds = [kind for kind in KINDS if any(f"{kind} cpu us" in each for each in middle.values())]
    rows = [
        [operation, *(_from_to(middle, operation, names, f"{kind} cpu us") for kind in kinds)]
        for operation in operations
    ]
    lines += [table([f"CPU us by process, {names[0]} -> {names[-1]}", *kinds], rows), ""]
    if "idle_cores" in result:
        cores = result["idle_cores"]
        lines += [table(["idle", *cores], [["cores in use", *map(number, cores.values())]]), ""]
    errors = sum(int(each["errors"]) for each in middle.values())
    return "\n".join([*lines, f"Errors and wrong answers: {errors}", ""])


def _from_to(
    middle: Mapping[tuple[str, str], Mapping[str, float]],
    operation: str,
    names: Sequence[str],
    figure: str,
) -> str:
    first, last = (number(middle[operation, name].get(figure), 2) for name in (names[0], names[-1]))
    return f"{first} -> {last}"


def panels(name: str, result: Mapping[str, Any], threads: int) -> list[Panel]:
    """Of a plot: latency by one thread, and what else there is."""
    names, operations, middle = _by_cell(result)
    some = [
        each
        for each in operations
        if any(cell["operation"] == each and cell["threads"] == threads for cell in result["cells"])
    ]
    return [
        Panel(
            f"{name}, {threads} thread{'' if threads == 1 else 's'}: {title}",
            figure.rpartition(" ")[2],
            [each.rpartition(",")[0] for each in some],
            {each: [middle[operation, each].get(figure) for operation in some] for each in names},
        )
        for figure, title in FIGURES.items()
    ]


def plot(out: Path, results: Mapping[str, Any]) -> None:
    """Draw a file for each part."""
    for name, result in results["parts"].items():
        if "memory" in result:
            growth_memory.plot(out / f"growth_{name}.png", result["memory"])
            continue
        drawn = [
            panel
            for threads in results["options"]["threads"]
            for panel in panels(name, result, threads)
        ]
        draw(out / f"growth_{name}.png", f"Growth: {name}, {result['servers']['engine']}", drawn)


def _by_cell(
    result: Mapping[str, Any],
) -> tuple[list[str], list[str], dict[tuple[str, str], dict[str, float]]]:
    """Names of contenders and operations, and the medians of each pair of them."""
    cells = result["cells"]
    names = list(dict.fromkeys(cell["contender"] for cell in cells))
    operations = list(dict.fromkeys(cell["operation"] for cell in cells))
    return names, operations, {(c["operation"], c["contender"]): c["median"] for c in cells}
