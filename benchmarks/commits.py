"""Compare two commits by turns: requests to the gateway and puts by the library.

    python benchmarks/commits.py HEAD~1 HEAD
    python benchmarks/commits.py HEAD~1 HEAD --operations PutItem --threads --rounds 40
    python benchmarks/commits.py HEAD~1 HEAD --operations "2 items, 2 shards" --threads

Each commit is checked out into a folder of its own and runs a cluster of its own; both use the
Python packages that are installed here. All run side by side all the time and are measured by
turns, a second each. "ratio" is the median of the rounds' ratios, each of two measurements that
follow each other, so that a machine whose speed changes from minute to minute changes both; the
quartiles of the rounds' ratios stand beside it. Operations are those of `peers_http.py` and the
transactions of `transactions.py`; if there is one of these, each cluster has four shards.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import http_requests
import library_writes
from peers import Contender, contenders, say
from peers_http import Bench, Cell, cells, set_up
from rounds import Figures, interleaved, machine, number, table, write_json

ROOT = Path(__file__).resolve().parents[1]
OPERATIONS = ("PutItem", "GetItem", "Query", "QueryGSI")
HTTP_FIGURES = {
    "rate": "per second",
    "cpu_us": "CPU us each",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}
LIBRARY_FIGURES = {"puts/s": "per second", "client CPU us": "CPU us each"}
READY = "ready "
SERVE = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1));"
    " runpy.run_path(sys.argv.pop(1), run_name='__main__')"
)
"""Python that runs this script with another commit's benchmarks on the path."""


class Threads(NamedTuple):
    """Puts by the library, by so many threads."""

    count: int

    def __str__(self) -> str:
        return f"puts by the library, {self.count} thread{'s' if self.count > 1 else ''}"


class Commit:
    """One commit's servers: a process that runs this script with that commit's code.

    Args:
        files: the checkout.
        folder: for its data.
        shards: of its gateway's cluster.
        library: whether the library is measured too.
    """

    def __init__(self, files: Path, folder: Path, shards: int, library: bool) -> None:
        self._running = subprocess.Popen(
            [
                sys.executable,
                "-c",
                SERVE,
                str(files / "benchmarks"),
                __file__,
                "--serve",
                json.dumps([str(folder), shards, library]),
            ],
            cwd=files,
            env={**os.environ, "PYTHONPATH": str(files)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        answer = self._answer()
        self.contender = Contender(
            "", "", "", answer["port"], [self._running], answer["table"], self._settle
        )

    def puts(self, threads: int, seconds: float) -> Figures:
        """Have the library put."""
        figures: Figures = self._ask({"threads": threads, "seconds": seconds})
        return figures

    def close(self) -> None:
        """End the servers."""
        assert self._running.stdin
        self._running.stdin.close()
        self._running.wait()

    def _settle(self) -> bool:
        return bool(self._ask({"settle": True}))

    def _ask(self, question: object) -> Any:
        assert self._running.stdin
        print(json.dumps(question), file=self._running.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._running.stdout
        for line in self._running.stdout:
            if line.startswith(READY):
                return json.loads(line.removeprefix(READY))
        sys.exit("the servers of one commit ended; see above")


def serve(folder: Path, shards: int, library: bool) -> None:
    """The other end of `Commit`."""
    with ExitStack() as stack:
        several = () if shards == 1 else (shards,)  # the only number that older commits know is 1
        (gateway,) = stack.enter_context(contenders(["mynamo"], folder / "http", *several))
        if library:
            writers = stack.enter_context(library_writes.contenders("mysql", folder / "library"))
        answer: Any = {"port": gateway.port, "table": gateway.table}
        print(READY + json.dumps(answer), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            if "settle" in asked:
                answer = gateway.settle()
            else:
                put = writers[library_writes.LIBRARY]
                answer = library_writes.measure(put, asked["threads"], asked["seconds"])
            print(READY + json.dumps(answer), flush=True)


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """The files of a commit, in a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="mynamo-commit-") as parent:
        folder = Path(parent, "files")
        _git("worktree", "add", "--detach", "--quiet", str(folder), commit)
        try:
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def measure(asked: argparse.Namespace, names: list[str]) -> dict[tuple[Any, str], list[Figures]]:
    """All rounds of all that is asked, with commits of these names."""
    asked.rate = []  # closed loops only
    several = any(name in http_requests.TRANSACTIONS for name in asked.operations)
    shards = http_requests.SHARDS if several else 1
    measured: list[Cell | Threads] = [*cells(asked), *map(Threads, asked.threads)]
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mynamo-commits-")))
        commits = {}
        for name in names:
            say(f"starting the servers of {name}")
            commits[name] = Commit(
                stack.enter_context(checkout(name)), data / name, shards, bool(asked.threads)
            )
            stack.callback(commits[name].close)
            commits[name].contender.name = name
            set_up(commits[name].contender)
        bench = Bench([one.contender for one in commits.values()], asked.seconds)

        def once(cell: Cell | Threads, name: str) -> Figures:
            if isinstance(cell, Threads):
                return commits[name].puts(cell.count, asked.seconds)
            return bench.measure(cell, name)

        interleaved(measured, names, 1, once)  # a warm-up
        found = interleaved(measured, names, asked.rounds, once)
    for trouble in bench.troubles:
        say(trouble)
    return found


def report(found: dict[tuple[Any, str], list[Figures]], names: list[str]) -> str:
    """A table of medians."""
    rows = []
    for cell in dict.fromkeys(cell for cell, _ in found):
        before, after = (found[cell, name] for name in names)
        kinds = LIBRARY_FIGURES if isinstance(cell, Threads) else HTTP_FIGURES
        for kind, unit in kinds.items():
            pairs = [
                (old[kind], new[kind])
                for old, new in zip(before, after, strict=True)
                if kind in old and kind in new
            ]
            olds, news = zip(*pairs, strict=True)
            ratios = statistics.quantiles([new / old for old, new in pairs], n=4)
            low, middle, high = (f"{ratio:.3f}" for ratio in ratios)
            medians = (number(statistics.median(one)) for one in (olds, news))
            rows.append([f"{cell}, {unit}", *medians, middle, f"{low} to {high}"])
    return table(("what", *names, "ratio", "quartiles"), rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", nargs="?")
    parser.add_argument("after", nargs="?")
    parser.add_argument("--operations", nargs="*", default=OPERATIONS, metavar="NAME")
    parser.add_argument("--connections", nargs="+", type=int, default=[16])
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    parser.add_argument("--serve", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        folder, shards, library = asked.serve
        serve(Path(folder), shards, library)
        return
    if asked.after is None:
        parser.error("name two commits")
    names = [_git("rev-parse", "--short", one) for one in (asked.before, asked.after)]
    found = measure(asked, names)
    print(report(found, names))
    rounds = [
        {"what": str(cell), "commit": name, "rounds": figures}
        for (cell, name), figures in found.items()
    ]
    write_json(asked.out / "commits.json", {"machine": machine(), "figures": rounds})


if __name__ == "__main__":
    os.environ.setdefault("MYNAMO_CACHE", str(ROOT / ".cache"))
    main()
