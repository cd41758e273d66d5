"""Measure TransactWriteItems by turns: of several sizes, on one shard and over several.

    python benchmarks/transactions.py                  # takes half an hour
    python benchmarks/transactions.py --contenders mynamo --connections 16 --rounds 3

Contenders run side by side and are measured by turns in interleaved rounds; figures are medians of
the rounds. mynamo has four shards on this machine. "PutItem" stands beside the transactions for
comparison. "2 hot items" updates two of four items in any order; answers that are no 200 count as
errors there (TransactionCanceledException, which a client tries again).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from http_requests import SHARDS, TRANSACTIONS, call, table_definition
from peers import contender_name, contenders, say
from peers_http import RESULTS, Bench, Cell
from rounds import interleaved, machine, medians, number, table, write_json

DEFAULT = ("mynamo", "dynoxide")
FIGURES = {"rate": "per s", "p50_ms": "p50 ms", "p99_ms": "p99 ms", "cpu_us": "CPU us",
           "errors": "errors"}  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 16, 64])
    every = ["PutItem", *TRANSACTIONS]
    parser.add_argument("--operations", nargs="+", choices=every, default=every, metavar="NAME")
    parser.add_argument("--contenders", nargs="+", type=contender_name, default=DEFAULT)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=asked.out, prefix=".data-") as folder,
        contenders(asked.contenders, Path(folder).resolve(), SHARDS) as running,
    ):
        for one in running:
            say(f"making the table of {one.title}")
            call(one.port, "CreateTable", table_definition(one.table))
        bench = Bench(running, asked.seconds)
        for one in running:
            for operation in asked.operations:
                bench.measure(Cell("warm-up", operation, 16), one.name)
        cells = [
            Cell(f"{count} connections", operation, count)
            for count in asked.connections
            for operation in asked.operations
        ]
        found = interleaved(cells, asked.contenders, asked.rounds, bench.measure)
        titles = {one.name: one.title for one in running}
    results = {
        f"{cell}": {name: medians(found[cell, name]) for name in asked.contenders} for cell in cells
    }
    about = {"benchmark": "transactions", "machine": machine(), "contenders": titles}
    write_json(asked.out / "transactions.json", {**about, "figures": results})
    for name, title in titles.items():
        print(f"\n{title}\n")
        print(
            table(
                ("what", *FIGURES.values()),
                [
                    (cell, *(number(of[name].get(figure)) for figure in FIGURES))
                    for cell, of in results.items()
                ],
            )
        )
    for trouble in bench.troubles:
        print(trouble)


if __name__ == "__main__":
    main()
